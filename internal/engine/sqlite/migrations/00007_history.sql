-- +goose Up

-- What users voted on and skipped, in the order in which it was accepted. Rows
-- are only ever added at the end, so that those of a batch share a page. Each
-- names the one before it of the same user and kind, 0 when there is none, and
-- user_state the last of either kind: so a list is read, newest first, without
-- an index that would have to be kept.
ALTER TABLE user_state ADD COLUMN last_vote INTEGER NOT NULL DEFAULT 0;
ALTER TABLE user_state ADD COLUMN last_skip INTEGER NOT NULL DEFAULT 0;

CREATE TABLE history (
    id       INTEGER PRIMARY KEY,
    user_id  INTEGER NOT NULL,
    poll_id  INTEGER NOT NULL,
    skip     INTEGER NOT NULL CHECK (skip IN (0, 1)),
    previous INTEGER NOT NULL
) STRICT;

WITH seen AS (
    SELECT user_id, poll_id, created_at, 0 AS skip FROM votes
    UNION ALL SELECT user_id, poll_id, created_at, 1 FROM skips
), numbered AS (
    SELECT user_id, poll_id, skip, row_number() OVER (ORDER BY created_at, user_id, skip DESC, poll_id) AS id
    FROM seen WHERE user_id IN (SELECT user_id FROM user_state)
)
INSERT INTO history (id, user_id, poll_id, skip, previous)
SELECT id, user_id, poll_id, skip, lag(id, 1, 0) OVER (PARTITION BY user_id, skip ORDER BY id) FROM numbered ORDER BY id;

UPDATE user_state SET last_vote = h.vote, last_skip = h.skip FROM (
    SELECT user_id, max(CASE skip WHEN 0 THEN id ELSE 0 END) AS vote, max(CASE skip WHEN 1 THEN id ELSE 0 END) AS skip
    FROM history GROUP BY user_id
) h WHERE h.user_id = user_state.user_id;

-- The hour stands first in the key, so that the rows in use lie together however
-- long the history grows. votes is a JSON array of the count of each option.
CREATE TABLE poll_hourly (
    hour    INTEGER NOT NULL,
    poll_id INTEGER NOT NULL,
    shown   INTEGER NOT NULL,
    skips   INTEGER NOT NULL,
    votes   TEXT NOT NULL CHECK (json_valid(votes)),
    PRIMARY KEY (hour, poll_id)
) STRICT, WITHOUT ROWID;

-- The events that poll_hourly holds: of an outbox row, those numbered from first
-- to last.
CREATE TABLE counted_events (
    row_id     INTEGER NOT NULL,
    first      INTEGER NOT NULL,
    last       INTEGER NOT NULL,
    counted_at INTEGER NOT NULL,
    PRIMARY KEY (row_id, first)
) STRICT, WITHOUT ROWID;

WITH v AS (
    SELECT poll_id, created_at / 3600000 AS hour, option_index, count(*) AS n FROM votes GROUP BY 1, 2, 3
), s AS (
    SELECT poll_id, created_at / 3600000 AS hour, count(*) AS n FROM skips GROUP BY 1, 2
), hours AS (
    SELECT poll_id, hour FROM v UNION SELECT poll_id, hour FROM s
)
INSERT INTO poll_hourly (hour, poll_id, shown, skips, votes)
SELECT h.hour, h.poll_id, 0,
    coalesce((SELECT n FROM s WHERE s.poll_id = h.poll_id AND s.hour = h.hour), 0),
    (SELECT json_group_array(coalesce((SELECT n FROM v
            WHERE v.poll_id = h.poll_id AND v.hour = h.hour AND v.option_index = o.key), 0) ORDER BY o.key)
        FROM json_each(c.votes) o)
FROM hours h JOIN poll_counts c ON c.poll_id = h.poll_id;

-- What waits in the outbox is in the sums above.
INSERT INTO counted_events (row_id, first, last, counted_at) SELECT id, 0, 2147483647, created_at FROM outbox;

CREATE TABLE notifications (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id    INTEGER NOT NULL REFERENCES user_state (user_id),
    type       TEXT NOT NULL,
    poll_id    INTEGER NOT NULL,
    votes      INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (user_id, poll_id, votes)
) STRICT;

-- The highest milestone of which a poll's author was told. It stays when the
-- notification goes.
CREATE TABLE poll_milestones (
    poll_id INTEGER PRIMARY KEY,
    votes   INTEGER NOT NULL
) STRICT;

-- +goose Down
DROP TABLE poll_milestones;
DROP TABLE notifications;
DROP TABLE counted_events;
DROP TABLE poll_hourly;
DROP TABLE history;
ALTER TABLE user_state DROP COLUMN last_skip;
ALTER TABLE user_state DROP COLUMN last_vote;
