-- +goose Up

-- The hour stands first in the key, so that the rows in use lie together however
-- long the history grows. votes has the count of each option.
CREATE TABLE poll_hourly (
    hour    timestamptz NOT NULL,
    poll_id bigint NOT NULL,
    shown   bigint NOT NULL,
    skips   bigint NOT NULL,
    votes   bigint[] NOT NULL,
    PRIMARY KEY (hour, poll_id)
) WITH (fillfactor = 70);

CREATE INDEX idx_poll_hourly_poll ON poll_hourly (poll_id, hour);

-- The events that poll_hourly holds: of an outbox row, those numbered from first
-- to last.
CREATE TABLE counted_events (
    row_id     bigint NOT NULL,
    counted_at timestamptz NOT NULL,
    first      integer NOT NULL,
    last       integer NOT NULL,
    PRIMARY KEY (row_id, first)
);

-- Rankings are made from this view. Halving every 24 hours does not change who is
-- hotter, so the heat is that of a fixed moment, as a logarithm. It is rounded, so
-- that equal ones are equal.
CREATE MATERIALIZED VIEW popular_polls AS
WITH counts AS (
    SELECT poll_id, sum(total)::bigint AS votes, sum(skips)::bigint AS skips FROM poll_counts GROUP BY poll_id
), hot AS (
    SELECT p.id AS poll_id, p.position, c.votes, c.skips,
        round(1e9::float8 * (ln(c.votes + 0.2::float8 * c.skips) / ln(2::float8)
            + extract(epoch FROM p.created_at - timestamptz '2025-01-01 00:00:00+00')::float8 / 86400)) AS heat
    FROM counts c JOIN polls p ON p.id = c.poll_id
    WHERE p.state = 0 AND c.votes + c.skips > 0
    ORDER BY heat DESC, p.position DESC LIMIT 10000
), cold AS (
    SELECT p.id AS poll_id, p.position, 0::bigint AS votes, 0::bigint AS skips, NULL::float8 AS heat
    FROM polls p
    WHERE p.state = 0 AND NOT EXISTS (SELECT 1 FROM poll_counts c WHERE c.poll_id = p.id)
    ORDER BY p.position DESC LIMIT 10000
)
SELECT row_number() OVER (ORDER BY heat DESC NULLS LAST, position DESC)::integer AS place,
    poll_id, position, votes, skips, heat
FROM (SELECT * FROM hot UNION ALL SELECT * FROM cold) polls
ORDER BY heat DESC NULLS LAST, position DESC LIMIT 10000;

CREATE UNIQUE INDEX idx_popular_polls_poll ON popular_polls (poll_id);

-- positions holds the hottest first.
CREATE TABLE rankings (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL,
    positions  integer[] NOT NULL
);

-- +goose Down
DROP TABLE rankings;
DROP MATERIALIZED VIEW popular_polls;
DROP TABLE counted_events;
DROP TABLE poll_hourly;
