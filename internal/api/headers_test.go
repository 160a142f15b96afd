package api

import (
	"encoding/csv"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"vote/internal/domain"
)

var (
	harmlessID = regexp.MustCompile(`^[A-Za-z0-9\-_.:/+=@~]{1,128}$`)
	keyText    = regexp.MustCompile(`^[ -~]{1,255}$`)
	entityTags = regexp.MustCompile(`^[ \t,]*(?:W/)?("[^"]*")`)
)

// naiveMatches walks a list of entity tags by a regular expression.
func naiveMatches(line, tag string) bool {
	for {
		if strings.HasPrefix(strings.TrimLeft(line, " \t,"), "*") {
			return true
		}
		m := entityTags.FindStringSubmatch(line)
		if m == nil {
			return false
		}
		if m[1] == tag {
			return true
		}
		line = line[len(m[0]):]
	}
}

// FuzzHeaders reads any text as the value of each header that is parsed.
func FuzzHeaders(f *testing.F) {
	for _, s := range []string{`"7-abc-json"`, `W/"x", "7-abc-json"`, "*", "a b", strings.Repeat("k", 256), "application/json; charset=UTF-8", "application/json;charset=latin1", "é", "\x7f", ""} {
		f.Add(s)
	}
	const tag = `"7-abc-json"`
	f.Fuzz(func(t *testing.T, s string) {
		if id := requestID([]string{s}); harmlessID.MatchString(s) != (id == s) || !harmlessID.MatchString(id) {
			t.Errorf("request id %q became %q", s, id)
		}
		if got, want := matches([]string{s}, tag), naiveMatches(s, tag); got != want {
			t.Errorf("If-None-Match %q: %t, want %t", s, got, want)
		}
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header["Idempotency-Key"] = []string{s}
		r.Header["Content-Type"] = []string{s}
		c := &call{g: &gin.Context{Request: r}}
		if key := c.idempotencyKey(); key != s || keyText.MatchString(s) == c.faulty("Idempotency-Key") {
			t.Errorf("Idempotency-Key %q: %q, %v", s, key, c.faults)
		}
		if c.mediaType(r) == nil {
			kind, params, _ := strings.Cut(strings.ToLower(s), ";")
			if strings.TrimSpace(kind) != "application/json" || strings.Contains(params, "charset=") && !strings.Contains(params, "utf-8") {
				t.Errorf("Content-Type %q is taken for JSON", s)
			}
		}
	})
}

// FuzzPollOf takes any text for the address of a poll: what is taken is one that
// this server itself would give out.
func FuzzPollOf(f *testing.F) {
	const base = "https://vote.example.org:8443"
	for _, s := range []string{base + "/p/7", base + "/embed/7?x#y", "https://vote.example.org:8443@evil.example/p/7", "//vote.example.org:8443/p/7", base + "/p/7/", base + "/p/%37", "http://[::1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, ok := pollOf(s, base)
		if !ok {
			return
		}
		u, err := url.Parse(s)
		if err != nil || id < 1 || !strings.EqualFold(u.Host, "vote.example.org:8443") || u.User != nil {
			t.Fatalf("%q is taken for poll %d", s, id)
		}
		for _, path := range []string{"/p/", "/embed/"} {
			if u.Path == path+strconv.FormatInt(int64(id), 10) {
				return
			}
		}
		t.Fatalf("%q is taken for poll %d", s, id)
	})
}

// FuzzAddress holds the client's address, as limits know it, to net/netip.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"192.0.2.1:80", "[2001:db8::1]:80", "[::ffff:192.0.2.1]:80", "[fe80::1%eth0]:80", "", ":", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, remote string) {
		c := &call{s: &server{}, g: &gin.Context{Request: &http.Request{RemoteAddr: remote}}}
		got := c.address()
		if got == "" {
			t.Fatalf("%q has no address", remote)
		}
		p, err := netip.ParseAddrPort(remote)
		if err != nil {
			return
		}
		want := p.Addr().Unmap().WithZone("")
		if want.Is6() {
			bytes := want.As16()
			clear(bytes[8:])
			want = netip.AddrFrom16(bytes)
		}
		if p.Addr().Is4() || p.Addr().Is6() {
			if got != want.String() {
				t.Fatalf("%q is %q, want %q", remote, got, want)
			}
		}
	})
}

// FuzzStatsCSV reads what is written by encoding/csv again: every option is in
// its place, and none begins as a formula.
func FuzzStatsCSV(f *testing.F) {
	f.Add("=1+1", "a,\"b\" c", int64(3), int64(0))
	f.Add("－1", "'", int64(1), int64(2))
	f.Fuzz(func(t *testing.T, a, b string, n, m int64) {
		// Options hold no control characters.
		if n < 0 || m < 0 || n > 1<<40 || m > 1<<40 || !utf8.ValidString(a+b) || strings.ContainsFunc(a+b, unicode.IsControl) {
			return
		}
		counts := domain.Counts{Poll: 7, Votes: []int64{n, m}, Skips: 5, UpdatedAt: time.UnixMilli(n).UTC()}
		raw, err := statsCSV(counts, []string{a, b})
		if err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(strings.NewReader(string(raw))).ReadAll()
		if err != nil || len(rows) != 3 {
			t.Fatalf("%d rows, %v in %q", len(rows), err, raw)
		}
		for i, option := range []string{a, b} {
			got := rows[i+1][5]
			if got != option && got != "'"+option {
				t.Errorf("%q was read as %q", option, got)
			}
			if strings.IndexAny(got, "=+-@＝＋－＠") == 0 {
				t.Errorf("%q begins a formula", got)
			}
			if votes := strconv.FormatInt(counts.Votes[i], 10); rows[i+1][6] != votes || rows[i+1][4] != strconv.Itoa(i) {
				t.Errorf("row %q, want %s votes", rows[i+1], votes)
			}
		}
	})
}
