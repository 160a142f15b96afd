package sharecard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-text/typesetting/font"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// tram is a poll like any other.
var tram = Poll{
	Title: "Should the old tram line come back?", Options: []string{"Yes, all of it", "Only the centre", "No"},
	Counts: []int64{29952, 13044, 5314}, Total: 48310, Tag: "city",
}

// checkPicture draws a card and complains when anything lies outside its place.
func checkPicture(t *testing.T, p *pen, c card, name string) {
	t.Helper()
	picture := p.paint(c)
	if picture.Bounds() != image.Rect(0, 0, 1200, 630) {
		t.Errorf("%s: the picture is %v", name, picture.Bounds())
	}
	a := p.arrange(c)
	places := append([]box{headerRow, a.title.grown(0, titleGap/2)}, a.bars...)
	if c.more > 0 {
		places = append(places, a.more)
	}
	var allowed []image.Rectangle
	for i, b := range places {
		if b.x < margin || b.x+b.w > Width-margin || b.y < headerRow.y || b.y+b.h > bodyBottom+1 {
			t.Errorf("%s: %+v reaches into the margins", name, b)
		}
		if i > 0 && b.y < places[i-1].y+places[i-1].h {
			t.Errorf("%s: %+v lies over %+v", name, b, places[i-1])
		}
		allowed = append(allowed, b.grown(overhang, 0).pixels())
	}
	if at, ok := strayInk(picture, allowed); ok {
		t.Errorf("%s: something is painted at %v", name, at)
	}
}

// strayInk looks for paint outside some places, which do not overlap and are
// given from top to bottom.
func strayInk(picture *image.RGBA, allowed []image.Rectangle) (image.Point, bool) {
	bare := bytes.Repeat([]byte{paper.R, paper.G, paper.B, paper.A}, Width)
	for y := range Height {
		from := 0
		check := func(to int) bool {
			return to <= from || bytes.Equal(picture.Pix[picture.PixOffset(from, y):picture.PixOffset(from, y)+4*(to-from)], bare[:4*(to-from)])
		}
		for _, r := range allowed {
			if y >= r.Min.Y && y < r.Max.Y {
				if !check(r.Min.X) {
					return image.Pt(from, y), true
				}
				from = r.Max.X
			}
		}
		if !check(Width) {
			return image.Pt(from, y), true
		}
	}
	return image.Point{}, false
}

// painted reports whether there is ink in a box.
func painted(p *pen, b box) bool {
	r := p.mirrored(b).pixels().Intersect(p.picture.Bounds())
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			if p.picture.RGBAAt(x, y) == ink {
				return true
			}
		}
	}
	return false
}

func twenty(text string) []string { return slices.Repeat([]string{text}, 20) }

var hostile = map[string]Poll{
	"300 of the widest":      {Title: strings.Repeat("﷽", 300), Options: twenty(strings.Repeat("﷽", 200))},
	"300 of the widest, two": {Title: strings.Repeat("⸻", 300), Options: []string{"⸻", "Ŵ"}},
	"300 W":                  {Title: strings.Repeat("W", 300), Options: twenty(strings.Repeat("W", 200)), Tag: strings.Repeat("w", 50)},
	"300 Han":                {Title: strings.Repeat("電", 300), Options: twenty(strings.Repeat("電", 200)), Tag: strings.Repeat("電", 50)},
	"300 Tibetan":            {Title: strings.Repeat("སྐྱེ་", 60), Options: twenty(strings.Repeat("སྐྱེ་", 40))},
	"a word of 200":          {Title: "Is " + strings.Repeat("ab", 100) + " a word?", Options: []string{strings.Repeat("x", 200), "No"}},
	"zero width":             {Title: strings.Repeat("\u200b", 299) + "x", Options: []string{strings.Repeat("\u200d", 199) + "y", "\u2060\ufeffz"}},
	"only marks":             {Title: strings.Repeat("\u0301", 300), Options: []string{strings.Repeat("\u0e49", 200), strings.Repeat("\u0f39", 200)}},
	"marks upon marks":       {Title: "Z" + strings.Repeat("\u0338\u0322\u0321\u035b\u034e", 59), Options: []string{"a" + strings.Repeat("\u0310", 199), "b"}},
	"overrides":              {Title: "\u202eevil\u202c \u2067abc\u2069 \u202dx", Options: []string{"\u202e" + strings.Repeat("ab", 90), "\u2068"}},
	"directions in turn":     {Title: strings.Repeat("aא1ب", 75), Options: []string{strings.Repeat("(a)[א]", 30), "٣%א"}},
	"line breaks":            {Title: "a\nb\r\nc\u2028d\u2029e\x00f\tg", Options: []string{"\n", "\x7f"}},
	"blanks":                 {Title: strings.Repeat(" ", 150) + "x" + strings.Repeat("\u3000", 149), Options: []string{" ", "\u00a0"}},
	"not UTF-8":              {Title: "\xff\xfe\xed\xa0\x80", Options: []string{"\xc3", "\xf4\x90\x80\x80"}},
	"nothing":                {},
	"no text":                {Options: []string{"", ""}, Counts: []int64{1, 1}, Total: 2},
	"joiners":                {Title: strings.Repeat("👩‍", 150), Options: []string{strings.Repeat("🏴\U000e0067", 60), strings.Repeat("🇩", 199)}},
	"many votes":             {Title: "Many?", Options: []string{"Yes", "No"}, Counts: []int64{1 << 53, 1 << 53}, Total: 1 << 54, Tag: strings.Repeat("long", 12), Closed: true},
	"more votes":             {Title: "כמה?", Options: []string{"Yes", "No"}, Counts: []int64{math.MaxInt64, math.MaxInt64}, Total: math.MaxInt64, Tag: "א"},
	"votes that cannot be":   {Title: "What?", Options: []string{"a", "b", "c"}, Counts: []int64{-5, 70, 3, 9}, Total: 7},
	"counts missing":         {Title: "What?", Options: []string{"a", "b", "c"}, Total: 7},
}

func TestHostile(t *testing.T) {
	t.Parallel()
	for name, poll := range hostile {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPen()
			checkPicture(t, p, newCard(poll), name)
			// And with every option's bar filled.
			poll.Total = max(poll.Total, 1)
			poll.Counts = slices.Repeat([]int64{poll.Total}, len(poll.Options))
			checkPicture(t, p, newCard(poll), name+", all for all")
		})
	}
}

func FuzzDraw(f *testing.F) {
	for _, poll := range hostile {
		f.Add(poll.Title, strings.Join(poll.Options, "\n"), poll.Tag, poll.Total)
	}
	p := newPen()
	f.Fuzz(func(t *testing.T, title, options, tag string, total int64) {
		// As much as a poll may have; a text has its limit in characters.
		limit := func(s string, n int) string {
			r := []rune(s)
			return string(r[:min(n, len(r))])
		}
		poll := Poll{Title: limit(title, 300), Tag: limit(tag, 50), Total: total}
		for i, o := range strings.Split(options, "\n") {
			if i < 20 {
				poll.Options = append(poll.Options, limit(o, 200))
				poll.Counts = append(poll.Counts, total>>i)
			}
		}
		checkPicture(t, p, newCard(poll), "fuzz")
	})
}

func TestDraw(t *testing.T) {
	t.Parallel()
	first, err := New(Options{}).Draw(t.Context(), tram)
	if err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(bytes.NewReader(first))
	if err != nil {
		t.Fatal(err)
	}
	if picture.Bounds() != image.Rect(0, 0, Width, Height) {
		t.Errorf("the picture is %v", picture.Bounds())
	}
	if len(first) > 200_000 {
		t.Errorf("%d bytes", len(first))
	}
	// Another Drawer, and one whose pen has drawn before, make the same bytes.
	d := New(Options{Workers: 1, CacheBytes: -1})
	for _, name := range []string{"300 Han", "directions in turn"} {
		if _, err := d.Draw(t.Context(), hostile[name]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	again, err := d.Draw(t.Context(), tram)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, again) {
		t.Error("equal polls give other bytes")
	}
	// Whatever is shown makes a difference.
	for name, change := range map[string]func(*Poll){
		"title": func(p *Poll) { p.Title = "Should the old tram line come back!" }, "option": func(p *Poll) { p.Options[1] = "Only the center" },
		"count": func(p *Poll) { p.Counts = []int64{29952, 13045, 5313} }, "total": func(p *Poll) { p.Total++ },
		"tag": func(p *Poll) { p.Tag = "" }, "closed": func(p *Poll) { p.Closed = true },
	} {
		poll := tram
		poll.Options, poll.Counts = slices.Clone(tram.Options), slices.Clone(tram.Counts)
		change(&poll)
		other, err := d.Draw(t.Context(), poll)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(first, other) {
			t.Errorf("another %s makes no difference", name)
		}
	}
}

func TestCard(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		poll Poll
		want string
	}{
		{"votes", tram, "48,310 votes [1 Yes, all of it 29952 62% leads] [2 Only the centre 13044 27%] [3 No 5314 11%] +0"},
		{"no votes", Poll{Options: []string{"a", "b"}, Counts: []int64{0, 0}}, "No votes yet [1 a 0 0%] [2 b 0 0%] +0"},
		{"no votes, closed", Poll{Options: []string{"a", "b"}, Closed: true}, "Closed, no votes [1 a 0 0%] [2 b 0 0%] +0"},
		{"one vote, closed", Poll{Options: []string{"a", "b"}, Counts: []int64{0, 1}, Total: 1, Closed: true}, "1 vote, closed [1 a 0 0%] [2 b 1 100% leads] +0"},
		{"equal", Poll{Options: []string{"a", "b"}, Counts: []int64{4, 4}, Total: 8}, "8 votes [1 a 4 50% leads] [2 b 4 50% leads] +0"},
		{"half up", Poll{Options: []string{"a", "b"}, Counts: []int64{1, 199}, Total: 200}, "200 votes [1 a 1 1%] [2 b 199 100% leads] +0"},
		{
			"more options than are shown", Poll{Options: strings.Split("abcdef", ""), Counts: []int64{1, 5, 0, 5, 1, 8}, Total: 20},
			"20 votes [1 a 1 5%] [2 b 5 25%] [4 d 5 25%] [6 f 8 40% leads] +2",
		},
		{
			"more options without votes", Poll{Options: strings.Split("abcdef", "")},
			"No votes yet [1 a 0 0%] [2 b 0 0%] [3 c 0 0%] [4 d 0 0%] +2",
		},
		{
			"many", Poll{Options: []string{"a", "b"}, Counts: []int64{1 << 53, 1<<62 - 1<<53}, Total: 1 << 62},
			"4,611,686,018,427,387,904 votes [1 a 9007199254740992 0%] [2 b 4602678819172646912 100% leads] +0",
		},
	} {
		got := newCard(c.poll)
		var b strings.Builder
		b.WriteString(got.status)
		for _, o := range got.bars {
			fmt.Fprintf(&b, " [%d %s %d %d%%", o.number, o.text, o.count, o.percent)
			if o.leads {
				b.WriteString(" leads")
			}
			b.WriteString("]")
		}
		fmt.Fprintf(&b, " +%d", got.more)
		if b.String() != c.want {
			t.Errorf("%s: %s\nwant: %s", c.name, b.String(), c.want)
		}
	}
}

// A title gets smaller with its length, is never broken within a word that fits
// a line, and ends in an ellipsis only when the smallest is too large.
func TestTitles(t *testing.T) {
	t.Parallel()
	p := newPen()
	options := []string{"a", "b", "c", "d"}
	word := strings.Repeat("letters ", 50)
	sizes := make(map[int]float64)
	for n := 10; n <= 300; n += 10 {
		a := p.arrange(newCard(Poll{Title: word[:n], Options: options}))
		sizes[n] = a.headline.size
		for _, l := range a.headline.lines {
			if l.width*a.headline.size > inner {
				t.Errorf("%d characters: a line is %v wide", n, l.width*a.headline.size)
			}
			if slices.ContainsFunc(l.clusters, func(c cluster) bool { return c.glyphs[0].GlyphID == ellipsisOf(p) }) {
				t.Errorf("%d characters are cut off", n)
			}
		}
	}
	if sizes[10] != titleMax || sizes[60] < heroic || sizes[300] > 48 || sizes[300] < 32 {
		t.Errorf("sizes by length: %v", sizes)
	}
	a := p.arrange(newCard(Poll{Title: strings.Repeat("﷽", 300), Options: twenty("a")}))
	lines := a.headline.lines
	end := lines[len(lines)-1].clusters
	if a.headline.size != titleMin || end[len(end)-1].glyphs[0].GlyphID != ellipsisOf(p) {
		t.Errorf("a title that is too long is set in %v and has no ellipsis", a.headline.size)
	}
}

func ellipsisOf(p *pen) font.GID {
	id, _ := p.set.face(hero).NominalGlyph('…')
	return id
}

// order returns the text of a line as it is seen, from left to right.
func order(p *pen, text string) string {
	set := p.set.paragraph(text, style{face: plain, language: "en"})
	runes := []rune(clean(text))
	var levels []uint8
	for _, c := range set.clusters {
		levels = append(levels, c.level)
	}
	var b strings.Builder
	for _, i := range visual(levels) {
		b.WriteRune(runes[set.clusters[i].glyphs[0].TextIndex()])
	}
	return b.String()
}

func TestDirections(t *testing.T) {
	t.Parallel()
	p := newPen()
	for text, want := range map[string]string{
		"abc def":           "abc def",
		"אבג":               "גבא",
		"abc אבג def":       "abc גבא def",
		"אבג abc דה":        "הד abc גבא",
		"אבג 123 דה":        "הד 123 גבא",
		"abc אבג 123 דה e":  "abc הד 123 גבא e",
		"abc אב 12.5% d":    "abc 12.5% בא d",
		"abc 123 אב":        "abc 123 בא",
		"a (אב) b":          "a (בא) b",
		"\u202eabc\u202c d": "abc d",
	} {
		if got := order(p, text); got != want {
			t.Errorf("%q is seen as %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]bool{"": false, "12 ab אב": false, "(1) אב ab": true, "🍕 مدينة": true, "\u200f1": true} {
		if got := isRTL(text); got != want {
			t.Errorf("%q runs from right to left: %v", text, got)
		}
	}
}

// A layout from right to left has the bars at the right.
func TestMirrored(t *testing.T) {
	t.Parallel()
	poll := Poll{Title: "האם?", Options: []string{"א", "ב"}, Counts: []int64{1, 3}, Total: 4, Tag: "x"}
	_, _, strong := palette(hueOf("x"))
	p := newPen()
	p.paint(newCard(poll))
	at := p.arrange(newCard(poll)).bars[1]
	y := int(at.y + 5)
	left, right := p.picture.RGBAAt(margin+40, y), p.picture.RGBAAt(Width-margin-40, y)
	if left != track || right != strong {
		t.Errorf("the bar is %v at the left and %v at the right", left, right)
	}
	poll.Title = "What?"
	p.paint(newCard(poll))
	left, right = p.picture.RGBAAt(margin+40, y), p.picture.RGBAAt(Width-margin-40, y)
	if left != strong || right != track {
		t.Errorf("the bar is %v at the left and %v at the right", left, right)
	}
}

func TestSyllables(t *testing.T) {
	t.Parallel()
	p := newPen()
	for _, text := range []string{"รถรางสายเก่าควรกลับมาให้บริการ", "ລົດລາງເກົ່າຄວນກັບມາໃຫ້ບໍລິການ", "តើរថភ្លើងចាស់គួរត្រឡប់មកវិញ", "ရထားဟောင်းပြန်လာသင့်သလား"} {
		set := p.set.paragraph(text, style{face: hero, language: "en"})
		if lines, whole := set.wrap(9); len(lines) < 2 || !whole {
			t.Errorf("%s: %d lines, whole: %v", text, len(lines), whole)
		}
	}
}

// luminance is that of WCAG.
func luminance(c color.RGBA) float64 {
	linear := func(v uint8) float64 {
		x := float64(v) / 255
		if x <= 0.04045 {
			return x / 12.92
		}
		return math.Pow((x+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(c.R) + 0.7152*linear(c.G) + 0.0722*linear(c.B)
}

func contrast(a, b color.RGBA) float64 {
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func TestColours(t *testing.T) {
	t.Parallel()
	for tag, want := range map[string]float64{"": 61, "city": 194, "🍕": 82, "مدينة": 32} {
		if got := hueOf(tag); got != want {
			t.Errorf("the hue of %q is %v, want %v", tag, got, want)
		}
	}
	if got := oklch(1, 0, 0); got != (color.RGBA{255, 255, 255, 255}) {
		t.Errorf("white is %v", got)
	}
	if got := oklch(0.628, 0.2577, 29.23); contrast(got, color.RGBA{255, 0, 0, 255}) > 1.02 || got.G > 8 || got.B > 8 {
		t.Errorf("red is %v", got)
	}
	for hue := range 360 {
		accent, tint, strong := palette(float64(hue))
		if c := contrast(accent, paper); c < 4.5 {
			t.Errorf("hue %d: the accent has a contrast of %.2f", hue, c)
		}
		if c := min(contrast(ink, tint), contrast(ink, strong)); c < 7 {
			t.Errorf("hue %d: text on a bar has a contrast of %.2f", hue, c)
		}
		if c := min(contrast(dim, tint), contrast(dim, strong), contrast(dim, track), contrast(soft, paper)); c < 4.5 {
			t.Errorf("hue %d: small text on a bar has a contrast of %.2f", hue, c)
		}
	}
}

func TestCache(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	const bytesLimit = 150_000
	d := New(Options{CacheBytes: bytesLimit, Registerer: registry})
	for i := range 5 {
		poll := tram
		poll.Total += int64(i)
		for range 2 {
			if _, err := d.Draw(t.Context(), poll); err != nil {
				t.Fatal(err)
			}
		}
		if size := d.cache.WeightedSize(); size > bytesLimit {
			t.Fatalf("the cache holds %d bytes", size)
		}
	}
	if n := metric(t, registry, "vote_sharecard_cache_hits_total"); n < 2 {
		t.Errorf("%v hits", n)
	}
}

// Callers who want the same at once have it drawn once.
func TestDrawnOnce(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	d := New(Options{Workers: 2, Patience: time.Hour, Registerer: registry})
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			poll := tram
			poll.Total += int64(i % 4)
			picture, err := d.Draw(t.Context(), poll)
			if err != nil || len(picture) == 0 {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := metric(t, registry, "vote_sharecard_draw_seconds"); n != 4 {
		t.Errorf("%v drawings of 4 pictures", n)
	}
}

// metric returns the value of a counter or gauge, or how often a histogram
// observed something.
func metric(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v %v", problems, err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

func TestBusy(t *testing.T) {
	t.Parallel()
	d := New(Options{Workers: 1, Waiting: 1, Patience: time.Hour})
	p := <-d.pens // somebody draws
	ctx, cancel := context.WithCancel(t.Context())
	waits := make(chan error, 1)
	go func() {
		_, err := d.Draw(ctx, tram)
		waits <- err
	}()
	until(t, func() bool { return d.waiting.Load() != 0 })
	other := tram
	other.Title = "Another one?"
	if _, err := d.Draw(t.Context(), other); !errors.Is(err, ErrBusy) {
		t.Errorf("one more than may wait gets %v", err)
	}
	cancel()
	if err := <-waits; !errors.Is(err, context.Canceled) {
		t.Errorf("who goes away while waiting gets %v", err)
	}
	d.pens <- p
	until(t, func() bool { return d.waiting.Load() == 0 })
	if _, err := d.Draw(t.Context(), other); err != nil {
		t.Errorf("with a pen that is free: %v", err)
	}
	if _, err := d.Draw(ctx, other); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended gets %v", err)
	}

	hasty := New(Options{Workers: 1, Patience: time.Millisecond})
	<-hasty.pens
	if _, err := hasty.Draw(t.Context(), tram); !errors.Is(err, ErrBusy) {
		t.Errorf("who has waited long enough gets %v", err)
	}
}

// A fault within a drawing ends neither the process nor the pen's place.
func TestFault(t *testing.T) {
	t.Parallel()
	d := New(Options{Workers: 1})
	<-d.pens
	d.pens <- &pen{} // cannot draw
	if _, err := d.Draw(t.Context(), tram); err == nil || errors.Is(err, ErrBusy) {
		t.Errorf("a drawing that fails gives %v", err)
	}
	if _, err := d.Draw(t.Context(), tram); err != nil {
		t.Errorf("the next one gives %v", err)
	}
}

func BenchmarkDraw(b *testing.B) {
	polls := map[string]Poll{"latin": tram, "han": {Title: strings.Repeat("旧电车线路", 12), Options: []string{"应该", "不应该"}}}
	for name, poll := range polls {
		b.Run(name, func(b *testing.B) {
			d := New(Options{CacheBytes: -1})
			for i := 0; b.Loop(); i++ {
				poll.Tag = fmt.Sprint(i % 2)
				if _, err := d.Draw(b.Context(), poll); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
		})
	}
	b.Run("kept", func(b *testing.B) {
		d := New(Options{})
		for b.Loop() {
			if _, err := d.Draw(b.Context(), tram); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// until waits for something that must come.
func until(t *testing.T, come func() bool) {
	t.Helper()
	for limit := time.Now().Add(30 * time.Second); !come(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("waited too long")
		}
	}
}
