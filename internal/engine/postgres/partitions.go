package postgres

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"vote/internal/domain"
)

// Keys of the advisory locks of a transaction. They are numbers of this program's
// own, in its own database.
const (
	lockPartitions = 0x766f7465_01
	lockRanking    = 0x766f7465_02
	// gate is held shared by whoever relies on the states of polls until it has
	// committed, and alone by whoever changes one.
	gate = 0x766f7465_03
)

// closeGate waits for the batches of votes that are under way and holds up those
// that come after, until the end of the transaction. It is the first lock that a
// transaction takes, which should be short.
func (c *conn) closeGate(ctx context.Context) error { return c.lock(ctx, gate) }

// lock takes an advisory lock until the end of the transaction.
func (c *conn) lock(ctx context.Context, key int64) error {
	_, err := c.Exec(ctx, `/* lock */ SELECT pg_advisory_xact_lock($1)`, key)
	return err
}

// partitioned remembers the months that have partitions. They are never taken
// away from a month whose polls can still get votes.
type partitioned struct {
	mu    sync.Mutex
	known map[domain.Month]bool
}

func (p *partitioned) has(m domain.Month) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known[m]
}

func (p *partitioned) add(m domain.Month) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		p.known = make(map[domain.Month]bool)
	}
	p.known[m] = true
}

// partition returns the name of a month's partition of a table.
func partition(table string, m domain.Month) string {
	return table + "_" + strings.ReplaceAll(m.String(), "-", "_")
}

// makePartitions sees that the months have partitions of votes and skips. It must
// not run inside of a transaction of its caller.
func (s *Store) makePartitions(ctx context.Context, op operation, months ...domain.Month) error {
	for _, m := range months {
		if s.months.has(m) {
			continue
		}
		if err := s.makePartition(ctx, op, m); err != nil {
			return err
		}
		s.months.add(m)
	}
	return nil
}

func (s *Store) makePartition(ctx context.Context, op operation, m domain.Month) error {
	missing := func(ctx context.Context, c *conn, table string) (bool, error) {
		there, err := c.exists(ctx, `SELECT 1 FROM pg_inherits WHERE inhparent = $1::text::regclass AND inhrelid = to_regclass($2)`,
			table, partition(table, m))
		return !there, err
	}
	// A look first: most often another process was earlier.
	found := false
	err := s.read(ctx, op, func(ctx context.Context, c *conn) error {
		votes, err := missing(ctx, c, "votes")
		if err != nil {
			return err
		}
		skips, err := missing(ctx, c, "skips")
		found = !votes && !skips
		return err
	})
	if err != nil || found {
		return err
	}
	first, end := m.Polls()
	return s.write(ctx, op, func(ctx context.Context, c *conn) error {
		if err := c.lock(ctx, lockPartitions); err != nil {
			return err
		}
		for _, table := range []string{"votes", "skips"} {
			if ok, err := missing(ctx, c, table); err != nil || !ok {
				if err != nil {
					return err
				}
				continue
			}
			// A table that is attached keeps nobody waiting, unlike one that
			// is made as a partition.
			for _, statement := range []string{
				`CREATE TABLE %[1]s (LIKE %[2]s INCLUDING DEFAULTS INCLUDING CONSTRAINTS)`,
				`ALTER TABLE %[1]s ADD PRIMARY KEY (bucket, user_id, poll_id)`,
				`ALTER TABLE %[2]s ATTACH PARTITION %[1]s FOR VALUES FROM (%[3]d) TO (%[4]d)`,
			} {
				if _, err := c.Exec(ctx, fmt.Sprintf(statement, partition(table, m), table, first, end)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
