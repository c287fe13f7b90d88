#!/bin/sh
# Stands in for the public image of PostgreSQL on clusters for tests: the same few variables, nothing else.
set -eu
: "${PGDATA:=/var/lib/postgresql/data}" "${POSTGRES_USER:=postgres}" "${POSTGRES_DB:=$POSTGRES_USER}"
: "${POSTGRES_PASSWORD_FILE:?name the file that holds the password}"
[ "${1:-postgres}" = postgres ] || exec "$@"

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # Made beside its place, so that one that is killed half-way is made anew.
    rm -rf "$PGDATA.new" "$PGDATA"
    initdb --pgdata="$PGDATA.new" --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" \
        --auth=scram-sha-256 --encoding=UTF8 --locale=C
    echo 'host all all all scram-sha-256' >>"$PGDATA.new/pg_hba.conf"
    [ "$POSTGRES_DB" = postgres ] ||
        echo "create database \"$POSTGRES_DB\"" | postgres --single -D "$PGDATA.new" postgres >/dev/null
    mv "$PGDATA.new" "$PGDATA"
fi
exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp
