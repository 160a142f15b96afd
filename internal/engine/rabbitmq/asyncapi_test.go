package rabbitmq

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pb33f/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"vote/internal/domain"
	"vote/internal/engine/memory"
	"vote/internal/events"
)

// asyncAPI is what the document says of exchanges, queues and messages.
type asyncAPI struct {
	Channels map[string]struct {
		Address  string
		Exchange string `json:"x-exchange"`
		Life     int64  `json:"x-message-life-ms"`
		Messages map[string]struct {
			Ref string `json:"$ref"`
		}
		Bindings struct {
			AMQP struct {
				Is       string
				Exchange struct{ Name, Type string }
				Queue    struct{ Name string }
			}
		}
	}
	Operations map[string]struct {
		Action  string
		Channel struct {
			Ref string `json:"$ref"`
		}
	}
	Components struct {
		Messages map[string]struct {
			Name        string
			ContentType string
			Examples    []struct{ Payload json.RawMessage }
		}
	}
}

func readAsyncAPI(t *testing.T) (doc asyncAPI, whole any) {
	t.Helper()
	text, err := os.ReadFile("../../../docs/asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &whole); err != nil {
		t.Fatal(err)
	}
	text, err = json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	whole, err = jsonschema.UnmarshalJSON(bytes.NewReader(text)) // the validator wants its kind of numbers
	if err != nil {
		t.Fatal(err)
	}
	return doc, whole
}

// place is what the document says about an exchange or a queue.
type place struct {
	From  string // exchange of a queue, kind of an exchange
	Life  time.Duration
	Types []string
}

// The document names every exchange and queue that the server makes, with what
// goes into them, and no other.
func TestAsyncAPITopology(t *testing.T) {
	t.Parallel()
	want := map[string]place{ExchangeDead: {From: "direct", Types: []string{"dead"}}}
	for _, q := range topology(events.Topology()) {
		from := ExchangeOf(q.types[0])
		want["queue "+q.name] = place{From: from, Life: q.life(Lives), Types: q.types}
		want["queue "+q.name+ErrorSuffix] = place{From: ExchangeDead, Types: []string{"dead"}}
		e := want[from]
		e.From = "topic"
		e.Types = append(e.Types, q.types...)
		want[from] = e
		for _, kind := range q.types {
			if ExchangeOf(kind) != from {
				t.Errorf("queue %s takes from more than one exchange", q.name)
			}
		}
	}
	for name, p := range want {
		slices.Sort(p.Types)
		p.Types = slices.Compact(p.Types)
		want[name] = p
	}

	doc, _ := readAsyncAPI(t)
	got := map[string]place{}
	for id, c := range doc.Channels {
		p := place{From: c.Exchange, Life: time.Duration(c.Life) * time.Millisecond}
		for _, m := range c.Messages {
			message, ok := doc.Components.Messages[strings.TrimPrefix(m.Ref, "#/components/messages/")]
			if !ok {
				t.Errorf("channel %s: no message %s", id, m.Ref)
			}
			p.Types = append(p.Types, message.Name)
		}
		slices.Sort(p.Types)
		name := c.Address
		if c.Bindings.AMQP.Is == "queue" {
			if c.Bindings.AMQP.Queue.Name != name {
				t.Errorf("channel %s: queue %s at address %s", id, c.Bindings.AMQP.Queue.Name, name)
			}
			name = "queue " + name
		} else {
			p.From = c.Bindings.AMQP.Exchange.Type
			if c.Bindings.AMQP.Exchange.Name != name {
				t.Errorf("channel %s: exchange %s at address %s", id, c.Bindings.AMQP.Exchange.Name, name)
			}
		}
		got[name] = p
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("topology (-server +document):\n%s", diff)
	}
	// Every queue is received from, every exchange but the dead's is sent to.
	used := map[string]string{}
	for _, o := range doc.Operations {
		used[strings.TrimPrefix(o.Channel.Ref, "#/channels/")] = o.Action
	}
	for id, c := range doc.Channels {
		action := map[string]string{"queue": "receive", "routingKey": "send"}[c.Bindings.AMQP.Is]
		if c.Address != ExchangeDead && used[id] != action {
			t.Errorf("channel %s: operation %q, want %q", id, used[id], action)
		}
	}
}

// published returns events of every type, made by the code that makes them.
func published(t *testing.T) []domain.Event {
	t.Helper()
	list := domain.Changes{
		At:        time.Date(2026, 3, 1, 12, 0, 0, 5e6, time.UTC),
		Votes:     []domain.VoteCast{{PollID: 1 << 40, OptionIndex: 19, Version: 3}},
		Skips:     []domain.VoteSkipped{{PollID: 1<<53 - 1, Version: 1}},
		Seen:      []domain.UserSeen{{UserID: 1, Version: 1, Positions: []domain.Position{0, 1<<32 - 1}}},
		Published: []domain.PollPublished{{PollID: 1, Position: 0}},
	}.Events(42)
	committed := slices.Clone(list) // what handlers do to the list has no part in it
	bus := memory.NewBus(memory.BusOptions{})
	var mu sync.Mutex
	note := func(_ context.Context, more []domain.Event) error {
		mu.Lock()
		defer mu.Unlock()
		list = append(list, more...)
		return nil
	}
	events.SubscribeProcessing(bus)
	events.SubscribeFeedUpdates(bus, true)
	topology := events.Topology()
	bus.Subscribe("rest", slices.Concat(topology[events.QueueAnalytics], topology[events.QueueFeedInvalidation],
		topology[events.QueueSystemMetrics], topology[events.QueueSystemAlerts]), note)
	reporter := events.NewReporter(events.ReporterConfig{
		Bus: bus, Instance: "one", Every: time.Millisecond, Numbers: func() map[string]float64 { return map[string]float64{"goroutines": 1.5} },
	})
	reporter.HealthChanged("cache", false, "away")
	reporter.HealthChanged("cache", true, "")
	reporter.BreakerTripped("redis", "away")
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{bus.Run, reporter.Run} {
		running.Go(func() { _ = run(ctx) })
	}
	if err := bus.Publish(ctx, committed); err != nil {
		t.Fatal(err)
	}
	complete := func() bool {
		mu.Lock()
		defer mu.Unlock()
		kinds := map[string]int{}
		for _, e := range list {
			kinds[e.Type]++
		}
		return kinds[domain.EventMetricsReported] > 0 && kinds[domain.EventHealthChanged] > 1 && kinds[domain.EventBreakerTripped] > 0
	}
	for end := time.Now().Add(30 * time.Second); !complete(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited too long")
		}
	}
	cancel()
	running.Wait()
	return list
}

// What is published is what the document describes, and so are its examples.
func TestAsyncAPIMessages(t *testing.T) {
	t.Parallel()
	doc, whole := readAsyncAPI(t)
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("asyncapi.json", whole); err != nil {
		t.Fatal(err)
	}
	schemas := map[string]*jsonschema.Schema{}
	for id, m := range doc.Components.Messages {
		if m.Name == "dead" {
			continue
		}
		schema, err := compiler.Compile("asyncapi.json#/components/messages/" + id + "/payload")
		if err != nil {
			t.Fatal(err)
		}
		schemas[m.Name] = schema
		if !strings.HasPrefix(ContentType, m.ContentType) || len(m.Examples) == 0 {
			t.Errorf("message %s: content type %q, %d examples", m.Name, m.ContentType, len(m.Examples))
		}
		for _, e := range m.Examples {
			if err := validate(schema, e.Payload); err != nil {
				t.Errorf("example of %s: %v", m.Name, err)
			}
		}
	}
	messages, err := encode(published(t), 500, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, m := range messages {
		seen[m.key] = true
		schema := schemas[m.key]
		if schema == nil {
			t.Errorf("the document knows no message %s", m.key)
			continue
		}
		if err := validate(schema, m.body); err != nil {
			t.Errorf("%s: %v\n%s", m.key, err, m.body)
		}
		for name, other := range schemas {
			if name != m.key && validate(other, m.body) == nil {
				t.Errorf("a message %s passes for a %s", m.key, name)
			}
		}
		// Neither who voted nor anything else may come in unseen.
		more := bytes.Replace(m.body, []byte(`"data":{`), []byte(`"data":{"user":1,`), 1)
		if validate(schema, more) == nil {
			t.Errorf("%s: the schema lets anything in", m.key)
		}
	}
	for name := range schemas {
		if !seen[name] {
			t.Errorf("nothing publishes message %s", name)
		}
	}
}

func validate(schema *jsonschema.Schema, body []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}
