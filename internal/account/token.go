package account

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"vote/internal/domain"
)

// Registered claims that every access token carries.
const (
	issuer   = "vote"
	audience = "vote"
)

const (
	// maxToken is more than any access token made here has.
	maxToken = 1024
	// clockDifference is how far ahead another instance's clock may be when
	// it issues a token.
	clockDifference = time.Minute

	sessionIDBytes = 16
	refreshBytes   = 32
)

// Identity says who acts, by an access token.
type Identity struct {
	User    domain.UserID
	Session string
}

type claims struct {
	jwt.RegisteredClaims
	Session string `json:"sid"`
}

// verified is what is known of an access token whose signature and claims are
// good. It is immutable.
type verified struct {
	token string
	Identity
	from, until time.Time // accepted from, inclusive, until, exclusive
}

func (v *verified) good(now time.Time) bool { return !now.Before(v.from) && now.Before(v.until) }

// signer makes and verifies access tokens.
type signer struct {
	secret []byte
	life   time.Duration
	random io.Reader
	parser *jwt.Parser
}

func newSigner(secret []byte, life time.Duration, random io.Reader) *signer {
	return &signer{secret: secret, life: life, random: random, parser: jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithStrictDecoding(),
		// The times are compared on every use of a token, not only here.
		jwt.WithoutClaimsValidation(),
	)}
}

// sign returns an access token and when it expires.
func (s *signer) sign(id Identity, now time.Time) (string, time.Time, error) {
	jti, err := randomText(s.random, sessionIDBytes)
	if err != nil {
		return "", time.Time{}, err
	}
	now = now.UTC().Truncate(time.Second)
	expires := now.Add(s.life)
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Audience: jwt.ClaimStrings{audience}, Subject: strconv.FormatInt(int64(id.User), 10),
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(expires), ID: jti,
		},
		Session: id.Session,
	}).SignedString(s.secret)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("sign token: %w", err)
	}
	return token, expires, nil
}

var errToken = errors.New("token refused")

// verify checks everything about a token but the time.
func (s *signer) verify(token string) (*verified, error) {
	// The base64 decoder would skip line breaks, so that a token had several texts.
	if len(token) > maxToken || strings.ContainsAny(token, "\r\n") {
		return nil, errToken
	}
	var c claims
	if _, err := s.parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return s.secret, nil }); err != nil {
		return nil, errToken
	}
	user, ok := domain.ParseID(c.Subject)
	if !ok || c.Issuer != issuer || len(c.Audience) != 1 || c.Audience[0] != audience ||
		c.Session == "" || c.ID == "" || c.IssuedAt == nil || c.ExpiresAt == nil {
		return nil, errToken
	}
	// No token is older than the life of tokens, so that what is known of
	// ended sessions reaches back far enough.
	until := c.IssuedAt.Add(s.life)
	if c.ExpiresAt.Before(until) {
		until = c.ExpiresAt.Time
	}
	return &verified{
		token:    strings.Clone(token), // the caller's is a piece of a request
		Identity: Identity{User: domain.UserID(user), Session: strings.Clone(c.Session)},
		from:     c.IssuedAt.Add(-clockDifference),
		until:    until,
	}, nil
}

// tokenCache remembers verified tokens: a fixed table in which a token has one
// place by the hash of its text, and the newest of a place stays. It needs no
// lock and no sweep, and is bounded by its size.
//
// A token is found only when the whole text is equal, so two texts with the
// same hash are never taken for each other. The hash is seeded at random: who
// doesn't know the seed can neither aim at a place nor learn of its text by
// comparing times.
type tokenCache struct {
	seed  maphash.Seed
	slots []atomic.Pointer[verified]
}

// tokenCacheSize is how many tokens are remembered, a power of two: at some 500
// bytes each 16 MiB when full.
const tokenCacheSize = 1 << 15

func newTokenCache(size int) *tokenCache {
	return &tokenCache{seed: maphash.MakeSeed(), slots: make([]atomic.Pointer[verified], size)}
}

func (c *tokenCache) slot(token string) *atomic.Pointer[verified] {
	return &c.slots[maphash.String(c.seed, token)&uint64(len(c.slots)-1)] //nolint:gosec // a length is not negative
}

// get returns a remembered token, or nil.
func (c *tokenCache) get(token string) *verified {
	if v := c.slot(token).Load(); v != nil && v.token == token {
		return v
	}
	return nil
}

func (c *tokenCache) put(v *verified) { c.slot(v.token).Store(v) }

// newRefreshToken returns a refresh token and its hash.
func newRefreshToken(random io.Reader) (string, domain.TokenHash, error) {
	var b [refreshBytes]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", domain.TokenHash{}, fmt.Errorf("refresh token: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b[:]), sha256.Sum256(b[:]), nil
}

var strictURL = base64.RawURLEncoding.Strict()

// hashRefreshToken returns the hash of a refresh token, and false for a text
// that no refresh token has.
func hashRefreshToken(token string) (domain.TokenHash, bool) {
	if len(token) != base64.RawURLEncoding.EncodedLen(refreshBytes) || strings.ContainsAny(token, "\r\n") {
		return domain.TokenHash{}, false
	}
	b, err := strictURL.DecodeString(token)
	if err != nil || len(b) != refreshBytes {
		return domain.TokenHash{}, false
	}
	return sha256.Sum256(b), true
}

// isSessionID reports whether a text may be the id of a session made here.
func isSessionID(id string) bool {
	b, err := strictURL.DecodeString(id)
	return err == nil && len(b) == sessionIDBytes && len(id) == base64.RawURLEncoding.EncodedLen(sessionIDBytes)
}

// randomText returns n random bytes as text that is safe in a URL.
func randomText(random io.Reader, n int) (string, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", fmt.Errorf("random: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// systemRandom is what tokens and salts are made of by default.
var systemRandom = rand.Reader
