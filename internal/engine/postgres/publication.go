package postgres

import (
	"context"

	"vote/internal/domain"
)

// issued is what table publication has handed out last.
type issued struct {
	position domain.Position
	poll     domain.PollID
	revision int64
}

// issued returns what was handed out last and keeps others from handing out
// anything until the end of the transaction. It is the last lock that a
// transaction takes.
func (c *conn) issued(ctx context.Context) (issued, error) {
	var position, poll, revision int64
	err := c.row(ctx, `/* issued */ SELECT position, poll_id, revision FROM publication FOR NO KEY UPDATE`, nil,
		&position, &poll, &revision)
	return issued{domain.Position(position), domain.PollID(poll), revision}, err //nolint:gosec // at most maxPosition
}

const setIssued = `/* set_issued */ UPDATE publication SET position = $1, poll_id = $2, revision = $3`

func (c *conn) setIssued(ctx context.Context, last issued) error {
	_, err := c.Exec(ctx, setIssued, int64(last.position), int64(last.poll), last.revision)
	return err
}
