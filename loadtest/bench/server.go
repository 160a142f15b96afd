package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"

	"vote/config"
	"vote/internal/account"
	"vote/internal/app"
	"vote/internal/domain"
	"vote/internal/engine/sqlite"
)

// secret signs the tokens of the measurement; both servers check with it.
const secret = "only-for-measuring-0123456789abcdef"

// serveVote runs the real server as the environment says until ctx ends or
// standard input closes.
func serveVote(ctx context.Context) error {
	c, err := config.Load("", append(os.Environ(),
		"SERVER_HOST=127.0.0.1", "SERVER_PORT=0",
		"LOGGING_LEVEL=warn", "JWT_SECRET_KEY="+secret,
		"LIMITS_DAILY_VOTES=100000000", "LIMITS_REQUESTS_PER_MINUTE=100000000", "LIMITS_VOTES_PER_MINUTE=100000000",
		"LIMITS_BURST_PER_SECOND=100000000",
	))
	if err != nil {
		return err
	}
	a, err := app.New(ctx, c, app.Options{Logger: app.NewLogger(c.Logging, os.Stderr), WithoutRelay: true})
	if err != nil {
		return err
	}
	fmt.Println(a.URL())
	return a.Run(untilInputEnds(ctx))
}

// serveBare runs the ceiling: Gin with one handler a call, which checks the
// token as the real server does and answers with bytes given in folder.
func serveBare(ctx context.Context, folder string) error {
	feedAnswer, err := os.ReadFile(filepath.Join(folder, "feed.json"))
	if err != nil {
		return err
	}
	voteAnswer, err := os.ReadFile(filepath.Join(folder, "vote.json"))
	if err != nil {
		return err
	}
	store, err := sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(folder, "bare.db"), Clock: domain.SystemClock{}, AutoMigrate: true})
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	accounts := account.New(account.Config{Store: store, Clock: domain.SystemClock{}, Secret: []byte(secret), TokenLife: time.Hour, RefreshLife: time.Hour})
	if err := accounts.Load(ctx); err != nil {
		return err
	}
	gin.SetMode(gin.ReleaseMode)
	g := gin.New()
	signedIn := func(c *gin.Context) bool {
		token, _ := strings.CutPrefix(c.GetHeader("Authorization"), "Bearer ")
		if _, err := accounts.Authenticate(c.Request.Context(), token); err != nil {
			c.Status(http.StatusUnauthorized)
			return false
		}
		return true
	}
	g.GET("/api/polls", func(c *gin.Context) {
		if signedIn(c) {
			c.Data(http.StatusOK, "application/json", feedAnswer)
		}
	})
	g.POST("/api/polls/:id/vote", func(c *gin.Context) {
		var body struct {
			OptionIndex *int `json:"optionIndex" binding:"required"`
		}
		if !signedIn(c) {
			return
		}
		if err := c.ShouldBindJSON(&body); err != nil {
			c.Status(http.StatusBadRequest)
			return
		}
		c.Data(http.StatusOK, "application/json", voteAnswer)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &http.Server{Handler: g, ReadHeaderTimeout: 10 * time.Second}
	ended := untilInputEnds(ctx)
	context.AfterFunc(ended, func() { _ = s.Close() })
	fmt.Println("http://" + l.Addr().String())
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// untilInputEnds returns a context that ends with ctx or standard input, so
// that a server does not outlive whoever measures it.
func untilInputEnds(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return ctx
}

// process is a server in a process of its own.
type process struct {
	cmd   *exec.Cmd
	input io.Closer
	addr  string
}

// spawn starts one with nothing in its environment but the settings.
func spawn(mode, folder string, settings ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(self, mode, folder)}
	p.cmd.Stderr, p.cmd.Env = os.Stderr, settings
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s did not start: %w", mode, err), p.stop())
	}
	p.addr = strings.TrimPrefix(strings.TrimSpace(line), "http://")
	return p, nil
}

func (p *process) stop() error {
	_ = p.input.Close()
	return p.cmd.Wait()
}

// ready waits until the server says that it is.
func (p *process) ready(ctx context.Context) error {
	for {
		r, err := get(ctx, "http://"+p.addr+"/readyz", "")
		if err == nil && r.status == http.StatusOK {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// residentMB is the process's memory, now and at its highest.
func (p *process) residentMB() (now, peak int, err error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/status")
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(b)) {
		var into *int
		switch {
		case strings.HasPrefix(line, "VmRSS:"):
			into = &now
		case strings.HasPrefix(line, "VmHWM:"):
			into = &peak
		default:
			continue
		}
		kb, err := strconv.Atoi(strings.Fields(line)[1])
		if err != nil {
			return 0, 0, err
		}
		*into = kb / 1024
	}
	return now, peak, nil
}

type answer struct {
	status int
	body   []byte
}

func get(ctx context.Context, url, token string) (answer, error) {
	return send(ctx, http.MethodGet, url, token, "")
}

func send(ctx context.Context, method, url, token, body string) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	r, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	return answer{r.StatusCode, b}, err
}

func tokenFor(user domain.UserID) (string, error) {
	now := time.Now()
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "vote", "aud": "vote", "sub": strconv.FormatInt(int64(user), 10), "sid": "bench",
		"jti": "bench" + strconv.FormatInt(int64(user), 10), "iat": now.Add(-time.Minute).Unix(), "exp": now.Add(time.Hour).Unix(),
	}).SignedString([]byte(secret))
}

const connections = 64

// measureServer seeds the large database, then measures start, memory, feed and
// vote over HTTP.
func measureServer(ctx context.Context, s settings) error {
	const voters = 10_007
	began := time.Now()
	users, polls, err := seed(ctx, s, "large", voters, twoTags)
	if err != nil {
		return err
	}
	fmt.Printf("seeded %d polls of 2 tags and %d users in %v\n", s.polls, voters, time.Since(began).Round(time.Second))
	if err := withServers(ctx, s, "large", fmt.Sprintf("(e) %d polls of 2 tags", s.polls), func(servers []*process) error {
		if !s.wants("b") && !s.wants("c") {
			return nil
		}
		return measureHTTP(ctx, s, servers, users, polls)
	}); err != nil || !s.wants("e") {
		return err
	}
	if _, _, err := seed(ctx, s, "wide", 1, tenTags); err != nil {
		return err
	}
	return withServers(ctx, s, "wide", fmt.Sprintf("(e) %d polls of 10 tags, a million tags", s.polls), func([]*process) error { return nil })
}

func seed(ctx context.Context, s settings, name string, users int, tags func(int) []string) ([]domain.UserID, []domain.PollID, error) {
	store, err := s.ground.open(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	people, err := seedUsers(ctx, store, users)
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	ids, err := seedPolls(ctx, store, people[0], s.polls, tags)
	if err == nil {
		err = seedSkips(ctx, store, people[0], ids[max(0, len(ids)-10_000):])
	}
	return people, ids, errors.Join(err, store.Close())
}

// withServers starts the real servers, one after the other, prints what the
// first cost, and ends them after use.
func withServers(ctx context.Context, s settings, name, what string, use func([]*process) error) (err error) {
	var servers []*process
	defer func() {
		for _, server := range servers {
			err = errors.Join(err, server.stop())
		}
	}()
	for i := range s.ground.servers() {
		began := time.Now()
		server, err := spawn("serve", "", s.ground.settings(name)...)
		if err != nil {
			return err
		}
		servers = append(servers, server)
		if err := server.ready(ctx); err != nil {
			return err
		}
		if i > 0 {
			continue
		}
		took := time.Since(began)
		if r, err := get(ctx, "http://"+server.addr+"/api/tags", ""); err != nil || r.status != http.StatusOK {
			return fmt.Errorf("tags: %d %w", r.status, err)
		}
		now, peak, err := server.residentMB()
		if err != nil {
			return err
		}
		fmt.Printf("%-46s ready in %v, resident %d MB, highest %d MB\n\n", what, took.Round(10*time.Millisecond), now, peak)
	}
	return use(servers)
}

// crowd are people who are signed in, and the servers that they use.
type crowd struct {
	servers []*process
	users   []domain.UserID
	tokens  map[domain.UserID]string
}

// page returns the answer to a user's feed request, and the polls in it.
func (c crowd) page(ctx context.Context, server *process, user domain.UserID) (body []byte, polls []domain.PollID, err error) {
	r, err := get(ctx, "http://"+server.addr+"/api/polls", c.tokens[user])
	if err != nil || r.status != http.StatusOK {
		return nil, nil, fmt.Errorf("feed: %d %s %w", r.status, r.body, err)
	}
	var page struct {
		Polls []struct {
			ID domain.PollID `json:"id"`
		} `json:"polls"`
	}
	err = json.Unmarshal(r.body, &page)
	for _, p := range page.Polls {
		polls = append(polls, p.ID)
	}
	return r.body, polls, err
}

const voteBody = `{"optionIndex":1}`

func (c crowd) vote(ctx context.Context, server *process, user domain.UserID, poll domain.PollID) (body []byte, err error) {
	r, err := send(ctx, http.MethodPost, fmt.Sprintf("http://%s/api/polls/%d/vote", server.addr, poll), c.tokens[user], voteBody)
	if err != nil || r.status != http.StatusOK {
		return nil, fmt.Errorf("vote: %d %s %w", r.status, r.body, err)
	}
	return r.body, nil
}

// readers are the people whose feeds are read. Where the servers are several
// they are many: the windows of their limits, which servers share, are then
// about as full as with real people.
func (c crowd) readers() []domain.UserID {
	if len(c.servers) == 1 {
		return c.users[:1]
	}
	return c.users[:1000]
}

// voteElsewhere lets each reader vote on the first poll of the page by a server
// other than the first, and sees that the first has noticed.
func (c crowd) voteElsewhere(ctx context.Context) error {
	for i, user := range c.readers() {
		_, polls, err := c.page(ctx, c.servers[0], user)
		if err != nil {
			return err
		}
		if _, err := c.vote(ctx, c.servers[1+i%(len(c.servers)-1)], user, polls[0]); err != nil {
			return err
		}
		_, after, err := c.page(ctx, c.servers[0], user)
		if err != nil {
			return err
		}
		if slices.Contains(after, polls[0]) {
			return fmt.Errorf("the feed of user %d shows poll %d after the vote on it", user, polls[0])
		}
	}
	return nil
}

func measureHTTP(ctx context.Context, s settings, servers []*process, users []domain.UserID, polls []domain.PollID) error {
	people := crowd{servers: servers, users: users, tokens: make(map[domain.UserID]string, len(users))}
	for _, u := range users {
		var err error
		if people.tokens[u], err = tokenFor(u); err != nil {
			return err
		}
	}
	feedAnswer, page, err := people.page(ctx, servers[0], users[0])
	if err != nil {
		return err
	}
	if want := polls[len(polls)-10_001]; len(page) != 10 || page[0] != want {
		return fmt.Errorf("the feed begins with %v, want poll %d", page, want)
	}
	voteAnswer, err := people.vote(ctx, servers[0], users[0], polls[0])
	if err != nil {
		return err
	}
	ceiling := filepath.Join(s.folder, "bare")
	if err := errors.Join(os.MkdirAll(ceiling, 0o700),
		os.WriteFile(filepath.Join(ceiling, "feed.json"), feedAnswer, 0o600),
		os.WriteFile(filepath.Join(ceiling, "vote.json"), voteAnswer, 0o600)); err != nil {
		return err
	}
	bare, err := spawn("bare", ceiling)
	if err != nil {
		return err
	}
	defer func() { _ = bare.stop() }()
	if s.wants("b") {
		if err := measureFeed(ctx, s, people, bare); err != nil {
			return err
		}
	}
	if s.wants("c") {
		if err := measureVotes(ctx, s, people, bare, polls); err != nil {
			return err
		}
	}
	fmt.Println()
	return nil
}

func measureFeed(ctx context.Context, s settings, people crowd, bare *process) error {
	readers := people.readers()
	to := func(server *process) func() (figures, error) {
		return func() (figures, error) {
			return load{addr: server.addr, connections: connections, want: http.StatusOK, next: func(b []byte, connection, n int) ([]byte, bool) {
				b = append(b, "GET /api/polls HTTP/1.1\r\nHost: vote\r\nAuthorization: Bearer "...)
				b = append(b, people.tokens[readers[(connection+n*connections)%len(readers)]]...)
				return append(b, "\r\n\r\n"...), true
			}}.run(s.duration)
		}
	}
	ours := to(people.servers[0])
	what := "(b) feed over HTTP, newest 10,000 seen"
	if len(people.servers) > 1 {
		what = "(b) feed over HTTP, voted elsewhere"
		measured := ours
		ours = func() (figures, error) {
			if err := people.voteElsewhere(ctx); err != nil {
				return figures{}, err
			}
			return measured()
		}
	}
	medians, err := alternate(s.runs, &side{run: ours}, &side{run: to(bare)})
	if err != nil {
		return err
	}
	row(what, medians[0], medians[1])
	return nil
}

func measureVotes(ctx context.Context, s settings, people crowd, bare *process, polls []domain.PollID) error {
	// People vote on what their feeds show first: the newest polls.
	p := &pairs{users: people.users[1000:], polls: polls[len(polls)-500:]}
	to := func(server *process) func() (figures, error) {
		return func() (figures, error) {
			return load{addr: server.addr, connections: connections, want: http.StatusOK, next: func(b []byte, _, _ int) ([]byte, bool) {
				user, poll, ok := p.take()
				if !ok {
					return b, false
				}
				b = append(b, "POST /api/polls/"...)
				b = strconv.AppendInt(b, int64(poll), 10)
				b = append(b, "/vote HTTP/1.1\r\nHost: vote\r\nContent-Type: application/json\r\nContent-Length: "...)
				b = strconv.AppendInt(b, int64(len(voteBody)), 10)
				b = append(b, "\r\nAuthorization: Bearer "...)
				b = append(b, people.tokens[user]...)
				b = append(b, "\r\n\r\n"...)
				return append(b, voteBody...), true
			}}.run(s.duration)
		}
	}
	sides := []*side{{run: to(people.servers[0])}, {run: to(bare)}}
	clients := 0
	if len(people.servers) > 1 { // else the store is the server's alone
		store, err := s.ground.open(ctx, "large")
		if err != nil {
			return err
		}
		defer func() { _ = store.Close() }()
		if clients, err = bestClients(ctx, s, store, p, connections); err != nil {
			return err
		}
		sides = append(sides, &side{run: func() (figures, error) { return callersLoop(clients, s.duration, single(ctx, store, p)) }})
	}
	medians, err := alternate(s.runs, sides...)
	if err != nil {
		return err
	}
	row("(c) vote over HTTP", medians[0], medians[1])
	if clients > 0 {
		row(fmt.Sprintf("    and one transaction a vote, %d clients", clients), medians[0], medians[2])
	}
	return nil
}
