//go:build integration

package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	amqp "github.com/rabbitmq/amqp091-go"

	"vote/internal/domain"
	"vote/internal/engine/rabbitmq"
	"vote/internal/testservers"
	"vote/internal/testservers/local"
)

// start runs a bus until the test ends or stop is called.
func start(t *testing.T, b *rabbitmq.Bus) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func waitUntil(t *testing.T, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited too long")
		}
	}
}

// insist publishes until the bus takes it, as the relay does.
func insist(t *testing.T, b *rabbitmq.Bus, list []domain.Event) {
	t.Helper()
	waitUntil(t, func() bool {
		err := b.Publish(t.Context(), list)
		if err != nil && domain.CodeOf(err) != domain.CodeUnavailable {
			t.Fatalf("Publish: %v", err)
		}
		return err == nil
	})
}

// notes is a handler that notes what it was given.
type notes struct {
	mu      sync.Mutex
	handled map[string]int
	fail    func(domain.Event) error
}

func (n *notes) handle(_ context.Context, list []domain.Event) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fail != nil {
		for _, e := range list {
			if err := n.fail(e); err != nil {
				return err
			}
		}
	}
	if n.handled == nil {
		n.handled = make(map[string]int)
	}
	for _, e := range list {
		n.handled[e.ID]++
	}
	return nil
}

func (n *notes) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.handled)
}

// proxy stands between a bus and the broker.
type proxy struct {
	listener net.Listener
	target   string
	all      sync.WaitGroup
	mu       sync.Mutex
	conns    map[net.Conn]bool
	stalled  atomic.Bool
}

// through returns a proxy and the URL by which the broker is reached over it.
func through(t *testing.T, broker string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(broker)
	if err != nil {
		t.Fatal(err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: u.Host, conns: make(map[net.Conn]bool)}
	p.all.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		p.all.Wait()
	})
	u.Host = l.Addr().String()
	return p, u.String()
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		var d net.Dialer
		server, err := d.DialContext(context.Background(), "tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		p.mu.Unlock()
		p.all.Go(func() { p.copy(client, server) })
		p.all.Go(func() { p.copy(server, client) })
	}
}

func (p *proxy) copy(to, from net.Conn) {
	defer func() {
		_, _ = to.Close(), from.Close()
		p.mu.Lock()
		delete(p.conns, to)
		delete(p.conns, from)
		p.mu.Unlock()
	}()
	_, _ = io.Copy(to, readerFunc(func(b []byte) (int, error) {
		n, err := from.Read(b)
		for p.stalled.Load() {
			time.Sleep(time.Millisecond)
		}
		return n, err
	}))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// cut closes every connection and returns how many ends there were.
func (p *proxy) cut() int {
	p.stalled.Store(false)
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
	return len(p.conns)
}

// admin returns a channel of one's own.
func admin(t *testing.T, broker string) *amqp.Channel {
	t.Helper()
	c, err := amqp.Dial(broker)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	ch, err := c.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func metric(t *testing.T, r *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			match := f.GetName() == name && label == ""
			for _, l := range m.GetLabel() {
				match = match || f.GetName() == name && l.GetValue() == label
			}
			if match {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

func TestConnectionsAreCut(t *testing.T) {
	t.Parallel()
	g := &graveyard{}
	p, url := through(t, testservers.RabbitMQ(t))
	r := prometheus.NewRegistry()
	o := quick(url, g)
	o.ReconnectInterval, o.Registerer, o.MessageEvents = 20*time.Millisecond, r, 3
	b := newBus(t, o)
	n := &notes{}
	b.Subscribe("vote.processing", []string{domain.EventVoteCast}, n.handle)
	start(t, b)
	const rounds = 60
	ends := 0
	for i := range rounds {
		insist(t, b, events(i, domain.EventVoteCast, domain.EventVoteCast, domain.EventVoteCast, domain.EventVoteCast))
		if i%10 == 5 {
			ends += p.cut()
		}
	}
	waitUntil(t, func() bool { return n.count() == 4*rounds })
	if ends < 20 || metric(t, r, "vote_rabbitmq_connection_failures_total", "") < 6 {
		t.Errorf("only %d ends of connections were cut", ends)
	}
	if dead := g.all(); len(dead) > 0 {
		t.Errorf("dead letters %+v", dead)
	}
}

// A broker that is silent, as when it was stopped, holds up nobody for ever.
func TestBrokerIsSilent(t *testing.T) {
	t.Parallel()
	p, url := through(t, testservers.RabbitMQ(t))
	o := quick(url, nil)
	o.PublishTimeout = 200 * time.Millisecond
	b := newBus(t, o)
	n := &notes{}
	b.Subscribe("vote.processing", []string{domain.EventVoteCast}, n.handle)
	stop := start(t, b)
	insist(t, b, events(1, domain.EventVoteCast))
	p.stalled.Store(true)
	for i := range 3 {
		if err := b.Publish(t.Context(), events(2+i, domain.EventVoteCast)); domain.CodeOf(err) != domain.CodeUnavailable {
			t.Fatalf("Publish = %v, want unavailable", err)
		}
	}
	p.stalled.Store(false)
	waitUntil(t, func() bool { return n.count() == 4 }) // late, but not lost
	p.stalled.Store(true)
	stop()
}

func TestBrokerOfOnesOwn(t *testing.T) {
	t.Parallel()
	broker, err := local.StartRabbitMQ(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	g := &graveyard{}
	r := prometheus.NewRegistry()
	o := quick(broker.URL(), g)
	o.PublishTimeout, o.Registerer = 2*time.Second, r
	b := newBus(t, o)
	n := &notes{}
	var closed atomic.Bool
	n.fail = func(domain.Event) error {
		if closed.Load() {
			return domain.E(domain.CodeUnavailable, "not now")
		}
		return nil
	}
	b.Subscribe("vote.processing", []string{domain.EventVoteCast}, n.handle)
	start(t, b)
	insist(t, b, events(1, domain.EventVoteCast, domain.EventVoteCast))
	waitUntil(t, func() bool { return n.count() == 2 })

	// Stopped before killed: after the death of a single node within seconds of
	// its making, a queue of RabbitMQ 3.10 may stay without leader.
	row, want := 1, 2
	for _, end := range []func() error{func() error { return broker.Stop(t.Context()) }, broker.Kill} {
		closed.Store(true) // what is published stays with the broker
		for range 20 {
			row++
			insist(t, b, events(row, domain.EventVoteCast, domain.EventVoteCast))
			want += 2
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		row++
		lost := events(row, domain.EventVoteCast)
		want++
		waitUntil(t, func() bool {
			err := b.Publish(t.Context(), lost)
			return domain.CodeOf(err) == domain.CodeUnavailable
		})
		if err := broker.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		closed.Store(false)
		insist(t, b, lost)
		waitUntil(t, func() bool { return n.count() == want })
	}

	// Short of memory it takes nothing; what it has, it delivers.
	closed.Store(true)
	row++
	insist(t, b, events(row, domain.EventVoteCast))
	want++
	if err := broker.LimitMemory(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	row++
	lost := events(row, domain.EventVoteCast)
	want++
	var blocked error
	waitUntil(t, func() bool { blocked = b.Publish(t.Context(), lost); return blocked != nil })
	waitUntil(t, func() bool { return metric(t, r, "vote_rabbitmq_blocked", "") == 1 })
	if domain.CodeOf(blocked) != domain.CodeUnavailable {
		t.Errorf("Publish = %v, want unavailable", blocked)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := b.Publish(ctx, lost); !strings.Contains(fmt.Sprint(err), "short of memory") || ctx.Err() != nil {
		t.Errorf("Publish = %v, want at once what is wrong", err)
	}
	closed.Store(false)
	waitUntil(t, func() bool { return n.count() >= want-1 })
	if err := broker.LimitMemory(t.Context(), 0.6); err != nil {
		t.Fatal(err)
	}
	insist(t, b, lost)
	waitUntil(t, func() bool { return n.count() == want })
	if dead := g.all(); len(dead) > 0 {
		t.Errorf("dead letters %+v", dead)
	}
}

func TestUnroutable(t *testing.T) {
	t.Parallel()
	broker := testservers.RabbitMQ(t)
	r := prometheus.NewRegistry()
	o := quick(broker, nil)
	o.Registerer = r
	b := newBus(t, o)
	n := &notes{}
	b.Subscribe("vote.processing", []string{domain.EventVoteCast, domain.EventVoteSkipped}, n.handle)
	start(t, b)
	insist(t, b, events(1, domain.EventVoteCast, domain.EventVoteSkipped))
	if err := admin(t, broker).QueueUnbind("vote.processing", domain.EventVoteCast, rabbitmq.ExchangeVotes, nil); err != nil {
		t.Fatal(err)
	}
	list := events(2, domain.EventVoteSkipped, domain.EventVoteCast, domain.EventVoteSkipped)
	if err := b.Publish(t.Context(), list); domain.CodeOf(err) != domain.CodeUnavailable {
		t.Fatalf("Publish = %v, want unavailable", err)
	}
	insist(t, b, list) // the binding is made anew
	waitUntil(t, func() bool { return n.count() == 5 })
	if returned := metric(t, r, "vote_rabbitmq_messages_total", "returned"); returned == 0 {
		t.Error("nothing was returned")
	}
	if _, err := admin(t, broker).QueueDelete("vote.processing", false, false, false); err != nil {
		t.Fatal(err)
	}
	// What the broker took while it was deleting the queue is gone with it.
	next := 3
	waitUntil(t, func() bool {
		insist(t, b, events(next, domain.EventVoteCast))
		next++
		return n.count() > 5
	})
}

// Without somebody who keeps dead letters, they lie in the error queue.
func TestPoisonLiesInTheErrorQueue(t *testing.T) {
	t.Parallel()
	broker := testservers.RabbitMQ(t)
	b := newBus(t, quick(broker, nil))
	n := &notes{fail: func(e domain.Event) error {
		if e.ID == "1-1" {
			return errors.New("cannot read the moon")
		}
		return nil
	}}
	b.Subscribe("vote.processing", []string{domain.EventVoteCast}, n.handle)
	start(t, b)
	insist(t, b, events(1, domain.EventVoteCast, domain.EventVoteCast, domain.EventVoteCast))
	waitUntil(t, func() bool { return n.count() == 2 })
	ch := admin(t, broker)
	var lies amqp.Delivery
	waitUntil(t, func() bool {
		d, ok, err := ch.Get("vote.processing.error", true)
		lies = d
		return err == nil && ok
	})
	if why := lies.Headers[rabbitmq.HeaderReason]; why != "cannot read the moon" {
		t.Errorf("reason %v", why)
	}
	if body := string(lies.Body); !strings.Contains(body, `"id":"1-1"`) || strings.Contains(body, `"1-0"`) {
		t.Errorf("message %s", body)
	}
}

// Whatever lies in a queue ends as a dead letter that a store can keep.
func TestRubbish(t *testing.T) {
	t.Parallel()
	broker := testservers.RabbitMQ(t)
	g := &graveyard{}
	b := newBus(t, quick(broker, g))
	n := &notes{}
	b.Subscribe("vote.processing", []string{domain.EventVoteCast}, n.handle)
	start(t, b)
	insist(t, b, events(1, domain.EventVoteCast))
	ch := admin(t, broker)
	rubbish := []string{"", "\xff\x00", "[]", "{}", `[{"id":"","type":"a","data":1}]`, `[{"id":"9-9","type":"a"}]`, "[1]", "null"}
	for i, body := range rubbish {
		to, key := rabbitmq.ExchangeVotes, domain.EventVoteCast
		if i%2 == 1 {
			to, key = rabbitmq.ExchangeDead, "vote.processing"
		}
		if err := ch.PublishWithContext(t.Context(), to, key, true, false, amqp.Publishing{Body: []byte(body), DeliveryMode: amqp.Persistent}); err != nil {
			t.Fatal(err)
		}
	}
	waitUntil(t, func() bool { return len(g.all()) == len(rubbish) })
	for _, d := range g.all() {
		if d.Queue != "vote.processing" || d.Event.Type != domain.EventMalformedRow || !strings.Contains(d.Reason, "message") || d.Event.ID == "" {
			t.Errorf("dead letter %+v", d)
		}
	}
	insist(t, b, events(2, domain.EventVoteCast))
	waitUntil(t, func() bool { return n.count() == 2 })
}

func TestExpired(t *testing.T) {
	t.Parallel()
	broker := testservers.RabbitMQ(t)
	g := &graveyard{}
	o := quick(broker, g)
	o.Queues = map[string][]string{"vote.processing": {domain.EventVoteCast}, "feed.updates": {domain.EventUserSeen}}
	o.Lives = map[string]time.Duration{rabbitmq.ExchangeVotes: 100 * time.Millisecond, rabbitmq.ExchangeFeed: time.Hour}
	b := newBus(t, o) // nobody handles anything
	start(t, b)
	insist(t, b, events(1, domain.EventVoteCast, domain.EventUserSeen, domain.EventVoteCast))
	waitUntil(t, func() bool { return len(g.all()) == 2 })
	for _, d := range g.all() {
		if d.Queue != "vote.processing" || d.Event.Type != domain.EventVoteCast || d.Reason != "it was not handled within its life in the queue" {
			t.Errorf("dead letter %+v", d)
		}
	}
}

// A full error queue holds its queue up, and loses nothing.
func TestErrorQueueIsFull(t *testing.T) {
	t.Parallel()
	broker := testservers.RabbitMQ(t)
	o := quick(broker, nil)
	o.MaxErrors, o.PublishTimeout = 1, time.Second
	b := newBus(t, o)
	tried := &notes{fail: func(domain.Event) error { return errors.New("no") }}
	b.Subscribe("vote.processing", []string{domain.EventVoteCast}, tried.handle)
	stop := start(t, b)
	const rounds = 40
	for i := range rounds {
		insist(t, b, events(i, domain.EventVoteCast))
	}
	ch := admin(t, broker)
	waitUntil(t, func() bool {
		q, err := ch.QueueDeclarePassive("vote.processing.error", true, false, false, false, nil)
		return err == nil && q.Messages > 0
	})
	stop()
	g := &graveyard{}
	o.DeadLetter = g.bury
	collector := newBus(t, o)
	collector.Subscribe("vote.processing", []string{domain.EventVoteCast}, tried.handle)
	start(t, collector)
	waitUntil(t, func() bool { return len(g.all()) == rounds })
}

func TestDeadLettersWaitForTheStore(t *testing.T) {
	t.Parallel()
	g := &graveyard{}
	g.fail(domain.E(domain.CodeUnavailable, "disk full"))
	b := newBus(t, quick(testservers.RabbitMQ(t), g))
	n := &notes{fail: func(domain.Event) error { return errors.New("no") }}
	b.Subscribe("vote.processing", []string{domain.EventVoteCast}, n.handle)
	start(t, b)
	insist(t, b, events(1, domain.EventVoteCast, domain.EventVoteCast))
	waitUntil(t, func() bool { return g.refused.Load() > 20 })
	g.fail(nil)
	waitUntil(t, func() bool { return len(g.all()) == 2 })
	for _, d := range g.all() {
		if d.Event.Type != domain.EventVoteCast {
			t.Errorf("dead letter %+v: it can be replayed no more", d)
		}
	}
}

func TestConsumersShareAQueue(t *testing.T) {
	t.Parallel()
	broker := testservers.RabbitMQ(t)
	var shares []*notes
	var buses []*rabbitmq.Bus
	for range 3 {
		o := quick(broker, nil)
		o.Prefetch, o.MessageEvents = 1, 1
		b, n := newBus(t, o), &notes{}
		b.Subscribe("vote.processing", []string{domain.EventVoteCast}, n.handle)
		start(t, b)
		shares, buses = append(shares, n), append(buses, b)
	}
	const rounds = 100
	for _, b := range buses {
		insist(t, b, events(0, "of.no.interest")) // connected
	}
	for i := range rounds {
		insist(t, buses[i%3], events(i, domain.EventVoteCast, domain.EventVoteCast))
	}
	total := func() (n int) {
		for _, s := range shares {
			n += s.count()
		}
		return n
	}
	waitUntil(t, func() bool { return total() >= 2*rounds })
	all := map[string]int{}
	for i, s := range shares {
		if s.count() == 0 {
			t.Errorf("consumer %d had nothing to do", i)
		}
		for id, n := range s.handled {
			all[id] += n
		}
	}
	for id, n := range all {
		if n != 1 {
			t.Errorf("event %s was handled %d times", id, n)
		}
	}
}

func TestHintsReachEveryProcess(t *testing.T) {
	t.Parallel()
	broker := testservers.RabbitMQ(t)
	p, cuttable := through(t, broker)
	var heard [2]sync.Map
	var buses [2]*rabbitmq.Bus
	for i := range buses {
		o := quick(cuttable, nil)
		o.Queues = map[string][]string{"feed.updates": {domain.EventUserSeen, domain.EventPollPublished}}
		buses[i] = newBus(t, o)
		buses[i].Hint([]string{domain.EventUserSeen}, func(list []domain.Event) {
			for _, e := range list {
				heard[i].Store(e.ID, e.Type)
			}
			panic("lost my head")
		})
		start(t, buses[i])
	}
	row := 0
	// A hint may be missed, by one that has just connected.
	reach := func() {
		t.Helper()
		waitUntil(t, func() bool {
			row++
			insist(t, buses[0], events(row, domain.EventUserSeen, domain.EventPollPublished))
			_, one := heard[0].Load(fmt.Sprint(row-1, "-0"))
			_, two := heard[1].Load(fmt.Sprint(row-1, "-0"))
			return one && two
		})
	}
	reach()
	p.cut()
	reach()
	heard[0].Range(func(id, kind any) bool {
		if kind != domain.EventUserSeen {
			t.Errorf("was told of event %v of type %v", id, kind)
		}
		return true
	})
}

func TestPublishBeforeAndAfter(t *testing.T) {
	t.Parallel()
	o := quick(testservers.RabbitMQ(t), nil)
	o.PublishTimeout = 50 * time.Millisecond
	b := newBus(t, o)
	b.Subscribe("vote.processing", []string{domain.EventVoteCast}, (&notes{}).handle)
	want := func(what string, err error, code domain.Code) {
		t.Helper()
		if domain.CodeOf(err) != code {
			t.Errorf("Publish %s = %v, want %s", what, err, code)
		}
	}
	want("before Run", b.Publish(t.Context(), events(1, domain.EventVoteCast)), domain.CodeUnavailable)
	want("of an event without id", b.Publish(t.Context(), []domain.Event{{Type: domain.EventVoteCast}}), domain.CodeInvalid)
	stop := start(t, b)
	insist(t, b, events(1, domain.EventVoteCast))
	want("of what is no JSON", b.Publish(t.Context(), []domain.Event{{ID: "1-1", Type: domain.EventVoteCast, Data: []byte("{")}}), domain.CodeInvalid)
	stop()
	want("after Run", b.Publish(t.Context(), events(2, domain.EventVoteCast)), domain.CodeUnavailable)
	if err := b.Run(t.Context()); err == nil {
		t.Error("a second Run did not fail")
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	g := &graveyard{}
	r := prometheus.NewRegistry()
	o := quick(testservers.RabbitMQ(t), g)
	o.Registerer = r
	b := newBus(t, o)
	n := &notes{fail: func(e domain.Event) error {
		if e.Type == domain.EventVoteSkipped {
			return errors.New("no")
		}
		return nil
	}}
	b.Subscribe("vote.processing", []string{domain.EventVoteCast, domain.EventVoteSkipped}, n.handle)
	stop := start(t, b)
	insist(t, b, events(1, domain.EventVoteCast))
	insist(t, b, events(2, domain.EventVoteSkipped))
	waitUntil(t, func() bool { return len(g.all()) == 1 })
	for _, m := range []struct {
		name, label string
		want        float64
	}{
		{"vote_bus_deliveries_total", "handled", 1},
		{"vote_bus_deliveries_total", "failed", domain.MaxDeliveries},
		{"vote_bus_deliveries_total", "retried", domain.MaxDeliveries - 1},
		{"vote_bus_dead_letters_total", "vote.processing", 1},
		{"vote_bus_waiting_events", "", 0},
		{"vote_rabbitmq_messages_total", "published", 3},
		{"vote_rabbitmq_messages_total", "confirmed", 3},
		{"vote_rabbitmq_publish_seconds", "", 3},
		{"vote_rabbitmq_up", "", 2},
		{"vote_rabbitmq_channels", "", 3},
	} {
		waitUntil(t, func() bool { return metric(t, r, m.name, m.label) == m.want })
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v %v", problems, err)
	}
	stop()
	for _, name := range []string{"vote_rabbitmq_up", "vote_rabbitmq_channels"} {
		if v := metric(t, r, name, ""); v != 0 {
			t.Errorf("%s is %v after the end", name, v)
		}
	}
}
