package api

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net/http"
	"time"

	"vote/internal/account"
	"vote/internal/domain"
)

const (
	defaultSessions = 50
	// exportsAtOnce bounds how many exports are written at once.
	exportsAtOnce = 16
	// exportWrite is how long a client may take for each piece of an export,
	// some 32 KiB.
	exportWrite = 30 * time.Second
)

// update carries out PATCH /api/users/me. A current password that is given is
// checked before the rest is told of, in the order of the contract.
func (s *server) update(c *call) error {
	in := readUpdate(&c.input)
	if err := c.admitChange(); err != nil {
		return err
	}
	var confirmed account.Confirmation
	if in.CurrentPassword != nil {
		// For the new password's hash too, which only who gives this one gets.
		done, err := c.enterHashing()
		if err != nil {
			return err
		}
		defer done()
		if confirmed, err = s.account.Confirm(c.context(), c.who.User, *in.CurrentPassword); err != nil {
			return err
		}
	}
	if err := c.invalid(); err != nil {
		return err
	}
	change, err := s.account.Update(c.context(), c.who, in.update(), confirmed)
	if err != nil {
		return err
	}
	s.feed.AuthorChanged(change.Authored)
	return s.me(c)
}

// erase carries out DELETE /api/users/me.
func (s *server) erase(c *call) error {
	password := readErasure(&c.input)
	if err := c.admitChange(); err != nil {
		return err
	}
	var confirmed account.Confirmation
	if password != "" {
		done, err := c.enterHashing()
		if err != nil {
			return err
		}
		defer done()
		if confirmed, err = s.account.Confirm(c.context(), c.who.User, password); err != nil {
			return err
		}
	}
	if err := c.invalid(); err != nil {
		return err
	}
	change, err := s.account.Erase(c.context(), c.who.User, confirmed)
	if err != nil {
		return err
	}
	// What is done must be made known here, also when the client is gone.
	s.feed.AuthorChanged(change.Authored)
	s.feed.ForgetUser(context.WithoutCancel(c.context()), c.who.User)
	if c.isWeb() {
		c.clearCookie()
	}
	c.send(http.StatusNoContent, nil, nil)
	return nil
}

func (s *server) sessions(c *call) error {
	limit := c.wholeParam("limit", maxLimit, defaultSessions)
	if err := c.invalid(); err != nil {
		return err
	}
	text, _ := c.param("cursor")
	behind, err := parseSessionCursor(text)
	if err != nil {
		return err
	}
	// One more than asked for tells whether there are more.
	page, err := s.account.Sessions(c.context(), c.who.User, behind, limit+1)
	if err != nil {
		return err
	}
	list := sessionListShape{Items: make([]sessionItemShape, 0, len(page))}
	for i, x := range page {
		if i == limit {
			next := sessionCursor(page[i-1])
			list.NextCursor = &next
			break
		}
		list.Items = append(list.Items, sessionItemShape{ID: x.ID, CreatedAt: x.CreatedAt.UTC(), Current: x.ID == c.who.Session})
	}
	return c.sendJSON(http.StatusOK, list)
}

// checkSessionCursor refuses a cursor that cannot be used.
func checkSessionCursor(c *call) error {
	text, _ := c.param("cursor")
	_, err := parseSessionCursor(text)
	return err
}

// sessionCursor names the place right behind a session: base64url of its time in
// milliseconds, its id and four bytes of a checksum.
func sessionCursor(x domain.Session) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(x.CreatedAt.UnixMilli()))
	b = append(b, x.ID...)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseSessionCursor reads a cursor; the zero mark when there is none.
func parseSessionCursor(text string) (domain.SessionMark, error) {
	if text == "" {
		return domain.SessionMark{}, nil
	}
	const most = 128
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(text) > most || len(b) < 8+1+4 {
		return domain.SessionMark{}, domain.E(domain.CodeInvalidCursor, "")
	}
	b, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	mark := domain.SessionMark{CreatedAt: time.UnixMilli(int64(binary.BigEndian.Uint64(b))).UTC(), ID: string(b[8:])} //nolint:gosec // see sessionCursor
	if crc32.ChecksumIEEE(b) != sum || sessionCursor(domain.Session{ID: mark.ID, CreatedAt: mark.CreatedAt}) != text {
		return domain.SessionMark{}, domain.E(domain.CodeInvalidCursor, "")
	}
	return mark, nil
}

func (s *server) endSession(c *call) error {
	if err := c.invalid(); err != nil {
		return err
	}
	if err := s.account.EndSession(c.context(), c.who.User, c.g.Param("sid")); err != nil {
		return err
	}
	c.send(http.StatusNoContent, nil, nil)
	return nil
}

// export writes everything about the user as a file, piece by piece.
func (s *server) export(c *call) error {
	if err := c.invalid(); err != nil {
		return err
	}
	select {
	case s.exports <- struct{}{}:
		defer func() { <-s.exports }()
	default:
		return domain.E(domain.CodeOverloaded, "Too many exports are being written.")
	}
	w := &exportWriter{c: c}
	if c.g.Request.Method == http.MethodHead {
		w.begin()
		return nil
	}
	err := account.Export(c.context(), s.store, s.clock, c.who.User, w)
	switch {
	case err == nil:
		return nil
	case w.begun:
		// Part of it went out: the connection is cut, so that nobody takes it
		// for whole.
		s.logFault(c, asError(err))
		panic(http.ErrAbortHandler)
	case domain.CodeOf(err) == domain.CodeNotFound:
		return domain.E(domain.CodeUnauthorized, "")
	}
	return err
}

// exportWriter sends an answer of unknown length. Until the first piece is
// written the request can still be refused.
type exportWriter struct {
	c     *call
	begun bool
}

func (w *exportWriter) begin() {
	w.begun = true
	h := w.c.header()
	h["Content-Type"] = headerJSON
	h["Content-Disposition"] = []string{`attachment; filename="vote-export.json"`}
	h["Cache-Control"] = headerPrivate
	w.c.tellWindow()
	w.c.g.Writer.WriteHeader(http.StatusOK)
	w.c.g.Writer.WriteHeaderNow()
}

func (w *exportWriter) Write(b []byte) (int, error) {
	if !w.begun {
		w.begin()
	}
	// A writer that knows no deadlines has none to miss.
	err := http.NewResponseController(w.c.g.Writer).SetWriteDeadline(time.Now().Add(exportWrite))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	n, err := w.c.g.Writer.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return n, err
}
