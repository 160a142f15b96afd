package account

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"

	"vote/internal/domain"
)

// argonHash is an Argon2id hash with all that is needed to compute it again.
type argonHash struct {
	memory  uint32 // KiB
	time    uint32
	threads uint8
	salt    []byte
	key     []byte
}

// OWASP's recommendation for Argon2id where memory is precious.
const (
	argonMemory  = 19 * 1024 // KiB
	argonTime    = 2
	argonThreads = 1
	argonSalt    = 16 // bytes
	argonKey     = 32 // bytes
)

// What a stored hash may ask for. A hash outside of it was not made here, and
// computing it could take all memory.
const (
	maxArgonMemory  = 256 * 1024 // KiB
	maxArgonTime    = 16
	maxArgonThreads = 16
	minArgonSalt    = 8
	maxArgonSalt    = 64
	minArgonKey     = 16
	maxArgonKey     = 64
	maxPHC          = 256 // characters
)

var b64 = base64.RawStdEncoding.Strict()

// String returns h in the PHC string format.
func (h argonHash) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.time, h.threads,
		b64.EncodeToString(h.salt), b64.EncodeToString(h.key))
}

var errMalformedHash = errors.New("malformed password hash")

// parsePHC reads what [argonHash.String] writes and nothing else: another
// algorithm, version, order or spelling, or parameters out of bounds, are an
// error. It never panics.
func parsePHC(s string) (argonHash, error) {
	parts := strings.Split(s, "$")
	if len(s) > maxPHC || len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return argonHash{}, errMalformedHash
	}
	params := strings.Split(parts[3], ",")
	if len(params) != 3 {
		return argonHash{}, errMalformedHash
	}
	var n [3]uint64
	limits := [3]uint64{maxArgonMemory, maxArgonTime, maxArgonThreads}
	for i, name := range [3]string{"m=", "t=", "p="} {
		text, ok := strings.CutPrefix(params[i], name)
		v, err := strconv.ParseUint(text, 10, 32)
		if !ok || err != nil || v < 1 || v > limits[i] {
			return argonHash{}, errMalformedHash
		}
		n[i] = v
	}
	salt, err1 := b64.DecodeString(parts[4])
	key, err2 := b64.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(salt) < minArgonSalt || len(salt) > maxArgonSalt || len(key) < minArgonKey || len(key) > maxArgonKey {
		return argonHash{}, errMalformedHash
	}
	h := argonHash{memory: uint32(n[0]), time: uint32(n[1]), threads: uint8(n[2]), salt: salt, key: key} //nolint:gosec // bounded above
	// Argon2 asks for 8 KiB a lane; the last test refuses other spellings of
	// the same numbers and line breaks in base64.
	if h.memory < 8*uint32(h.threads) || h.String() != s {
		return argonHash{}, errMalformedHash
	}
	return h, nil
}

// compute returns the key of a password under the parameters of h.
func (h argonHash) compute(password string) []byte {
	return argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, uint32(len(h.key))) //nolint:gosec // at most maxArgonKey
}

// hasher computes password hashes, a bounded number at once.
type hasher struct {
	params  argonHash // of new hashes; without salt and key
	dummy   argonHash // compared with where there is no account
	random  io.Reader
	places  chan struct{} // one element per hash being computed
	waiting atomic.Int64
	queue   int64 // waiting callers at most
	wait    time.Duration
	metrics *metrics
}

func newHasher(cfg Config, m *metrics) *hasher {
	atOnce := cfg.Hashes
	if atOnce <= 0 {
		atOnce = max(2, runtime.GOMAXPROCS(0))
	}
	h := &hasher{
		params: argonHash{memory: argonMemory, time: argonTime, threads: argonThreads},
		random: cfg.Random, places: make(chan struct{}, atOnce),
		// A hash takes some tens of milliseconds, so more callers than this
		// could not be served in the default wait.
		queue: int64(atOnce) * 64, wait: cfg.HashWait, metrics: m,
	}
	h.dummy = h.params
	h.dummy.salt, h.dummy.key = make([]byte, argonSalt), make([]byte, argonKey)
	return h
}

// hash returns the PHC string of a password. Errors: CodeOverloaded,
// CodeUnavailable when ctx ended while waiting, CodeInternal.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	made := h.params
	made.salt, made.key = make([]byte, argonSalt), make([]byte, argonKey)
	if _, err := io.ReadFull(h.random, made.salt); err != nil {
		return "", domain.Fault(domain.CodeInternal, fmt.Errorf("salt: %w", err))
	}
	key, err := h.compute(ctx, made, password)
	if err != nil {
		return "", err
	}
	made.key = key
	return made.String(), nil
}

// verify reports whether a password has the hash phc. An empty phc stands for
// an account that does not exist: the same work, and never true. Errors: as
// for hash.
func (h *hasher) verify(ctx context.Context, phc, password string) (bool, error) {
	want := h.dummy
	if phc != "" {
		var err error
		if want, err = parsePHC(phc); err != nil {
			return false, domain.Fault(domain.CodeInternal, err)
		}
	}
	key, err := h.compute(ctx, want, password)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(key, want.key) == 1 && phc != "", nil
}

// compute takes a place, waiting for one if need be, and computes.
func (h *hasher) compute(ctx context.Context, params argonHash, password string) ([]byte, error) {
	if err := h.enter(ctx); err != nil {
		return nil, err
	}
	h.metrics.hashing.Inc()
	defer func() {
		h.metrics.hashing.Dec()
		<-h.places
	}()
	h.metrics.hashes.Inc()
	return params.compute(password), nil
}

// enter takes a place. Who waits is served in order of arrival.
func (h *hasher) enter(ctx context.Context) error {
	if ctx.Err() != nil {
		return domain.Fault(domain.CodeUnavailable, ctx.Err())
	}
	select {
	case h.places <- struct{}{}:
		h.metrics.hashWait.Observe(0)
		return nil
	default:
	}
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > h.queue {
		return overloaded()
	}
	h.metrics.hashesWaiting.Inc()
	defer h.metrics.hashesWaiting.Dec()
	start := time.Now()
	defer func() { h.metrics.hashWait.Observe(time.Since(start).Seconds()) }()
	timer := time.NewTimer(h.wait)
	defer timer.Stop()
	select {
	case h.places <- struct{}{}:
		return nil
	case <-timer.C:
		return overloaded()
	case <-ctx.Done():
		return domain.Fault(domain.CodeUnavailable, ctx.Err())
	}
}

func overloaded() error {
	return &domain.Error{Code: domain.CodeOverloaded, Detail: "Too many people sign in at this moment.", RetryAfter: time.Second}
}

// HashPassword returns the hash under which a password can be stored, for tools
// that make accounts without the service. Errors: CodeInvalid.
func HashPassword(password string) (string, error) {
	password, fault := domain.NormalizePassword(password)
	if fault != "" {
		return "", domain.Invalid([]domain.FieldError{{Field: "password", Message: fault}})
	}
	h := argonHash{
		memory: argonMemory, time: argonTime, threads: argonThreads, salt: make([]byte, argonSalt), key: make([]byte, argonKey),
	}
	if _, err := rand.Read(h.salt); err != nil {
		return "", domain.Fault(domain.CodeInternal, fmt.Errorf("salt: %w", err))
	}
	h.key = h.compute(password)
	return h.String(), nil
}
