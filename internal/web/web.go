// Package web holds the files that browsers get. They are embedded; what is read
// here is what runs.
//
// Everything is made when the program starts and never changes.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"path"
	"strings"
)

//go:embed files
var files embed.FS

// File is a file as it is served.
type File struct {
	Type string // media type
	Body []byte
}

const (
	assetPath = "/assets/"
	styleName = "style.css"
)

var (
	assets    = make(map[string]File)   // by hashed name
	hashed    = make(map[string]string) // name -> hashed name
	indexPage = load()
)

// load reads the files, names the assets after their content, and returns the
// front page with these names in it.
func load() []byte {
	read := func(name string) []byte {
		b, err := files.ReadFile("files/" + name)
		if err != nil {
			panic(err) // it is embedded
		}
		return b
	}
	for name, kind := range map[string]string{styleName: "text/css; charset=utf-8", "icon.svg": "image/svg+xml"} {
		body := read(name)
		sum := sha256.Sum256(body)
		ext := path.Ext(name)
		hashed[name] = strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:6]) + ext
		assets[hashed[name]] = File{Type: kind, Body: body}
	}
	page := read("index.html")
	for name, unique := range hashed {
		page = bytes.ReplaceAll(page, []byte(assetPath+name), []byte(assetPath+unique))
	}
	return page
}

// Index returns the front page, as HTML. It must not be changed.
func Index() []byte { return indexPage }

// StylePath returns the path of the style sheet of every page.
func StylePath() string { return assetPath + hashed[styleName] }

// IconPath returns the path of the icon of every page.
func IconPath() string { return assetPath + hashed["icon.svg"] }

// Asset returns a file whose name tells its content, so that it may be kept for
// ever, by the last part of its path; false when there is none.
func Asset(name string) (File, bool) {
	f, ok := assets[name]
	return f, ok
}
