-- +goose Up

-- The months whose polls were closed for good. From then on nothing is added to
-- their votes and skips; moved_at tells when these were moved into an archive.
CREATE TABLE archived_months (
    month      TEXT NOT NULL PRIMARY KEY,
    first_poll INTEGER NOT NULL,
    end_poll   INTEGER NOT NULL CHECK (end_poll > first_poll),
    closed_at  INTEGER NOT NULL,
    moved_at   INTEGER,
    polls      INTEGER NOT NULL,
    votes      INTEGER NOT NULL,
    skips      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How many rows were moved, counted from the rows: per option, poll and person.
CREATE TABLE archived_votes (
    poll_id      INTEGER NOT NULL,
    option_index INTEGER NOT NULL,
    vote_count   INTEGER NOT NULL CHECK (vote_count > 0),
    PRIMARY KEY (poll_id, option_index)
) STRICT, WITHOUT ROWID;

CREATE TABLE archived_skips (
    poll_id    INTEGER PRIMARY KEY,
    skip_count INTEGER NOT NULL CHECK (skip_count > 0)
) STRICT;

CREATE TABLE archived_users (
    user_id INTEGER PRIMARY KEY,
    votes   INTEGER NOT NULL,
    skips   INTEGER NOT NULL
) STRICT;

-- The votes that were moved on the day they were cast, or later by the clock of
-- that time: the counter of that day still counts them.
CREATE TABLE archived_days (
    user_id    INTEGER NOT NULL,
    vote_date  INTEGER NOT NULL,
    vote_count INTEGER NOT NULL CHECK (vote_count > 0),
    PRIMARY KEY (vote_date, user_id)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE archived_days;
DROP TABLE archived_users;
DROP TABLE archived_skips;
DROP TABLE archived_votes;
DROP TABLE archived_months;
