#!/bin/sh
# Run once by Patroni on the first primary, with the URL of its superuser: the role
# and the database of Vote. The password is VOTE_PASSWORD.
set -eu
: "${VOTE_PASSWORD:?}"
psql --no-psqlrc --set ON_ERROR_STOP=1 --dbname "$1" <<'SQL'
\getenv password VOTE_PASSWORD
create role vote login password :'password';
create database vote owner vote;
\connect vote
create extension pg_stat_statements;
SQL
