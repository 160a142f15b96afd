package sharecard

import (
	"image/color"
	"math"
	"unicode/utf16"
)

// The colours of the light theme of the web app.
var (
	paper = color.RGBA{0xf6, 0xf4, 0xef, 0xff}
	light = color.RGBA{0xff, 0xfd, 0xf8, 0xff} // an option before there are votes
	ink   = color.RGBA{0x17, 0x15, 0x0f, 0xff}
	soft  = color.RGBA{0x6b, 0x66, 0x5a, 0xff}
	dim   = color.RGBA{0x54, 0x4f, 0x44, 0xff} // soft, on a bar
	rule  = color.RGBA{0xe5, 0xe0, 0xd3, 0xff}
	track = color.RGBA{0xee, 0xe9, 0xdc, 0xff}
)

// hueOf returns the hue of a poll by its first tag, in degrees. It is the web
// app's: FNV-1a over UTF-16.
func hueOf(tag string) float64 {
	hash := uint32(0x811c9dc5)
	for _, unit := range utf16.Encode([]rune(tag)) {
		hash = (hash ^ uint32(unit)) * 0x01000193
	}
	return float64(hash % 360)
}

// palette returns the colours of a hue: for text, for a bar, and for the bar
// that leads. Every hue keeps the contrast that WCAG asks for.
func palette(hue float64) (accent, tint, strong color.RGBA) {
	return oklch(0.52, 0.18, hue), oklch(0.93, 0.045, hue), oklch(0.85, 0.09, hue)
}

// oklch returns the colour of a lightness, chroma and hue in the OKLCH space.
// What sRGB does not have loses chroma until it does.
func oklch(lightness, chroma, hue float64) color.RGBA {
	sin, cos := math.Sincos(hue * math.Pi / 180)
	for ; ; chroma -= 0.005 {
		a, b := chroma*cos, chroma*sin
		l := cube(lightness + 0.3963377774*a + 0.2158037573*b)
		m := cube(lightness - 0.1055613458*a - 0.0638541728*b)
		s := cube(lightness - 0.0894841775*a - 1.2914855480*b)
		rgb := [3]float64{
			4.0767416621*l - 3.3077115913*m + 0.2309699292*s,
			-1.2684380046*l + 2.6097574011*m - 0.3413193965*s,
			-0.0041960863*l - 0.7034186147*m + 1.7076147010*s,
		}
		inside := true
		for _, v := range rgb {
			inside = inside && v > -0.0005 && v < 1.0005
		}
		if inside || chroma <= 0 {
			return color.RGBA{channel(rgb[0]), channel(rgb[1]), channel(rgb[2]), 0xff}
		}
	}
}

func cube(x float64) float64 { return x * x * x }

// channel encodes linear light as sRGB.
func channel(v float64) uint8 {
	v = min(max(v, 0), 1)
	if v <= 0.0031308 {
		v *= 12.92
	} else {
		v = 1.055*math.Pow(v, 1/2.4) - 0.055
	}
	return uint8(math.Round(v * 255))
}
