package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"vote/internal/domain"
)

// AddDeadLetter implements [domain.Store]. A dead letter without a time is of now.
func (s *Store) AddDeadLetter(ctx context.Context, d domain.DeadLetter) error {
	event, err := encodeJSON(d.Event)
	if err != nil {
		return err
	}
	return s.write(ctx, opAddDeadLetter, func(ctx context.Context, c *conn) error {
		at := d.At
		if at.IsZero() {
			var err error
			if at, err = c.now(ctx); err != nil {
				return err
			}
		}
		_, err := c.exec(ctx, `/* add_dead_letter */ INSERT INTO dead_letters (queue, event_id, event, reason, created_at)
			VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
			storable(d.Queue), storable(d.Event.ID), event, storable(d.Reason), at)
		return err
	})
}

// storable returns a text without what the database takes in no text: what could
// not be handled may hold anything and must be kept all the same, and what is
// looked for may be anything too, and is then not found.
func storable(text string) string {
	const replacement = "\uFFFD"
	return strings.ReplaceAll(strings.ToValidUTF8(text, replacement), "\x00", replacement)
}

// DeadLetters implements [domain.Store].
func (s *Store) DeadLetters(ctx context.Context, queue string, after int64, limit int) ([]domain.DeadLetter, error) {
	var letters []domain.DeadLetter
	err := s.read(ctx, opDeadLetters, func(ctx context.Context, c *conn) error {
		return c.rows(ctx, `/* dead_letters */ SELECT id, queue, event::text, reason, created_at FROM dead_letters
			WHERE id > $1 AND ($2 = '' OR queue = $2) ORDER BY id LIMIT $3`,
			func(r pgx.Rows) error {
				var d domain.DeadLetter
				var event string
				if err := r.Scan(&d.ID, &d.Queue, &event, &d.Reason, &d.At); err != nil {
					return err
				}
				err := json.Unmarshal([]byte(event), &d.Event)
				letters = append(letters, d)
				return err
			}, after, storable(queue), max(limit, 0))
	})
	if err != nil {
		return nil, err
	}
	return letters, nil
}

// replayedPerRow is how many events a row of the outbox replays at most.
const replayedPerRow = 100

const replayQuery = `/* replay_dead_letters */ WITH gone AS (
		DELETE FROM dead_letters d USING unnest($1::bigint[]) WITH ORDINALITY AS asked (id, number)
		WHERE d.id = asked.id RETURNING d.id, d.event, asked.number)
	SELECT id, event::text FROM gone ORDER BY number`

// ReplayDeadLetters implements [domain.Store].
func (s *Store) ReplayDeadLetters(ctx context.Context, ids []int64) (int64, error) {
	var n int64
	err := s.write(ctx, opReplayDeadLetters, func(ctx context.Context, c *conn) error {
		var letters []domain.DeadLetter
		err := c.rows(ctx, replayQuery, func(r pgx.Rows) error {
			var d domain.DeadLetter
			var event string
			if err := r.Scan(&d.ID, &event); err != nil {
				return err
			}
			err := json.Unmarshal([]byte(event), &d.Event)
			letters = append(letters, d)
			return err
		}, ids)
		if err != nil {
			return err
		}
		n = int64(len(letters))
		now, err := c.now(ctx)
		if err != nil {
			return err
		}
		var events []domain.Event
		have := make(map[string]bool) // an event that several queues could not handle is published once
		for _, d := range letters {
			if d.Event.Type == domain.EventMalformedRow {
				return domain.E(domain.CodeInvalid, fmt.Sprintf("Dead letter %d is a row that could not be read, which no queue takes.", d.ID))
			}
			if !have[d.Event.ID] {
				have[d.Event.ID] = true
				events = append(events, d.Event)
			}
		}
		for some := range slices.Chunk(events, replayedPerRow) {
			changes, err := domain.Changes{At: now, Replayed: some}.AppendBinary(nil)
			if err != nil {
				return err
			}
			if _, err := c.exec(ctx, addOutbox, int32(0), now, changes); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// DropDeadLetters implements [domain.Store].
func (s *Store) DropDeadLetters(ctx context.Context, ids []int64) (int64, error) {
	var n int64
	err := s.write(ctx, opDropDeadLetters, func(ctx context.Context, c *conn) error {
		var err error
		n, err = c.exec(ctx, `/* drop_dead_letters */ DELETE FROM dead_letters WHERE id = ANY($1)`, ids)
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}
