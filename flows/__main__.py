"""The command line: `python -m flows` with `inventory`, `verify`, `keys`, `evidence verify` or `evidence report`."""

from __future__ import annotations

import argparse
import sys
from datetime import date
from pathlib import Path

from flows.core.encryption import Identity
from flows.core.errors import BackupError, ConfigurationError
from flows.core.evidence_chain import check_head
from flows.core.evidence_tables import chain_text
from flows.core.report import text_table
from flows.core.signing import SigningKey, trusted_signer
from flows.storage.evidence import REPORT_LIMIT_BYTES, copied, prove

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
    given = _parser().parse_args(arguments)
    try:
        print(given.run(given))  # noqa: T201 - this is a command
    except BackupError as error:
        print(error, file=sys.stderr)  # noqa: T201 - this is a command
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flows", description="MongoDB backups that are proven to restore.")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("inventory", help="list the backups in a store")
    _add_store(listing)
    listing.add_argument("--plan", default=None, help="name of the backup job; all, if none is given")
    listing.set_defaults(run=_inventory)
    verifying = commands.add_parser("verify", help="read stored backups again, and say which are damaged")
    _add_store(verifying)
    verifying.add_argument("--plan", default="default", help="name of the backup job [%(default)s]")
    verifying.add_argument("--identities", default=None, help="name of the MongoDB Backup Identities block")
    verifying.add_argument("--backup", default=None, help="only this one, as a whole: an id, or latest")
    verifying.add_argument("--share", default="1/7", help="of the others, besides the newest: 1/7, all [%(default)s]")
    verifying.set_defaults(run=_verified)
    keys = commands.add_parser("keys", help="make new keys for encryption and for signatures, and print them")
    keys.set_defaults(run=lambda _: _new_keys())
    evidence = commands.add_parser("evidence", help="prove the evidence of drills and verifications, or report on it")
    acts = evidence.add_subparsers(dest="act", required=True)
    verify = acts.add_parser("verify", help="tell what is missing, changed, moved or forged")
    report = acts.add_parser("report", help="make the document of a period for an auditor")
    for act in (verify, report):
        act.add_argument("--plan", default="default", help="name of the backup job [%(default)s]")
        _add_store(act)
        act.add_argument("--identities", help="name of the MongoDB Backup Identities block with the trusted signers")
    verify.add_argument("--expect-head", metavar="SHA256", help="the head that you noted: it must be there still")
    verify.add_argument(
        "--folder", type=Path, help="a copy of the store on this machine: needs neither Prefect nor credentials"
    )
    verify.add_argument(
        "--trust", action="append", default=[], metavar="ed25519:…", help="with --folder: who must have signed"
    )
    verify.set_defaults(run=_verify_evidence)
    for name, which in (("from", "first day, such as 2026-03-01 [30 days with the last]"), ("to", "last day [today]")):
        report.add_argument(f"--{name}", type=date.fromisoformat, metavar="DAY", help=which)
    report.add_argument("--time-zone", default="UTC", help="whose days, such as Europe/Berlin [%(default)s]")
    report.add_argument("--output", type=Path, metavar="FILE", help="keep the HTML file here too")
    report.set_defaults(run=_report_evidence)
    return parser


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", default="backups", help="name of the MongoDB Backup Store block [%(default)s]")


# Prefect takes seconds to import, and keys and copies need none of it.


def _inventory(given: argparse.Namespace) -> str:
    from flows.inventory import inventory  # noqa: PLC0415 - see above

    return text_table([row.cells() for row in inventory(plan=given.plan, store=given.store)])


def _verified(given: argparse.Namespace) -> str:
    from flows.verify import verify  # noqa: PLC0415 - see above

    return verify(
        plan=given.plan, store=given.store, identities=given.identities, backup=given.backup, share=given.share
    ).page()


def _verify_evidence(given: argparse.Namespace) -> str:
    if given.folder is not None:
        head = check_head(given.expect_head) if given.expect_head else None
        signers = [trusted_signer(text) for text in given.trust]
        chain = prove(copied(given.folder, given.plan), given.plan, trusted=signers, expected_head=head)
    else:
        if given.trust:
            raise ConfigurationError("--trust is for --folder", hint="Name a block with --identities instead.")
        from flows.evidence import evidence_verify  # noqa: PLC0415 - see above

        chain = evidence_verify(given.plan, given.store, given.identities, given.expect_head)
    if not chain.whole:
        print(text_table([fault.cells() for fault in chain.faults]))  # noqa: T201 - this is a command
    chain.check()
    return chain_text(chain)


def _report_evidence(given: argparse.Namespace) -> str:
    from blocks import BackupStore  # noqa: PLC0415 - see above
    from flows.evidence import evidence_report  # noqa: PLC0415
    from flows.tasks.blocks import load_block  # noqa: PLC0415

    first, last = getattr(given, "from"), given.to
    made = evidence_report(given.plan, given.store, given.identities, first, last, given.time_zone)
    if given.output is not None:
        given.output.write_bytes(load_block(BackupStore, given.store).open().get(made.key, limit=REPORT_LIMIT_BYTES))
    rows = [{"control": name, "is": status.value} for name, status in made.controls.items()]
    return f"{text_table(rows)}\n\n{made.key}\nSHA-256 {made.sha256}"


def _new_keys() -> str:
    identity, key = Identity.generate(), SigningKey.generate()
    return _KEYS.format(recipient=identity.public, identity=identity.secret, signing_key=key.secret, signer=key.public)


if __name__ == "__main__":
    sys.exit(main())
