package postgres

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"vote/internal/domain"
)

// pollHour names a row of table poll_hourly.
type pollHour struct {
	hour domain.Hour
	poll domain.PollID
}

// hourly is what is to be added to a row of table poll_hourly.
type hourly struct {
	shown, skips int64
	votes        []int64
}

// hourlySums are what is to be added to table poll_hourly.
type hourlySums map[pollHour]*hourly

// of returns the sums of a poll with so many options in an hour.
func (sums hourlySums) of(hour domain.Hour, poll domain.PollID, options int) *hourly {
	key := pollHour{hour, poll}
	if sums[key] == nil {
		sums[key] = &hourly{votes: make([]int64, options)}
	}
	return sums[key]
}

// CountHourly implements [domain.Store]. The rows of the events are locked in
// order, so what two callers bring is counted by one of them.
func (s *Store) CountHourly(ctx context.Context, processed []domain.Processed) error {
	if len(processed) == 0 {
		return s.usable(ctx)
	}
	// Each once, in the order in which their rows are locked.
	events := slices.SortedFunc(slices.Values(processed), func(a, b domain.Processed) int {
		return cmp.Or(cmp.Compare(a.ID.Row, b.ID.Row), cmp.Compare(a.ID.Number, b.ID.Number))
	})
	events = slices.CompactFunc(events, func(a, b domain.Processed) bool { return a.ID == b.ID })
	return s.write(ctx, opCountHourly, func(ctx context.Context, c *conn) error {
		fresh, err := c.markCounted(ctx, events)
		if err != nil || len(fresh) == 0 {
			return err
		}
		polls := make([]domain.PollID, len(fresh))
		for i, p := range fresh {
			polls[i] = p.Poll
		}
		options, err := s.optionCounts(ctx, c, polls)
		if err != nil {
			return err
		}
		sums := make(hourlySums)
		for _, p := range fresh {
			n, exists := options[p.Poll]
			switch {
			case !exists:
				return fmt.Errorf("event %s is of a poll that does not exist", p.ID)
			case !p.Skip && (p.Option < 0 || p.Option >= n):
				return fmt.Errorf("event %s is of an option that the poll does not have", p.ID)
			}
			h := sums.of(domain.HourOf(p.At), p.Poll, n)
			if p.Skip {
				h.skips++
			} else {
				h.votes[p.Option]++
			}
		}
		return c.addHourly(ctx, sums)
	})
}

const (
	addCounted = `/* add_counted */ INSERT INTO counted_events (row_id, counted_at, numbers)
		SELECT DISTINCT row_id, $2::timestamptz, '{}'::int4multirange FROM unnest($1::bigint[]) AS r (row_id) ORDER BY row_id
		ON CONFLICT DO NOTHING`
	lockCounted = `/* lock_counted */ SELECT FROM counted_events WHERE row_id = ANY($1) ORDER BY row_id FOR UPDATE`
	uncounted   = `/* uncounted */ SELECT e.place FROM unnest($1::bigint[], $2::integer[]) WITH ORDINALITY AS e (row_id, number, place)
		JOIN counted_events c ON c.row_id = e.row_id WHERE NOT c.numbers @> e.number ORDER BY e.place`
	setCounted = `/* set_counted */ UPDATE counted_events c SET numbers = c.numbers + e.numbers
		FROM (SELECT row_id, range_agg(int4range(number, number, '[]')) AS numbers
			FROM unnest($1::bigint[], $2::integer[]) AS u (row_id, number) GROUP BY row_id) e
		WHERE c.row_id = e.row_id AND NOT c.numbers @> e.numbers`
)

// markCounted notes events, in order, as counted, and returns those that were not
// before.
func (c *conn) markCounted(ctx context.Context, events []domain.Processed) ([]domain.Processed, error) {
	now, err := c.now(ctx)
	if err != nil {
		return nil, err
	}
	rows, numbers := make([]int64, len(events)), make([]int32, len(events))
	for i, p := range events {
		rows[i], numbers[i] = p.ID.Row, int32(p.ID.Number) //nolint:gosec // 32 bits wide
	}
	var fresh []domain.Processed
	b := &pgx.Batch{}
	b.Queue(addCounted, rows, now)
	b.Queue(lockCounted, rows)
	b.Queue(uncounted, rows, numbers).Query(func(r pgx.Rows) error {
		return each(r, func(r pgx.Rows) error {
			var place int
			err := r.Scan(&place)
			if err == nil {
				fresh = append(fresh, events[place-1])
			}
			return err
		})
	})
	b.Queue(setCounted, rows, numbers)
	return fresh, c.SendBatch(ctx, b).Close()
}

// optionCounts returns how many options each of the polls has that exist. A
// deleted one has as many as were counted.
func (s *Store) optionCounts(ctx context.Context, c *conn, polls []domain.PollID) (map[domain.PollID]int, error) {
	options := make(map[domain.PollID]int)
	err := c.rows(ctx, `/* option_counts */ SELECT p.id, greatest(p.option_count,
			(SELECT max(cardinality(votes)) FROM poll_counts WHERE bucket = ANY($2) AND poll_id = p.id))
		FROM polls p WHERE p.id = ANY($1)`,
		func(r pgx.Rows) error {
			var id domain.PollID
			var n int
			err := r.Scan(&id, &n)
			options[id] = n
			return err
		}, int64s(polls), s.allBuckets)
	return options, err
}

const addHourly = `/* add_hourly */ INSERT INTO poll_hourly AS h (hour, poll_id, shown, skips, votes)
	SELECT hour, poll_id, shown, skips, votes::bigint[]
	FROM unnest($1::timestamptz[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[]) WITH ORDINALITY
		AS a (hour, poll_id, shown, skips, votes, place) ORDER BY place
	ON CONFLICT (hour, poll_id) DO UPDATE SET shown = h.shown + excluded.shown, skips = h.skips + excluded.skips,
		votes = coalesce((SELECT array_agg(a + b ORDER BY i) FROM unnest(h.votes, excluded.votes) WITH ORDINALITY AS v (a, b, i)), '{}')`

// addHourly adds to rows of table poll_hourly, in the order of their key.
func (c *conn) addHourly(ctx context.Context, sums hourlySums) error {
	keys := slices.SortedFunc(maps.Keys(sums), func(a, b pollHour) int {
		return cmp.Or(cmp.Compare(a.hour, b.hour), cmp.Compare(a.poll, b.poll))
	})
	hours, polls := make([]time.Time, len(keys)), make([]int64, len(keys))
	shown, skips, votes := make([]int64, len(keys)), make([]int64, len(keys)), make([]string, len(keys))
	for i, key := range keys {
		h := sums[key]
		hours[i], polls[i], shown[i], skips[i], votes[i] = key.hour.Start(), int64(key.poll), h.shown, h.skips, arrayText(h.votes)
	}
	_, err := c.exec(ctx, addHourly, hours, polls, shown, skips, votes)
	return err
}

// arrayText writes numbers as the server reads an array: arrays of arrays must
// all be of one length, so these are sent as texts.
func arrayText(numbers []int64) string {
	b := []byte{'{'}
	for i, n := range numbers {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	return string(append(b, '}'))
}

// prunedAtOnce bounds one transaction that forgets event ids.
const prunedAtOnce = 5000

// PruneCounted implements [domain.Store]. Ids of rows grow with time, nearly, so
// it looks at the lowest and stops at the first that is young enough.
func (s *Store) PruneCounted(ctx context.Context, before time.Time) (int64, error) {
	var n int64
	err := s.write(ctx, opPruneCounted, func(ctx context.Context, c *conn) error {
		// An event id begins with the number of its row.
		var err error
		n, err = c.exec(ctx, `/* prune_counted */ WITH lowest AS (
				SELECT row_id, bool_or(counted_at >= $1) OVER (ORDER BY row_id) AS young FROM (
					SELECT row_id, counted_at FROM counted_events
					WHERE row_id < (SELECT coalesce(min(substring(event_id FROM '^[0-9]{1,18}')::bigint), 9223372036854775807)
						FROM dead_letters WHERE event ->> 'type' <> $2)
					ORDER BY row_id LIMIT $3) c)
			DELETE FROM counted_events USING lowest
			WHERE counted_events.row_id = lowest.row_id AND NOT lowest.young`, before, domain.EventMalformedRow, prunedAtOnce)
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// AddShown implements [domain.Store].
func (s *Store) AddShown(ctx context.Context, shown []domain.Shown) error {
	if len(shown) == 0 {
		return s.usable(ctx)
	}
	ids := make([]domain.PollID, len(shown))
	for i, n := range shown {
		ids[i] = n.Poll
	}
	return s.write(ctx, opAddShown, func(ctx context.Context, c *conn) error {
		options, err := s.optionCounts(ctx, c, ids)
		if err != nil {
			return err
		}
		sums := make(hourlySums)
		for _, n := range shown {
			// A deleted one that nobody had skipped has no options left.
			if options[n.Poll] > 0 {
				sums.of(n.Hour, n.Poll, options[n.Poll]).shown += n.Times
			}
		}
		return c.addHourly(ctx, sums)
	})
}

// Hourly implements [domain.Store].
func (s *Store) Hourly(ctx context.Context, poll domain.PollID, from, to domain.Hour) ([]domain.HourlyCounts, error) {
	var counts []domain.HourlyCounts
	err := s.read(ctx, opHourly, func(ctx context.Context, c *conn) error {
		var state domain.PollState
		if err := notFound(c.row(ctx, `/* poll_state */ SELECT state FROM polls WHERE id = $1`, []any{int64(poll)}, &state)); err != nil {
			return err
		}
		if state >= domain.PollHidden {
			return domain.E(domain.CodeNotFound, "")
		}
		// Nothing happened before it was published.
		from = max(from, domain.HourOf(poll.Time()))
		return c.rows(ctx, `/* hourly */ SELECT hour, votes, skips, shown FROM poll_hourly
			WHERE poll_id = $1 AND hour >= $2 AND hour < $3 ORDER BY hour`,
			func(r pgx.Rows) error {
				var h domain.HourlyCounts
				var at time.Time
				err := r.Scan(&at, &h.Votes, &h.Skips, &h.Shown)
				h.Hour = domain.HourOf(at)
				counts = append(counts, h)
				return err
			}, int64(poll), from.Start(), to.Start())
	})
	if err != nil {
		return nil, err
	}
	return counts, nil
}
