#!/bin/sh
# Starts PgBouncer with vote.ini and what comes from the environment: UPSTREAM is
# the database's host, VOTE_PASSWORD the password of the role vote.
set -eu
: "${UPSTREAM:?}" "${VOTE_PASSWORD:?}"
umask 077
cd "$(mktemp -d)"
printf '"vote" "%s"\n' "$VOTE_PASSWORD" >userlist.txt
cat >pgbouncer.ini <<INI
%include /etc/pgbouncer/vote.ini
[databases]
* = host=$UPSTREAM port=5432
[pgbouncer]
auth_file = $PWD/userlist.txt
INI
exec pgbouncer "$PWD/pgbouncer.ini"
