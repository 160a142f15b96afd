//go:build linux

package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Redis is a Redis server, or a Sentinel.
type Redis struct{ *daemon }

// StartRedis starts a Redis by the project's configuration, with the lines of
// settings beside it.
func StartRedis(ctx context.Context, settings ...string) (*Redis, error) {
	text, err := shipped("redis/redis.conf")
	if err != nil {
		return nil, err
	}
	r, err := newRedis("redis", append([]string{text, "maxmemory 256mb"}, settings...))
	if err != nil {
		return nil, err
	}
	if err := r.Start(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func newRedis(name string, lines []string) (*Redis, error) {
	d, err := newDaemon(name, redisServer, "redis", 1)
	if err != nil {
		return nil, err
	}
	r := &Redis{d}
	r.ready = func(ctx context.Context) error { return Pongs(ctx, r.Address()) }
	lines = append(lines, "bind 127.0.0.1", "port "+r.ports[0].String(), "dir "+r.folder.path, "")
	file, err := r.folder.write(name+".conf", strings.Join(lines, "\n"))
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	r.command.args = []string{file}
	return r, nil
}

// Address returns its host:port.
func (r *Redis) Address() string { return r.ports[0].address() }

// Do sends one command on a connection of its own and returns the strings of its
// answer.
func (r *Redis) Do(ctx context.Context, words ...string) ([]string, error) {
	return redisDo(ctx, r.Address(), words...)
}

// Pongs asks whether a Redis is at the address.
func Pongs(ctx context.Context, address string) error {
	answer, err := redisDo(ctx, address, "PING")
	if err == nil && answer[0] != "PONG" {
		err = fmt.Errorf("PING: %q", answer)
	}
	return err
}

func redisDo(ctx context.Context, address string, words ...string) ([]string, error) {
	var dial net.Dialer
	conn, err := dial.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	request := fmt.Appendf(nil, "*%d\r\n", len(words))
	for _, w := range words {
		request = fmt.Appendf(request, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	return redisAnswer(bufio.NewReader(conn))
}

// redisAnswer reads an answer of Redis's protocol, lists flattened.
func redisAnswer(from *bufio.Reader) ([]string, error) {
	line, err := from.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return nil, errors.New("not an answer of Redis")
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+', ':':
		return []string{rest}, nil
	case '-':
		return nil, errors.New(rest)
	}
	n, err := strconv.Atoi(rest)
	switch {
	case err != nil:
		return nil, err
	case n < 0:
		return []string{""}, nil
	case kind == '$':
		text := make([]byte, n+2)
		_, err := io.ReadFull(from, text)
		return []string{string(text[:n])}, err
	case kind != '*':
		return nil, fmt.Errorf("an answer of kind %q", kind)
	}
	var all []string
	for range n {
		part, err := redisAnswer(from)
		if err != nil {
			return nil, err
		}
		all = append(all, part...)
	}
	return all, nil
}

// MasterName is the name by which Sentinels know their master.
const MasterName = "vote"

// Sentinels are a Redis with two replicas and three Sentinels, which make a
// replica the master when that is gone.
type Sentinels struct {
	redis     []*Redis // the first master comes first
	sentinels []*Redis
}

// StartSentinels starts them and waits until the Sentinels know each other and
// the replicas.
func StartSentinels(ctx context.Context) (_ *Sentinels, err error) {
	watch, err := shipped("redis/sentinel.conf")
	if err != nil {
		return nil, err
	}
	s := &Sentinels{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	master, err := StartRedis(ctx)
	if err != nil {
		return nil, err
	}
	s.redis = append(s.redis, master)
	for range 2 {
		replica, err := StartRedis(ctx, "replicaof 127.0.0.1 "+master.ports[0].String())
		if err != nil {
			return nil, err
		}
		s.redis = append(s.redis, replica)
	}
	// A Sentinel asks for the replicas when it comes, and then every ten seconds.
	err = master.process.ready(ctx, func(ctx context.Context) error {
		return contains(ctx, master.Address(), []string{"INFO", "replication"}, "connected_slaves:2")
	})
	if err != nil {
		return nil, err
	}
	for range 3 {
		sentinel, err := newRedis("sentinel", []string{
			watch,
			"sentinel monitor " + MasterName + " 127.0.0.1 " + master.ports[0].String() + " 2",
			"sentinel down-after-milliseconds " + MasterName + " 1000",
			"sentinel failover-timeout " + MasterName + " 5000",
		})
		if err != nil {
			return nil, err
		}
		s.sentinels = append(s.sentinels, sentinel)
		sentinel.command.args = append(sentinel.command.args, "--sentinel")
		sentinel.ready = func(ctx context.Context) error { return Watches(ctx, sentinel.Address(), MasterName) }
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, sentinel := range s.sentinels {
		group.Go(func() error { return sentinel.Start(ctx) })
	}
	return s, group.Wait()
}

// Watches asks whether a Sentinel that knows the master, two replicas and two
// other Sentinels is at the address.
func Watches(ctx context.Context, address, master string) error {
	return contains(ctx, address, []string{"SENTINEL", "MASTER", master}, "flags master ", "num-slaves 2 ", "num-other-sentinels 2 ")
}

// contains asks whether the answer of a Redis, its strings one behind the other,
// contains all of something.
func contains(ctx context.Context, address string, question []string, all ...string) error {
	answer, err := redisDo(ctx, address, question...)
	if err != nil {
		return err
	}
	text := strings.Join(answer, " ") + " "
	for _, want := range all {
		if !strings.Contains(text, want) {
			return fmt.Errorf("%v: no %q", question, want)
		}
	}
	return nil
}

// Addresses returns the host:port of each Sentinel.
func (s *Sentinels) Addresses() []string {
	var all []string
	for _, r := range s.sentinels {
		all = append(all, r.Address())
	}
	return all
}

// Master returns the Redis that the Sentinels take for the master.
func (s *Sentinels) Master(ctx context.Context) (*Redis, error) {
	at, err := s.sentinels[0].Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MasterName)
	if err != nil {
		return nil, err
	}
	for _, r := range s.redis {
		if net.JoinHostPort(at[0], at[len(at)-1]) == r.Address() {
			return r, nil
		}
	}
	return nil, fmt.Errorf("the master is said to be %v", at)
}

// Revive starts those again that were killed.
func (s *Sentinels) Revive(ctx context.Context) error {
	for _, r := range s.all() {
		if r.process.running() {
			continue
		}
		if err := r.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Lost tells which have ended by themselves.
func (s *Sentinels) Lost() error {
	var errs []error
	for _, r := range s.all() {
		errs = append(errs, r.Lost())
	}
	return errors.Join(errs...)
}

// Close ends them all.
func (s *Sentinels) Close() error {
	var errs []error
	for _, r := range s.all() {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}

func (s *Sentinels) all() []*Redis { return slices.Concat(s.sentinels, s.redis) }
