-- +goose Up

-- Votes and skips carry the poll's position, so that everything a user has seen
-- is one range scan.
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

-- The day stands first in the key, so that the counters in use lie together
-- however long the history grows.
CREATE TABLE daily_votes (
    user_id    INTEGER NOT NULL,
    vote_date  INTEGER NOT NULL,
    vote_count INTEGER NOT NULL CHECK (vote_count > 0),
    PRIMARY KEY (vote_date, user_id)
) STRICT, WITHOUT ROWID;

-- One row per user that is not erased: how much they have seen. Rows are short,
-- so that many share a page: every batch writes the rows of all its users.
CREATE TABLE user_state (
    user_id INTEGER PRIMARY KEY REFERENCES users (id),
    version INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO user_state (user_id) SELECT id FROM users WHERE erased_at IS NULL;

-- One row per poll that was ever voted on or skipped. votes is a JSON array of
-- the count of each option, total its sum.
CREATE TABLE poll_counts (
    poll_id    INTEGER PRIMARY KEY,
    total      INTEGER NOT NULL,
    skips      INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    votes      TEXT NOT NULL
) STRICT;

-- +goose Down
DROP TABLE poll_counts;
DROP TABLE user_state;
DROP TABLE daily_votes;
DROP TABLE skips;
DROP TABLE votes;
