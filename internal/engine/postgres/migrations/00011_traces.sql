-- +goose Up

-- A name or address that was taken away stays in its table, unseen, until the
-- table is vacuumed. The program does so soon after. Should it die before, the
-- server does: whenever there is anything to clear, and the indexes too, which
-- otherwise wait until it is worth the effort.
ALTER TABLE users SET (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0, vacuum_index_cleanup = on);

-- +goose Down
ALTER TABLE users RESET (autovacuum_vacuum_threshold, autovacuum_vacuum_scale_factor, vacuum_index_cleanup);
