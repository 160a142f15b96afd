package web

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// module is what a script imports, each as a name of ours.
type module struct {
	static  []string // before it runs
	dynamic []string // when it asks
	broken  []string // specifiers that lead nowhere
}

var (
	// Those that begin with /*! are licences, and stay.
	comments      = regexp.MustCompile(`(?s:/\*(?:[^!].*?)??\*/)|(?m:^\s*//.*$)`)
	staticImport  = regexp.MustCompile(`(?:^|[;}\n])\s*(?:import|export)\b\s*(?:[\w$*{}\s,]*?\bfrom\s*)?["']([^"'\n]+)["']`)
	dynamicImport = regexp.MustCompile(`\bimport\(\s*["']([^"'\n]+)["']\s*\)`)
)

// withoutComments returns a script without its comments, which are a sixth of
// what would be sent. Lines stay where they are.
func withoutComments(script []byte) []byte {
	return comments.ReplaceAllFunc(script, func(comment []byte) []byte {
		lines := bytes.Count(comment, []byte("\n"))
		if lines == 0 && bytes.HasPrefix(comment, []byte("/*")) {
			return []byte(" ") // what stands on both sides stays apart
		}
		return bytes.Repeat([]byte("\n"), lines)
	})
}

// newModule reads which modules a script without comments imports.
func newModule(name string, script []byte) module {
	var m module
	find := func(form *regexp.Regexp) (names []string) {
		for _, found := range form.FindAllSubmatch(script, -1) {
			specifier := string(found[1])
			if target := resolve(name, specifier); target == "" {
				m.broken = append(m.broken, specifier)
			} else if !slices.Contains(names, target) {
				names = append(names, target)
			}
		}
		return names
	}
	m.static, m.dynamic = find(staticImport), find(dynamicImport)
	return m
}

// resolve returns the name of the file that a module imports by a specifier,
// empty when that is none.
func resolve(importer, specifier string) string {
	if strings.HasPrefix(specifier, "./") || strings.HasPrefix(specifier, "../") {
		return path.Join(path.Dir(importer), specifier)
	}
	if name, ok := strings.CutPrefix(specifier, assetPath); ok {
		return name
	}
	return bareNames[specifier]
}

// checkImports returns an error that names every import of a file that is not
// there: a browser would stop at it.
func (s *Site) checkImports() error {
	for _, name := range slices.Sorted(maps.Keys(s.scripts)) {
		m := s.scripts[name]
		if len(m.broken) > 0 {
			return fmt.Errorf("web: %s imports %q, which is none of the bare names", name, m.broken)
		}
		for _, target := range slices.Concat(m.static, m.dynamic) {
			if _, ok := s.scripts[target]; !ok {
				return fmt.Errorf("web: %s imports %s, which is not there", name, target)
			}
		}
	}
	return nil
}

// closure returns the paths of what a module needs before it runs, nearest
// first, without itself.
func (s *Site) closure(name string) []string {
	order := []string{name}
	for i := 0; i < len(order); i++ {
		for _, target := range s.scripts[order[i]].static {
			if !slices.Contains(order, target) {
				order = append(order, target)
			}
		}
	}
	paths := make([]string, 0, len(order)-1)
	for _, target := range order[1:] {
		paths = append(paths, s.path(target))
	}
	return paths
}
