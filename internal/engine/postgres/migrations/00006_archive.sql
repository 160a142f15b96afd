-- +goose Up

-- The months whose polls were closed for good. From then on nothing is added to
-- their votes and skips; moved_at tells when these were moved into tables of their
-- own. The positions of a month's polls are those from first_position up to
-- before end_position, none when both are 0.
CREATE TABLE archived_months (
    month          text COLLATE "C" PRIMARY KEY,
    first_poll     bigint NOT NULL,
    end_poll       bigint NOT NULL CHECK (end_poll > first_poll),
    first_position integer NOT NULL,
    end_position   integer NOT NULL,
    closed_at      timestamptz NOT NULL,
    moved_at       timestamptz,
    polls          bigint NOT NULL,
    votes          bigint NOT NULL,
    skips          bigint NOT NULL
);

-- How many rows were moved, counted from the rows: per option, poll and person.
CREATE TABLE archived_votes (
    poll_id      bigint NOT NULL,
    vote_count   bigint NOT NULL CHECK (vote_count > 0),
    option_index smallint NOT NULL,
    PRIMARY KEY (poll_id, option_index)
);

CREATE TABLE archived_skips (
    poll_id    bigint PRIMARY KEY,
    skip_count bigint NOT NULL CHECK (skip_count > 0)
);

CREATE TABLE archived_users (
    user_id bigint PRIMARY KEY,
    votes   bigint NOT NULL,
    skips   bigint NOT NULL
);

-- The votes that were moved on the day they were cast, or later by the clock of
-- that time: the counter of that day still counts them.
CREATE TABLE archived_days (
    user_id    bigint NOT NULL,
    vote_date  date NOT NULL,
    vote_count bigint NOT NULL CHECK (vote_count > 0),
    PRIMARY KEY (vote_date, user_id)
);

-- +goose Down
DROP TABLE archived_days;
DROP TABLE archived_users;
DROP TABLE archived_skips;
DROP TABLE archived_votes;
DROP TABLE archived_months;
