-- Every table that a batch of votes touches has as first column of its key the
-- bucket of the user, which is the user's id modulo storage.buckets, so that the
-- tables can be distributed together over several servers by it.

-- +goose Up

-- Partitioned by month, as ranges of the time-ordered poll id. The partitions are
-- made by the program, before the first poll of their month. There are no
-- references to other tables: they would cost a look-up for each row on the
-- hottest path.
CREATE TABLE votes (
    user_id      bigint NOT NULL,
    poll_id      bigint NOT NULL,
    created_at   timestamptz NOT NULL,
    bucket       integer NOT NULL,
    option_index smallint NOT NULL CHECK (option_index BETWEEN 0 AND 19),
    CONSTRAINT idx_votes_user_poll PRIMARY KEY (bucket, user_id, poll_id)
) PARTITION BY RANGE (poll_id);

CREATE TABLE skips (
    user_id    bigint NOT NULL,
    poll_id    bigint NOT NULL,
    created_at timestamptz NOT NULL,
    bucket     integer NOT NULL,
    CONSTRAINT idx_skips_user_poll PRIMARY KEY (bucket, user_id, poll_id)
) PARTITION BY RANGE (poll_id);

-- Rows that are changed often have room in their page for the next version.
CREATE TABLE daily_votes (
    user_id    bigint NOT NULL,
    bucket     integer NOT NULL,
    vote_date  date NOT NULL,
    vote_count integer NOT NULL CHECK (vote_count > 0),
    CONSTRAINT idx_daily_votes_user_date PRIMARY KEY (bucket, user_id, vote_date)
) PARTITION BY HASH (user_id);

CREATE TABLE daily_votes_0 PARTITION OF daily_votes FOR VALUES WITH (MODULUS 4, REMAINDER 0) WITH (fillfactor = 70);
CREATE TABLE daily_votes_1 PARTITION OF daily_votes FOR VALUES WITH (MODULUS 4, REMAINDER 1) WITH (fillfactor = 70);
CREATE TABLE daily_votes_2 PARTITION OF daily_votes FOR VALUES WITH (MODULUS 4, REMAINDER 2) WITH (fillfactor = 70);
CREATE TABLE daily_votes_3 PARTITION OF daily_votes FOR VALUES WITH (MODULUS 4, REMAINDER 3) WITH (fillfactor = 70);

-- One row per user that is not erased: how much they have seen, and whether they
-- are banned. Whoever changes something of the user's votes and skips locks it.
--
-- Everything a user has voted on and skipped is numbered from 1 to version, in
-- the order in which it was accepted. recent holds the last 64, oldest first, as
-- the poll's position, negative for a skip.
CREATE TABLE user_state (
    user_id bigint NOT NULL,
    version bigint NOT NULL DEFAULT 0,
    bucket  integer NOT NULL,
    banned  boolean NOT NULL DEFAULT false,
    recent  integer[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (bucket, user_id)
) WITH (fillfactor = 60);

-- Whatever is older stands here by 64, as it stood in recent: chunk n holds the
-- numbers 64 * (n - 1) + 1 to 64 * n, from the moment on at which the last of them
-- was given. So a vote costs a row here one time in 64, and a list of what a user
-- has done costs no index beside this one.
CREATE TABLE history (
    user_id bigint NOT NULL,
    bucket  integer NOT NULL,
    chunk   integer NOT NULL CHECK (chunk > 0),
    entries integer[] NOT NULL CHECK (cardinality(entries) = 64),
    PRIMARY KEY (bucket, user_id, chunk)
);

-- The counts of a poll, from its first vote or skip on; those of all buckets add
-- up. votes has the count of each option, total is its sum.
CREATE TABLE poll_counts (
    poll_id    bigint NOT NULL,
    total      bigint NOT NULL,
    skips      bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    bucket     integer NOT NULL,
    votes      bigint[] NOT NULL,
    PRIMARY KEY (bucket, poll_id)
) WITH (fillfactor = 60);

-- +goose Down
DROP TABLE poll_counts;
DROP TABLE history;
DROP TABLE user_state;
DROP TABLE daily_votes;
DROP TABLE skips;
DROP TABLE votes;
