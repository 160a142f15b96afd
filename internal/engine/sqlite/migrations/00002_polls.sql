-- +goose Up

-- Position, id and revision are handed out by the row of table publication, so
-- all three grow with every poll; the revision is renewed when the state
-- changes. Short columns stand first: whoever reads only those never follows a
-- long row to its overflow page.
CREATE TABLE polls (
    id           INTEGER PRIMARY KEY,
    position     INTEGER NOT NULL,
    revision     INTEGER NOT NULL,
    author_id    INTEGER REFERENCES users (id),
    created_at   INTEGER NOT NULL,
    published_at INTEGER NOT NULL,
    closed_at    INTEGER,
    hidden_at    INTEGER,
    deleted_at   INTEGER,
    tags         TEXT NOT NULL CHECK (json_valid(tags)),
    title        TEXT NOT NULL,
    options      TEXT NOT NULL CHECK (json_valid(options)),
    state        INTEGER NOT NULL GENERATED ALWAYS AS (
        CASE WHEN deleted_at IS NOT NULL THEN 3
             WHEN hidden_at IS NOT NULL THEN 2
             WHEN closed_at IS NOT NULL THEN 1
             ELSE 0 END) VIRTUAL
) STRICT;

CREATE UNIQUE INDEX idx_polls_position ON polls (position);
CREATE UNIQUE INDEX idx_polls_revision ON polls (revision);
CREATE INDEX idx_polls_author ON polls (author_id) WHERE author_id IS NOT NULL;

-- The last position, poll id and revision that were handed out.
CREATE TABLE publication (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL,
    poll_id  INTEGER NOT NULL,
    revision INTEGER NOT NULL
) STRICT;

INSERT INTO publication (one, position, poll_id, revision) VALUES (1, 0, 0, 0);

CREATE TABLE daily_polls (
    user_id    INTEGER NOT NULL,
    poll_date  INTEGER NOT NULL,
    poll_count INTEGER NOT NULL CHECK (poll_count > 0),
    PRIMARY KEY (poll_date, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency_keys (
    user_id     INTEGER NOT NULL,
    key         TEXT NOT NULL,
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
    poll_id     INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (user_id, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idx_idempotency_keys_created_at ON idempotency_keys (created_at);

-- The tokens of open polls by position. The domain makes the tokens; the ascii
-- tokenizer takes every character of theirs as it is. Prefixes of up to three
-- characters have an index of their own.
CREATE VIRTUAL TABLE search USING fts5 (
    tokens, content = '', contentless_delete = 1, detail = 'none', prefix = '1 2 3', tokenize = 'ascii'
);

-- Every token of four characters or more that was ever stored, to find those
-- that begin with a longer prefix.
CREATE TABLE search_terms (
    term TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE search_terms;
DROP TABLE search;
DROP TABLE idempotency_keys;
DROP TABLE daily_polls;
DROP TABLE publication;
DROP TABLE polls;
