package sharecard

import (
	"image"
	"image/color"
	"slices"
	"unicode"

	"github.com/go-text/typesetting/di"
	"github.com/go-text/typesetting/font"
	"github.com/go-text/typesetting/font/opentype"
	"github.com/go-text/typesetting/language"
	"github.com/go-text/typesetting/segmenter"
	"github.com/go-text/typesetting/shaping"
	"golang.org/x/image/math/fixed"
)

// shapedSize is the size at which text is shaped, in units an em. Without
// hints every other size is this one scaled.
const shapedSize = 1024

// style is how text is set. Lengths are in ems.
type style struct {
	face     *typeface
	tracking float64 // between letters of scripts that bear it
	language language.Language
	features []shaping.FontFeature
}

// tabular sets figures of equal width.
var tabular = []shaping.FontFeature{{Tag: opentype.MustNewTag("tnum"), Value: 1}}

// paragraph is shaped text. Lengths are in ems.
type paragraph struct {
	clusters []cluster // in the order of reading
	ellipsis cluster
	// How far ink goes above the baseline and below it.
	ascent, descent float64
}

// cluster is what cannot be taken apart: the glyphs of some characters.
type cluster struct {
	face    *font.Face
	glyphs  []shaping.Glyph // from left to right
	level   uint8           // of the bidi algorithm
	blank   bool
	end     ending
	advance float64
}

// ending tells whether a line may end after a cluster.
type ending uint8

const (
	unbreakable ending = iota
	inWord             // in need only
	breakable
)

// line is a part of a paragraph.
type line struct {
	from     int       // the first of its clusters in the paragraph
	clusters []cluster // in the order of reading, with the ellipsis
	width    float64
}

// typesetter shapes text. It is not safe for concurrent use.
type typesetter struct {
	faces     map[*typeface]*font.Face
	shaper    shaping.HarfbuzzShaper
	segmenter segmenter.Segmenter
}

func newTypesetter() *typesetter { return &typesetter{faces: make(map[*typeface]*font.Face)} }

func (t *typesetter) face(f *typeface) *font.Face {
	face, ok := t.faces[f]
	if !ok {
		face = font.NewFace(f.get())
		t.faces[f] = face
	}
	return face
}

// paragraph shapes text, whose direction is that of its first strong character.
func (t *typesetter) paragraph(text string, s style) *paragraph {
	text = clean(text)
	rtl := isRTL(text)
	runes := []rune(text)
	p := &paragraph{clusters: make([]cluster, 0, len(runes))}
	ends := t.ends(runes)
	for _, in := range t.runs(runes, levels(runes, rtl), ends, s) {
		p.clusters = t.appendClusters(p.clusters, in, ends, s)
	}
	dots := []rune("…")
	level := uint8(0)
	if rtl {
		level = 1
	}
	in := t.runs(dots, []uint8{level}, []ending{breakable}, s)[0]
	p.ellipsis = t.appendClusters(nil, in, []ending{breakable}, s)[0]
	for _, c := range p.clusters {
		for _, g := range c.glyphs {
			top := g.YBearing + g.YOffset
			p.ascent = max(p.ascent, ems(top))
			p.descent = max(p.descent, -ems(top+g.Height))
		}
	}
	return p
}

// ems converts a length of shaped text.
func ems(v fixed.Int26_6) float64 { return float64(v) / (64 * shapedSize) }

// ends tells of each character whether a line may end after it.
func (t *typesetter) ends(text []rune) []ending {
	t.segmenter.Init(text)
	found := make([]ending, len(text))
	for graphemes := t.segmenter.GraphemeIterator(); graphemes.Next(); {
		g := graphemes.Grapheme()
		found[g.Offset+len(g.Text)-1] = inWord
	}
	for lines := t.segmenter.LineIterator(); lines.Next(); {
		l := lines.Line()
		found[l.Offset+len(l.Text)-1] = breakable
	}
	for i := range len(text) - 1 {
		if found[i] == inWord && startsSyllable(text, i+1) {
			found[i] = breakable
		}
	}
	return found
}

// startsSyllable reports whether a syllable starts at a character of a script
// that sets no spaces between words. Where words end takes a dictionary; to end
// a line between syllables is the next best.
func startsSyllable(text []rune, at int) bool {
	before, r, after := text[at-1], text[at], rune(0)
	if at+1 < len(text) {
		after = text[at+1]
	}
	switch language.LookupScript(r) {
	case language.Thai, language.Lao: // the vowels that are written before
		return language.LookupScript(before) == language.LookupScript(r) && (r >= '\u0e40' && r <= '\u0e44' || r >= '\u0ec0' && r <= '\u0ec4')
	case language.Khmer: // letters that are not joined to the one before
		return r <= '\u17b3' && before != '\u17d2' && language.LookupScript(before) == language.Khmer
	case language.Myanmar: // letters that neither end a syllable nor are joined
		return r <= '\u102a' && before != '\u1039' && after != '\u1039' && after != '\u103a' && language.LookupScript(before) == language.Myanmar
	}
	return false
}

// run is a piece of text with one font, script and level.
type run struct {
	shaping.Input
	level uint8
}

// runs cuts text where the level, the script or the font changes, never within
// what a reader takes for one character.
func (t *typesetter) runs(text []rune, levels []uint8, ends []ending, s style) []run {
	var found []run
	script := firstScript(text)
	for from := 0; from < len(text); {
		to := from + 1
		for to < len(text) && ends[to-1] == unbreakable {
			to++
		}
		grapheme := text[from:to]
		if own := firstScript(grapheme); own.Strong() {
			script = own
		}
		face := t.resolve(grapheme, script, s)
		last := len(found) - 1
		if last >= 0 && found[last].Face == face && found[last].Script == script && found[last].level == levels[from] {
			found[last].RunEnd = to
		} else {
			direction := di.DirectionLTR
			if levels[from]%2 == 1 {
				direction = di.DirectionRTL
			}
			found = append(found, run{level: levels[from], Input: shaping.Input{
				Text: text, RunStart: from, RunEnd: to, Direction: direction, Face: face, FontFeatures: s.features,
				Size: fixed.I(shapedSize), Script: script, Language: s.language,
			}})
		}
		from = to
	}
	return found
}

// firstScript returns the script of the first character that has one.
func firstScript(text []rune) language.Script {
	for _, r := range text {
		if s := language.LookupScript(r); s.Strong() {
			return s
		}
	}
	return language.Common
}

// resolve returns the first font that has all of a grapheme, else the first that
// has its first character, else the style's, which shows that it has not.
func (t *typesetter) resolve(grapheme []rune, script language.Script, s style) *font.Face {
	candidates := make([]*typeface, 0, 3+len(anyScript))
	own, isOwn := byScript[script]
	switch {
	case isEmoji(grapheme):
		candidates = append(candidates, emoji, s.face)
	case isOwn && (firstScript(grapheme).Strong() || unicode.IsSpace(grapheme[0])):
		candidates = append(candidates, own, s.face)
	case isOwn: // punctuation and the like, which the style may have too
		candidates = append(candidates, s.face, own)
	default:
		candidates = append(candidates, s.face)
	}
	candidates = append(candidates, anyScript...)
	var second *font.Face
	for _, c := range candidates {
		face := t.face(c)
		if _, ok := face.NominalGlyph(grapheme[0]); !ok {
			continue
		}
		if hasAll(face, grapheme[1:]) {
			return face
		}
		if second == nil {
			second = face
		}
	}
	if second == nil {
		second = t.face(s.face)
	}
	return second
}

func hasAll(face *font.Face, text []rune) bool {
	for _, r := range text {
		if _, ok := face.NominalGlyph(r); !ok && !unicode.Is(unicode.Variation_Selector, r) && !unicode.Is(unicode.Cf, r) {
			return false
		}
	}
	return true
}

// isEmoji reports whether a grapheme is to be shown as a picture.
func isEmoji(grapheme []rune) bool {
	if r := grapheme[0]; r >= 0x1f000 && r <= 0x1faff {
		return true
	}
	for _, r := range grapheme[1:] {
		if r == 0xfe0f || r == 0x20e3 {
			return true
		}
	}
	return false
}

// tracked are the scripts whose letters may be set closer.
func tracked(s language.Script) bool {
	return s == language.Latin || s == language.Cyrillic || s == language.Greek || s == language.Common
}

// appendClusters shapes a run.
func (t *typesetter) appendClusters(found []cluster, in run, ends []ending, s style) []cluster {
	out := t.shaper.Shape(in.Input)
	base := len(found)
	for from := 0; from < len(out.Glyphs); {
		first := out.Glyphs[from].TextIndex()
		to := from + 1
		for to < len(out.Glyphs) && out.Glyphs[to].TextIndex() == first {
			to++
		}
		c := cluster{face: in.Face, glyphs: out.Glyphs[from:to], level: in.level, blank: unicode.IsSpace(in.Text[first])}
		for _, g := range c.glyphs {
			c.advance += ems(g.Advance)
		}
		if tracked(in.Script) {
			c.advance += s.tracking
		}
		last := first + out.Glyphs[from].RunesCount() - 1
		c.end = ends[min(max(last, 0), len(ends)-1)]
		found = append(found, c)
		from = to
	}
	if in.level%2 == 1 {
		slices.Reverse(found[base:])
	}
	return found
}

// wrap cuts the paragraph into lines of at most width. It reports whether every
// line ends where one may.
func (p *paragraph) wrap(width float64) (lines []line, whole bool) {
	whole = true
	for from := 0; from < len(p.clusters); {
		n, ok := fitting(p.clusters[from:], width)
		whole = whole && ok
		if l := p.line(from, from+n); len(l.clusters) > 0 {
			lines = append(lines, l)
		}
		from += n
	}
	return lines, whole
}

// fitting returns how many clusters, at least one, make a line of at most width.
// Blanks at its end may hang over. It reports whether a line may end there.
func fitting(rest []cluster, width float64) (n int, whole bool) {
	used, lastBreak, lastInWord := 0.0, 0, 0
	for i, c := range rest {
		if used += c.advance; used > width && !c.blank {
			if lastBreak > 0 {
				return lastBreak, true
			}
			return max(lastInWord, 1), false
		}
		switch c.end {
		case breakable:
			lastBreak = i + 1
		case inWord:
			lastInWord = i + 1
		}
	}
	return len(rest), true
}

// line returns the clusters [from, to) without the blanks at the ends.
func (p *paragraph) line(from, to int) line {
	for from < to && p.clusters[from].blank {
		from++
	}
	for from < to && p.clusters[to-1].blank {
		to--
	}
	l := line{from: from, clusters: p.clusters[from:to]}
	for _, c := range l.clusters {
		l.width += c.advance
	}
	return l
}

// cut returns the paragraph from a cluster on as one line of at most width,
// ended by an ellipsis.
func (p *paragraph) cut(from int, width float64) line {
	to, used := from, p.ellipsis.advance
	for i, c := range p.clusters[from:] {
		if used += c.advance; used > width {
			break
		}
		if c.end != unbreakable {
			to = from + i + 1
		}
	}
	l := p.line(from, to)
	l.clusters = append(slices.Clip(l.clusters), p.ellipsis)
	l.width += p.ellipsis.advance
	return l
}

// one returns the paragraph as one line of at most width.
func (p *paragraph) one(width float64) line {
	l := p.line(0, len(p.clusters))
	if l.width <= width {
		return l
	}
	return p.cut(l.from, width)
}

// balanced returns the lines of a wrapped paragraph as even as they get without
// becoming more.
func (p *paragraph) balanced(lines []line, width float64) []line {
	low, high := width/2, width
	for range 8 {
		middle := (low + high) / 2
		if tighter, whole := p.wrap(middle); whole && len(tighter) <= len(lines) {
			lines, high = tighter, middle
		} else {
			low = middle
		}
	}
	return lines
}

// draw paints a line with its left end and baseline at (x, y), size pixels an
// em, and nothing of it outside clip.
func (c *canvas) draw(l line, x, y, size float64, clip image.Rectangle, paint color.RGBA) {
	order := make([]uint8, len(l.clusters))
	for i := range l.clusters {
		order[i] = l.clusters[i].level
	}
	for _, i := range visual(order) {
		cluster := &l.clusters[i]
		at := x
		for _, g := range cluster.glyphs {
			c.shape(cluster.face, g, at+ems(g.XOffset)*size, y-ems(g.YOffset)*size, size, clip, paint)
			at += ems(g.Advance) * size
		}
		x += cluster.advance * size
	}
}

// shape paints a glyph, or a box where a font has none.
func (c *canvas) shape(face *font.Face, g shaping.Glyph, x, y, size float64, clip image.Rectangle, paint color.RGBA) {
	if g.GlyphID == font.EmptyGlyph {
		return
	}
	if g.GlyphID == 0 {
		b := box{x + 0.06*size, y - 0.7*size, max(ems(g.Advance)-0.12, 0.2) * size, 0.7 * size}
		c.fill(b.pixels().Intersect(clip), paint, func(p pencil) {
			p.rounded(b, 0.06*size)
			p.hole(b.grown(-0.06*size, -0.06*size))
		})
		return
	}
	if outline, ok := face.GlyphDataOutline(g.GlyphID); ok {
		c.glyph(outline, size/float64(face.Upem()), x, y, clip, paint)
	}
}
