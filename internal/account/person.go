package account

import (
	"context"
	"time"

	"vote/internal/domain"
)

// changeTimeout bounds a change of an account in the store. The end of the
// caller's context does not end it: what is done must be made known here, also
// when the client is gone.
const changeTimeout = 10 * time.Second

// Confirmation says that who is signed in gave the account's password. Its zero
// value says that nothing was given.
type Confirmation struct{ hash string }

// Confirm checks the password of who is signed in. The caller limits how often.
// Errors: CodeWrongPassword; CodeUnauthorized when the account is gone;
// CodeOverloaded; those of the store.
func (a *Account) Confirm(ctx context.Context, user domain.UserID, password string) (_ Confirmation, err error) {
	defer func() { count(a.metrics.confirmations, err) }()
	u, err := a.store.UserByID(ctx, user)
	if err != nil {
		return Confirmation{}, gone(err)
	}
	password, fault := domain.NormalizePassword(password)
	if fault != "" {
		password = "" // nobody's, and cheap to hash however long it was
	}
	ok, err := a.hasher.verify(ctx, u.PasswordHash, password)
	if err != nil {
		return Confirmation{}, err
	}
	if !ok {
		return Confirmation{}, wrongPassword()
	}
	return Confirmation{hash: u.PasswordHash}, nil
}

// Update is what a user wants changed; nil stays as it is.
type Update struct {
	Username, Email, Password *string
}

// Check returns every fault of the update, by the fields username, email,
// password and currentPassword, and body when nothing is to change.
func (u Update) Check(confirmed bool) []domain.FieldError {
	_, faults := u.normalize(confirmed)
	return faults
}

// normalize returns the update as it is stored, its password not hashed yet.
func (u Update) normalize(confirmed bool) (domain.UserUpdate, []domain.FieldError) {
	var n domain.UserUpdate
	var faults []domain.FieldError
	check := func(field, fault string) {
		if fault != "" {
			faults = append(faults, domain.FieldError{Field: field, Message: fault})
		}
	}
	var fault string
	if u.Username != nil {
		n.Username, n.UsernameKey, fault = domain.NormalizeUsername(*u.Username)
		check("username", fault)
	}
	if u.Email != nil {
		n.Email, n.EmailKey, fault = domain.NormalizeEmail(*u.Email)
		check("email", fault)
	}
	if u.Password != nil {
		n.PasswordHash, fault = domain.NormalizePassword(*u.Password)
		check("password", fault)
	}
	if (u.Email != nil || u.Password != nil) && !confirmed {
		check("currentPassword", "is required to change the e-mail address or the password")
	}
	if u == (Update{}) {
		check("body", "must change username, email or password")
	}
	return n, faults
}

// Update changes the account of who is signed in. E-mail address and password
// need a confirmation. A new password ends the other sessions: their access
// tokens are refused here when the call returns, elsewhere within seconds.
// Errors: CodeInvalid with every fault; CodeWrongPassword when the password was
// changed since it was confirmed; CodeEmailTaken, CodeUsernameTaken;
// CodeUnauthorized when the account is gone; CodeOverloaded; those of the store.
func (a *Account) Update(ctx context.Context, id Identity, u Update, c Confirmation) (domain.AccountChange, error) {
	n, faults := u.normalize(c != Confirmation{})
	if err := domain.Invalid(faults); err != nil {
		return domain.AccountChange{}, err
	}
	n.Keep, n.IfPasswordHash = id.Session, c.hash
	if u.Password != nil {
		var err error
		if n.PasswordHash, err = a.hasher.hash(ctx, n.PasswordHash); err != nil {
			return domain.AccountChange{}, err
		}
	}
	change, err := a.change(ctx, func(ctx context.Context) (domain.AccountChange, error) {
		return a.store.UpdateUser(ctx, id.User, n)
	})
	if err != nil {
		return domain.AccountChange{}, err
	}
	for kind, changed := range map[string]bool{"username": u.Username != nil, "email": u.Email != nil, "password": u.Password != nil} {
		if changed {
			a.metrics.changes.WithLabelValues(kind).Inc()
		}
	}
	return change, nil
}

// Erase makes the account of who is signed in a tombstone. Its access tokens are
// refused here when the call returns, elsewhere within seconds. Errors:
// CodeWrongPassword when the password was changed since it was confirmed;
// CodeUnauthorized when the account is gone; those of the store.
func (a *Account) Erase(ctx context.Context, user domain.UserID, c Confirmation) (_ domain.AccountChange, err error) {
	defer func() { count(a.metrics.erasures, err) }()
	if c == (Confirmation{}) {
		return domain.AccountChange{}, wrongPassword()
	}
	return a.change(ctx, func(ctx context.Context) (domain.AccountChange, error) {
		return a.store.EraseUser(ctx, user, c.hash)
	})
}

// change carries out a change in the store and takes in the sessions that ended.
func (a *Account) change(
	ctx context.Context, carryOut func(context.Context) (domain.AccountChange, error),
) (domain.AccountChange, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeTimeout)
	defer cancel()
	c, err := carryOut(ctx)
	switch domain.CodeOf(err) {
	case "":
	case domain.CodeWrongPassword:
		return domain.AccountChange{}, wrongPassword()
	default:
		return domain.AccountChange{}, gone(err)
	}
	for _, session := range c.Ended {
		a.ended.add(ctx, session)
	}
	return c, nil
}

// Sessions returns at most limit of the user's live sessions behind a mark,
// newest first. Errors: those of the store.
func (a *Account) Sessions(
	ctx context.Context, user domain.UserID, behind domain.SessionMark, limit int,
) ([]domain.Session, error) {
	return a.store.Sessions(ctx, user, behind, limit)
}

// EndSession ends a session of the user. Its access tokens are refused here when
// the call returns, elsewhere within seconds. Ending a session that ended is no
// error. Errors: CodeNotFound when the user has no such session; those of the
// store.
func (a *Account) EndSession(ctx context.Context, user domain.UserID, session string) error {
	if !isSessionID(session) {
		return noSession()
	}
	err := a.store.EndSession(ctx, user, session)
	if domain.CodeOf(err) == domain.CodeNotFound {
		return noSession()
	}
	if err != nil {
		return err
	}
	a.ended.add(ctx, session)
	a.metrics.logouts.Inc()
	return nil
}

// gone tells the absence of an account whose token is still good as what it is
// for the caller.
func gone(err error) error {
	if domain.CodeOf(err) == domain.CodeNotFound {
		return unauthorized()
	}
	return err
}

func wrongPassword() error {
	return domain.E(domain.CodeWrongPassword, "The password is not that of the account.")
}

func noSession() error { return domain.E(domain.CodeNotFound, "You have no such session.") }
