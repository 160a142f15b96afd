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

// serveVote runs the real server over the database in folder until ctx ends or
// standard input closes.
func serveVote(ctx context.Context, folder string) error {
	c, err := config.Load("", []string{
		"STORAGE_PATH=" + filepath.Join(folder, "vote.db"), "SERVER_HOST=127.0.0.1", "SERVER_PORT=0",
		"LOGGING_LEVEL=warn", "JWT_SECRET_KEY=" + secret,
		"LIMITS_DAILY_VOTES=100000000", "LIMITS_REQUESTS_PER_MINUTE=100000000", "LIMITS_VOTES_PER_MINUTE=100000000",
		"LIMITS_BURST_PER_SECOND=100000000",
	})
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

func spawn(mode, folder string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(self, mode, folder)}
	p.cmd.Stderr = os.Stderr
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
	large := filepath.Join(s.folder, "large")
	const voters = 10_007
	began := time.Now()
	users, polls, err := seed(ctx, large, s.polls, voters, twoTags)
	if err != nil {
		return err
	}
	fmt.Printf("seeded %d polls of 2 tags and %d users in %v\n", s.polls, voters, time.Since(began).Round(time.Second))
	server, err := startMeasured(ctx, large, fmt.Sprintf("(e) %d polls of 2 tags", s.polls))
	if err != nil {
		return err
	}
	defer func() { _ = server.stop() }()
	if s.wants("b") || s.wants("c") {
		if err := measureHTTP(ctx, s, server, users, polls); err != nil {
			return err
		}
	}
	if err := server.stop(); err != nil {
		return err
	}
	if !s.wants("e") {
		return nil
	}
	wide := filepath.Join(s.folder, "wide")
	if _, _, err := seed(ctx, wide, s.polls, 1, tenTags); err != nil {
		return err
	}
	server, err = startMeasured(ctx, wide, fmt.Sprintf("(e) %d polls of 10 tags, a million tags", s.polls))
	if err != nil {
		return err
	}
	return server.stop()
}

func seed(ctx context.Context, folder string, polls, users int, tags func(int) []string) ([]domain.UserID, []domain.PollID, error) {
	store, err := sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(folder, "vote.db"), Clock: domain.SystemClock{}, AutoMigrate: true})
	if err != nil {
		return nil, nil, err
	}
	people, err := seedUsers(ctx, store, users)
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	ids, err := seedPolls(ctx, store, people[0], polls, tags)
	if err == nil {
		err = seedSkips(ctx, store, people[0], ids[max(0, len(ids)-10_000):])
	}
	return people, ids, errors.Join(err, store.Close())
}

// startMeasured starts the real server and prints what that cost.
func startMeasured(ctx context.Context, folder, what string) (*process, error) {
	began := time.Now()
	server, err := spawn("serve", folder)
	if err != nil {
		return nil, err
	}
	if err := server.ready(ctx); err != nil {
		return nil, errors.Join(err, server.stop())
	}
	took := time.Since(began)
	if r, err := get(ctx, "http://"+server.addr+"/api/tags", ""); err != nil || r.status != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("tags: %d %w", r.status, err), server.stop())
	}
	now, peak, err := server.residentMB()
	if err != nil {
		return nil, errors.Join(err, server.stop())
	}
	fmt.Printf("%-46s ready in %v, resident %d MB, highest %d MB\n\n", what, took.Round(10*time.Millisecond), now, peak)
	return server, nil
}

func measureHTTP(ctx context.Context, s settings, server *process, users []domain.UserID, polls []domain.PollID) error {
	tokens := make([]string, len(users))
	for i, u := range users {
		var err error
		if tokens[i], err = tokenFor(u); err != nil {
			return err
		}
	}
	base := "http://" + server.addr
	feedAnswer, err := get(ctx, base+"/api/polls", tokens[0])
	if err != nil || feedAnswer.status != http.StatusOK {
		return fmt.Errorf("feed: %d %s %w", feedAnswer.status, feedAnswer.body, err)
	}
	var page struct {
		Polls []struct {
			ID domain.PollID `json:"id"`
		} `json:"polls"`
	}
	if err := json.Unmarshal(feedAnswer.body, &page); err != nil {
		return err
	}
	if want := polls[len(polls)-10_001]; len(page.Polls) != 10 || page.Polls[0].ID != want {
		return fmt.Errorf("the feed begins with %v, want poll %d", page.Polls, want)
	}
	const body = `{"optionIndex":1}`
	voteAnswer, err := send(ctx, http.MethodPost, fmt.Sprintf("%s/api/polls/%d/vote", base, polls[0]), tokens[0], body)
	if err != nil || voteAnswer.status != http.StatusOK {
		return fmt.Errorf("vote: %d %s %w", voteAnswer.status, voteAnswer.body, err)
	}
	ceiling := filepath.Join(s.folder, "bare")
	if err := errors.Join(os.MkdirAll(ceiling, 0o700),
		os.WriteFile(filepath.Join(ceiling, "feed.json"), feedAnswer.body, 0o600),
		os.WriteFile(filepath.Join(ceiling, "vote.json"), voteAnswer.body, 0o600)); err != nil {
		return err
	}
	bare, err := spawn("bare", ceiling)
	if err != nil {
		return err
	}
	defer func() { _ = bare.stop() }()

	feed := func(b []byte, _, _ int) ([]byte, bool) {
		b = append(b, "GET /api/polls HTTP/1.1\r\nHost: vote\r\nAuthorization: Bearer "...)
		b = append(b, tokens[0]...)
		return append(b, "\r\n\r\n"...), true
	}
	indexOf := make(map[domain.UserID]int, len(users))
	for i, u := range users {
		indexOf[u] = i
	}
	// People vote on what their feeds show first: the newest polls.
	p := &pairs{users: users[1:], polls: polls[len(polls)-500:]}
	vote := func(b []byte, _, _ int) ([]byte, bool) {
		user, poll, ok := p.take()
		if !ok {
			return b, false
		}
		b = append(b, "POST /api/polls/"...)
		b = strconv.AppendInt(b, int64(poll), 10)
		b = append(b, "/vote HTTP/1.1\r\nHost: vote\r\nContent-Type: application/json\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(len(body)), 10)
		b = append(b, "\r\nAuthorization: Bearer "...)
		b = append(b, tokens[indexOf[user]]...)
		b = append(b, "\r\n\r\n"...)
		return append(b, body...), true
	}
	for _, section := range []struct {
		name, what string
		next       func([]byte, int, int) ([]byte, bool)
	}{
		{"b", "(b) feed over HTTP, newest 10,000 seen", feed},
		{"c", "(c) vote over HTTP", vote},
	} {
		if !s.wants(section.name) {
			continue
		}
		var ours, theirs []figures
		for range s.runs {
			for _, side := range []struct {
				addr string
				all  *[]figures
			}{{server.addr, &ours}, {bare.addr, &theirs}} {
				f, err := load{addr: side.addr, connections: connections, next: section.next, want: http.StatusOK}.run(s.duration)
				if err != nil {
					return err
				}
				*side.all = append(*side.all, f)
			}
		}
		row(section.what, median(ours), median(theirs))
	}
	fmt.Println()
	return nil
}
