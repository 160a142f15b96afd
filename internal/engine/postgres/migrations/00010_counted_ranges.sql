-- +goose Up

-- The events that poll_hourly holds, by outbox row. Whoever counts some of a row's
-- events locks it, so that no event is counted by two.
CREATE TABLE counted (
    row_id     bigint PRIMARY KEY,
    counted_at timestamptz NOT NULL,
    numbers    int4multirange NOT NULL
) WITH (fillfactor = 70);

INSERT INTO counted (row_id, counted_at, numbers)
SELECT row_id, max(counted_at), range_agg(int4range(first, last, '[]')) FROM counted_events GROUP BY row_id;

DROP TABLE counted_events;
ALTER TABLE counted RENAME TO counted_events;
ALTER INDEX counted_pkey RENAME TO counted_events_pkey;

-- +goose Down
CREATE TABLE spans (
    row_id     bigint NOT NULL,
    counted_at timestamptz NOT NULL,
    first      integer NOT NULL,
    last       integer NOT NULL,
    PRIMARY KEY (row_id, first)
);

INSERT INTO spans (row_id, counted_at, first, last)
SELECT row_id, counted_at, lower(span), upper(span) - 1 FROM counted_events, unnest(numbers) AS span;

DROP TABLE counted_events;
ALTER TABLE spans RENAME TO counted_events;
ALTER INDEX spans_pkey RENAME TO counted_events_pkey;
