-- Times are integers: milliseconds since 1970-01-01 UTC. Days are days since then.

-- +goose Up

-- An erased user stays as a tombstone: id and times only.
CREATE TABLE users (
    id            INTEGER PRIMARY KEY,
    username      TEXT,
    username_key  TEXT UNIQUE,
    email         TEXT,
    email_key     TEXT UNIQUE,
    password_hash TEXT,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    erased_at     INTEGER,
    CHECK ((erased_at IS NULL) = (username IS NOT NULL)),
    CHECK ((username IS NULL) = (username_key IS NULL)),
    CHECK ((username IS NULL) = (email IS NULL)),
    CHECK ((username IS NULL) = (email_key IS NULL)),
    CHECK ((username IS NULL) = (password_hash IS NULL))
) STRICT;

CREATE TABLE sessions (
    id         TEXT NOT NULL PRIMARY KEY,
    user_id    INTEGER NOT NULL REFERENCES users (id),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ended_at   INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX idx_sessions_user ON sessions (user_id);
CREATE INDEX idx_sessions_ended_at ON sessions (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX idx_sessions_expires_at ON sessions (expires_at);

-- Every token of a session stays, so that the use of a rotated one is noticed.
CREATE TABLE refresh_tokens (
    token_hash BLOB NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    used_at    INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX idx_refresh_tokens_session ON refresh_tokens (session_id);

-- +goose Down
DROP TABLE refresh_tokens;
DROP TABLE sessions;
DROP TABLE users;
