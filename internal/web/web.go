// Package web holds the files that browsers get: the web app and what stands
// around it. They are embedded, and served as they are here, less the comments
// of scripts, and but for one line before the service worker and the names of
// the icons in the manifest.
//
// Every file has a path that tells its content, so that it may be kept for
// ever. Modules import each other by their plain names all the same: an import
// map in the pages, which a browser applies after it has resolved a name, leads
// from these to the paths.
//
// Everything is made once, by [New], and never changes; compressed forms are made
// when first asked for.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/andybalholm/brotli"
)

// app is the web app, pages what is around it.
//
//go:embed app pages
var embedded embed.FS

// Embedded returns the site of this program.
var Embedded = sync.OnceValues(func() (*Site, error) { return New(embedded) })

// File is a file as it is served. Its bytes must not be changed.
type File struct {
	Type string // media type
	Body []byte
	// Tag is an entity tag of the body.
	Tag string

	packed map[string]func() []byte // by coding; nil when the body is compressed by its nature
}

// Codings are the content codings that a [File] may be had in, the best first.
var Codings = []string{"br", "gzip"}

// Packs reports whether the file may be had in [Codings].
func (f File) Packs() bool { return f.packed != nil }

// In returns the body in one of [Codings], nil when it is no smaller so. It is
// compressed when first asked for.
func (f File) In(coding string) []byte {
	if pack := f.packed[coding]; pack != nil {
		return pack()
	}
	return nil
}

// Site is everything that browsers get.
type Site struct {
	assets  map[string]File   // by hashed name
	hashed  map[string]string // name -> hashed name
	scripts map[string]module // by name

	importMap template.HTML // the whole element
	mapHash   string

	pages          *template.Template
	shell          File
	worker         File
	manifest       File
	mainPage, card page // what every page of its kind has in common
}

const (
	assetPath = "/assets/"

	mainModule  = "main.js"
	embedModule = "embed.js"
	appStyle    = "app.css"
	plainStyle  = "plain.css"
	icon        = "icon.svg"
	touchIcon   = "apple-touch-icon.png"
	workerFile  = "sw.js"
	manifest    = "manifest.webmanifest"
)

// bareNames are the names under which modules import what is vendored.
var bareNames = map[string]string{
	"preact":               "vendor/preact.js",
	"preact/hooks":         "vendor/hooks.js",
	"htm":                  "vendor/htm.js",
	"htm/preact":           "vendor/htm-preact.js",
	"@preact/signals-core": "vendor/signals-core.js",
	"@preact/signals":      "vendor/signals.js",
	"idb-keyval":           "vendor/idb-keyval.js",
	"lean-qr/nano":         "vendor/lean-qr.js",
}

// mediaTypes are the kinds of files there may be, by their ends.
var mediaTypes = map[string]string{
	".js":          typeScript,
	".css":         "text/css; charset=utf-8",
	".svg":         "image/svg+xml",
	".png":         "image/png",
	".woff2":       "font/woff2",
	".json":        "application/json",
	".webmanifest": "application/manifest+json",
	".txt":         typeText,
	".md":          typeText,
	".LICENSE":     typeText,
}

const (
	typeScript = "text/javascript; charset=utf-8"
	typeText   = "text/plain; charset=utf-8"
	typeHTML   = "text/html; charset=utf-8"
)

// New makes the site of a tree with the folders app and pages. It fails when
// something is missing that the files themselves ask for.
func New(tree fs.FS) (*Site, error) {
	s := &Site{assets: make(map[string]File), hashed: make(map[string]string), scripts: make(map[string]module)}
	files, err := read(tree)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{mainModule, embedModule, appStyle, plainStyle, icon, workerFile, manifest} {
		if files[name] == nil {
			return nil, fmt.Errorf("web: %s is missing", name)
		}
	}
	for name, body := range files {
		if name == workerFile || name == manifest {
			continue
		}
		kind, ok := mediaTypes[path.Ext(name)]
		if !ok {
			return nil, fmt.Errorf("web: %s: no media type is known for it", name)
		}
		unique := hashedName(name, body)
		s.hashed[name], s.assets[unique] = unique, NewFile(kind, body)
		if kind == typeScript {
			s.scripts[name] = newModule(name, body)
		}
	}
	if err := s.checkImports(); err != nil {
		return nil, err
	}
	if err := s.makeImportMap(); err != nil {
		return nil, err
	}
	if err := s.makePages(tree); err != nil {
		return nil, err
	}
	s.manifest = NewFile(mediaTypes[".webmanifest"], s.withHashes(files[manifest]))
	return s, s.makeWorker(files[workerFile])
}

// read returns the files by their names beneath app, or beneath pages when they
// are no templates.
func read(tree fs.FS) (map[string][]byte, error) {
	files := make(map[string][]byte)
	for _, folder := range []string{"app", "pages"} {
		err := fs.WalkDir(tree, folder, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || folder == "pages" && path.Ext(name) == ".html" {
				return err
			}
			if strings.HasSuffix(name, ".d.ts") {
				return nil // types, which only a checker reads
			}
			body, err := fs.ReadFile(tree, name)
			name = strings.TrimPrefix(name, folder+"/")
			if path.Ext(name) == ".js" {
				body = withoutComments(body)
			}
			files[name] = body
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

// hashedName returns the name that tells the content.
func hashedName(name string, body []byte) string {
	sum := sha256.Sum256(body)
	ext := path.Ext(name)
	return strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:6]) + ext
}

// NewFile makes a file that is sent often, and so worth packing well.
func NewFile(kind string, body []byte) File {
	f := File{Type: kind, Body: body, Tag: tagOf(body)}
	if kind == mediaTypes[".png"] || kind == mediaTypes[".woff2"] {
		return f // compressed by their nature
	}
	f.packed = map[string]func() []byte{
		// A higher quality takes three to eight times as long for 5 to 8 % less.
		"br": sync.OnceValue(func() []byte {
			return pack(body, func(w io.Writer) io.WriteCloser { return brotli.NewWriterLevel(w, 5) })
		}),
		"gzip": sync.OnceValue(func() []byte {
			return pack(body, func(w io.Writer) io.WriteCloser {
				z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
				if err != nil {
					panic(err) // the level is one of the package's own
				}
				return z
			})
		}),
	}
	return f
}

// packers are gzip writers, which cost more to make than to use.
var packers = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

// newPage makes a page for one answer, which is packed quickly or not at all.
func newPage(body []byte) File {
	return File{Type: typeHTML, Body: body, Tag: tagOf(body), packed: map[string]func() []byte{
		"gzip": func() []byte {
			z := packers.Get().(*gzip.Writer) //nolint:forcetypeassert // the pool holds nothing else
			defer packers.Put(z)
			return pack(body, func(w io.Writer) io.WriteCloser {
				z.Reset(w)
				return z
			})
		},
	}}
}

func tagOf(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + hex.EncodeToString(sum[:12]) + `"`
}

// pack returns a body as an encoder writes it, nil when that is no gain.
func pack(body []byte, encoder func(io.Writer) io.WriteCloser) []byte {
	var small bytes.Buffer
	w := encoder(&small)
	_, _ = w.Write(body) // a buffer takes everything
	_ = w.Close()
	if small.Len() >= len(body) {
		return nil
	}
	return small.Bytes()
}

// path returns where a file is served.
func (s *Site) path(name string) string { return assetPath + s.hashed[name] }

// withHashes puts the hashed paths of files in the place of their plain ones.
func (s *Site) withHashes(text []byte) []byte {
	for name, unique := range s.hashed {
		text = bytes.ReplaceAll(text, []byte(`"`+assetPath+name+`"`), []byte(`"`+assetPath+unique+`"`))
	}
	return text
}

// makeImportMap makes the map from the plain names of modules to their paths.
func (s *Site) makeImportMap() error {
	imports := make(map[string]string)
	for name := range s.scripts {
		imports[assetPath+name] = s.path(name)
	}
	for bare, name := range bareNames {
		if _, ok := s.scripts[name]; ok {
			imports[bare] = s.path(name)
		}
	}
	text, err := json.Marshal(map[string]any{"imports": imports}) // it escapes what HTML could take for its own
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	s.mapHash = "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
	s.importMap = template.HTML(`<script type="importmap">` + string(text) + `</script>`) //nolint:gosec // the names of our own files
	return nil
}

// makeWorker puts before the service worker which release it belongs to and
// which files the app consists of.
func (s *Site) makeWorker(script []byte) error {
	release := struct {
		Version string   `json:"version"`
		Files   []string `json:"files"`
	}{Files: []string{}}
	for _, unique := range slices.Sorted(maps.Values(s.hashed)) {
		if s.assets[unique].Type != typeText {
			release.Files = append(release.Files, assetPath+unique)
		}
	}
	sum := sha256.New()
	for _, part := range []string{strings.Join(release.Files, "\n"), s.shell.Tag, s.manifest.Tag, string(script)} {
		_, _ = sum.Write([]byte(part + "\n")) // a hash takes everything
	}
	release.Version = hex.EncodeToString(sum.Sum(nil)[:6])
	line, err := json.Marshal(release)
	if err != nil {
		return err
	}
	s.worker = NewFile(typeScript, slices.Concat([]byte("self.release = "), line, []byte(";\n"), script))
	return nil
}

// Asset returns a file by its path beneath /assets/; false when there is none.
// Such a path tells the content, so the file may be kept for ever.
func (s *Site) Asset(name string) (File, bool) {
	f, ok := s.assets[name]
	return f, ok
}

// StylePath returns the path of the style sheet of the pages outside the app.
func (s *Site) StylePath() string { return s.path(plainStyle) }

// IconPath returns the path of the icon of every page.
func (s *Site) IconPath() string { return s.path(icon) }

// Worker returns the service worker of the app.
func (s *Site) Worker() File { return s.worker }

// Manifest returns the web app manifest.
func (s *Site) Manifest() File { return s.manifest }

// ImportMapHash returns the source expression by which a content security
// policy allows the import map that all pages with modules hold.
func (s *Site) ImportMapHash() string { return "'" + s.mapHash + "'" }
