package web

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/andybalholm/brotli"
)

// site returns the site of this program.
func site(t *testing.T) *Site {
	t.Helper()
	s, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestImports holds every import of every module to the import map, as a
// browser would use it.
func TestImports(t *testing.T) {
	t.Parallel()
	s := site(t)
	text := regexp.MustCompile(`^<script type="importmap">(.*)</script>$`).FindStringSubmatch(string(s.importMap))
	var m struct{ Imports map[string]string }
	if text == nil || json.Unmarshal([]byte(text[1]), &m) != nil {
		t.Fatalf("import map %s", s.importMap)
	}
	imports := 0
	for name, script := range s.scripts {
		if at := m.Imports[assetPath+name]; at != s.path(name) {
			t.Errorf("%s is mapped to %q", name, at)
		}
		body := s.assets[s.hashed[name]].Body
		for _, found := range regexp.MustCompile(`(?m)(?:\bfrom|\bimport|\bimport\()\s*["']([\w@./-]+)["']`).FindAllSubmatch(comments.ReplaceAll(body, nil), -1) {
			imports++
			specifier := string(found[1])
			key := specifier
			if strings.HasPrefix(specifier, ".") {
				key = path.Join(assetPath, path.Dir(name), specifier)
			}
			if target, ok := strings.CutPrefix(m.Imports[key], assetPath); !ok || s.assets[target].Type != typeScript {
				t.Errorf("%s imports %s, which leads to %q", name, specifier, m.Imports[key])
			}
			if target := resolve(name, specifier); !slices.Contains(script.static, target) && !slices.Contains(script.dynamic, target) {
				t.Errorf("%s: the import of %s was overlooked", name, specifier)
			}
		}
	}
	for bare, name := range bareNames {
		if _, ok := s.scripts[name]; ok && m.Imports[bare] != s.path(name) {
			t.Errorf("%s is mapped to %q", bare, m.Imports[bare])
		}
	}
	for _, name := range []string{mainModule, embedModule} {
		for _, link := range s.closure(name) {
			if _, ok := s.Asset(strings.TrimPrefix(link, assetPath)); !ok {
				t.Errorf("%s: %s is preloaded and not there", name, link)
			}
		}
	}
}

// TestNothingFromOutside looks for addresses of others in what browsers run. An
// address in a comment is only read.
func TestNothingFromOutside(t *testing.T) {
	t.Parallel()
	s := site(t)
	files := map[string]File{"shell": s.Shell(), "worker": s.Worker(), "manifest": s.Manifest()}
	maps.Copy(files, s.assets)
	outside := regexp.MustCompile(`(?i)\b(?:https?|wss?):[^\s"'` + "`" + `]*|@import|sourceMappingURL|[\s"'(]//\w+\.\w+`)
	for name, f := range files {
		if f.Type == typeText || f.Type == mediaTypes[".png"] || f.Type == mediaTypes[".woff2"] {
			continue
		}
		for _, found := range outside.FindAllString(comments.ReplaceAllString(string(f.Body), ""), -1) {
			if !strings.HasPrefix(found, "http://www.w3.org/") && found != "http:" && found != "https:" {
				t.Errorf("%s holds %q", name, found)
			}
		}
	}
}

// TestComments looks at what is left of scripts: everything but comments, each
// line where it was. e2e compares the real ones as a parser reads them.
func TestComments(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]string{
		"// one\nconst a = 1;\n\t// two\n":                        "\nconst a = 1;\n\n",
		"/**\n * @param {A} a\n */\nf(a);":                        "\n\n\nf(a);",
		"const a = /** @type {A} */ (b), c = 'http://x'; // kept": "const a =   (b), c = 'http://x'; // kept",
		"return/* a */b;":                                         "return b;",
	} {
		if got := string(withoutComments([]byte(script))); got != want {
			t.Errorf("%q became %q, want %q", script, got, want)
		}
	}
}

// TestPathsTellContent changes files and looks at what changes with them.
func TestPathsTellContent(t *testing.T) {
	t.Parallel()
	one := tree()
	other := tree()
	other["app/deep/b.js"].Data = []byte("export const b = 2;\n")
	s, changed := made(t, one), made(t, other)
	for name := range s.hashed {
		if same := s.path(name) == changed.path(name); same == (name == "deep/b.js") {
			t.Errorf("%s: the same path: %t", name, same)
		}
		if _, ok := s.Asset(name); ok {
			t.Errorf("%s is there under a name that does not change with it", name)
		}
	}
	if !regexp.MustCompile(`^/assets/deep/b\.[0-9a-f]{12}\.js$`).MatchString(s.path("deep/b.js")) {
		t.Errorf("path %s", s.path("deep/b.js"))
	}
	if s.ImportMapHash() == changed.ImportMapHash() || s.Shell().Tag == changed.Shell().Tag {
		t.Error("the pages do not change with a module")
	}
	if release(t, s).Version == release(t, changed).Version {
		t.Error("the release does not change with a module")
	}
	worker := tree()
	worker["app/sw.js"].Data = []byte("another();\n")
	if release(t, s).Version == release(t, made(t, worker)).Version {
		t.Error("the release does not change with its worker")
	}
	again := made(t, tree())
	if !bytes.Equal(s.Worker().Body, again.Worker().Body) || s.Shell().Tag != again.Shell().Tag {
		t.Error("the same files make another site")
	}
}

func TestWorkerKnowsTheFiles(t *testing.T) {
	t.Parallel()
	s := made(t, tree())
	r := release(t, s)
	want := []string{s.path("app.css"), s.path("deep/a.js"), s.path("deep/b.js"), s.path("embed.js"), s.path("icon.svg"), s.path("late.js"), s.path("main.js"), s.path("plain.css"), s.path("vendor/preact.js")}
	if !slices.Equal(r.Files, want) {
		t.Errorf("files %q, want %q", r.Files, want)
	}
	if _, rest, _ := bytes.Cut(s.Worker().Body, []byte("\n")); string(rest) != "work();\n" {
		t.Errorf("the worker is %q", rest)
	}
	if !strings.Contains(string(s.Manifest().Body), `"`+s.IconPath()+`"`) {
		t.Errorf("manifest %s", s.Manifest().Body)
	}
}

// TestModulePreloads are what the first module needs before it runs, nearest
// first: not what it may ask for later.
func TestModulePreloads(t *testing.T) {
	t.Parallel()
	s := made(t, tree())
	var want strings.Builder
	for _, name := range []string{"deep/a.js", "vendor/preact.js", "deep/b.js"} {
		want.WriteString("\n<link rel=\"modulepreload\" href=\"" + s.path(name) + `">`)
	}
	if body := string(s.Shell().Body); !strings.Contains(body, "</script>"+want.String()+"\n") || strings.Contains(body, s.path("late.js")+`">`) || strings.Index(body, "importmap") > strings.Index(body, "modulepreload") {
		t.Errorf("page\n%s\nwant%s", body, want.String())
	}
}

func TestCodings(t *testing.T) {
	t.Parallel()
	s := site(t)
	readers := map[string]func(io.Reader) (io.Reader, error){
		"gzip": func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		"br":   func(r io.Reader) (io.Reader, error) { return brotli.NewReader(r), nil },
	}
	for _, coding := range Codings {
		packed := 0
		for name, f := range s.assets {
			small := f.In(coding)
			if small == nil {
				continue
			}
			packed++
			r, err := readers[coding](bytes.NewReader(small))
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(r); err != nil || !bytes.Equal(body, f.Body) || len(small) >= len(f.Body) || !f.Packs() {
				t.Errorf("%s, %s: %d bytes packed, %d unpacked, %v", name, coding, len(small), len(body), err)
			}
		}
		if packed == 0 || s.Shell().In(coding) == nil {
			t.Errorf("nothing is packed by %s", coding)
		}
	}
	if f := NewFile(mediaTypes[".png"], bytes.Repeat([]byte("a"), 1000)); f.Packs() || f.In("br") != nil {
		t.Error("a picture is packed again")
	}
}

// TestRefusedTrees plants what a browser would stop at.
func TestRefusedTrees(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(fstest.MapFS)
		want   string
	}{
		"no main module":          {func(m fstest.MapFS) { delete(m, "app/main.js") }, "main.js is missing"},
		"no page":                 {func(m fstest.MapFS) { delete(m, "pages/app.html") }, "app.html"},
		"a missing module":        {func(m fstest.MapFS) { delete(m, "app/deep/b.js") }, "deep/a.js imports deep/b.js, which is not there"},
		"a missing late module":   {func(m fstest.MapFS) { delete(m, "app/late.js") }, "main.js imports late.js, which is not there"},
		"a missing vendored file": {func(m fstest.MapFS) { delete(m, "app/vendor/preact.js") }, "deep/a.js imports vendor/preact.js, which is not there"},
		"an unknown bare name":    {func(m fstest.MapFS) { m["app/late.js"].Data = []byte(`import x from "left-pad";`) }, `late.js imports ["left-pad"], which is none of the bare names`},
		"a module of others":      {func(m fstest.MapFS) { m["app/late.js"].Data = []byte(`import x from "https://example.org/x.js";`) }, "none of the bare names"},
		"an unknown kind of file": {func(m fstest.MapFS) { m["app/x.exe"] = &fstest.MapFile{} }, "x.exe: no media type"},
	} {
		m := tree()
		c.change(m)
		if _, err := New(m); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// tree returns a small site, with the pages of this one.
func tree() fstest.MapFS {
	m := fstest.MapFS{
		"app/main.js":              {Data: []byte("// import \"./nothing.js\";\nimport { a } from './deep/a.js';\n/** @typedef {import('./types.js').T} T */\nimport(\"./late.js\");\n")},
		"app/late.js":              {Data: []byte("import './main.js';\n")},
		"app/embed.js":             {Data: []byte("import{a}from\"/assets/deep/a.js\";\n")},
		"app/deep/a.js":            {Data: []byte("import {\n  h,\n  render,\n} from 'preact';export * from './b.js';export const a = \"from\";\n")},
		"app/deep/b.js":            {Data: []byte("export const b = 1;\n")},
		"app/vendor/preact.js":     {Data: []byte("var n;export{n as h,n as render};")},
		"app/vendor/LICENSE.txt":   {Data: []byte("MIT")},
		"app/types.d.ts":           {Data: []byte("export type T = 1;")},
		"app/sw.js":                {Data: []byte("work();\n")},
		"app/app.css":              {Data: []byte("main{}")},
		"app/icon.svg":             {Data: []byte("<svg/>")},
		"app/manifest.webmanifest": {Data: []byte(`{"icons":[{"src":"/assets/icon.svg"}]}`)},
	}
	err := fs.WalkDir(embedded, "pages", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := fs.ReadFile(embedded, name)
		m[name] = &fstest.MapFile{Data: body}
		return err
	})
	if err != nil {
		panic(err) // they are embedded
	}
	return m
}

func made(t *testing.T, m fstest.MapFS) *Site {
	t.Helper()
	s, err := New(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// release returns what the worker is told of its release.
func release(t *testing.T, s *Site) (r struct {
	Version string
	Files   []string
}) {
	t.Helper()
	line, _, _ := bytes.Cut(s.Worker().Body, []byte(";\n"))
	text, ok := bytes.CutPrefix(line, []byte("self.release = "))
	if err := json.Unmarshal(text, &r); !ok || err != nil || r.Version == "" {
		t.Fatalf("the worker begins %s: %v", line, err)
	}
	return r
}
