package sharecard

import (
	"image"
	"image/color"
	"slices"
	"strconv"
	"unicode"

	"github.com/go-text/typesetting/language"
)

// The places of things, in pixels.
const (
	margin = 64 // at the sides: nothing but paper
	edge   = 52 // above and below
	inner  = Width - 2*margin

	headerSize = 28
	headerBase = edge + 24 // the baseline of the header
	bodyTop    = edge + 68
	bodyBottom = Height - edge

	titleMax, titleMin = 92, 24
	heroic             = 56 // a title of this size needs no more room
	titleGap           = 34 // between the title and the options
	overhang           = 8  // how far a letter may lean out of its line

	maxShown = 4
	moreSize = 24
)

// look is how tall the options are by how many are shown.
type look struct{ height, gap, more float64 }

// looks returns the ways to set options, the best first: a long title gets
// more room by lower ones.
func looks(shown int, more bool) []look {
	all := []look{{84, 14, 38}, {70, 12, 38}, {58, 10, 38}, {48, 8, 36}, {42, 7, 36}}
	all = all[min(max(shown-2, 0), 2):]
	if !more {
		all = slices.Clone(all)
		for i := range all {
			all[i].more = 0
		}
	}
	return all
}

func (l look) total(shown int) float64 {
	return float64(shown)*(l.height+l.gap) - l.gap + l.more
}

// bar is an option on the card.
type bar struct {
	text    string
	number  int // of the option in the poll, from 1
	count   int64
	percent int64
	leads   bool
}

// card is a poll as it is drawn.
type card struct {
	title, tag, status string
	bars               []bar
	more               int
	voted              bool
	language           language.Language
}

// newCard chooses what of a poll is shown.
func newCard(p Poll) card {
	c := card{title: p.Title, tag: p.Tag, voted: p.Total > 0}
	most := int64(0)
	for i, text := range p.Options {
		b := bar{text: text, number: i + 1}
		if i < len(p.Counts) && c.voted {
			b.count = min(max(p.Counts[i], 0), p.Total)
			b.percent = percent(b.count, p.Total)
		}
		most = max(most, b.count)
		c.bars = append(c.bars, b)
	}
	if len(c.bars) > maxShown {
		// Those with the most votes, in the order of the poll.
		slices.SortStableFunc(c.bars, func(a, b bar) int { return int(min(max(b.count-a.count, -1), 1)) })
		c.more = len(c.bars) - maxShown
		c.bars = c.bars[:maxShown]
		slices.SortFunc(c.bars, func(a, b bar) int { return a.number - b.number })
	}
	for i := range c.bars {
		c.bars[i].leads = c.voted && c.bars[i].count == most
	}
	switch {
	case !c.voted && p.Closed:
		c.status = "Closed, no votes"
	case !c.voted:
		c.status = "No votes yet"
	case p.Total == 1:
		c.status = "1 vote"
	default:
		c.status = grouped(p.Total) + " votes"
	}
	if c.voted && p.Closed {
		c.status += ", closed"
	}
	c.language = "en"
	for _, text := range append([]string{p.Title, p.Tag}, p.Options...) {
		for _, r := range text {
			if unicode.In(r, unicode.Hiragana, unicode.Katakana) {
				c.language = "ja" // which has shapes of its own for many Han characters
			}
		}
	}
	return c
}

// percent returns a share as a whole number, rounded half up.
func percent(n, total int64) int64 {
	if total >= 1<<53 { // beyond what a poll can have; no overflow below
		n, total = n>>10, total>>10
	}
	return (200*n + total) / (2 * total)
}

// grouped returns a number with its thousands set apart.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// pen has what a drawing needs. It is not safe for concurrent use.
type pen struct {
	*canvas
	set *typesetter
	rtl bool // the layout runs from right to left
}

func newPen() *pen { return &pen{canvas: newCanvas(), set: newTypesetter()} }

// mirrored returns the box, given for a layout from left to right.
func (p *pen) mirrored(b box) box {
	if p.rtl {
		b.x = Width - b.x - b.w
	}
	return b
}

// write paints a line with its start at x, counted from the side where reading
// begins.
func (p *pen) write(l line, x, y, size float64, clip box, paint color.RGBA) {
	b := p.mirrored(box{x, y, l.width * size, 0})
	p.draw(l, b.x, y, size, p.mirrored(clip).pixels(), paint)
}

// paint draws a card.
func (p *pen) paint(c card) *image.RGBA {
	p.rtl = isRTL(c.title)
	accent, tint, strong := palette(hueOf(c.tag))
	p.clear(paper)
	p.header(c, accent)
	p.body(c, tint, strong)
	return p.picture
}

// headerRow is all that the header may take.
var headerRow = box{margin, edge - 14, inner, 56}

// header paints the mark, the tag and how many votes there are.
func (p *pen) header(c card, accent color.RGBA) {
	row := headerRow.grown(overhang, 0)
	p.mark(p.mirrored(box{margin, headerBase - 27, 28, 28}), accent)
	name := p.set.paragraph("Vote", style{face: hero, tracking: -0.02, language: "en"})
	x := margin + 40.0
	l := name.one(inner)
	p.write(l, x, headerBase, 36, row, ink)
	x += l.width*36 + 24
	status := p.set.paragraph(c.status, style{face: plain, features: tabular, language: "en"}).one(inner)
	end := Width - margin - status.width*headerSize
	p.write(status, end, headerBase, headerSize, row, soft)
	if c.tag == "" {
		return
	}
	tag := p.set.paragraph("#"+c.tag, style{face: plain, language: c.language})
	room := end - 32 - x
	p.write(tag.one(room/headerSize), x, headerBase, headerSize, box{x, row.y, room, row.h}.grown(overhang, 0), accent)
}

// mark paints the mark of the product: a square with one corner drawn round.
func (p *pen) mark(b box, paint color.RGBA) {
	radii := [4]float64{b.w * 0.28, b.w * 0.28, b.w * 0.28, b.w * 0.72}
	if p.rtl {
		radii[2], radii[3] = radii[3], radii[2]
	}
	p.fill(b.pixels(), paint, func(p pencil) { p.corners(b, radii) })
}

// headline is a title that has been fitted.
type headline struct {
	lines           []line
	size, leading   float64
	ascent, descent float64
	cut             bool // its end does not fit
}

func (h headline) height() float64 {
	return float64(max(len(h.lines)-1, 0))*h.leading + h.ascent + h.descent
}

// layout says where the parts of the body are, for a layout from left to right.
// They neither overlap nor reach into the margins.
type layout struct {
	headline headline
	title    box
	bars     []box
	more     box
}

// arrange places the title and the options, together in the middle of their room.
func (p *pen) arrange(c card) layout {
	title := p.set.paragraph(c.title, style{face: hero, tracking: -0.018, language: c.language})
	const room = bodyBottom - bodyTop
	var a layout
	var l look
	for _, lower := range looks(len(c.bars), c.more > 0) {
		// Lower options are worth it when the title gains by them.
		if h := fit(title, room-titleGap-lower.total(len(c.bars))); a.headline.cut || h.size >= a.headline.size+3 {
			a.headline, l = h, lower
		}
		if a.headline.size >= heroic {
			break
		}
	}
	height := a.headline.height()
	y := bodyTop + (room-height-titleGap-l.total(len(c.bars)))/2
	a.title = box{margin, y, inner, height}
	y += height + titleGap
	for range c.bars {
		a.bars = append(a.bars, box{margin, y, inner, l.height})
		y += l.height + l.gap
	}
	a.more = box{margin, y - l.gap, inner, l.more}
	return a
}

// body paints the title and the options.
func (p *pen) body(c card, tint, strong color.RGBA) {
	a := p.arrange(c)
	h := a.headline
	// What a title has above and below its lines may go into the space around.
	clip := a.title.grown(overhang, titleGap/2)
	for i, line := range h.lines {
		p.write(line, margin, a.title.y+h.ascent+float64(i)*h.leading, h.size, clip, ink)
	}
	shares := 0.0 // the width of the widest, in ems
	for _, b := range c.bars {
		shares = max(shares, p.share(b).width)
	}
	for i, b := range c.bars {
		if c.voted {
			p.result(b, a.bars[i], shares, tint, strong, c.language)
		} else {
			p.choice(b, a.bars[i], c.language)
		}
	}
	if c.more > 0 {
		more := p.set.paragraph("+"+strconv.Itoa(c.more)+" more", style{face: plain, language: "en"}).one(inner)
		p.write(more, margin, a.more.y+a.more.h-3, moreSize, a.more.grown(overhang, 0), soft)
	}
}

// fit sets a title as large as the height allows. It gets smaller before a word
// is broken, and loses its end when even the smallest does not fit.
func fit(title *paragraph, height float64) headline {
	// Ink above an accented capital and below a descender is rare and cut off.
	ascent, descent := min(max(title.ascent, 0.74), 1.5), min(max(title.descent, 0.2), 0.9)
	at := func(size float64) (headline, bool) {
		lines, whole := title.wrap(inner / size)
		h := headline{lines: lines, size: size, ascent: ascent * size, descent: descent * size, leading: max(1.08, ascent+descent+0.14) * size}
		return h, whole && h.height() <= height
	}
	for size := float64(titleMax); size >= titleMin; size -= 2 {
		if h, ok := at(size); ok {
			h.lines = title.balanced(h.lines, inner/size)
			return h
		}
	}
	var h headline
	for size := float64(heroic); size >= titleMin; size -= 2 { // now with words broken
		if h, _ = at(size); h.height() <= height {
			return h
		}
	}
	h.cut = true
	for len(h.lines) > 1 && h.height() > height {
		h.lines = h.lines[:len(h.lines)-1]
		last := &h.lines[len(h.lines)-1]
		*last = title.cut(last.from, inner/h.size)
	}
	return h
}

func (p *pen) share(b bar) line {
	return p.set.paragraph(strconv.FormatInt(b.percent, 10)+"%", style{face: hero, features: tabular, language: "en"}).one(inner)
}

// result paints an option with its share, in a column that is shares ems wide.
func (p *pen) result(b bar, at box, shares float64, tint, strong color.RGBA, lang language.Language) {
	radius := at.h * 0.34
	whole := p.mirrored(at)
	p.rounded(whole, radius, track)
	paint := tint
	if b.leads {
		paint = strong
	}
	if b.percent > 0 {
		p.part(whole, radius, float64(b.percent)/100, p.rtl, paint)
	}
	size := at.h * 0.5
	share := p.share(b)
	end := at.x + at.w - at.h*0.36
	p.write(share, end-share.width*size, at.y+at.h/2+size*0.364, size, at, ink)
	count := p.set.paragraph(grouped(b.count), style{face: plain, features: tabular, language: "en"}).one(inner)
	countSize := at.h * 0.33
	end -= shares*size + at.h*0.3 + count.width*countSize
	p.write(count, end, at.y+at.h/2+countSize*0.364, countSize, at, dim)
	p.label(b.text, at, at.x+at.h*0.36, end-at.h*0.36, lang)
}

// choice paints an option of a poll without votes.
func (p *pen) choice(b bar, at box, lang language.Language) {
	radius := at.h * 0.34
	whole := p.mirrored(at)
	p.rounded(whole, radius, rule)
	p.rounded(whole.grown(-2, -2), radius-2, light)
	key := box{at.x + at.h*0.24, at.y + at.h*0.24, at.h * 0.52, at.h * 0.52}
	p.rounded(p.mirrored(key), key.h*0.3, track)
	size := at.h * 0.3
	digit := p.set.paragraph(strconv.Itoa(b.number), style{face: plain, language: "en"}).one(inner)
	p.write(digit, key.x+(key.w-digit.width*size)/2, at.y+at.h/2+size*0.364, size, key, soft)
	p.label(b.text, at, key.x+key.w+at.h*0.3, at.x+at.w-at.h*0.36, lang)
}

// label paints the text of an option between two places of its bar.
func (p *pen) label(text string, at box, from, to float64, lang language.Language) {
	set := p.set.paragraph(text, style{face: plain, tracking: -0.01, language: lang})
	size := at.h * 0.42
	room := at.h - 8
	// High scripts get smaller until they fit, and move where the bar has room.
	ascent, descent := min(set.ascent, 1.5), min(set.descent, 0.9)
	size = min(size, room/(ascent+descent+0.01))
	base := at.y + at.h/2 + size*0.364
	base = min(max(base, at.y+4+ascent*size), at.y+at.h-4-descent*size)
	p.write(set.one((to-from)/size), from, base, size, box{from, at.y, to - from, at.h}.grown(overhang, 0), ink)
}
