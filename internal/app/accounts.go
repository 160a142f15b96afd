package app

import (
	"context"
	"io"

	"vote/internal/account"
	"vote/internal/domain"
)

// ResetPassword gives a user a new random password, which it returns, and ends
// all sessions of the user, for tools. Errors: CodeNotFound; those of the store.
func ResetPassword(ctx context.Context, store domain.Store, user domain.UserID) (string, error) {
	return account.ResetPassword(ctx, store, user)
}

// ExportUser writes everything that is stored about a user as JSON, for tools.
// Errors: CodeNotFound; those of the store and of w.
func ExportUser(ctx context.Context, store domain.Store, user domain.UserID, w io.Writer) error {
	return account.Export(ctx, store, domain.SystemClock{}, user, w)
}
