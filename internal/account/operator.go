package account

import (
	"context"

	"vote/internal/domain"
)

// newPasswordBytes is how much randomness a password made here holds.
const newPasswordBytes = 15

// ResetPassword gives a user a new random password, which it returns, and ends
// all sessions of the user. Errors: CodeNotFound; those of the store.
func ResetPassword(ctx context.Context, store domain.Store, user domain.UserID) (string, error) {
	password, err := randomText(systemRandom, newPasswordBytes)
	if err != nil {
		return "", err
	}
	h := newHasher(Config{Random: systemRandom, HashWait: defaultHashWait}, newMetrics(nil))
	hash, err := h.hash(ctx, password)
	if err != nil {
		return "", err
	}
	if _, err := store.UpdateUser(ctx, user, domain.UserUpdate{PasswordHash: hash}); err != nil {
		return "", err
	}
	return password, nil
}
