package account

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"vote/internal/domain"
)

const (
	defaultTokenLife   = 24 * time.Hour
	defaultRefreshLife = 30 * 24 * time.Hour
	defaultHashWait    = 2 * time.Second

	pruneEvery   = time.Hour
	pruneTimeout = 5 * time.Minute
	forgetEvery  = 10 * time.Minute
)

// Config is what an [Account] needs. Store and Secret must be given.
type Config struct {
	Store domain.Store
	// Cache tells processes of sessions that others ended; nil: they only learn
	// it from the store.
	Cache      domain.Cache
	Clock      domain.Clock          // default: the machine's
	Logger     *slog.Logger          // default: none
	Registerer prometheus.Registerer // nil: metrics are not registered

	// Secret signs access tokens (HMAC-SHA-256). All instances share it.
	Secret []byte
	// TokenLife is the life of an access token in whole seconds, default 24
	// hours; RefreshLife that of an unused refresh token, default 30 days.
	TokenLife, RefreshLife time.Duration
	// Hashes is how many passwords are hashed at once, each with 19 MiB;
	// default: the number of CPUs, at least 2. 64 times as many callers may wait.
	Hashes int
	// HashWait is how long a caller waits for its turn; default 2 s.
	HashWait time.Duration
	// DailyVotes is the daily limit that a [Profile] tells the rest of; 0
	// means that there is none.
	DailyVotes int
	// Random makes salts and tokens; default crypto/rand. It must be safe for
	// concurrent use.
	Random io.Reader
}

// Account answers for accounts, sessions and tokens. See the package's
// documentation for what it guarantees.
type Account struct {
	store       domain.Store
	clock       domain.Clock
	log         *slog.Logger
	random      io.Reader
	refreshLife time.Duration
	tokenLife   time.Duration
	dailyVotes  int

	hasher  *hasher
	signer  *signer
	tokens  *tokenCache
	ended   *endedSessions
	metrics *metrics

	followEvery time.Duration
}

// Tokens is what a client gets when it signs in.
type Tokens struct {
	User         domain.User
	Token        string // the access token
	RefreshToken string
	ExpiresAt    time.Time // of the access token
	// RefreshExpiresAt is when the refresh token expires.
	RefreshExpiresAt time.Time
}

// Profile is what a user is told about their own account.
type Profile struct {
	ID         domain.UserID
	Username   string
	Email      string
	CreatedAt  time.Time
	VotesToday int
	// VotesRemainingToday is nil when there is no daily limit.
	VotesRemainingToday *int
	Votes               int64
	Skips               int64
	Polls               int64
}

// New returns an Account that accepts access tokens once [Account.Load] has
// succeeded or [Account.Run] has started. It panics when Store or Secret is
// missing.
func New(cfg Config) *Account {
	if cfg.Store == nil || len(cfg.Secret) == 0 {
		panic("account: Store and Secret are needed")
	}
	if cfg.Clock == nil {
		cfg.Clock = domain.SystemClock{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Random == nil {
		cfg.Random = systemRandom
	}
	if cfg.TokenLife <= 0 {
		cfg.TokenLife = defaultTokenLife
	}
	if cfg.RefreshLife <= 0 {
		cfg.RefreshLife = defaultRefreshLife
	}
	if cfg.HashWait <= 0 {
		cfg.HashWait = defaultHashWait
	}
	m := newMetrics(cfg.Registerer)
	return &Account{
		store: cfg.Store, clock: cfg.Clock, log: cfg.Logger, random: cfg.Random,
		refreshLife: cfg.RefreshLife, tokenLife: cfg.TokenLife, dailyVotes: cfg.DailyVotes,
		hasher: newHasher(cfg, m),
		signer: newSigner(slices.Clone(cfg.Secret), cfg.TokenLife, cfg.Random),
		tokens: newTokenCache(tokenCacheSize),
		ended: &endedSessions{
			store: cfg.Store, cache: cfg.Cache, clock: cfg.Clock, keep: cfg.TokenLife + endedMargin, metrics: m,
		},
		metrics:     m,
		followEvery: followEvery,
	}
}

// Load reads the sessions that ended within the life of an access token. Until
// it has succeeded once, [Account.Authenticate] accepts nothing. Errors: those
// of the store.
func (a *Account) Load(ctx context.Context) error {
	if err := a.ended.load(ctx); err != nil {
		return fmt.Errorf("load ended sessions: %w", err)
	}
	return nil
}

// Run follows the sessions that end elsewhere and forgets what has expired,
// until ctx ends. It loads first when nobody did, as often as it takes. It
// returns nil; faults are logged and tried again.
func (a *Account) Run(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error {
		a.every(ctx, a.followEvery, "follow ended sessions", func(ctx context.Context) error {
			if !a.ended.loaded.Load() {
				return a.ended.load(ctx)
			}
			return a.ended.follow(ctx)
		})
		return nil
	})
	g.Go(func() error {
		a.every(ctx, forgetEvery, "forget ended sessions", func(context.Context) error {
			a.ended.forget()
			return nil
		})
		return nil
	})
	g.Go(func() error {
		a.every(ctx, pruneEvery, "prune", a.prune)
		return nil
	})
	return g.Wait()
}

// every calls work now and then once per period, until ctx ends. Of a row of
// failures the first is logged, and the success that ends it.
func (a *Account) every(ctx context.Context, period time.Duration, name string, work func(context.Context) error) {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	failing := false
	for {
		err := work(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			a.log.ErrorContext(ctx, name+" failed; trying again", "error", err)
		case err == nil && failing:
			a.log.InfoContext(ctx, name+" works again")
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// prune forgets sessions and idempotency keys whose time is over. A session is
// kept as long as its end matters to those who load the ended ones.
func (a *Account) prune(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pruneTimeout)
	defer cancel()
	now := a.clock.Now()
	sessions, err := a.store.PruneSessions(ctx, now.Add(-a.tokenLife-endedMargin))
	if err != nil {
		return fmt.Errorf("sessions: %w", err)
	}
	a.metrics.pruned.WithLabelValues("session").Add(float64(sessions))
	keys, err := a.store.PruneIdempotencyKeys(ctx, now.Add(-domain.IdempotencyLife))
	if err != nil {
		return fmt.Errorf("idempotency keys: %w", err)
	}
	a.metrics.pruned.WithLabelValues("idempotency_key").Add(float64(keys))
	return nil
}

// Register makes an account and signs it in. Errors: CodeInvalid with every
// fault of the fields username, email and password; CodeEmailTaken,
// CodeUsernameTaken; CodeOverloaded; those of the store.
func (a *Account) Register(ctx context.Context, username, email, password string) (_ Tokens, err error) {
	defer func() { count(a.metrics.registrations, err) }()
	var faults []domain.FieldError
	check := func(field, fault string) {
		if fault != "" {
			faults = append(faults, domain.FieldError{Field: field, Message: fault})
		}
	}
	name, nameKey, fault := domain.NormalizeUsername(username)
	check("username", fault)
	address, addressKey, fault := domain.NormalizeEmail(email)
	check("email", fault)
	password, fault = domain.NormalizePassword(password)
	check("password", fault)
	if err := domain.Invalid(faults); err != nil {
		return Tokens{}, err
	}
	hash, err := a.hasher.hash(ctx, password)
	if err != nil {
		return Tokens{}, err
	}
	now := a.clock.Now()
	session, refresh, refreshHash, err := a.newSession(now)
	if err != nil {
		return Tokens{}, err
	}
	user, err := a.store.CreateUser(ctx, domain.NewUser{
		Username: name, UsernameKey: nameKey, Email: address, EmailKey: addressKey, PasswordHash: hash,
	}, session, refreshHash)
	if err != nil {
		return Tokens{}, err
	}
	return a.issue(user, session.ID, refresh, now)
}

// Login signs in. An unknown address and a wrong password get the same answer
// after the same work. Errors: CodeInvalidCredentials; CodeOverloaded; those of
// the store.
func (a *Account) Login(ctx context.Context, email, password string) (_ Tokens, err error) {
	defer func() { count(a.metrics.logins, err) }()
	// An address or password that no account can have is treated like a wrong
	// one: the work shall not tell.
	var user domain.User
	if _, key, fault := domain.NormalizeEmail(email); fault == "" {
		user, err = a.store.UserByEmail(ctx, key)
		if err != nil && domain.CodeOf(err) != domain.CodeNotFound {
			return Tokens{}, err
		}
	}
	password, fault := domain.NormalizePassword(password)
	if fault != "" {
		password = "" // nobody's, and cheap to hash however long it was
	}
	ok, err := a.hasher.verify(ctx, user.PasswordHash, password)
	if err != nil {
		return Tokens{}, err
	}
	if !ok {
		return Tokens{}, invalidCredentials()
	}
	now := a.clock.Now()
	session, refresh, refreshHash, err := a.newSession(now)
	if err != nil {
		return Tokens{}, err
	}
	session.User = user.ID
	switch err := a.store.CreateSession(ctx, session, refreshHash, user.PasswordHash); domain.CodeOf(err) {
	case "":
	case domain.CodeNotFound, domain.CodeWrongPassword:
		return Tokens{}, invalidCredentials() // erased, or another password, in between
	case domain.CodeBanned:
		return Tokens{}, banned()
	default:
		return Tokens{}, err
	}
	return a.issue(user, session.ID, refresh, now)
}

// Refresh replaces a refresh token by a new pair. Using one that was replaced
// before ends its session: its access tokens are refused here when the call
// returns, elsewhere within seconds. Errors: CodeInvalidRefreshToken (unknown,
// expired, of an ended session, or no refresh token at all), CodeRefreshReused,
// CodeBanned; those of the store. After CodeOutcomeUnknown the old token may be used up.
func (a *Account) Refresh(ctx context.Context, refreshToken string) (_ Tokens, err error) {
	defer func() { count(a.metrics.refreshes, err) }()
	old, ok := hashRefreshToken(refreshToken)
	if !ok {
		return Tokens{}, invalidRefreshToken()
	}
	// Everything that can fail comes before the rotation, for what fails
	// after it has cost the client its session. What time it is as well: an
	// access token must not look younger than the end of its session.
	now := a.clock.Now()
	next, nextHash, err := newRefreshToken(a.random)
	if err != nil {
		return Tokens{}, domain.Fault(domain.CodeInternal, err)
	}
	var tokens Tokens
	prepare := func(session domain.Session) error {
		user, err := a.store.UserByID(ctx, session.User)
		if domain.CodeOf(err) == domain.CodeNotFound {
			return invalidRefreshToken() // erased in between
		}
		if err != nil {
			return err
		}
		tokens, err = a.issue(user, session.ID, next, now)
		return err
	}
	session, err := a.store.SessionByRefresh(ctx, old)
	switch domain.CodeOf(err) {
	case "":
		if err := prepare(session); err != nil {
			return Tokens{}, err
		}
	case domain.CodeInvalidRefreshToken: // the rotation tells reused from unknown
	default:
		return Tokens{}, err
	}
	session, err = a.store.RotateRefresh(ctx, old, nextHash, now.Add(a.refreshLife))
	switch domain.CodeOf(err) {
	case "":
		if tokens.Token == "" { // the look-up above was behind, as a replica may be
			if err := prepare(session); err != nil {
				return Tokens{}, err
			}
		}
		return tokens, nil
	case domain.CodeInvalidRefreshToken:
		return Tokens{}, invalidRefreshToken()
	case domain.CodeBanned:
		return Tokens{}, banned()
	case domain.CodeRefreshReused:
		// The store does not say which session it ended, but can be asked.
		// That the caller leaves must not keep the tokens alive.
		if err := a.ended.follow(context.WithoutCancel(ctx)); err != nil {
			a.log.ErrorContext(ctx, "read the session that a reused refresh token ended; it is tried again shortly", "error", err)
		}
		return Tokens{}, domain.E(domain.CodeRefreshReused, "This refresh token was used before. Its session has ended; log in again.")
	default:
		return Tokens{}, err
	}
}

// Logout ends a session of the user: that of the access token, or, when a
// refresh token is given, the one that this belongs to. Its access tokens are
// refused here when the call returns, elsewhere within seconds. Ending a
// session that ended is no error. Errors: CodeInvalidRefreshToken for a refresh
// token that is not the current one of a live session of the same user, which
// changes nothing; those of the store.
func (a *Account) Logout(ctx context.Context, id Identity, refreshToken string) error {
	session := id.Session
	if refreshToken != "" {
		hash, ok := hashRefreshToken(refreshToken)
		if !ok {
			return invalidRefreshToken()
		}
		s, err := a.store.SessionByRefresh(ctx, hash)
		if err != nil {
			if domain.CodeOf(err) == domain.CodeInvalidRefreshToken {
				return invalidRefreshToken()
			}
			return err
		}
		if s.User != id.User {
			return invalidRefreshToken()
		}
		session = s.ID
	}
	// A session that is not there any more has ended or expired long ago.
	if err := a.store.EndSession(ctx, id.User, session); err != nil && domain.CodeOf(err) != domain.CodeNotFound {
		return err
	}
	a.ended.add(ctx, session)
	a.metrics.logouts.Inc()
	return nil
}

// Authenticate returns who an access token stands for. It looks at memory only,
// and, when it meets a token for the first time, at the cache.
// Errors: CodeUnauthorized; CodeStarting before the first [Account.Load].
func (a *Account) Authenticate(ctx context.Context, token string) (Identity, error) {
	if !a.ended.loaded.Load() {
		return Identity{}, domain.E(domain.CodeStarting, "The server is starting.")
	}
	v := a.tokens.get(token)
	if v == nil {
		a.metrics.tokenMisses.Inc()
		var err error
		if v, err = a.signer.verify(token); err != nil {
			return Identity{}, unauthorized()
		}
		a.tokens.put(v)
		a.ended.look(ctx, v.Session)
	} else {
		a.metrics.tokenHits.Inc()
	}
	if !v.good(a.clock.Now()) || a.ended.has(v.Session) {
		return Identity{}, unauthorized()
	}
	return v.Identity, nil
}

// Profile returns what a user is told about their account. Errors:
// CodeUnauthorized when the account is gone; those of the store.
func (a *Account) Profile(ctx context.Context, user domain.UserID) (Profile, error) {
	u, err := a.store.UserByID(ctx, user)
	if err == nil {
		var n domain.UserTotals
		if n, err = a.store.UserTotals(ctx, user); err == nil {
			p := Profile{
				ID: u.ID, Username: u.Username, Email: u.Email, CreatedAt: u.CreatedAt,
				VotesToday: n.VotesToday, Votes: n.Votes, Skips: n.Skips, Polls: n.Polls,
			}
			if a.dailyVotes > 0 {
				rest := max(0, a.dailyVotes-n.VotesToday)
				p.VotesRemainingToday = &rest
			}
			return p, nil
		}
	}
	return Profile{}, gone(err)
}

// newSession returns a session without its user, its first refresh token and
// the hash of that.
func (a *Account) newSession(now time.Time) (domain.Session, string, domain.TokenHash, error) {
	id, err := randomText(a.random, sessionIDBytes)
	if err != nil {
		return domain.Session{}, "", domain.TokenHash{}, domain.Fault(domain.CodeInternal, err)
	}
	refresh, hash, err := newRefreshToken(a.random)
	if err != nil {
		return domain.Session{}, "", domain.TokenHash{}, domain.Fault(domain.CodeInternal, err)
	}
	return domain.Session{ID: id, CreatedAt: now, ExpiresAt: now.Add(a.refreshLife)}, refresh, hash, nil
}

// issue makes the access token of a session.
func (a *Account) issue(user domain.User, session, refresh string, now time.Time) (Tokens, error) {
	token, expires, err := a.signer.sign(Identity{User: user.ID, Session: session}, now)
	if err != nil {
		return Tokens{}, domain.Fault(domain.CodeInternal, err)
	}
	return Tokens{
		User: user, Token: token, RefreshToken: refresh, ExpiresAt: expires, RefreshExpiresAt: now.Add(a.refreshLife),
	}, nil
}

func unauthorized() error {
	return domain.E(domain.CodeUnauthorized, "A valid access token is needed.")
}

func invalidCredentials() error {
	return domain.E(domain.CodeInvalidCredentials, "E-mail address or password is wrong.")
}

func invalidRefreshToken() error {
	return domain.E(domain.CodeInvalidRefreshToken, "The refresh token is unknown, expired or was ended.")
}

func banned() error {
	return domain.E(domain.CodeBanned, "The account was closed by the operator.")
}
