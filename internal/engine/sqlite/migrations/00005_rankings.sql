-- +goose Up

-- positions holds four bytes each, little endian, hottest first.
CREATE TABLE rankings (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    created_at INTEGER NOT NULL,
    positions  BLOB NOT NULL CHECK (length(positions) % 4 = 0)
) STRICT;

-- +goose Down
DROP TABLE rankings;
