package rabbitmq

import (
	"fmt"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"vote/internal/domain"
)

func TestEncodeBoundsMessages(t *testing.T) {
	t.Parallel()
	const maxEvents, maxBytes = 7, 3000
	var list []domain.Event
	for i := range 300 {
		size := 10
		if i%50 == 0 {
			size = 5000 // longer than a message
		}
		list = append(list, domain.Event{
			ID: fmt.Sprint(i, "-0"), Type: []string{"a", "vote.b", "user.c"}[i%3], Time: time.Now(),
			Data: []byte(`"` + strings.Repeat("x", size) + `"`),
		})
	}
	messages, err := encode(list, maxEvents, maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	last := map[string]int{}
	n := 0
	for _, m := range messages {
		got, err := decode(m.body)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) > maxEvents || len(m.body) > maxBytes && len(got) > 1 {
			t.Errorf("a message of %d events, %d bytes", len(got), len(m.body))
		}
		for _, e := range got {
			n++
			var i int
			if _, err := fmt.Sscanf(e.ID, "%d-0", &i); err != nil || e.Type != m.key || m.exchange != ExchangeOf(e.Type) {
				t.Errorf("event %s of type %s to %s %s", e.ID, e.Type, m.exchange, m.key)
			}
			if i < last[e.Type] {
				t.Errorf("event %d after %d", i, last[e.Type])
			}
			last[e.Type] = i
			if string(e.Data) != string(list[i].Data) {
				t.Errorf("event %d has changed", i)
			}
		}
	}
	if n != len(list) {
		t.Errorf("%d events of %d", n, len(list))
	}
}

func FuzzLetters(f *testing.F) {
	f.Add([]byte(`[{"specversion":"1.0","id":"1-0","type":"vote.cast","time":"2026-03-01T12:00:00Z","data":{}}]`), "no")
	f.Add([]byte("\x00"), "\xff\x00")
	f.Fuzz(func(t *testing.T, body []byte, why string) {
		list := letters("q", amqp.Delivery{Body: body, ContentType: why, Headers: amqp.Table{HeaderReason: why}}, time.Unix(0, 0).UTC())
		if len(list) == 0 {
			t.Fatal("it vanished")
		}
		for _, d := range list {
			if _, err := one(d.Event); err != nil || d.Event.ID == "" || strings.ContainsRune(d.Reason, 0) || strings.ToValidUTF8(d.Reason, "") != d.Reason {
				t.Errorf("letter %+v, %v", d, err)
			}
		}
	})
}

func TestURL(t *testing.T) {
	t.Parallel()
	for vhost, user := range map[string]string{"/": "guest", "vote": "a@b:c/d", "a/b": "%"} {
		u, err := amqp.ParseURI(URL("::1", 5672, user, "p@:/%", vhost))
		if err != nil || u.Vhost != vhost || u.Username != user || u.Password != "p@:/%" || u.Host != "::1" {
			t.Errorf("vhost %q, user %q: %+v, %v", vhost, user, u, err)
		}
	}
}
