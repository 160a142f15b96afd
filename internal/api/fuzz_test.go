package api_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// FuzzCursor sends cursors that the feed did not give out, and some that it
// did: each is followed or refused.
func FuzzCursor(f *testing.F) {
	s := newSite(f, nil)
	s.join("mira")
	s.many("mira", 30)
	for _, target := range []string{"/api/polls?limit=5", "/api/polls?limit=5&sort=hot"} {
		var page struct {
			NextCursor string `json:"nextCursor"`
		}
		got := s.do("mira", "GET", target, "")
		if got.into(&page); page.NextCursor != "" {
			f.Add(page.NextCursor)
		}
	}
	f.Add("EAEBAAA")
	token := s.names["mira.token"]
	f.Fuzz(func(t *testing.T, cursor string) {
		for _, order := range []string{"new", "hot"} {
			r := httptest.NewRequest(http.MethodGet, "/api/polls?sort="+order+"&cursor="+url.QueryEscape(cursor), nil)
			r.Header.Set("Authorization", "Bearer "+token)
			got := s.send(r)
			code := got.code()
			if got.status != http.StatusOK && code != "invalid_cursor" && code != "cursor_expired" && code != "malformed" {
				t.Errorf("%s: %d %s", order, got.status, got.body)
			}
		}
	})
}
