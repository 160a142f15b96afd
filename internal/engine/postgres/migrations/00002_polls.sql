-- +goose Up

-- Position, id and revision are handed out by the row of table publication, so
-- all three grow with every poll; the revision is renewed when the state
-- changes.
CREATE TABLE polls (
    id           bigint PRIMARY KEY,
    revision     bigint NOT NULL,
    author_id    bigint REFERENCES users (id),
    created_at   timestamptz NOT NULL,
    published_at timestamptz NOT NULL,
    closed_at    timestamptz,
    hidden_at    timestamptz,
    deleted_at   timestamptz,
    position     integer NOT NULL,
    state        smallint NOT NULL GENERATED ALWAYS AS (
        CASE WHEN deleted_at IS NOT NULL THEN 3
             WHEN hidden_at IS NOT NULL THEN 2
             WHEN closed_at IS NOT NULL THEN 1
             ELSE 0 END) STORED,
    option_count smallint NOT NULL GENERATED ALWAYS AS (jsonb_array_length(options)) STORED,
    title        text NOT NULL,
    options      jsonb NOT NULL,
    tags         text[] NOT NULL
);

CREATE UNIQUE INDEX idx_polls_position ON polls (position);
CREATE UNIQUE INDEX idx_polls_revision ON polls (revision);
CREATE INDEX idx_polls_author ON polls (author_id, id) WHERE author_id IS NOT NULL;
CREATE INDEX idx_polls_created_at ON polls (created_at DESC);
CREATE INDEX idx_polls_tags ON polls USING gin (tags);

-- The last position, poll id and revision that were handed out.
CREATE TABLE publication (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    position integer NOT NULL,
    poll_id  bigint NOT NULL,
    revision bigint NOT NULL
) WITH (fillfactor = 10);

INSERT INTO publication (position, poll_id, revision) VALUES (0, 0, 0);

CREATE TABLE daily_polls (
    user_id    bigint NOT NULL,
    poll_date  date NOT NULL,
    poll_count integer NOT NULL CHECK (poll_count > 0),
    PRIMARY KEY (user_id, poll_date)
);

CREATE TABLE idempotency_keys (
    user_id     bigint NOT NULL,
    key         text NOT NULL,
    fingerprint bytea NOT NULL CHECK (length(fingerprint) = 32),
    poll_id     bigint NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (user_id, key)
);

CREATE INDEX idx_idempotency_keys_created_at ON idempotency_keys (created_at);

-- The tokens of open polls by position. The domain makes the tokens, so no text
-- search configuration takes part. A token that stands for the poll's block of
-- positions lets a search go through the blocks from the newest.
CREATE TABLE search (
    position integer PRIMARY KEY,
    tokens   tsvector NOT NULL
);

CREATE INDEX idx_search_tokens ON search USING gin (tokens);

-- +goose Down
DROP TABLE search;
DROP TABLE idempotency_keys;
DROP TABLE daily_polls;
DROP TABLE publication;
DROP TABLE polls;
