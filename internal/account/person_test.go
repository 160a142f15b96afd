package account

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"vote/internal/domain"
)

// confirmed gives a password that must be right.
func (f *fixture) confirmed(tk Tokens, password string) Confirmation {
	f.t.Helper()
	c, err := f.Confirm(f.t.Context(), tk.User.ID, password)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func TestConfirm(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tk := f.register("ada")
	f.confirmed(tk, "password of ada")
	for _, wrong := range []string{"", "password of bob", strings.Repeat("x", 100_000), "\xff"} {
		if c, err := f.Confirm(t.Context(), tk.User.ID, wrong); domain.CodeOf(err) != domain.CodeWrongPassword || c != (Confirmation{}) {
			t.Errorf("%.20q: %v, %v", wrong, c, err)
		}
	}
	if _, err := f.Confirm(t.Context(), 999, "password of ada"); domain.CodeOf(err) != domain.CodeUnauthorized {
		t.Errorf("nobody: %v", err)
	}
	for result, want := range map[string]float64{"ok": 1, "wrong_password": 4, "unauthorized": 1} {
		if n := metric(t, f.reg, "vote_password_confirmations_total", result); n != want {
			t.Errorf("%v confirmations counted as %s, want %v", n, result, want)
		}
	}
	// Whoever guesses costs hashes, so they wait their turn like logins.
	if n := metric(t, f.reg, "vote_password_hashes_total"); n != 6 {
		t.Errorf("%v hashes", n)
	}
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tk := f.register("ada")
	f.register("bob")
	id := f.authenticated(tk, "")
	other, err := f.Login(t.Context(), "ada@example.org", "password of ada")
	if err != nil {
		t.Fatal(err)
	}
	text := func(s string) *string { return &s }
	right := f.confirmed(tk, "password of ada")
	for name, tt := range map[string]struct {
		update    Update
		confirmed Confirmation
		want      domain.Code
		fields    []string
	}{
		"nothing":              {Update{}, right, domain.CodeInvalid, []string{"body"}},
		"everything":           {Update{text("x"), text("x"), text("x")}, Confirmation{}, domain.CodeInvalid, []string{"username", "email", "password", "currentPassword"}},
		"empty":                {Update{text(""), text(""), text("")}, right, domain.CodeInvalid, []string{"username", "email", "password"}},
		"not confirmed":        {Update{Email: text("a@example.org")}, Confirmation{}, domain.CodeInvalid, []string{"currentPassword"}},
		"taken name":           {Update{Username: text("BOB")}, Confirmation{}, domain.CodeUsernameTaken, nil},
		"taken address":        {Update{Email: text("Bob@example.org")}, right, domain.CodeEmailTaken, nil},
		"another password now": {Update{Email: text("a@example.org")}, Confirmation{hash: "old"}, domain.CodeWrongPassword, nil},
	} {
		_, err := f.Update(t.Context(), id, tt.update, tt.confirmed)
		var e *domain.Error
		if !errors.As(err, &e) || e.Code != tt.want {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var fields []string
		for _, x := range e.Fields {
			fields = append(fields, x.Field)
		}
		if !slices.Equal(fields, tt.fields) {
			t.Errorf("%s: fields %v, want %v", name, fields, tt.fields)
		}
	}
	f.authenticated(other, "") // nothing has happened yet

	c, err := f.Update(t.Context(), id, Update{Password: text("a new password")}, right)
	if err != nil || !slices.Equal(c.Ended, []string{f.sessionOf(other)}) {
		t.Errorf("%+v, %v", c, err)
	}
	f.authenticated(tk, "")
	f.authenticated(other, domain.CodeUnauthorized)
	f.refreshed(tk.RefreshToken, "")
	f.refreshed(other.RefreshToken, domain.CodeInvalidRefreshToken)
	if _, err := f.Update(t.Context(), id, Update{Email: text("a@example.org")}, right); domain.CodeOf(err) != domain.CodeWrongPassword {
		t.Errorf("confirmed by the password before: %v", err)
	}
	if n := metric(t, f.reg, "vote_account_changes_total", "password"); n != 1 {
		t.Errorf("%v changed passwords", n)
	}
}

func TestErase(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tk := f.register("ada")
	c := f.confirmed(tk, "password of ada")
	for _, wrong := range []Confirmation{{}, {hash: "old"}} {
		if _, err := f.Erase(t.Context(), tk.User.ID, wrong); domain.CodeOf(err) != domain.CodeWrongPassword {
			t.Errorf("%v: %v", wrong, err)
		}
	}
	f.authenticated(tk, "")
	if _, err := f.Erase(t.Context(), tk.User.ID, c); err != nil {
		t.Fatal(err)
	}
	f.authenticated(tk, domain.CodeUnauthorized)
	f.refreshed(tk.RefreshToken, domain.CodeInvalidRefreshToken)
	if _, err := f.Erase(t.Context(), tk.User.ID, c); domain.CodeOf(err) != domain.CodeUnauthorized {
		t.Errorf("again: %v", err)
	}
	if _, err := f.Login(t.Context(), "ada@example.org", "password of ada"); domain.CodeOf(err) != domain.CodeInvalidCredentials {
		t.Errorf("login: %v", err)
	}
	f.register("ada")
	if n := metric(t, f.reg, "vote_erasures_total", "ok"); n != 1 {
		t.Errorf("%v erasures", n)
	}
}

func TestBannedIsToldToTheOwnerOnly(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tk := f.register("ada")
	if _, err := f.store.SetBanned(t.Context(), tk.User.ID, true); err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]domain.Code{"password of ada": domain.CodeBanned, "password of bob": domain.CodeInvalidCredentials} {
		if _, err := f.Login(t.Context(), "ada@example.org", password); domain.CodeOf(err) != want {
			t.Errorf("%s: %v, want %s", password, err, want)
		}
	}
	f.refreshed(tk.RefreshToken, domain.CodeBanned)
}

func TestResetPassword(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tk := f.register("ada")
	password, err := ResetPassword(t.Context(), f.store, tk.User.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Login(t.Context(), "ada@example.org", password); err != nil {
		t.Errorf("the new password: %v", err)
	}
	if _, err := f.Login(t.Context(), "ada@example.org", "password of ada"); domain.CodeOf(err) != domain.CodeInvalidCredentials {
		t.Errorf("the old password: %v", err)
	}
	f.refreshed(tk.RefreshToken, domain.CodeInvalidRefreshToken)
	if _, err := ResetPassword(t.Context(), f.store, 999); domain.CodeOf(err) != domain.CodeNotFound {
		t.Errorf("nobody: %v", err)
	}
}

// writer fails, or erases, at a write.
type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

func TestExportIsWholeOrFails(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tk := f.register("ada")
	for range 250 { // more than one page, and more than the buffer holds
		f.clock.Advance(time.Second)
		if _, err := f.Login(t.Context(), "ada@example.org", "password of ada"); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if err := Export(t.Context(), f.store, f.clock, tk.User.ID, &b); err != nil {
		t.Fatal(err)
	}
	var file struct{ Sessions []struct{ ID string } }
	if err := json.Unmarshal(b.Bytes(), &file); err != nil || len(file.Sessions) != 251 {
		t.Errorf("%d sessions, %v", len(file.Sessions), err)
	}
	fails := errors.New("gone")
	if err := Export(t.Context(), f.store, f.clock, tk.User.ID, writer(func([]byte) (int, error) { return 0, fails })); !errors.Is(err, fails) {
		t.Errorf("a writer that fails: %v", err)
	}
	if _, err := f.store.EraseUser(t.Context(), tk.User.ID, ""); err != nil {
		t.Fatal(err)
	}
	if err := Export(t.Context(), f.store, f.clock, tk.User.ID, io.Discard); domain.CodeOf(err) != domain.CodeNotFound {
		t.Errorf("of an erased user: %v", err)
	}
}
