-- +goose Up

-- One row per batch, until it was published. Ids are never used twice: events
-- carry them.
CREATE TABLE outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    created_at INTEGER NOT NULL,
    changes    BLOB NOT NULL
) STRICT;

CREATE TABLE dead_letters (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    queue      TEXT NOT NULL,
    event_id   TEXT NOT NULL,
    event      TEXT NOT NULL CHECK (json_valid(event)),
    reason     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (queue, event_id)
) STRICT;

-- +goose Down
DROP TABLE dead_letters;
DROP TABLE outbox;
