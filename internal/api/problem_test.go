package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"vote/internal/domain"
)

// TestRefusalTable holds the table to the domain's codes: every one is there,
// with a status that its name in the contract asks for.
func TestRefusalTable(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "../domain/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	codes := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, name := range spec.Names {
			if !strings.HasPrefix(name.Name, "Code") {
				continue
			}
			literal, ok := spec.Values[i].(*ast.BasicLit)
			if !ok {
				continue
			}
			code, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			codes++
			r, ok := refusals[domain.Code(code)]
			if !ok || r.title == "" || r.about == "" || http.StatusText(r.status) == "" {
				t.Errorf("%s: %+v", code, r)
			}
			if r.status == http.StatusServiceUnavailable && r.retry == 0 {
				t.Errorf("%s: a 503 without a time to come back", code)
			}
		}
		return true
	})
	if codes != len(refusals) {
		t.Errorf("%d codes and %d refusals", codes, len(refusals))
	}
}

// bareServer has nothing behind it.
func bareServer(log *bytes.Buffer) *server {
	s := &server{clock: domain.SystemClock{}, logger: slog.New(slog.NewTextHandler(log, nil)), metrics: newMetrics(nil)}
	s.calls.New = func() any { return new(call) }
	return s
}

// answerOf runs a handler as an endpoint that is not limited.
func answerOf(s *server, handle func(*call) error) *httptest.ResponseRecorder {
	router := gin.New()
	router.GET("/x", s.serve(&endpoint{path: "/x", metrics: s.metrics.endpoint("/x"), handle: handle}))
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/x", nil)
	r.Header.Set("X-Request-Id", "id-1")
	router.ServeHTTP(w, r)
	return w
}

func TestErrorsAreTold(t *testing.T) {
	t.Parallel()
	secret := errors.New("the secret cause")
	for _, c := range []struct {
		err    error
		status int
		code   domain.Code
		retry  string
		logged bool
	}{
		{secret, 500, domain.CodeInternal, "", true},
		{fmt.Errorf("outer: %w", domain.Fault(domain.CodeInternal, secret)), 500, domain.CodeInternal, "", true},
		{&domain.Error{Code: "made_up", Cause: secret}, 500, domain.CodeInternal, "", true},
		{domain.Fault(domain.CodeUnavailable, secret), 503, domain.CodeUnavailable, "2", true},
		{domain.Fault(domain.CodeOutcomeUnknown, secret), 503, domain.CodeOutcomeUnknown, "1", true},
		{domain.E(domain.CodeOverloaded, ""), 503, domain.CodeOverloaded, "1", false},
		{&domain.Error{Code: domain.CodeOverloaded, RetryAfter: 2500 * time.Millisecond}, 503, domain.CodeOverloaded, "3", false},
		{domain.E(domain.CodeIdempotencyBusy, ""), 409, domain.CodeIdempotencyBusy, "1", false},
		{context.DeadlineExceeded, 503, domain.CodeUnavailable, "2", true},
		{domain.E(domain.CodeNotFound, "x"), 404, domain.CodeNotFound, "", false},
	} {
		var log bytes.Buffer
		w := answerOf(bareServer(&log), func(*call) error { return c.err })
		var p problemShape
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		if w.Code != c.status || p.Code != string(c.code) || p.Status != c.status || w.Header().Get("Retry-After") != c.retry {
			t.Errorf("%v: %d %s, Retry-After %q", c.err, w.Code, w.Body, w.Header().Get("Retry-After"))
		}
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%v: the cause is shown: %s", c.err, w.Body)
		}
		if got := log.String(); (got != "") != c.logged || (c.logged && (strings.Count(got, "\n") != 1 || !strings.Contains(got, "id-1"))) {
			t.Errorf("%v: logged %q", c.err, got)
		}
	}
}

func TestPanics(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	w := answerOf(bareServer(&log), func(*call) error { panic("the secret reason") })
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), `"code":"internal"`) || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "the secret reason") || !strings.Contains(got, "id-1") || !strings.Contains(got, "problem_test.go") {
		t.Errorf("logged %q", got)
	}
	// Half an answer must not pass for a whole one.
	for name, handle := range map[string]func(*call) error{
		"after a part of the answer": func(c *call) error {
			c.send(http.StatusOK, headerJSON, []byte("{"))
			panic("late")
		},
		"on purpose": func(*call) error { panic(http.ErrAbortHandler) },
	} {
		func() {
			defer func() {
				if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // a panic's value
					t.Errorf("%s: recovered %v", name, p)
				}
			}()
			answerOf(bareServer(&log), handle)
		}()
	}
}

func TestGoneClientIsNoFault(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := bareServer(&log)
	router := gin.New()
	router.GET("/x", s.serve(&endpoint{path: "/x", metrics: s.metrics.endpoint("/x"), handle: func(c *call) error { return c.context().Err() }}))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	router.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/x", nil).WithContext(ctx))
	if log.Len() > 0 {
		t.Errorf("logged %s", &log)
	}
}

// TestShapesTellTheRules holds the limits in the schemas to the domain's.
func TestShapesTellTheRules(t *testing.T) {
	t.Parallel()
	registry := huma.NewMapRegistry("#/", schemaName)
	property := func(shape any, name string) *huma.Schema {
		return registry.Schema(reflect.TypeOf(shape), false, "").Properties[name]
	}
	options, tags := property(newPoll{}, "options"), property(newPoll{}, "tags")
	index := property(voteRequest{}, "optionIndex")
	for what, c := range map[string][2]int{
		"title":        {*property(newPoll{}, "title").MaxLength, domain.MaxTitle},
		"options":      {*options.MaxItems, domain.MaxOptions},
		"options from": {*options.MinItems, domain.MinOptions},
		"option":       {*options.Items.MaxLength, domain.MaxOption},
		"tags":         {*tags.MaxItems, 2 * domain.MaxTags}, // before duplicates are dropped
		"tag":          {*tags.Items.MaxLength, domain.MaxTag},
		"username":     {*property(registration{}, "username").MaxLength, domain.MaxUsername},
		"short name":   {*property(registration{}, "username").MinLength, domain.MinUsername},
		"e-mail":       {*property(registration{}, "email").MaxLength, domain.MaxEmail},
		"password":     {*property(registration{}, "password").MaxLength, domain.MaxPassword},
		"short":        {*property(registration{}, "password").MinLength, domain.MinPassword},
		"option index": {int(*index.Maximum), domain.MaxOptions - 1},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: documented %d, ruled %d", what, c[0], c[1])
		}
	}
}
