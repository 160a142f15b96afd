-- +goose Up

-- One row per batch, until it was published. Ids are never used twice: events
-- carry them. A batch of votes learns the versions of its polls' counts from the
-- statement that writes this row; they are in versions, by ascending poll id, and
-- take the place of those in changes.
CREATE TABLE outbox (
    id            bigint GENERATED ALWAYS AS IDENTITY,
    created_at    timestamptz NOT NULL,
    claimed_until timestamptz,
    bucket        integer NOT NULL,
    versions      bigint[],
    changes       bytea NOT NULL,
    PRIMARY KEY (bucket, id)
);

CREATE INDEX idx_outbox_id ON outbox (id);

CREATE TABLE dead_letters (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue      text NOT NULL,
    event_id   text NOT NULL,
    event      json NOT NULL,
    reason     text NOT NULL,
    created_at timestamptz NOT NULL,
    UNIQUE (queue, event_id)
);

CREATE TABLE notifications (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id    bigint NOT NULL REFERENCES users (id),
    type       text NOT NULL,
    poll_id    bigint NOT NULL,
    votes      bigint NOT NULL,
    created_at timestamptz NOT NULL,
    UNIQUE (user_id, poll_id, votes)
);

CREATE INDEX idx_notifications_user ON notifications (user_id, id);

-- The highest milestone of which a poll's author was told. It stays when the
-- notification goes.
CREATE TABLE poll_milestones (
    poll_id bigint PRIMARY KEY,
    votes   bigint NOT NULL
);

-- +goose Down
DROP TABLE poll_milestones;
DROP TABLE notifications;
DROP TABLE dead_letters;
DROP TABLE outbox;
