package web

import (
	"regexp"
	"strings"
	"testing"
)

// TestFiles looks at what browsers get: links lead to files that are there, and
// nothing comes from outside.
func TestFiles(t *testing.T) {
	t.Parallel()
	page := string(Index())
	links := regexp.MustCompile(assetPath+`[^"]+`).FindAllString(page, -1)
	if len(links) != 2 {
		t.Errorf("links %q", links)
	}
	for _, link := range links {
		f, ok := Asset(strings.TrimPrefix(link, assetPath))
		if !ok || len(f.Body) == 0 || f.Type == "" {
			t.Errorf("%s is not there", link)
		}
		if !regexp.MustCompile(`\.[0-9a-f]{12}\.`).MatchString(link) {
			t.Errorf("%s does not tell its content", link)
		}
	}
	if !strings.Contains(page, StylePath()) || !strings.Contains(page, IconPath()) {
		t.Error("the page lacks its style or icon")
	}
	if _, ok := Asset(styleName); ok {
		t.Error("a file is there under a name that does not change with it")
	}
	style, _ := Asset(strings.TrimPrefix(StylePath(), assetPath))
	for name, text := range map[string]string{"page": page, "style": string(style.Body)} {
		for _, bad := range []string{"http:", "https:", "<script", "style=", "@import", "url("} {
			if strings.Contains(text, bad) {
				t.Errorf("%s holds %q", name, bad)
			}
		}
	}
}
