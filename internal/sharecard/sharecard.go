// Package sharecard draws the picture that stands for a poll where it is
// shared: its title and its options as bars, in any script.
//
// Invariants:
//   - Equal polls give equal bytes.
//   - Nothing is painted outside the margins, whatever the text: a title gets
//     smaller and is cut off at last, an option is cut off. A character that no
//     font has is shown as a box.
//   - At most Options.Workers pictures are drawn at once, one of a kind only,
//     and at most Options.Waiting wait for it.
//   - Memory is bounded: by Options.CacheBytes for pictures that are kept, and
//     by what each worker holds, which is a canvas and the fonts that it used.
package sharecard

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"image/png"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"
)

// The size of every picture, in pixels.
const (
	Width  = 1200
	Height = 630
)

// ErrBusy says that too many pictures are being drawn, and nothing was drawn.
var ErrBusy = errors.New("too many pictures are being drawn")

// Poll is what is drawn of a poll.
type Poll struct {
	Title   string
	Options []string
	// Counts are the votes of each option, and Total their sum. Without votes
	// the options are shown without shares.
	Counts []int64
	Total  int64
	// Tag is the first tag, which gives the picture its hue; "" when there is
	// none.
	Tag string
	// Closed says that no more votes can come.
	Closed bool
}

// Options are what a [Drawer] needs. Zero numbers stand for the defaults.
type Options struct {
	// CacheBytes bounds the pictures that are kept; default 16 MiB. Less than 0
	// keeps none.
	CacheBytes int64
	// Workers is how many pictures are drawn at once; default half of the
	// processors, at least one.
	Workers int
	// Waiting is how many pictures wait to be drawn; default 32.
	Waiting int
	// Patience is how long one waits at most; default 2 s.
	Patience   time.Duration
	Registerer prometheus.Registerer // nil: metrics are not exported
}

// Drawer draws pictures. It is safe for concurrent use.
type Drawer struct {
	cache    *otter.Cache[key, []byte]
	flights  singleflight.Group
	pens     chan *pen
	waiting  atomic.Int64
	places   int64 // of those that wait
	patience time.Duration
	metrics  *metrics
}

// key stands for everything that is drawn.
type key [sha256.Size]byte

const entryOverhead = 200 // bytes that the cache spends on an entry

// New returns a Drawer. It reads no font before the first picture.
func New(o Options) *Drawer {
	if o.CacheBytes == 0 {
		o.CacheBytes = 16 << 20
	}
	if o.Workers == 0 {
		o.Workers = max(runtime.GOMAXPROCS(0)/2, 1)
	}
	if o.Waiting == 0 {
		o.Waiting = 32
	}
	if o.Patience == 0 {
		o.Patience = 2 * time.Second
	}
	d := &Drawer{
		pens: make(chan *pen, o.Workers), places: int64(o.Waiting), patience: o.Patience,
		cache: otter.Must(&otter.Options[key, []byte]{
			MaximumWeight: uint64(max(o.CacheBytes, 1)),
			Weigher: func(_ key, picture []byte) uint32 {
				return uint32(cap(picture) + entryOverhead) //nolint:gosec // under a few megabytes
			},
			// Upkeep of the cache is short; doing it in place leaves no
			// goroutine without an owner.
			Executor: func(fn func()) { fn() },
		}),
	}
	for range o.Workers {
		d.pens <- nil // made when it is first needed
	}
	d.metrics = newMetrics(o.Registerer, d)
	return d
}

// Draw returns a poll as a PNG of [Width] x [Height] pixels. Callers share the
// bytes and only read them. Shares are rounded to whole percents; of more than
// four options, the four with the most votes are shown.
//
// Errors: [ErrBusy]; that of ctx when it ends first.
func (d *Drawer) Draw(ctx context.Context, p Poll) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := newCard(p)
	k := c.key()
	if picture, ok := d.cache.GetIfPresent(k); ok {
		d.metrics.hits.Inc()
		return picture, nil
	}
	d.metrics.misses.Inc()
	// What is drawn is of use to others that ask for it, now or later, so it
	// does not end with who asked first.
	drawn := d.flights.DoChan(string(k[:]), func() (any, error) { return d.draw(k, c) })
	select {
	case r := <-drawn:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.([]byte), nil //nolint:forcetypeassert // draw returns nothing else
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (d *Drawer) draw(k key, c card) ([]byte, error) {
	if picture, ok := d.cache.GetIfPresent(k); ok {
		return picture, nil // it was finished meanwhile
	}
	p, err := d.take()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	picture, err := p.encoded(c)
	if err != nil {
		p = nil // it may have been left in disorder
	}
	d.pens <- p
	if err != nil {
		d.metrics.failed.Inc()
		return nil, err
	}
	d.metrics.duration.Observe(time.Since(began).Seconds())
	d.cache.Set(k, picture)
	return picture, nil
}

// take waits for a pen.
func (d *Drawer) take() (*pen, error) {
	select {
	case p := <-d.pens:
		return ready(p), nil
	default:
	}
	defer d.waiting.Add(-1)
	if d.waiting.Add(1) > d.places {
		d.metrics.refused.Inc()
		return nil, ErrBusy
	}
	patience := time.NewTimer(d.patience)
	defer patience.Stop()
	select {
	case p := <-d.pens:
		return ready(p), nil
	case <-patience.C:
		d.metrics.refused.Inc()
		return nil, ErrBusy
	}
}

func ready(p *pen) *pen {
	if p == nil {
		return newPen()
	}
	return p
}

// encoded draws a card. Shaping follows rules that fonts and texts bring along,
// so a fault there is kept from ending the process.
func (p *pen) encoded(c card) (picture []byte, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			picture, err = nil, fmt.Errorf("draw: %v", fault)
		}
	}()
	var b bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.DefaultCompression}
	if err := encoder.Encode(&b, p.paint(c)); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return bytes.Clone(b.Bytes()), nil
}

// key returns what stands for all that the card shows.
func (c card) key() key {
	var b []byte
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	number := func(n int64) { b = binary.AppendVarint(b, n) }
	text(c.title)
	text(c.tag)
	text(c.status)
	text(string(c.language))
	number(int64(c.more))
	for _, o := range c.bars {
		text(o.text)
		number(int64(o.number))
		number(o.count)
		number(o.percent)
		if o.leads {
			number(1)
		} else {
			number(0)
		}
	}
	return sha256.Sum256(b)
}
