package sharecard

import (
	"image"
	"image/color"
	"image/draw"
	"math"

	"github.com/go-text/typesetting/font"
	"github.com/go-text/typesetting/font/opentype"
	"golang.org/x/image/vector"
)

// canvas is what is drawn on.
type canvas struct {
	picture *image.RGBA
	raster  *vector.Rasterizer
}

func newCanvas() *canvas {
	return &canvas{picture: image.NewRGBA(image.Rect(0, 0, Width, Height)), raster: vector.NewRasterizer(0, 0)}
}

func (c *canvas) clear(paint color.RGBA) {
	draw.Draw(c.picture, c.picture.Bounds(), image.NewUniform(paint), image.Point{}, draw.Src)
}

// box is a rectangle whose edges may lie between pixels.
type box struct{ x, y, w, h float64 }

// pixels returns the pixels that the box touches.
func (b box) pixels() image.Rectangle {
	return image.Rect(int(math.Floor(b.x)), int(math.Floor(b.y)), int(math.Ceil(b.x+b.w)), int(math.Ceil(b.y+b.h)))
}

// grown returns the box with w more at the sides and h more above and below.
func (b box) grown(w, h float64) box { return box{b.x - w, b.y - h, b.w + 2*w, b.h + 2*h} }

// fill paints what path traces. Nothing is painted outside clip.
func (c *canvas) fill(clip image.Rectangle, paint color.RGBA, path func(p pencil)) {
	clip = clip.Intersect(c.picture.Bounds())
	if clip.Empty() {
		return
	}
	c.raster.Reset(clip.Dx(), clip.Dy())
	path(pencil{c.raster, float64(clip.Min.X), float64(clip.Min.Y)})
	c.raster.Draw(c.picture, clip, image.NewUniform(paint), image.Point{})
}

// rounded paints a box with round corners.
func (c *canvas) rounded(b box, radius float64, paint color.RGBA) {
	c.fill(b.pixels(), paint, func(p pencil) { p.rounded(b, radius) })
}

// part paints the share of a rounded box that starts at its left side, or its
// right one, as a shape of the same corners.
func (c *canvas) part(whole box, radius, share float64, fromRight bool, paint color.RGBA) {
	b := box{whole.x - 2*radius, whole.y, whole.w*share + 2*radius, whole.h}
	if fromRight {
		b.x = whole.x + whole.w*(1-share)
	}
	at := whole.pixels().Intersect(c.picture.Bounds())
	shape, cut := image.NewAlpha(at), image.NewAlpha(at)
	for _, m := range []struct {
		mask  *image.Alpha
		trace box
	}{{shape, b}, {cut, whole}} {
		c.raster.Reset(at.Dx(), at.Dy())
		pencil{c.raster, float64(at.Min.X), float64(at.Min.Y)}.rounded(m.trace, radius)
		c.raster.Draw(m.mask, at, image.Opaque, image.Point{})
	}
	for i, a := range cut.Pix {
		shape.Pix[i] = uint8(uint16(shape.Pix[i]) * uint16(a) / 0xff) //nolint:gosec // at most 255
	}
	draw.DrawMask(c.picture, at, image.NewUniform(paint), image.Point{}, shape, at.Min, draw.Over)
}

// glyph paints a glyph with its origin at (x, y), size pixels an em, and none
// of it outside clip.
func (c *canvas) glyph(outline font.GlyphOutline, scale, x, y float64, clip image.Rectangle, paint color.RGBA) {
	minX, minY, maxX, maxY := math.Inf(1), math.Inf(1), math.Inf(-1), math.Inf(-1)
	for i := range outline.Segments {
		for _, a := range outline.Segments[i].ArgsSlice() {
			px, py := x+float64(a.X)*scale, y-float64(a.Y)*scale
			minX, maxX = min(minX, px), max(maxX, px)
			minY, maxY = min(minY, py), max(maxY, py)
		}
	}
	if minX > maxX {
		return
	}
	b := box{minX, minY, maxX - minX, maxY - minY}
	c.fill(b.pixels().Intersect(clip), paint, func(p pencil) {
		at := func(a opentype.SegmentPoint) (float64, float64) {
			return x + float64(a.X)*scale, y - float64(a.Y)*scale
		}
		for i := range outline.Segments {
			s := &outline.Segments[i]
			x0, y0 := at(s.Args[0])
			x1, y1 := at(s.Args[1])
			x2, y2 := at(s.Args[2])
			switch s.Op {
			case opentype.SegmentOpMoveTo:
				p.close()
				p.move(x0, y0)
			case opentype.SegmentOpLineTo:
				p.line(x0, y0)
			case opentype.SegmentOpQuadTo:
				p.quad(x0, y0, x1, y1)
			case opentype.SegmentOpCubeTo:
				p.cube(x0, y0, x1, y1, x2, y2)
			}
		}
		p.close()
	})
}

// pencil traces paths in the coordinates of the picture.
type pencil struct {
	raster *vector.Rasterizer
	x, y   float64 // of the raster's corner
}

func (p pencil) move(x, y float64) { p.raster.MoveTo(float32(x-p.x), float32(y-p.y)) }
func (p pencil) line(x, y float64) { p.raster.LineTo(float32(x-p.x), float32(y-p.y)) }
func (p pencil) close()            { p.raster.ClosePath() }

func (p pencil) quad(x1, y1, x2, y2 float64) {
	p.raster.QuadTo(float32(x1-p.x), float32(y1-p.y), float32(x2-p.x), float32(y2-p.y))
}

func (p pencil) cube(x1, y1, x2, y2, x3, y3 float64) {
	p.raster.CubeTo(float32(x1-p.x), float32(y1-p.y), float32(x2-p.x), float32(y2-p.y), float32(x3-p.x), float32(y3-p.y))
}

func (p pencil) rounded(b box, radius float64) {
	p.corners(b, [4]float64{radius, radius, radius, radius})
}

// corners traces a box whose corners have the radii, clockwise from the top left.
func (p pencil) corners(b box, radii [4]float64) {
	const round = 0.5522847498 // of a radius, to the control points of a quarter circle
	for i := range radii {
		radii[i] = max(0, min(radii[i], b.w/2, b.h/2))
	}
	left, top, right, bottom := b.x, b.y, b.x+b.w, b.y+b.h
	r := radii[0]
	p.move(left+r, top)
	r = radii[1]
	p.line(right-r, top)
	p.cube(right-r+r*round, top, right, top+r-r*round, right, top+r)
	r = radii[2]
	p.line(right, bottom-r)
	p.cube(right, bottom-r+r*round, right-r+r*round, bottom, right-r, bottom)
	r = radii[3]
	p.line(left+r, bottom)
	p.cube(left+r-r*round, bottom, left, bottom-r+r*round, left, bottom-r)
	r = radii[0]
	p.line(left, top+r)
	p.cube(left, top+r-r*round, left+r-r*round, top, left+r, top)
	p.close()
}

// hole traces a box the other way round, so that what lies within it stays bare.
func (p pencil) hole(b box) {
	p.move(b.x, b.y)
	p.line(b.x, b.y+b.h)
	p.line(b.x+b.w, b.y+b.h)
	p.line(b.x+b.w, b.y)
	p.close()
}
