#!/bin/sh
# Gives Prefect the secrets that are in files, then becomes the program that is named.
#
# Prefect takes secrets from variables only. Here NAME_FILE may name a file that holds NAME, as with other images, so that
# neither `docker inspect` nor a manifest shows them. The set-up reads its own MONGO_BACKUP_…_FILE by itself.
set -eu

for name in \
    PREFECT_API_AUTH_STRING \
    PREFECT_API_KEY \
    PREFECT_SERVER_API_AUTH_STRING \
    PREFECT_SERVER_DATABASE_CONNECTION_URL \
    PREFECT_SERVER_DATABASE_PASSWORD \
    PREFECT_SERVER_ENCRYPTION_KEY
do
    eval "file=\${${name}_FILE:-}"
    # shellcheck disable=SC2154 # eval sets it
    [ -n "$file" ] || continue
    if ! [ -r "$file" ] || ! [ -s "$file" ]; then
        echo "The file that ${name}_FILE names is empty, or user $(id -u) cannot read it: $file" >&2
        exit 1
    fi
    export "$name=$(cat "$file")"
    unset "${name}_FILE"
done

exec "$@"
