-- +goose Up

-- Votes and skips are kept under one number, the user above 32 bits of the
-- poll's position: SQLite finds its place by comparing integers, which is several
-- times cheaper than comparing records. It is as unique as (user_id, poll_id),
-- since each poll has one position.
ALTER TABLE votes RENAME TO keyed_votes;
ALTER TABLE skips RENAME TO keyed_skips;

CREATE TABLE votes (
    id           INTEGER PRIMARY KEY,
    poll_id      INTEGER NOT NULL,
    option_index INTEGER NOT NULL CHECK (option_index BETWEEN 0 AND 19),
    created_at   INTEGER NOT NULL,
    user_id      INTEGER NOT NULL GENERATED ALWAYS AS (id >> 32) VIRTUAL,
    position     INTEGER NOT NULL GENERATED ALWAYS AS (id & 4294967295) VIRTUAL
) STRICT;

CREATE TABLE skips (
    id         INTEGER PRIMARY KEY,
    poll_id    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    user_id    INTEGER NOT NULL GENERATED ALWAYS AS (id >> 32) VIRTUAL,
    position   INTEGER NOT NULL GENERATED ALWAYS AS (id & 4294967295) VIRTUAL
) STRICT;

INSERT INTO votes (id, poll_id, option_index, created_at)
SELECT user_id << 32 | position, poll_id, option_index, created_at FROM keyed_votes ORDER BY user_id, position;
INSERT INTO skips (id, poll_id, created_at)
SELECT user_id << 32 | position, poll_id, created_at FROM keyed_skips ORDER BY user_id, position;

DROP TABLE keyed_votes;
DROP TABLE keyed_skips;

-- The newest day on which a user has voted is counted in the user's state, which
-- each vote changes anyhow; daily_votes holds the days before.
ALTER TABLE user_state ADD COLUMN vote_date INTEGER NOT NULL DEFAULT 0;
ALTER TABLE user_state ADD COLUMN vote_count INTEGER NOT NULL DEFAULT 0 CHECK (vote_count >= 0);

UPDATE user_state SET vote_date = d.vote_date, vote_count = d.vote_count FROM daily_votes d
WHERE d.user_id = user_state.user_id
    AND d.vote_date = (SELECT max(vote_date) FROM daily_votes WHERE user_id = user_state.user_id);
DELETE FROM daily_votes WHERE (user_id, vote_date) IN (SELECT user_id, vote_date FROM user_state);

-- +goose Down
INSERT INTO daily_votes (user_id, vote_date, vote_count)
SELECT user_id, vote_date, vote_count FROM user_state WHERE vote_count > 0;
ALTER TABLE user_state DROP COLUMN vote_count;
ALTER TABLE user_state DROP COLUMN vote_date;

ALTER TABLE votes RENAME TO packed_votes;
ALTER TABLE skips RENAME TO packed_skips;

CREATE TABLE votes (
    user_id      INTEGER NOT NULL,
    poll_id      INTEGER NOT NULL,
    option_index INTEGER NOT NULL CHECK (option_index BETWEEN 0 AND 19),
    position     INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (user_id, poll_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE skips (
    user_id    INTEGER NOT NULL,
    poll_id    INTEGER NOT NULL,
    position   INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, poll_id)
) STRICT, WITHOUT ROWID;

INSERT INTO votes SELECT user_id, poll_id, option_index, position, created_at FROM packed_votes ORDER BY id;
INSERT INTO skips SELECT user_id, poll_id, position, created_at FROM packed_skips ORDER BY id;

DROP TABLE packed_votes;
DROP TABLE packed_skips;
