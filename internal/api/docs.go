package api

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"html/template"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"vote/internal/domain"
	"vote/internal/web"
)

//go:embed pages/*.html
var pageFiles embed.FS

// What the pages show, taken from the OpenAPI document.
type (
	docPage struct {
		Style    string
		Icon     string
		Overview []docParagraph
		Groups   []docGroup
	}
	docParagraph struct{ Term, Text string }
	docGroup     struct {
		Name, Text, Anchor string
		Calls              []docCall
	}
	docCall struct {
		Method, Path, Summary, Text, Anchor, Who string
		Params                                   []docParam
		Body                                     []docField
		BodyExamples                             []docExample
		Answers                                  []docAnswer
		Refusals                                 []docRefusals
	}
	docParam    struct{ Name, In, Kind, Text string }
	docField    struct{ Path, Kind, Text string }
	docExample  struct{ Name, Text string }
	docAnswer   struct{ Status, Text, Media, Example string }
	docRefusals struct {
		Status string
		Codes  []string
	}
	codePage struct {
		Style string
		Icon  string
		Codes []docCode
	}
	docCode struct {
		Code, Title, Text string
		Status            int
	}
)

// docPages renders the document for people: one page for the calls, one for the
// error codes. Both are complete without scripts.
func docPages(api *huma.OpenAPI, site *web.Site) (docs, codes []byte, err error) {
	pages, err := template.ParseFS(pageFiles, "pages/*.html")
	if err != nil {
		return nil, nil, err
	}
	var calls, list bytes.Buffer
	if err := pages.ExecuteTemplate(&calls, "docs.html", newDocPage(api, site)); err != nil {
		return nil, nil, err
	}
	if err := pages.ExecuteTemplate(&list, "errors.html", newCodePage(site)); err != nil {
		return nil, nil, err
	}
	return calls.Bytes(), list.Bytes(), nil
}

func newCodePage(site *web.Site) codePage {
	p := codePage{Style: site.StylePath(), Icon: site.IconPath()}
	for code, r := range refusals {
		p.Codes = append(p.Codes, docCode{Code: string(code), Title: r.title, Text: r.about, Status: r.status})
	}
	slices.SortFunc(p.Codes, func(a, b docCode) int {
		return cmp.Or(cmp.Compare(a.Status, b.Status), cmp.Compare(a.Code, b.Code))
	})
	return p
}

func newDocPage(api *huma.OpenAPI, site *web.Site) docPage {
	p := docPage{Style: site.StylePath(), Icon: site.IconPath()}
	for paragraph := range strings.SplitSeq(api.Info.Description, "\n\n") {
		var d docParagraph
		if rest, ok := strings.CutPrefix(paragraph, "**"); ok {
			d.Term, paragraph, _ = strings.Cut(rest, "**")
		}
		d.Text = paragraph
		p.Overview = append(p.Overview, d)
	}
	for _, tag := range api.Tags {
		g := docGroup{Name: tag.Name, Text: tag.Description, Anchor: strings.ReplaceAll(strings.ToLower(tag.Name), " ", "-")}
		for _, path := range slices.Sorted(maps.Keys(api.Paths)) {
			item := api.Paths[path]
			for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
				if op != nil && op.Tags[0] == tag.Name {
					g.Calls = append(g.Calls, newDocCall(api, op))
				}
			}
		}
		p.Groups = append(p.Groups, g)
	}
	return p
}

func newDocCall(api *huma.OpenAPI, op *huma.Operation) docCall {
	d := docCall{Method: op.Method, Path: op.Path, Summary: op.Summary, Text: op.Description, Anchor: op.OperationID}
	switch len(op.Security) {
	case 1:
		d.Who = "needs a token"
	case 2:
		d.Who = "anyone; a token is used when it is valid"
	}
	for _, p := range op.Parameters {
		kind := schemaKind(p.Schema)
		if p.Required {
			kind += ", required"
		}
		d.Params = append(d.Params, docParam{Name: p.Name, In: p.In, Kind: kind, Text: p.Description})
	}
	if op.RequestBody != nil {
		media := op.RequestBody.Content["application/json"]
		d.Body = docFields(api, "", media.Schema)
		for _, name := range slices.Sorted(maps.Keys(media.Examples)) {
			d.BodyExamples = append(d.BodyExamples, docExample{Name: name, Text: sampleText(media.Examples[name].Value)})
		}
	}
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		r := op.Responses[status]
		if media, ok := r.Content[problemType]; ok {
			d.Refusals = append(d.Refusals, docRefusals{Status: status, Codes: slices.Sorted(maps.Keys(media.Examples))})
			if len(r.Content) == 1 {
				continue
			}
		}
		if len(r.Content) == 0 {
			d.Answers = append(d.Answers, docAnswer{Status: status, Text: r.Description})
		}
		for _, name := range slices.Sorted(maps.Keys(r.Content)) {
			d.Answers = append(d.Answers, docAnswer{
				Status: status, Text: r.Description, Media: name, Example: sampleText(r.Content[name].Example),
			})
		}
	}
	return d
}

// sampleText returns an example as it is shown.
func sampleText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.RawMessage:
		var b bytes.Buffer
		if json.Indent(&b, v, "", "  ") == nil {
			return b.String()
		}
	}
	return ""
}

// docFields lists the fields of a body, nested ones by their path.
func docFields(api *huma.OpenAPI, path string, s *huma.Schema) []docField {
	if s.Ref != "" {
		s = api.Components.Schemas.SchemaFromRef(s.Ref)
	}
	if s.Type == huma.TypeArray && s.Items.Ref != "" {
		return docFields(api, path+"[].", s.Items)
	}
	var fields []docField
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		kind := schemaKind(p)
		if slices.Contains(s.Required, name) {
			kind += ", required"
		}
		fields = append(fields, docField{Path: path + name, Kind: kind, Text: p.Description})
	}
	return fields
}

// schemaKind says in a few words what a value may be.
func schemaKind(s *huma.Schema) string {
	number := func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
	var words []string
	switch {
	case len(s.OneOf) > 0:
		words = append(words, "id: number or string of digits")
	case len(s.Enum) > 0:
		for _, e := range s.Enum {
			raw, err := json.Marshal(e)
			if err == nil {
				words = append(words, string(raw))
			}
		}
		return strings.Join(words, " or ")
	case s.Type == huma.TypeArray:
		words = append(words, "list of "+schemaKind(s.Items))
		if s.MinItems != nil && s.MaxItems != nil {
			words = append(words, strconv.Itoa(*s.MinItems)+" to "+strconv.Itoa(*s.MaxItems)+" entries")
		} else if s.MaxItems != nil {
			words = append(words, "at most "+strconv.Itoa(*s.MaxItems)+" entries")
		}
	default:
		words = append(words, s.Type)
	}
	switch {
	case s.Maximum != nil && *s.Maximum >= domain.MaxID-1:
		words = append(words, "from "+number(*s.Minimum))
	case s.Minimum != nil && s.Maximum != nil:
		words = append(words, number(*s.Minimum)+" to "+number(*s.Maximum))
	}
	switch {
	case s.MinLength != nil && s.MaxLength != nil:
		words = append(words, strconv.Itoa(*s.MinLength)+" to "+strconv.Itoa(*s.MaxLength)+" characters")
	case s.MaxLength != nil:
		words = append(words, "at most "+strconv.Itoa(*s.MaxLength)+" characters")
	}
	if s.Default != nil {
		raw, err := json.Marshal(s.Default)
		if err == nil {
			words = append(words, "default "+string(raw))
		}
	}
	return strings.Join(words, ", ")
}
