package sharecard

import (
	"bytes"
	"embed"
	"fmt"
	"sync"

	"github.com/go-text/typesetting/font"
	"github.com/go-text/typesetting/language"
)

//go:embed fonts/*.ttf fonts/*.otf
var files embed.FS

// typeface is a font file. It is parsed when the first text needs it, once for
// all drawings; most never are.
type typeface struct {
	file string
	once sync.Once
	font *font.Font
}

// get returns the parsed font, which is safe for concurrent use.
func (t *typeface) get() *font.Font {
	t.once.Do(func() {
		b, err := files.ReadFile("fonts/" + t.file)
		if err != nil {
			panic(fmt.Sprintf("a font that is not embedded: %v", err))
		}
		face, err := font.ParseTTF(bytes.NewReader(b))
		if err != nil {
			panic(fmt.Sprintf("%s: %v", t.file, err))
		}
		t.font = face.Font
	})
	return t.font
}

var (
	hero    = &typeface{file: "InterDisplay-ExtraBold.ttf"}
	plain   = &typeface{file: "Inter-SemiBold.ttf"}
	western = &typeface{file: "NotoSans-Bold.ttf"} // what Inter lacks of Latin, Greek and Cyrillic
	emoji   = &typeface{file: "NotoEmoji-Bold.ttf"}
	cjk     = &typeface{file: "NotoSansCJKsc-Bold.otf"}
	arabic  = &typeface{file: "NotoSansArabic-Bold.ttf"}
)

// anyScript are the fonts to look into for what the script's own lacks, in order.
var anyScript = []*typeface{
	western, emoji,
	{file: "NotoSansSymbols-Bold.ttf"},
	{file: "NotoSansSymbols2-Regular.ttf"},
	{file: "NotoSansMath-Regular.ttf"},
	cjk, arabic,
}

// byScript has the font of each script that needs one of its own.
var byScript = map[language.Script]*typeface{
	language.Adlam:               {file: "NotoSansAdlam-Bold.ttf"},
	language.Arabic:              arabic,
	language.Armenian:            {file: "NotoSansArmenian-Bold.ttf"},
	language.Balinese:            {file: "NotoSansBalinese-Bold.ttf"},
	language.Bengali:             {file: "NotoSansBengali-Bold.ttf"},
	language.Bopomofo:            cjk,
	language.Buginese:            {file: "NotoSansBuginese-Regular.ttf"},
	language.Canadian_Aboriginal: {file: "NotoSansCanadianAboriginal-Bold.ttf"},
	language.Chakma:              {file: "NotoSansChakma-Regular.ttf"},
	language.Cham:                {file: "NotoSansCham-Bold.ttf"},
	language.Cherokee:            {file: "NotoSansCherokee-Bold.ttf"},
	language.Devanagari:          {file: "NotoSansDevanagari-Bold.ttf"},
	language.Ethiopic:            {file: "NotoSansEthiopic-Bold.ttf"},
	language.Georgian:            {file: "NotoSansGeorgian-Bold.ttf"},
	language.Gujarati:            {file: "NotoSansGujarati-Bold.ttf"},
	language.Gurmukhi:            {file: "NotoSansGurmukhi-Bold.ttf"},
	language.Han:                 cjk,
	language.Hangul:              cjk,
	language.Hanifi_Rohingya:     {file: "NotoSansHanifiRohingya-Bold.ttf"},
	language.Hebrew:              {file: "NotoSansHebrew-Bold.ttf"},
	language.Hiragana:            cjk,
	language.Javanese:            {file: "NotoSansJavanese-Bold.ttf"},
	language.Kannada:             {file: "NotoSansKannada-Bold.ttf"},
	language.Katakana:            cjk,
	language.Kayah_Li:            {file: "NotoSansKayahLi-Bold.ttf"},
	language.Khmer:               {file: "NotoSansKhmer-Bold.ttf"},
	language.Lao:                 {file: "NotoSansLao-Bold.ttf"},
	language.Lepcha:              {file: "NotoSansLepcha-Regular.ttf"},
	language.Limbu:               {file: "NotoSansLimbu-Regular.ttf"},
	language.Lisu:                {file: "NotoSansLisu-Bold.ttf"},
	language.Malayalam:           {file: "NotoSansMalayalam-Bold.ttf"},
	language.Meetei_Mayek:        {file: "NotoSansMeeteiMayek-Bold.ttf"},
	language.Mongolian:           {file: "NotoSansMongolian-Regular.ttf"},
	language.Myanmar:             {file: "NotoSansMyanmar-Bold.ttf"},
	language.New_Tai_Lue:         {file: "NotoSansNewTaiLue-Regular.ttf"},
	language.Nko:                 {file: "NotoSansNKo-Regular.ttf"},
	language.Ol_Chiki:            {file: "NotoSansOlChiki-Bold.ttf"},
	language.Oriya:               {file: "NotoSansOriya-Bold.ttf"},
	language.Osmanya:             {file: "NotoSansOsmanya-Regular.ttf"},
	language.Sinhala:             {file: "NotoSansSinhala-Bold.ttf"},
	language.Sundanese:           {file: "NotoSansSundanese-Bold.ttf"},
	language.Syriac:              {file: "NotoSansSyriac-Regular.ttf"},
	language.Tai_Le:              {file: "NotoSansTaiLe-Regular.ttf"},
	language.Tai_Tham:            {file: "NotoSansTaiTham-Bold.ttf"},
	language.Tai_Viet:            {file: "NotoSansTaiViet-Regular.ttf"},
	language.Tamil:               {file: "NotoSansTamil-Bold.ttf"},
	language.Telugu:              {file: "NotoSansTelugu-Bold.ttf"},
	language.Thaana:              {file: "NotoSansThaana-Bold.ttf"},
	language.Thai:                {file: "NotoSansThai-Bold.ttf"},
	language.Tibetan:             {file: "NotoSerifTibetan-Bold.ttf"},
	language.Tifinagh:            {file: "NotoSansTifinagh-Regular.ttf"},
	language.Vai:                 {file: "NotoSansVai-Regular.ttf"},
	language.Yi:                  {file: "NotoSansYi-Regular.ttf"},
}
