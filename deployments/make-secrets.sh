#!/bin/sh
# Makes the files in secrets/ that docker-compose.yml names. What is there stays as it is.
#
#     sh make-secrets.sh           those that nobody else has to know: of Prefect and its database
#     sh make-secrets.sh --trial   also those of the MongoDB and the store of the profile `trial`
#
# Only your user gets into the folder. The files themselves can be read by all: containers see them with the mode that they
# have here, and each container has a user of its own.
set -eu

case "${1:-}" in
    "" | --trial) ;;
    *)
        echo "usage: sh make-secrets.sh [--trial]" >&2
        exit 2
        ;;
esac

folder=$(dirname "$0")/secrets
mkdir -p "$folder"
chmod 0700 "$folder"
cd "$folder"

random() {
    # Letters and digits, about 190 bits: no file, URL or shell stumbles over them.
    head -c 600 /dev/urandom | base64 | tr -dc 'A-Za-z0-9' | head -c 32
}

write() { # NAME VALUE
    [ -e "$1" ] && return
    printf '%s' "$2" > "$1.new"
    chmod 0444 "$1.new"
    mv "$1.new" "$1"
    echo "made    secrets/$1"
}

write postgres-password "$(random)"
write prefect-login "admin:$(random)"
# What Fernet takes: 32 bytes in the URL-safe base64.
write prefect-encryption-key "$(head -c 32 /dev/urandom | base64 | tr '+/' '-_')"

if [ "${1:-}" = --trial ]; then
    for name in source-password target-password s3-access-key s3-secret-key trial-mongo-password; do
        write "$name" "$(random)"
    done
fi

chmod a+r ./*
for name in source-password target-password s3-access-key s3-secret-key; do
    [ -e "$name" ] || echo "missing secrets/$name: write it into this file, alone, with an editor"
done
echo "Log in to the page of Prefect with what is in secrets/prefect-login. Keep a copy of secrets/prefect-encryption-key"
echo "with your backups of the database of Prefect: without it nobody can read the blocks."
