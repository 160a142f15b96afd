package account

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"pgregory.net/rapid"

	"vote/internal/domain"
)

const testSecret = "0123456789abcdef0123456789abcdef"

// testClock is a clock that only its owner moves.
type testClock struct {
	mu  sync.Mutex
	now time.Time
}

func newTestClock() *testClock {
	return &testClock{now: time.Date(2025, 6, 1, 12, 0, 0, 123456789, time.UTC)}
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// endedLog is a store that knows nothing but ended sessions, and shows those
// that were committed.
type endedLog struct {
	domain.Store
	mu   sync.Mutex
	ends []domain.EndedSession
	err  error
	// calls counts the readings, asked is where the last one began.
	calls int
	asked time.Time
}

func (l *endedLog) commit(id string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends = append(l.ends, domain.EndedSession{ID: id, EndedAt: at})
}

func (l *endedLog) EndedSessions(_ context.Context, since time.Time) ([]domain.EndedSession, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	l.asked = since
	var list []domain.EndedSession
	for _, e := range l.ends {
		if !e.EndedAt.Before(since) {
			list = append(list, e)
		}
	}
	return list, l.err
}

func newTestAccount(t interface{ Fatal(...any) }, clock domain.Clock, store domain.Store) *Account {
	a := New(Config{Store: store, Clock: clock, Secret: []byte(testSecret), TokenLife: time.Hour, DailyVotes: 100})
	a.hasher.setParams(cheap)
	if err := a.Load(context.Background()); err != nil {
		t.Fatal(err)
	}
	return a
}

// encode makes a token of any header and claims, signed with HMAC-SHA-256.
func encode(header, claims any, secret string) string {
	part := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	text := part(header) + "." + part(claims)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func TestIssuedToken(t *testing.T) {
	t.Parallel()
	clock := newTestClock()
	a := newTestAccount(t, clock, &endedLog{})
	tokens, err := a.issue(domain.User{ID: 42}, "session", "", clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	if want := clock.Now().Truncate(time.Second).Add(time.Hour); !tokens.ExpiresAt.Equal(want) {
		t.Errorf("expires at %v, want %v", tokens.ExpiresAt, want)
	}
	parts := strings.Split(tokens.Token, ".")
	var header, body map[string]any
	for i, v := range []*map[string]any{&header, &body} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, v); err != nil {
			t.Fatal(err)
		}
	}
	if header["alg"] != "HS256" || body["iss"] != "vote" || body["sub"] != "42" || body["sid"] != "session" || body["jti"] == "" ||
		body["iat"] != float64(clock.Now().Unix()) || body["exp"] != float64(clock.Now().Unix()+3600) || len(body) != 7 {
		t.Errorf("header %v, claims %v", header, body)
	}
	for range 2 { // verified, then remembered
		if id, err := a.Authenticate(context.Background(), tokens.Token); err != nil || id != (Identity{User: 42, Session: "session"}) {
			t.Errorf("%v, %v", id, err)
		}
	}
	clock.Advance(tokens.ExpiresAt.Sub(clock.Now()) - 1)
	if _, err := a.Authenticate(context.Background(), tokens.Token); err != nil {
		t.Errorf("just before its end: %v", err)
	}
	clock.Advance(1)
	if _, err := a.Authenticate(context.Background(), tokens.Token); domain.CodeOf(err) != domain.CodeUnauthorized {
		t.Errorf("at its end: %v", err)
	}
	other, err := a.issue(domain.User{ID: 42}, "session", "", clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	again, err := a.issue(domain.User{ID: 42}, "session", "", clock.Now())
	if err != nil || other.Token == again.Token {
		t.Errorf("two tokens of one second are the same: %v", err)
	}
}

func TestTokensRefused(t *testing.T) {
	t.Parallel()
	clock := newTestClock()
	a := newTestAccount(t, clock, &endedLog{})
	now := clock.Now().Unix()
	hs256 := map[string]any{"alg": "HS256", "typ": "JWT"}
	good := map[string]any{"iss": "vote", "aud": "vote", "sub": "42", "sid": "s", "jti": "j", "iat": now, "exp": now + 3600}
	with := func(key string, value any) map[string]any {
		c := maps.Clone(good)
		if c[key] = value; value == nil {
			delete(c, key)
		}
		return c
	}
	signed := func(c map[string]any) string { return encode(hs256, c, testSecret) }
	token := signed(good)
	if _, err := a.Authenticate(context.Background(), token); err != nil {
		t.Fatalf("the token that the others are made from: %v", err)
	}
	for name, c := range map[string]map[string]any{
		"a clock half a minute ahead": with("iat", now+30), "one audience as a list": with("aud", []string{"vote"}), "more claims": with("nbf", now),
	} {
		if _, err := a.Authenticate(context.Background(), signed(c)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rs256, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims(good)).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	hs512, err := jwt.NewWithClaims(jwt.SigningMethodHS512, jwt.MapClaims(good)).SignedString([]byte(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	none, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims(good)).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	pss, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, make([]byte, 32), nil)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(token, ".")
	flip := func(s string, i int) string {
		b := []byte(s)
		b[i] ^= 1
		return string(b)
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	spare := alphabet[strings.IndexByte(alphabet, token[len(token)-1])^1] // other spare bits, same signature
	tokens := map[string]string{
		"empty": "", "text": "hello", "dots": "..", "two parts": parts[0] + "." + parts[1], "four parts": token + ".x", "no signature": parts[0] + "." + parts[1] + ".",
		"short by one": token[:len(token)-1], "longer by one": token + "A", "padded": token + "=", "line break": token + "\n", "space": " " + token, "scheme": "Bearer " + token,
		"spare bits": token[:len(token)-1] + string(spare), "NUL": token + "\x00", "huge": strings.Repeat("a", 1<<20), "huge claims": signed(with("x", strings.Repeat("x", 2000))),
		"header changed": flip(token, 2), "claims changed": flip(token, len(parts[0])+5), "signature changed": flip(token, len(token)-5),
		"alg none": none, "alg none, signed": encode(map[string]any{"alg": "none"}, good, testSecret), "alg None": encode(map[string]any{"alg": "None"}, good, testSecret), "alg missing": encode(map[string]any{"typ": "JWT"}, good, testSecret),
		"alg number": encode(map[string]any{"alg": 1}, good, testSecret), "alg in lower case": encode(map[string]any{"alg": "hs256"}, good, testSecret), "HS512": hs512, "HS384 header": encode(map[string]any{"alg": "HS384"}, good, testSecret),
		"RS256": rs256, "RS256 header": encode(map[string]any{"alg": "RS256"}, good, testSecret), "PS256": parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(pss),
		"other secret": encode(hs256, good, testSecret+"x"), "no secret": encode(hs256, good, ""), "claims no object": encode(hs256, []int{1}, testSecret), "claims null": encode(hs256, nil, testSecret),
		"issuer": signed(with("iss", "Vote")), "no issuer": signed(with("iss", nil)), "audience": signed(with("aud", "other")), "no audience": signed(with("aud", nil)), "two audiences": signed(with("aud", []string{"vote", "other"})), "no audience in list": signed(with("aud", []string{})),
		"no subject": signed(with("sub", nil)), "subject 0": signed(with("sub", "0")), "negative subject": signed(with("sub", "-1")), "leading zero": signed(with("sub", "042")), "subject text": signed(with("sub", "me")), "subject number": signed(with("sub", 42)), "subject too large": signed(with("sub", "9007199254740992")),
		"no session": signed(with("sid", nil)), "empty session": signed(with("sid", "")), "session number": signed(with("sid", 1)), "no jti": signed(with("jti", nil)),
		"no iat": signed(with("iat", nil)), "no exp": signed(with("exp", nil)), "exp text": signed(with("exp", "soon")), "expired": signed(with("exp", now)), "exp before iat": signed(with("exp", now-10)), "exp 0": signed(with("exp", 0)),
		"issued in the future": signed(with("iat", now+62)), "issued too long ago": signed(with("iat", now-3601)), "iat immense": signed(with("iat", 1e300)), "exp immense and old": signed(map[string]any{"iss": "vote", "aud": "vote", "sub": "42", "sid": "s", "jti": "j", "iat": now - 3601, "exp": 1e300}),
	}
	for name, token := range tokens {
		for range 2 { // the second time it may be remembered
			if id, err := a.Authenticate(context.Background(), token); domain.CodeOf(err) != domain.CodeUnauthorized || id != (Identity{}) {
				t.Errorf("%s: %v, %v", name, id, err)
			}
		}
	}
	// A token that says it lives longer than tokens do, does not.
	long := signed(with("exp", now+86400))
	if _, err := a.Authenticate(context.Background(), long); err != nil {
		t.Error(err)
	}
	clock.Advance(time.Hour)
	if _, err := a.Authenticate(context.Background(), long); domain.CodeOf(err) != domain.CodeUnauthorized {
		t.Errorf("older than the life of tokens: %v", err)
	}
}

// Random histories: whatever was remembered, a token is accepted exactly when
// verifying it anew accepts it, its time is now and its session goes on.
func TestRememberedTokensChangeNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		clock := newTestClock()
		a := newTestAccount(t, clock, &endedLog{})
		a.tokens = newTokenCache(2) // so that tokens push each other out
		var tokens []string
		ended := make(map[string]bool)
		sessions := rapid.SampledFrom([]string{"a", "b", "c"})
		t.Repeat(map[string]func(*rapid.T){
			"issue": func(t *rapid.T) {
				tk, err := a.issue(domain.User{ID: domain.UserID(rapid.Int64Range(1, 3).Draw(t, "user"))}, sessions.Draw(t, "session"), "",
					clock.Now().Add(rapid.SampledFrom([]time.Duration{0, -59 * time.Minute, 90 * time.Second}).Draw(t, "offset")))
				if err != nil {
					t.Fatal(err)
				}
				tokens = append(tokens, tk.Token)
			},
			"advance": func(t *rapid.T) {
				clock.Advance(rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 20 * time.Minute, -10 * time.Minute}).Draw(t, "by"))
			},
			"end": func(t *rapid.T) {
				s := sessions.Draw(t, "session")
				a.ended.add(context.Background(), s)
				ended[s] = true
			},
			"authenticate": func(t *rapid.T) {
				if len(tokens) == 0 {
					t.Skip("no token yet")
				}
				token := rapid.SampledFrom(tokens).Draw(t, "token")
				if rapid.Bool().Draw(t, "change") {
					i := rapid.IntRange(0, len(token)-1).Draw(t, "where")
					token = token[:i] + rapid.StringN(0, 2, 2).Draw(t, "with") + token[i+1:]
				}
				fresh, err := a.signer.verify(token)
				want := err == nil && fresh.good(clock.Now()) && !ended[fresh.Session]
				id, err := a.Authenticate(context.Background(), token)
				if (err == nil) != want || (want && id != fresh.Identity) {
					t.Fatalf("accepted %v as %v, want %v", err == nil, id, want)
				}
			},
		})
	})
}

func TestRefreshTokenFormat(t *testing.T) {
	t.Parallel()
	token, hash, err := newRefreshToken(systemRandom)
	if err != nil || len(token) != 43 {
		t.Fatalf("%q, %v", token, err)
	}
	if got, ok := hashRefreshToken(token); !ok || got != hash {
		t.Error("the token is not the hash's")
	}
	zero := strings.Repeat("A", 43)
	for _, s := range []string{"", "x", token[1:], token + "A", token + "=", token[:42] + "=", token[:42] + "\n", zero[:42] + "B", strings.Repeat("+", 43), strings.Repeat("é", 43), strings.Repeat("A", 1<<20), "AAAA\r\n" + zero[6:]} {
		if _, ok := hashRefreshToken(s); ok {
			t.Errorf("%.60q has the form of a refresh token", s)
		}
	}
}

func FuzzTokens(f *testing.F) {
	clock := newTestClock()
	a := newTestAccount(f, clock, &endedLog{})
	// Fuzzing runs in several processes, which must issue the same tokens.
	a.signer.random = strings.NewReader(strings.Repeat("r", 2*sessionIDBytes))
	issued := make(map[string]bool)
	for _, s := range []string{"a", "b"} {
		tk, err := a.issue(domain.User{ID: 1}, s, "", clock.Now())
		if err != nil {
			f.Fatal(err)
		}
		issued[tk.Token] = true
		f.Add(tk.Token)
	}
	f.Add(encode(map[string]any{"alg": "none"}, map[string]any{"sub": "1"}, ""))
	f.Add(strings.Repeat("A", 43))
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := a.Authenticate(context.Background(), token); (err == nil) != issued[token] {
			t.Fatalf("accepted: %v, issued: %v", err == nil, issued[token])
		}
		if h, ok := hashRefreshToken(token); ok {
			raw, err := base64.RawURLEncoding.DecodeString(token)
			if err != nil || sha256.Sum256(raw) != h || base64.RawURLEncoding.EncodeToString(raw) != token {
				t.Fatalf("%q taken for a refresh token", token)
			}
		}
	})
}

// FuzzClaims signs any header and claims with the right secret. What is accepted
// carries every claim as it must be, by another reading of the same JSON, and
// says who acts; what a token issued here carries is accepted.
func FuzzClaims(f *testing.F) {
	clock := newTestClock()
	a := newTestAccount(f, clock, &endedLog{})
	now := clock.Now().Unix()
	claims := func(change string) string {
		return fmt.Sprintf(`{"iss":"vote","sub":"1","aud":["vote"],"exp":%d,"iat":%d,"jti":"j","sid":"s"%s}`, now+3600, now, change)
	}
	const header = `{"alg":"HS256","typ":"JWT"}`
	f.Add(header, claims(""))
	f.Add(header, claims(`,"nbf":99999999999`))
	f.Add(`{"alg":"none"}`, claims(""))
	f.Add(header, claims(`,"sub":"2","SUB":"3"`))
	f.Add(header, fmt.Sprintf(`{"iss":"vote","sub":1,"aud":"vote","exp":"%d","iat":%d.5,"jti":"","sid":"s"}`, now, now))
	f.Fuzz(func(t *testing.T, header, body string) {
		text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(body))
		mac := hmac.New(sha256.New, []byte(testSecret))
		mac.Write([]byte(text))
		who, err := a.Authenticate(context.Background(), text+"."+base64.RawURLEncoding.EncodeToString(mac.Sum(nil)))
		if err != nil {
			if header == `{"alg":"HS256","typ":"JWT"}` && body == claims("") {
				t.Fatalf("a good token: %v", err)
			}
			return
		}
		var h struct{ Alg string }
		var c struct {
			Iss, Sub, Jti, Sid string
			Aud                any
			Iat, Exp           float64
		}
		if err := errors.Join(json.Unmarshal([]byte(header), &h), json.Unmarshal([]byte(body), &c)); err != nil {
			t.Fatalf("accepted what cannot be read: %v", err)
		}
		audience := fmt.Sprint(c.Aud)
		if h.Alg != "HS256" || c.Iss != "vote" || c.Jti == "" || c.Sid != who.Session || c.Sid == "" || c.Sub != strconv.FormatInt(int64(who.User), 10) || who.User < 1 ||
			(audience != "vote" && audience != "[vote]") || c.Iat > float64(now+60) || c.Iat+3600 < float64(now) || c.Exp < float64(now) {
			t.Fatalf("accepted %s %s as %+v", header, body, who)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	clock := domain.SystemClock{}
	a := newTestAccount(b, clock, &endedLog{})
	tk, err := a.issue(domain.User{ID: 123456}, "abcdefghijklmnopqrstuv", "", clock.Now())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("verified", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := a.signer.verify(tk.Token); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("remembered", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := a.Authenticate(context.Background(), tk.Token); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("remembered, parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				if _, err := a.Authenticate(context.Background(), tk.Token); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
