package sharecard

import (
	"testing"

	"github.com/go-text/typesetting/font"
)

// scripts has a sample of each script that the fonts hold.
var scripts = map[string]string{
	"Adlam":               "𞤀𞤣𞤤𞤢𞤥 𞤆𞤵𞤤𞤢𞤪",
	"Arabic":              "هل يعود الترام القديم؟ ١٢٣",
	"Armenian":            "Արդյո՞ք հին տրամվայը պետք է վերադառնա",
	"Balinese":            "ᬅᬓ᭄ᬱᬭᬩᬮᬶ",
	"Bengali":             "পুরানো ট্রাম কি ফিরে আসা উচিত? স্ত্রী ক্ষ",
	"Bopomofo":            "ㄅㄆㄇㄈ ㄓㄨˋ ㄧㄣ",
	"Buginese":            "ᨔᨙᨕᨚᨀᨙᨑ",
	"Canadian Aboriginal": "ᐃᓄᒃᑎᑐᑦ ᓀᐦᐃᔭᐍᐏᐣ",
	"Chakma":              "𑄌𑄋𑄴𑄟𑄳𑄦",
	"Cham":                "ꨀꨇꩉ ꨌꩌ",
	"Cherokee":            "ᏣᎳᎩ ꭶꮣꮳ",
	"Cyrillic":            "Должен ли вернуться старый трамвай? Ђорђе, їжак, Ғылым, Ӏ",
	"Devanagari":          "क्या पुरानी ट्राम वापस आनी चाहिए? श्री ज्ञान र्क",
	"Ethiopic":            "የድሮው ትራም መመለስ አለበት?",
	"Georgian":            "უნდა დაბრუნდეს ძველი ტრამვაი? ᲡᲐᲥ",
	"Greek":               "Να επιστρέψει το παλιό τραμ; Ἀρχή ᾧ",
	"Gujarati":            "જૂની ટ્રામ પાછી આવવી જોઈએ? શ્રી",
	"Gurmukhi":            "ਕੀ ਪੁਰਾਣੀ ਟ੍ਰਾਮ ਵਾਪਸ ਆਉਣੀ ਚਾਹੀਦੀ ਹੈ?",
	"Hangul":              "오래된 전차가 돌아와야 할까요? 뷁 햏",
	"Hanifi Rohingya":     "𐴌𐴟𐴇𐴥𐴝𐴚𐴒𐴙𐴝",
	"Han, simplified":     "旧电车线路应该恢复运营吗？",
	"Han, traditional":    "舊電車路線應該恢復營運嗎？佢哋喺度",
	"Hebrew":              "האם להחזיר את הרכבת? שָׁלוֹם",
	"Japanese":            "古い路面電車は復活すべきですか？ ｶﾀｶﾅ 々〆ヶ",
	"Javanese":            "ꦲꦏ꧀ꦱꦫꦗꦮ",
	"Kannada":             "ಹಳೆಯ ಟ್ರಾಮ್ ಮರಳಬೇಕೇ? ಶ್ರೀ",
	"Kayah Li":            "ꤊꤢꤛꤢꤟꤤ",
	"Khmer":               "តើរថភ្លើងចាស់គួរត្រឡប់មកវិញទេ? ស្ត្រី",
	"Lao":                 "ລົດລາງເກົ່າຄວນກັບມາບໍ?",
	"Latin":               "Ștràßé Łódź ñandú ſ Ŋ İı Việt Nam ẞ ə ɓ ǃ",
	"Lepcha":              "ᰛᰩᰵᰛᰧᰵ",
	"Limbu":               "ᤕᤠᤰᤌᤢᤱ",
	"Lisu":                "ꓡꓲ-ꓢꓴ",
	"Malayalam":           "പഴയ ട്രാം തിരിച്ചുവരണോ? ശ്രീ ൻ",
	"Meetei Mayek":        "ꯃꯤꯇꯩ ꯃꯌꯦꯛ",
	"Mongolian":           "ᠮᠣᠩᠭᠣᠯ",
	"Myanmar":             "ရထားဟောင်း ပြန်လာသင့်သလား? ကြွ",
	"N'Ko":                "ߒߞߏ ߞߊ߲",
	"New Tai Lue":         "ᦎᦷᦺᦑ",
	"Ol Chiki":            "ᱥᱟᱱᱛᱟᱲᱤ",
	"Odia":                "ପୁରୁଣା ଟ୍ରାମ ଫେରିବା ଉଚିତ କି? ଶ୍ରୀ",
	"Osmanya":             "𐒋𐒘𐒈𐒑𐒛𐒒𐒕𐒀",
	"Sinhala":             "පැරණි ට්\u200dරෑම් ආපසු පැමිණිය යුතුද? ශ්\u200dරී",
	"Sundanese":           "ᮃᮊ᮪ᮞᮛ ᮞᮥᮔ᮪ᮓ",
	"Syriac":              "ܠܫܢܐ ܣܘܪܝܝܐ",
	"Tai Le":              "ᥖᥭᥰᥖᥬᥳᥑᥨᥒᥰ",
	"Tai Tham":            "ᨲᩫ᩠ᩅᨾᩮᩬᩥᨦ",
	"Tai Viet":            "ꪼꪕꪒꪾ",
	"Tamil":               "பழைய டிராம் திரும்ப வேண்டுமா? ஸ்ரீ க்ஷ",
	"Telugu":              "పాత ట్రామ్ తిరిగి రావాలా? శ్రీ క్ష",
	"Thaana":              "ދިވެހި ބަސް",
	"Thai":                "รถรางเก่าควรกลับมาหรือไม่ ๑๒๓ ทั้งนี้ น้ำ",
	"Tibetan":             "བོད་སྐད་ཀྱི་སྐྱེ་བོ།",
	"Tifinagh":            "ⵜⴰⵎⴰⵣⵉⵖⵜ",
	"Vai":                 "ꕙꔤ ꔺꘋ",
	"Yi":                  "ꆈꌠꁱꂷ",
	"emoji":               "😂 🏳️‍🌈 👩‍👩‍👧‍👦 👍🏽 ❤️ 1️⃣ 🇩🇪 🫠 ⏰",
	"symbols":             "★ ☂ → ⇒ ∑ ∞ ≠ € ₹ ₿ ™ ✓ ♻ ½ • …",
	"letters as symbols":  "𝕍𝕠𝕥𝕖 𝓿𝓸𝓽𝓮 𝐕𝐨𝐭𝐞 ⓥⓞⓣⓔ Ｖｏｔｅ",
}

func TestScripts(t *testing.T) {
	t.Parallel()
	if len(scripts) < 55 {
		t.Errorf("only %d scripts", len(scripts))
	}
	p := newPen()
	for name, text := range scripts {
		for _, face := range []*typeface{hero, plain} {
			set := p.set.paragraph(text, style{face: face, language: "en"})
			if len(set.clusters) == 0 {
				t.Errorf("%s: nothing is set", name)
			}
			for _, c := range set.clusters {
				for _, g := range c.glyphs {
					if g.GlyphID == 0 {
						t.Errorf("%s: no glyph for %q", name, string([]rune(clean(text))[g.TextIndex()]))
					}
				}
			}
		}
		p.clear(paper)
		c := newCard(Poll{Title: text, Options: []string{text, text}})
		checkPicture(t, p, c, name)
		a := p.arrange(c)
		if !painted(p, a.title) {
			t.Errorf("%s: no ink where the title is", name)
		}
	}
}

// The fonts hold nothing that no script is led to, and each is one.
func TestFonts(t *testing.T) {
	t.Parallel()
	used := map[string]bool{hero.file: true, plain.file: true}
	for _, f := range anyScript {
		used[f.file] = true
	}
	for _, f := range byScript {
		used[f.file] = true
	}
	entries, err := files.ReadDir("fonts")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !used[e.Name()] {
			t.Errorf("%s is not used", e.Name())
		}
		delete(used, e.Name())
		f := &typeface{file: e.Name()}
		if face := font.NewFace(f.get()); face.Upem() == 0 {
			t.Errorf("%s: no size", e.Name())
		}
	}
	for name := range used {
		t.Errorf("%s is missing", name)
	}
}

// What no font has is a box that can be seen.
func TestUnknownCharacters(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"𓀀𓀁", "\U000e1234x", "\ue000\uf8ff", "\U0010fffd", "𒀀", "�"} {
		p := newPen()
		c := newCard(Poll{Title: text, Options: []string{text, "b"}})
		checkPicture(t, p, c, text)
		if !painted(p, p.arrange(c).title) {
			t.Errorf("%q cannot be seen", text)
		}
	}
}
