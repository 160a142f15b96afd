package seed

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// language is what texts of one script are made of. Words are what every
// question is about; patterns and options take them in place of %s.
type language struct {
	weight   int // how often, among all
	patterns []string
	words    []string
	options  [][]string // sets of answers
	tags     []string
}

// languages are written in the scripts that an index of words meets: with and
// without spaces, from the left and from the right, with marks, beyond the
// basic plane.
var languages = []language{
	{
		weight: 50,
		patterns: []string{
			"Which %s do you prefer?", "Should every city have more %s?", "Is %s better than %s?", "How often do you think of %s?",
			"Would you give up %s for a year?", "What matters most about %s and %s?", "%s or %s, if you had to choose?", "Who started the argument about %s?",
		},
		words: []string{
			"tea", "coffee", "trains", "bicycles", "gardens", "football", "chess", "libraries", "mountains", "rivers", "silence", "bread", "maps",
			"winter", "jazz", "cinema", "newspapers", "robots", "satellites", "tomatoes", "umbrellas", "violins", "islands", "bridges", "museums",
			"holidays", "breakfast", "queues", "passwords", "sunglasses", "dictionaries", "elevators", "fireworks", "penguins",
		},
		options: [][]string{
			{"Yes", "No"}, {"Yes", "No", "Maybe"}, {"Always", "Often", "Sometimes", "Never"}, {"The first", "The second", "Both", "Neither"},
			{"Strongly agree", "Agree", "Neutral", "Disagree", "Strongly disagree"},
		},
		tags: []string{"sports", "news", "entertainment", "food", "travel", "music", "science", "politics", "books", "games", "health", "nature"},
	},
	{
		weight:   8,
		patterns: []string{"Wie wichtig ist dir %s?", "Lieber %s oder %s?", "Gehört %s in jede Küche?", "Würdest du für %s umziehen?"},
		words:    []string{"Käse", "Straßenbahn", "Übermut", "Frühstück", "Fußball", "Wälder", "Hörbücher", "Grünflächen"},
		options:  [][]string{{"Ja", "Nein"}, {"Sehr", "Ein wenig", "Gar nicht"}},
		tags:     []string{"küche", "verkehr", "fußball", "bücher"},
	},
	{
		weight:   8,
		patterns: []string{"¿Prefieres %s o %s?", "¿Te gusta %s?", "¿Es %s lo mejor del año?"},
		words:    []string{"el café", "la montaña", "el niño", "la canción", "el fútbol", "la piñata", "el corazón"},
		options:  [][]string{{"Sí", "No"}, {"Mucho", "Poco", "Nada"}},
		tags:     []string{"música", "fútbol", "niños", "montaña"},
	},
	{
		weight:   10,
		patterns: []string{"你更喜欢%s还是%s？", "你觉得%s重要吗？", "你每天花多少时间在%s上？", "如果没有%s，生活会怎样？"},
		words:    []string{"咖啡", "茶", "足球", "电影", "图书馆", "山水", "手机游戏", "音乐会", "早餐", "地铁"},
		options:  [][]string{{"是", "不是"}, {"非常喜欢", "一般", "不喜欢"}, {"第一个", "第二个", "都可以"}},
		tags:     []string{"体育", "新闻", "娱乐", "美食", "旅行"},
	},
	{
		weight:   6,
		patterns: []string{"%sと%s、どちらが好きですか？", "%sは大切だと思いますか？"},
		words:    []string{"コーヒー", "お茶", "サッカー", "映画", "図書館", "朝ごはん", "電車", "温泉"},
		options:  [][]string{{"はい", "いいえ"}, {"とても", "少し", "全然"}},
		tags:     []string{"スポーツ", "音楽", "料理"},
	},
	{
		weight:   6,
		patterns: []string{"هل تفضل %s أم %s؟", "ما رأيك في %s؟", "كم مرة تفكر في %s؟"},
		words:    []string{"القهوة", "الشاي", "كرة القدم", "المكتبات", "الجبال", "الأنهار", "السينما", "الخبز"},
		options:  [][]string{{"نعم", "لا"}, {"دائماً", "أحياناً", "أبداً"}},
		tags:     []string{"رياضة", "أخبار", "طعام", "سفر"},
	},
	{
		weight:   5,
		patterns: []string{"Что лучше: %s или %s?", "Нужны ли городу %s?", "Как часто вы выбираете %s?"},
		words:    []string{"чай", "кофе", "поезда", "шахматы", "библиотеки", "горы", "тишина", "зима"},
		options:  [][]string{{"Да", "Нет"}, {"Всегда", "Иногда", "Никогда"}},
		tags:     []string{"спорт", "новости", "музыка"},
	},
	{
		weight:   5,
		patterns: []string{"क्या आपको %s पसंद है?", "%s या %s?"},
		words:    []string{"चाय", "क्रिकेट", "संगीत", "पहाड़", "किताबें", "सिनेमा"},
		options:  [][]string{{"हाँ", "नहीं"}, {"बहुत", "थोड़ा", "बिल्कुल नहीं"}},
		tags:     []string{"खेल", "समाचार", "संगीत"},
	},
	{
		weight:   2,
		patterns: []string{"🎉 %s 🎉 %s?", "%s 👍 %s 👎?"},
		words:    []string{"🍕", "🏀 NBA", "café ☕", "𝒩ew year", "🐧🐧"},
		options:  [][]string{{"👍", "👎"}, {"❤️", "💔", "🤷"}},
		tags:     []string{"fun", "memes"},
	},
}

// makeTags returns what polls are tagged with, the most frequent first: the languages'
// own, and a long tail.
func makeTags(n int) []string {
	var tags []string
	for i := 0; len(tags) < n; i++ {
		before := len(tags)
		for _, l := range languages {
			if i < len(l.tags) && len(tags) < n {
				tags = append(tags, l.tags[i])
			}
		}
		if len(tags) == before {
			break
		}
	}
	seen := make(map[string]bool)
	distinct := tags[:0]
	for _, t := range tags {
		if !seen[t] {
			seen[t] = true
			distinct = append(distinct, t)
		}
	}
	for i := 0; len(distinct) < n; i++ {
		distinct = append(distinct, fmt.Sprintf("topic-%d", i))
	}
	return distinct
}

// writer makes texts.
type writer struct {
	*rand.Rand
	total int // of weights
}

func newWriter(r *rand.Rand) *writer {
	w := &writer{Rand: r}
	for _, l := range languages {
		w.total += l.weight
	}
	return w
}

// text returns a title and its options.
func (w *writer) text() (title string, options []string) {
	l := w.language()
	pattern := l.patterns[w.IntN(len(l.patterns))]
	for strings.Contains(pattern, "%s") {
		pattern = strings.Replace(pattern, "%s", l.words[w.IntN(len(l.words))], 1)
	}
	return pattern, l.options[w.IntN(len(l.options))]
}

func (w *writer) language() language {
	n := w.IntN(w.total)
	for _, l := range languages {
		if n -= l.weight; n < 0 {
			return l
		}
	}
	return languages[0]
}
