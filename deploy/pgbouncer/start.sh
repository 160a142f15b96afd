#!/bin/sh
# Starts PgBouncer with vote.ini and what comes from the environment: UPSTREAM is
# the database's host, VOTE_PASSWORD the password of the role vote.
set -eu
: "${UPSTREAM:?}" "${VOTE_PASSWORD:?}"
umask 077
cd "$(mktemp -d)"
printf '"vote" "%s"\n' "$VOTE_PASSWORD" >userlist.txt
# What follows the included file still belongs to its last section, [pgbouncer]:
# opening that again would put everything back to its defaults.
cat >pgbouncer.ini <<INI
%include /etc/pgbouncer/vote.ini
auth_file = $PWD/userlist.txt
[databases]
* = host=$UPSTREAM port=5432
INI
exec pgbouncer "$PWD/pgbouncer.ini"
