#!/bin/sh
# Dumps the database every BACKUP_INTERVAL seconds into BACKUP_FOLDER, and keeps
# each dump for BACKUP_KEEP days. `backup.sh once` makes one and ends; `backup.sh
# restore FILE` puts one into the database, which must be empty; `backup.sh fresh`
# tells by its exit code whether the newest is as new as it should be. Where the
# database is, PGHOST and the other variables of libpq say.
set -eu
umask 077
folder=${BACKUP_FOLDER:-/backups}
interval=${BACKUP_INTERVAL:-86400}
keep=${BACKUP_KEEP:-14}

once() {
	rm -f "$folder"/vote-*.part # of one that was interrupted
	name=$folder/vote-$(date -u +%Y%m%dT%H%M%SZ).dump
	# A dump has its name only when it is whole, readable and on disk.
	if pg_dump --format=custom --no-owner --no-privileges --file="$name.part" &&
		pg_restore --list "$name.part" >/dev/null && sync "$name.part"; then
		mv "$name.part" "$name"
		sync "$folder"
		echo "made $name"
		# The newest stays, however old it is.
		find "$folder" -name 'vote-*.dump' -mtime "+$keep" ! -path "$name" -delete
	else
		rm -f "$name.part"
		return 1
	fi
}

case ${1:-run} in
run)
	while :; do
		once || echo "no backup was made" >&2
		sleep "$interval" &
		wait $!
	done
	;;
once) once ;;
restore) exec pg_restore --exit-on-error --single-transaction --no-owner --no-privileges --dbname="$PGDATABASE" "$2" ;;
fresh) test -n "$(find "$folder" -name 'vote-*.dump' -mmin "-$((interval / 60 + 120))")" ;;
*)
	echo "usage: backup.sh [run | once | restore FILE | fresh]" >&2
	exit 2
	;;
esac
