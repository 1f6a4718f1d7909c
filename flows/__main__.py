"""The command line: `python -m flows inventory` shows what is in a repository, `verify` reads it again, `keys` makes
keys."""

from __future__ import annotations

import argparse
import sys

from flows.core.encryption import Identity
from flows.core.errors import BackupError
from flows.core.report import text_table
from flows.core.signing import SigningKey

_KEYS = """\
# Keep this in a safe: without the identity nobody can read what was encrypted to its recipient.
# `age -d -i` takes it as a file, as it does that of `age-keygen`.
#
# Encryption
# public, for the recipients of MongoDB Backup Encryption: {recipient}
# SECRET, for the identities of MongoDB Backup Identities:
{identity}
#
# Signatures
# public, for the trusted signers of MongoDB Backup Identities: {signer}
# SECRET, for the signing key of MongoDB Backup Encryption: {signing_key}"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 1 failed (the message is on standard error).

    Args:
        arguments: Those after the program's name; by default those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m flows", description="MongoDB backups that are proven to restore.")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("inventory", help="list the backups in a store")
    listing.add_argument("--store", default="backups", help="name of the MongoDB Backup Store block [%(default)s]")
    listing.add_argument("--plan", default=None, help="name of the backup job; all, if none is given")
    verifying = commands.add_parser("verify", help="read stored backups again, and say which are damaged")
    verifying.add_argument("--store", default="backups", help="name of the MongoDB Backup Store block [%(default)s]")
    verifying.add_argument("--plan", default="default", help="name of the backup job [%(default)s]")
    verifying.add_argument("--identities", default=None, help="name of the MongoDB Backup Identities block")
    verifying.add_argument("--backup", default=None, help="only this one, as a whole: an id, or latest")
    verifying.add_argument("--share", default="1/7", help="of the others, besides the newest: 1/7, all [%(default)s]")
    commands.add_parser("keys", help="make new keys for encryption and for signatures, and print them")
    given = parser.parse_args(arguments)
    if given.command == "keys":
        print(_new_keys())  # noqa: T201 - this is a command
        return 0
    try:
        print(_verified(given) if given.command == "verify" else _inventory(given))  # noqa: T201
    except BackupError as error:
        print(error, file=sys.stderr)  # noqa: T201 - this is a command
        return 1
    return 0


def _inventory(given: argparse.Namespace) -> str:
    from flows.inventory import inventory  # noqa: PLC0415 - Prefect takes seconds, and keys need none of it

    return text_table([row.cells() for row in inventory(plan=given.plan, store=given.store)])


def _verified(given: argparse.Namespace) -> str:
    from flows.verify import verify  # noqa: PLC0415 - as above

    return verify(
        plan=given.plan, store=given.store, identities=given.identities, backup=given.backup, share=given.share
    ).page()


def _new_keys() -> str:
    identity, key = Identity.generate(), SigningKey.generate()
    return _KEYS.format(recipient=identity.public, identity=identity.secret, signing_key=key.secret, signer=key.public)


if __name__ == "__main__":
    sys.exit(main())
