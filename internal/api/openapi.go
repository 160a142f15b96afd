package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"vote/internal/domain"
)

func init() { huma.DefaultArrayNullable = false } // no list here is ever null

// description is what the document says of an endpoint beyond what its row in
// the route table tells.
type description struct {
	id, group, summary, text string
	params                   []*huma.Param
	body                     any // a shape; nil without a body
	bodyExamples             map[string]string
	answers                  []answer
	codes                    []domain.Code // besides those every endpoint of its kind has
}

// answer is one successful answer.
type answer struct {
	status  int
	text    string
	media   string // application/json unless it says otherwise
	shape   any
	example string
	headers []string
}

// Groups of calls, in order.
const (
	groupAccounts = "Accounts"
	groupPolls    = "Polls"
	groupVotes    = "Votes and skips"
	groupResults  = "Results"
	groupPages    = "Pages"
	groupServer   = "Server"
)

var groups = []*huma.Tag{
	{Name: groupAccounts, Description: "Registering, signing in and out, and what is stored about you."},
	{Name: groupPolls, Description: "The feed, single polls and their tags."},
	{Name: groupVotes, Description: "Choosing an option, or going on."},
	{Name: groupResults, Description: "Counts, as documents that edge caches may keep for a second."},
	{Name: groupPages, Description: "The web app and what other sites show of a poll. The same for everybody: no token is read. Limited by the burst window alone. Who accepts text/html is told refusals as a page."},
	{Name: groupServer, Description: "For operators and tools. Not limited."},
}

// document makes the OpenAPI document and the pages from it.
func (s *server) document(table []endpoint) error {
	api, err := newOpenAPI(table)
	if err != nil {
		return err
	}
	body, err := json.Marshal(api)
	if err != nil {
		return fmt.Errorf("OpenAPI document: %w", err)
	}
	s.openapi.set(body, headerJSON)
	docs, codes, err := docPages(api, s.site)
	if err != nil {
		return fmt.Errorf("documentation: %w", err)
	}
	s.docs.set(docs, headerHTML)
	s.codes.set(codes, headerHTML)
	return nil
}

const overview = `A platform for polls: an endless feed of them, one choice each, live results.

JSON in and out, UTF-8, camelCase names, times in RFC 3339 UTC. Ids are whole numbers below 2^53. Unknown fields of a body are refused, unknown query parameters ignored. A GET answers HEAD too.

**Errors** are problem documents (RFC 9457, application/problem+json) with a stable code and, for invalid input, every fault at once. 400: cannot be parsed. 422: parsed, but invalid. Refusals come in this order: 404 for an unknown path and 405; 415, 413, 400; 401; 429 rate_limited; 403; 404; 422; 409; 429 for a daily limit. A 4xx has changed nothing. After a 5xx or a lost answer it happened once or not at all, and repeating is safe.

**Limits** are sliding windows: by default 100 requests a minute per user (anonymous: per address), 100 votes a minute per user, 200 requests a second per address. Every answer of a limited call tells its window in X-RateLimit-Limit, X-RateLimit-Remaining and X-RateLimit-Reset; a 429 or 503 says in Retry-After when to come back. A refused request is not counted.

**X-Request-Id** is taken from the request (up to 128 letters, digits and -_.:/+=@~) or made, and sent back.`

func newOpenAPI(table []endpoint) (*huma.OpenAPI, error) {
	registry := huma.NewMapRegistry("#/components/schemas/", schemaName)
	api := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "Vote", Version: "1", Description: overview,
			License: &huma.License{Name: "MIT", Identifier: "MIT"},
		},
		Servers: []*huma.Server{{URL: "/"}},
		Tags:    groups,
		Components: &huma.Components{
			Schemas: registry,
			Headers: headers(),
			SecuritySchemes: map[string]*huma.SecurityScheme{
				"bearer": {Type: "http", Scheme: "bearer", BearerFormat: "JWT", Description: "The access token of register, login or refresh."},
			},
		},
	}
	for i := range table {
		e := &table[i]
		d, ok := descriptions[e.method+" "+e.path]
		if !ok && e.charge == free {
			d, ok = metricsDescription, true // the one path that the operator chooses
		}
		if !ok {
			return nil, fmt.Errorf("%s %s is not described", e.method, e.path)
		}
		api.AddOperation(operation(registry, e, d))
	}
	return api, nil
}

// schemaName names the schema of a shape.
func schemaName(t reflect.Type, hint string) string {
	return strings.TrimSuffix(huma.DefaultSchemaNamer(t, hint), "Shape")
}

func operation(registry huma.Registry, e *endpoint, d description) *huma.Operation {
	op := &huma.Operation{
		Method: e.method, Path: e.path, OperationID: d.id, Tags: []string{d.group},
		Summary: d.summary, Description: d.text, Parameters: d.params,
		Responses: map[string]*huma.Response{},
	}
	if strings.Contains(e.path, "{id}") {
		op.Parameters = append([]*huma.Param{{
			Name: "id", In: "path", Required: true, Description: "The poll's id.", Schema: idSchema(), Example: exampleID,
		}}, op.Parameters...)
	}
	bearer := map[string][]string{"bearer": {}}
	switch {
	case e.who == user:
		op.Security = []map[string][]string{bearer}
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: "userId", In: "query", Description: "For older clients: absent, or the token's user.", Schema: idSchema(),
		})
	case e.charge != free && e.charge != pages:
		op.Security = []map[string][]string{{}, bearer}
	}
	if d.body != nil {
		media := &huma.MediaType{Schema: registry.Schema(reflect.TypeOf(d.body), true, d.id), Examples: map[string]*huma.Example{}}
		for name, value := range d.bodyExamples {
			media.Examples[name] = &huma.Example{Value: json.RawMessage(value)}
		}
		op.RequestBody = &huma.RequestBody{
			Required: e.body == needBody, Content: map[string]*huma.MediaType{"application/json": media},
		}
	}
	for _, a := range d.answers {
		op.Responses[strconv.Itoa(a.status)] = success(registry, e, a)
	}
	for status, codes := range refusalsOf(e, d) {
		op.Responses[strconv.Itoa(status)] = failure(registry, e, status, codes)
	}
	return op
}

func success(registry huma.Registry, e *endpoint, a answer) *huma.Response {
	r := &huma.Response{Description: a.text, Headers: responseHeaders(e, a.headers...)}
	if a.shape == nil && a.media == "" {
		return r
	}
	media := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	if a.shape != nil {
		media.Schema = registry.Schema(reflect.TypeOf(a.shape), true, "")
	}
	if a.example != "" {
		if a.shape == nil {
			media.Example = a.example
		} else {
			media.Example = json.RawMessage(a.example)
		}
	}
	name := a.media
	switch name {
	case "":
		name = "application/json"
	case "application/json", typeManifest:
		media.Schema = &huma.Schema{Type: huma.TypeObject}
	}
	r.Content = map[string]*huma.MediaType{name: media}
	if e.path == "/api/polls/{id}/stats" && a.status == http.StatusOK {
		r.Content["text/csv"] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}, Example: exampleCSV}
	}
	return r
}

// refusalsOf returns every code an endpoint may refuse with, by status.
func refusalsOf(e *endpoint, d description) map[int][]domain.Code {
	codes := append([]domain.Code{domain.CodeInternal}, d.codes...)
	if e.charge != free {
		codes = append(codes, domain.CodeMalformed, domain.CodeRateLimited, domain.CodeUnavailable)
	}
	if e.body != noBody {
		codes = append(codes, domain.CodeTimeout, domain.CodeTooLarge, domain.CodeUnsupportedMedia, domain.CodeInvalid)
	}
	if e.who == user {
		codes = append(codes, domain.CodeUnauthorized, domain.CodeForbidden, domain.CodeInvalid, domain.CodeStarting)
	}
	byStatus := make(map[int][]domain.Code)
	have := make(map[domain.Code]bool)
	for _, c := range codes {
		if !have[c] {
			have[c] = true
			byStatus[refusals[c].status] = append(byStatus[refusals[c].status], c)
		}
	}
	return byStatus
}

func failure(registry huma.Registry, e *endpoint, status int, codes []domain.Code) *huma.Response {
	slices.Sort(codes)
	media := &huma.MediaType{
		Schema:   registry.Schema(reflect.TypeFor[problemShape](), true, ""),
		Examples: map[string]*huma.Example{},
	}
	names := make([]string, len(codes))
	for i, c := range codes {
		names[i] = string(c)
		sample := &domain.Error{Code: c}
		switch c {
		case domain.CodeInvalid:
			sample.Fields = []domain.FieldError{{Field: "options[1]", Message: "is the same as options[0]"}, {Field: "colour", Message: notKnown}}
		case domain.CodeAlreadyVoted:
			sample.Option = 1
		}
		media.Examples[string(c)] = &huma.Example{
			Summary: refusals[c].title, Value: json.RawMessage(appendProblem(nil, sample, exampleRequest, "")),
		}
	}
	var extra []string
	switch status {
	case http.StatusUnauthorized:
		extra = append(extra, "WWW-Authenticate")
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		extra = append(extra, "Retry-After")
	}
	return &huma.Response{
		Description: http.StatusText(status) + ": " + strings.Join(names, ", "),
		Headers:     responseHeaders(e, extra...),
		Content:     map[string]*huma.MediaType{problemType: media},
	}
}

func responseHeaders(e *endpoint, more ...string) map[string]*huma.Param {
	names := append([]string{"X-Request-Id"}, more...)
	if e.charge != free {
		names = append(names, "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
	}
	m := make(map[string]*huma.Param, len(names))
	for _, n := range names {
		m[n] = &huma.Param{Ref: "#/components/headers/" + n}
	}
	return m
}

func headers() map[string]*huma.Header {
	text := &huma.Schema{Type: huma.TypeString}
	number := &huma.Schema{Type: huma.TypeInteger}
	return map[string]*huma.Header{
		"X-Request-Id":          {Description: "Names the request in logs and problem documents.", Schema: text},
		"X-RateLimit-Limit":     {Description: "How many requests the window takes. Absent when the limit is switched off.", Schema: number},
		"X-RateLimit-Remaining": {Description: "How many more it takes now.", Schema: number},
		"X-RateLimit-Reset":     {Description: "When the window will be empty, in Unix seconds.", Schema: number},
		"Retry-After":           {Description: "Seconds until repeating makes sense.", Schema: number},
		"WWW-Authenticate":      {Description: "Bearer.", Schema: text},
		"Location":              {Description: "Path of what was made.", Schema: text},
		"ETag":                  {Description: "Strong; changes with every counted vote or skip.", Schema: text},
		"Content-Disposition":   {Description: "Names the file.", Schema: text},
		"Cache-Control":         {Description: "public, max-age=1, stale-while-revalidate=5 for anonymous callers; private, no-store with a valid token.", Schema: text},
	}
}

func idSchema() *huma.Schema {
	return &huma.Schema{Type: huma.TypeInteger, Minimum: new(1.0), Maximum: new(float64(domain.MaxID - 1))}
}

// queryParam describes a query parameter.
func queryParam(name, text string, schema *huma.Schema, example any) *huma.Param {
	return &huma.Param{Name: name, In: "query", Description: text, Schema: schema, Example: example}
}

// wholeSchema is a whole number from 1 to most.
func wholeSchema(most, missing int) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeInteger, Minimum: new(1.0), Maximum: new(float64(most))}
	if missing != 0 {
		s.Default = missing
	}
	return s
}

func timeSchema() *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time"}
}

func textSchema(most int) *huma.Schema { return &huma.Schema{Type: huma.TypeString, MaxLength: &most} }

func wordSchema(words ...any) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Enum: words, Default: words[0]}
}

func listSchema(item *huma.Schema, most int) *huma.Schema {
	return &huma.Schema{Type: huma.TypeArray, Items: item, MaxItems: &most}
}

var (
	exploded = true
	joined   = false
)
