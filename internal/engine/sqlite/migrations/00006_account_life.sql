-- +goose Up

ALTER TABLE users ADD COLUMN banned_at INTEGER;

DROP INDEX idx_sessions_user;
CREATE INDEX idx_sessions_user ON sessions (user_id, created_at);

-- Sessions that ended with their user. Their access tokens live on for a while,
-- so that every process must still hear of their end; nothing names the user.
CREATE TABLE erased_sessions (
    id       TEXT NOT NULL PRIMARY KEY,
    ended_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX idx_erased_sessions_ended_at ON erased_sessions (ended_at);

-- One row while bytes of a name or address that was taken away may be left in
-- the files; mark rises with each that is taken away.
CREATE TABLE traces (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    mark INTEGER NOT NULL
) STRICT;

-- +goose Down
DROP TABLE traces;
DROP TABLE erased_sessions;
DROP INDEX idx_sessions_user;
CREATE INDEX idx_sessions_user ON sessions (user_id);
ALTER TABLE users DROP COLUMN banned_at;
