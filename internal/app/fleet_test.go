//go:build integration && linux

package app_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vote/config"
	"vote/internal/app"
	"vote/internal/domain"
	"vote/internal/testservers"
)

// backends are the servers that a fleet runs over.
type backends struct {
	postgres string // URL of a database
	direct   string // the same one, for who looks into it meanwhile; empty: postgres
	redis    string // host:port; empty when extra says it otherwise
	rabbitmq string // URL of a virtual host
	api      string // URL of RabbitMQ's management
	extra    []string
}

// sharedBackends are places of the test's own in the shared servers. Of Redis,
// which has no such places, it is a server.
func sharedBackends(t *testing.T) backends {
	t.Helper()
	return backends{
		postgres: testservers.Database(t), redis: testservers.StartRedis(t).Address(),
		rabbitmq: testservers.RabbitMQ(t), api: testservers.RabbitMQAPI(t),
	}
}

// environment is how a server is told of them.
func (b backends) environment(t *testing.T) []string {
	t.Helper()
	env := slices.Concat(postgresEnvironment(t, b.postgres), b.extra)
	q, err := url.Parse(b.rabbitmq)
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := q.User.Password()
	vhost := strings.TrimPrefix(q.Path, "/")
	if vhost == "" {
		vhost = "/"
	}
	env = append(env, "EVENTS_ENGINE=rabbitmq", "RABBITMQ_HOST="+q.Hostname(), "RABBITMQ_PORT="+q.Port(), "RABBITMQ_USER="+q.User.Username(),
		"RABBITMQ_PASSWORD="+secret, "RABBITMQ_VHOST="+vhost, "RABBITMQ_RECONNECT_INTERVAL=500ms", "CACHE_ENGINE=redis")
	if b.redis != "" {
		host, port, err := net.SplitHostPort(b.redis)
		if err != nil {
			t.Fatal(err)
		}
		env = append(env, "REDIS_HOST="+host, "REDIS_PORT="+port)
	}
	return env
}

func postgresEnvironment(t *testing.T, at string) []string {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	return []string{
		"STORAGE_ENGINE=postgres", "POSTGRES_HOST=" + u.Hostname(), "POSTGRES_PORT=" + u.Port(), "POSTGRES_USER=" + u.User.Username(),
		"POSTGRES_PASSWORD=" + password, "POSTGRES_DBNAME=" + strings.TrimPrefix(u.Path, "/"), "POSTGRES_SSLMODE=disable",
		"POSTGRES_MAX_CONNECTIONS=20", "JWT_SECRET_KEY=every instance of the fleet has this one",
	}
}

// instance is one process of a fleet, and its place when it is gone.
type instance struct {
	name        string
	environment []string
	process     *process
	log         *os.File
	serves      bool // requests of people
	url         atomic.Pointer[string]
	out         atomic.Bool // the balancer sends nothing
}

// fleet is instances of the built server over the same servers, a balancer before
// them, and a ledger of who uses them. Its methods are called by the goroutine of
// the test.
type fleet struct {
	*ledger
	t         *testing.T
	folder    string
	backends  backends
	instances []*instance
	// allowed are parts of log lines of level error that the test brings about.
	allowed  []string
	injected int // faults
}

// startFleet starts n instances that do everything, and waits until all are ready.
// The environment goes before what the fleet sets.
func startFleet(t *testing.T, b backends, n int, environment ...string) *fleet { //nolint:unparam // any number may be wanted
	t.Helper()
	f := newFleet(t, b)
	for range n {
		f.add("", environment...)
	}
	for _, i := range f.instances {
		i.process.awaitReady(t)
	}
	return f
}

func newFleet(t *testing.T, b backends) *fleet {
	t.Helper()
	f := &fleet{t: t, backends: b, folder: t.TempDir()}
	f.ledger = newLedger(32, f.choose)
	f.again = f.refused
	if f.backends.direct == "" {
		f.backends.direct = b.postgres
	}
	t.Cleanup(f.end)
	return f
}

// add starts one more instance, with roles as in server.roles; empty is all.
func (f *fleet) add(roles string, environment ...string) {
	f.t.Helper()
	env := slices.Concat(unlimited(), f.backends.environment(f.t), environment)
	if roles != "" {
		env = append(env, "SERVER_ROLES="+roles)
	}
	i := &instance{name: strings.TrimSpace(fmt.Sprintf("instance %d %s", len(f.instances), roles)), environment: env, serves: roles == "" || strings.Contains(roles, config.RoleAPI)}
	var err error
	if i.log, err = os.Create(filepath.Join(f.folder, i.name+".log")); err != nil {
		f.t.Fatal(err)
	}
	f.instances = append(f.instances, i)
	f.start(i)
}

// start starts an instance that is not running.
func (f *fleet) start(i *instance) {
	f.t.Helper()
	i.process = startProcess(f.t, f.folder, i.log, i.environment)
	i.url.Store(&i.process.url)
}

// kill ends an instance by SIGKILL.
func (f *fleet) kill(i *instance) {
	f.t.Helper()
	f.injected++
	i.process.kill(f.t)
}

// restart ends an instance in order and starts it again.
func (f *fleet) restart(i *instance) {
	f.t.Helper()
	f.stop(i)
	f.start(i)
	i.process.awaitReady(f.t)
}

// stop ends an instance by SIGTERM and waits for it.
func (f *fleet) stop(i *instance) {
	f.t.Helper()
	f.injected++
	i.process.stop(f.t)
}

// freeze stops an instance by SIGSTOP until thaw.
func (f *fleet) freeze(i *instance) {
	f.t.Helper()
	f.injected++
	i.process.signal(f.t, syscall.SIGSTOP)
}

func (f *fleet) thaw(i *instance) {
	f.t.Helper()
	i.process.signal(f.t, syscall.SIGCONT)
}

// urls returns where the instances that serve people are.
func (f *fleet) urls() []string {
	var urls []string
	for _, i := range f.instances {
		if i.serves {
			urls = append(urls, *i.url.Load())
		}
	}
	return urls
}

// end ends what runs and looks into the logs.
func (f *fleet) end() {
	f.client.CloseIdleConnections()
	for _, i := range f.instances {
		if i.process != nil {
			i.process.kill(f.t)
		}
		f.read(i)
		_ = i.log.Close()
	}
}

// read fails the test for what must not be in a log, and shows its end when the
// test has failed.
func (f *fleet) read(i *instance) {
	f.t.Helper()
	text, err := os.ReadFile(i.log.Name())
	if err != nil {
		f.t.Error(err)
	}
	told := 0
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var entry struct{ Level string }
		line := lines.Text()
		unexpected := json.Unmarshal(lines.Bytes(), &entry) != nil || entry.Level == "error"
		if unexpected && !slices.ContainsFunc(f.allowed, func(s string) bool { return strings.Contains(line, s) }) && told < 20 {
			told++
			f.t.Errorf("%s logged %s", i.name, line)
		}
	}
	if err := lines.Err(); err != nil {
		f.t.Errorf("log of %s: %v", i.name, err)
	}
	if f.t.Failed() {
		last := strings.Split(strings.TrimSpace(string(text)), "\n")
		f.t.Logf("the log of %s ends:\n%s", i.name, strings.Join(last[max(0, len(last)-20):], "\n"))
	}
}

// The balancer.

// choose returns any instance that is not out, or any at all.
func (f *fleet) choose() string {
	var in []string
	for _, i := range f.instances {
		if i.serves && !i.out.Load() {
			in = append(in, *i.url.Load())
		}
	}
	if len(in) == 0 {
		in = f.urls()
	}
	return in[rand.IntN(len(in))]
}

// refused takes an instance out that refuses connections, and says whether
// another may be asked instead.
func (f *fleet) refused(at string, err error) bool {
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return false
	}
	others := false
	for _, i := range f.instances {
		if i.serves && *i.url.Load() == at {
			i.out.Store(true)
		} else if i.serves && !i.out.Load() {
			others = true
		}
	}
	return others
}

// balanceEvery is how often the balancer asks each instance whether it is ready.
const balanceEvery = 100 * time.Millisecond

// balance asks the instances whether they are ready, until ctx ends.
func (f *fleet) balance(ctx context.Context) {
	var asking sync.WaitGroup
	for _, i := range f.instances {
		if !i.serves {
			continue
		}
		asking.Go(func() {
			client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
			for ctx.Err() == nil {
				i.out.Store(!ready(&client, *i.url.Load()))
				select {
				case <-ctx.Done():
				case <-time.After(balanceEvery):
				}
			}
		})
	}
	asking.Wait()
}

// use lets people use the fleet for so long, and drill disturb it meanwhile. It
// goes on until the fleet answers again as before.
func (f *fleet) use(long time.Duration, drill func()) {
	f.t.Helper()
	f.prepare(f.t, 2*f.workers, f.workers*max(10, int(long/time.Second)))
	before := f.seen()
	ctx, stop := context.WithCancel(f.t.Context())
	defer stop()
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { f.balance(ctx) })
	for w := range f.workers {
		rnd := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(w)))
		running.Go(func() {
			for ctx.Err() == nil {
				switch f.act(f.t, rnd, w) {
				case answered:
				case wrong:
					stop()
				default: // as people do who are told to try again later
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	over := time.Now().Add(long)
	f.await(ctx, "traffic", func() bool { return f.seen().acknowledged > before.acknowledged+500 })
	held := f.resources()
	drill()
	for time.Now().Before(over) && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	// So many in a row without a fault show that it is over.
	f.await(ctx, "a time without errors", func() bool {
		since := f.seen()
		time.Sleep(500 * time.Millisecond)
		now := f.seen()
		return now.errors() == since.errors() && now.acknowledged > since.acknowledged+50
	})
	if long >= 30*time.Second {
		f.released(held)
	}
}

// resources are what the instances that serve people hold: goroutines and
// descriptors, of all the most.
func (f *fleet) resources() map[string]float64 {
	f.t.Helper()
	most := make(map[string]float64)
	for _, at := range f.urls() {
		status, text := fetch(f.t, at+"/metrics")
		if status != http.StatusOK {
			f.t.Errorf("metrics: %d %s", status, text)
		}
		for line := range strings.Lines(text) {
			for _, name := range []string{"go_goroutines", "process_open_fds"} {
				if n, ok := strings.CutPrefix(line, name+" "); ok {
					value, err := strconv.ParseFloat(strings.TrimSpace(n), 64)
					if err != nil {
						f.t.Error(err)
					}
					most[name] = max(most[name], value)
				}
			}
		}
	}
	return most
}

// released fails the test unless the instances hold about as much as before, 30 s
// after all is well again. All people may just be at one instance.
func (f *fleet) released(before map[string]float64) {
	f.t.Helper()
	if len(before) == 0 {
		f.t.Error("it is not known what the instances held")
	}
	for limit := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		now, more := f.resources(), false
		for name, n := range now {
			more = more || n > 1.1*before[name]+float64(2*f.workers)
		}
		if !more {
			return
		}
		if time.Now().After(limit) {
			f.t.Errorf("the instances hold %v, before it was %v", now, before)
			return
		}
	}
}

func (f *fleet) seen() tally {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tally
}

// await waits for something that must come.
func (f *fleet) await(ctx context.Context, what string, come func() bool) {
	f.t.Helper()
	for limit := time.Now().Add(90 * time.Second); !come(); time.Sleep(20 * time.Millisecond) {
		if ctx.Err() != nil {
			return
		}
		if time.Now().After(limit) {
			f.t.Errorf("%s did not come in 90 s", what)
			return
		}
	}
}

// settle compares the ledger with the database once every event was handled, lets
// people repeat what was left open, and compares again.
func (f *fleet) settle() difference {
	f.t.Helper()
	ctx := context.WithoutCancel(f.t.Context())
	store, err := app.OpenStore(ctx, load(f.t, postgresEnvironment(f.t, f.backends.direct)...), app.Options{})
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			f.t.Error(err)
		}
	}()
	balancing, stop := context.WithCancel(ctx)
	var balancer sync.WaitGroup
	balancer.Go(func() { f.balance(balancing) })
	defer balancer.Wait()
	defer stop()

	f.drain(ctx, store)
	first := f.compare(ctx, f.t, store)
	f.converge(f.t)
	f.drain(ctx, store)
	f.await(ctx, "empty queues", func() bool { return f.queued() == 0 })
	second := f.compare(ctx, f.t, store)
	if letters, err := store.DeadLetters(ctx, "", 0, 10); err != nil || len(letters) > 0 {
		f.t.Errorf("dead letters: %+v, %v", letters, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tally.acknowledged < 1000 {
		f.t.Errorf("%d requests were acknowledged: too few to have shown anything", f.tally.acknowledged)
	}
	if f.injected == 0 {
		f.t.Error("nothing was injected")
	}
	return difference{lost: max(first.lost, second.lost), doubled: max(first.doubled, second.doubled)}
}

// drain waits until nothing waits in the outbox, and every vote and skip is in the
// hourly totals.
func (f *fleet) drain(ctx context.Context, store domain.Store) {
	f.t.Helper()
	f.await(ctx, "an empty outbox", func() bool {
		rows, _, err := store.OutboxLag(ctx)
		return err == nil && rows == 0
	})
	f.await(ctx, "every event counted", func() bool {
		report, err := store.Check(ctx, domain.Rules{})
		return err == nil && len(report.Violations) == 0
	})
}

// queued returns how many messages wait in all queues but those of errors.
func (f *fleet) queued() int {
	f.t.Helper()
	at, err := url.Parse(f.backends.rabbitmq)
	if err != nil {
		f.t.Fatal(err)
	}
	vhost := strings.TrimPrefix(at.Path, "/")
	if vhost == "" {
		vhost = "/"
	}
	answer, err := http.Get(strings.TrimSuffix(f.backends.api, "/") + "/api/queues/" + url.PathEscape(vhost))
	if err != nil {
		return -1
	}
	defer func() { _ = answer.Body.Close() }()
	var queues []struct {
		Name     string
		Messages *int
	}
	if err := json.NewDecoder(answer.Body).Decode(&queues); err != nil || len(queues) == 0 {
		return -1
	}
	waiting := 0
	for _, q := range queues {
		if q.Messages == nil { // not yet known
			return -1
		}
		waiting += *q.Messages
	}
	return waiting
}
