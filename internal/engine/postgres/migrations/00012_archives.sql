-- +goose Up

-- The partitions of archived months become tables of this schema.
CREATE SCHEMA archive;

-- +goose Down

-- It fails while there are archives: they are the only place of what they hold.
DROP SCHEMA archive;
