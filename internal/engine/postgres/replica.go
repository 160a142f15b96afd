package postgres

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// staleness is how old a state may be that a read from a replica sees.
	staleness = time.Second
	// replicaEvery is how often it is looked how far the replicas are.
	replicaEvery = 250 * time.Millisecond
)

// replica is a read-only copy. It may be read until a moment by the clock of
// freshness: then what it was seen to hold is too old.
type replica struct {
	pool  *pgxpool.Pool
	fresh atomic.Int64
}

// followReplicas sees how far the replicas are until ctx ends. A replica that has
// replayed the log up to where the primary's was at some moment may be read for
// one second from that moment on, whatever its own clock or its connection to the
// primary says. As long as nobody looks, the primary is read.
func (s *Store) followReplicas(ctx context.Context) {
	if len(s.replicas) == 0 {
		<-ctx.Done()
		return
	}
	ticker := time.NewTicker(replicaEvery)
	defer ticker.Stop()
	for {
		s.checkReplicas(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *Store) checkReplicas(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, staleness)
	defer cancel()
	until := time.Since(s.opened) + staleness
	var end string
	if err := s.pool.QueryRow(ctx, `/* log_end */ SELECT pg_current_wal_lsn()::text`).Scan(&end); err != nil {
		return
	}
	for _, r := range s.replicas {
		var reached bool
		err := r.pool.QueryRow(ctx, `/* log_reached */ SELECT coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)`, end).Scan(&reached)
		if err == nil && reached {
			r.fresh.Store(int64(until))
		}
	}
}

// stalePool returns a replica that is not too old, another each time, or else the
// primary.
func (s *Store) stalePool() *pgxpool.Pool {
	if len(s.replicas) == 0 {
		return s.pool
	}
	now, n := int64(time.Since(s.opened)), s.turn.Add(1)
	for i := range s.replicas {
		r := s.replicas[(n+uint64(i))%uint64(len(s.replicas))]
		if now < r.fresh.Load() {
			return r.pool
		}
	}
	return s.pool
}

// readStale is read for what may be a second old and is not remembered: on a
// replica, or on the primary when that fails. f must begin anew each time.
func (s *Store) readStale(ctx context.Context, op operation, f func(context.Context, *conn) error) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	if pool := s.stalePool(); pool != s.pool {
		if err := s.readFrom(ctx, pool, op, f); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return s.readFrom(ctx, s.pool, op, f)
}
