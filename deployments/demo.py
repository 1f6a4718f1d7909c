"""The demonstration: a payment database is backed up, lost and restored, with real parts and proof.

Run `python -m deployments.demo`; with `KEEP=1` in the environment the parts stay until Ctrl-C, to look around.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from typing import Any

from bson import json_util
from pymongo import MongoClient

from deployments.rig import DATABASE, Addresses, Rig, save_blocks, timed, told_by_parent
from deployments.stage import stage
from flows.core.errors import BackupError
from flows.core.report import counted, format_bytes, text_table

_BSON_BYTES = 140_000_000  # makes a bit more than 200,000 documents
_PLAN = "demo"
_STORY = "story"  # the argument of the child that runs the flows
_DIFFERENT = 3  # its exit status where it has said already what differs
_INVENTORY = ("backup", "age", "documents", "BSON", "stored", "consistency")  # more would be wider than a terminal

_INDEX = "index "  # begins the name of a fact about an index

Fingerprint = dict[str, dict[str, str]]  # facts by name, by collection


def main(arguments: list[str]) -> int:
    """Run the demonstration; returns the exit status: 0 all is equal, 1 something differs or failed."""
    if arguments == [_STORY]:
        try:
            return _story(*told_by_parent())
        except BackupError as error:
            print(f"\nFAILED: {error}", flush=True)
            raise
    # Ended in order by a supervisor too: without this, SIGTERM skips every `finally`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return _stage(keep=os.environ.get("KEEP", "") not in ("", "0"))
    except BackupError as error:
        if error.facts.get("status") != _DIFFERENT:
            print(f"\ndemo: failed: {error}", flush=True)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted", flush=True)
        return 128 + signal.SIGINT


def fingerprint(client: MongoClient[dict[str, Any]], database: str) -> Fingerprint:
    """What a restore must bring back, by collection: the server's own hash of the documents, options, indexes."""
    source = client[database]
    hashes = source.command("dbHash")["collections"]
    found: Fingerprint = {}
    for listed in source.list_collections():
        name, is_view = listed["name"], listed["type"] == "view"
        found[name] = {
            "dbHash": hashes.get(name, f"({listed['type']})"),  # a view has no documents
            "options": json_util.dumps(listed["options"]),
            **{
                _INDEX + index["name"]: json_util.dumps(index)
                for index in ([] if is_view else source[name].list_indexes())
            },
        }
    return found


def differences(before: Fingerprint, after: Fingerprint) -> list[str]:
    """A line for each thing that is not what it was; none if all is equal."""
    lines = [f"{name} has come from nowhere" for name in sorted(after.keys() - before.keys())]
    for name, was in sorted(before.items()):
        if name not in after:
            lines.append(f"{name} is missing")
            continue
        now = after[name]
        lines += [
            f"{name}: {fact} was {was.get(fact, 'not there')}, is {now.get(fact, 'not there')}"
            for fact in sorted(was.keys() | now.keys())
            if was.get(fact) != now.get(fact)
        ]
    return lines


def _stage(*, keep: bool) -> int:
    """Start the parts, fill the database, let a child run the flows, and take everything away."""
    print("A payment database is backed up, lost and restored. All parts are real;")
    print("they are on this machine only and are thrown away at the end.")
    print("\nParts: MongoDB, an S3 server, a Prefect server; and a database to lose", flush=True)
    with stage(_BSON_BYTES) as held:
        rig = held.rig
        rig.run(["deployments.demo", _STORY], {"documents": held.documents})
        if keep:
            _show_around(rig)
        else:
            print("\nTo look around (Prefect UI, store, database): make demo KEEP=1")
        print("demo: ok", flush=True)
        if keep:
            _wait_for_interrupt()
    return 0


def _story(addresses: Addresses, told: dict[str, Any]) -> int:
    """In the child: back up, lose, restore and compare."""
    from flows.backup import backup  # noqa: PLC0415 - Prefect takes its settings when it is imported
    from flows.core.restore_plan import RestoreMode  # noqa: PLC0415
    from flows.inventory import inventory  # noqa: PLC0415
    from flows.restore import restore  # noqa: PLC0415

    save_blocks(addresses)
    client: MongoClient[dict[str, Any]]
    with MongoClient(addresses.mongodb) as client:
        before = fingerprint(client, DATABASE)
        with timed("\nBackup: the flow `backup`") as line:
            made = backup(plan=_PLAN, databases=[DATABASE])
            line.append(f"Backup {made.backup}: {counted(made.documents, 'document')}")
        share = made.stored_bytes / made.bytes
        print(f"  {format_bytes(made.bytes)} of BSON stored as {format_bytes(made.stored_bytes)} ({share:.0%})", end="")
        print(f" in {counted(made.segments, 'segment')}, each verified", flush=True)
        if made.documents != told["documents"]:
            return _differs([f"documents: {told['documents']} in the database, {made.documents} in its backup"])

        print("\nInventory: the flow `inventory`, or `python -m flows inventory`", flush=True)
        rows = [row.cells() for row in inventory(plan=_PLAN)]
        print(text_table([{column: row[column] for column in _INVENTORY} for row in rows]), flush=True)

        print("\nCatastrophe", flush=True)
        client.drop_database(DATABASE)
        if DATABASE in client.list_database_names():
            return _differs([f"{DATABASE} is still there after it was dropped"])
        print(f"  the database `{DATABASE}` was dropped: 0 documents left", flush=True)

        with timed("\nRestore: the flow `restore`, first as a dry run") as line:
            tried = restore(plan=_PLAN, backup="latest", dry_run=True)
            line.append(f"Dry run: would write {counted(tried.documents, 'document')}; wrote nothing")
        if DATABASE in client.list_database_names():
            return _differs(["the dry run of the restore has written something"])
        with timed() as line:
            done = restore(plan=_PLAN, backup="latest", mode=RestoreMode.INTO_NEW, into_source=True)
            line.append(f"Restored {counted(done.documents, 'document')}, {counted(done.indexes, 'index')}")

        print("\nProof: dbHash is MongoDB's own hash of all documents of a collection", flush=True)
        after = fingerprint(client, DATABASE)
    print(text_table(_proof(before, after)), flush=True)
    return _differs(differences(before, after))


def _proof(before: Fingerprint, after: Fingerprint) -> list[dict[str, str]]:
    rows = []
    for name, was in sorted(before.items()):
        now = after.get(name, {})
        indexes = {fact for fact in was.keys() | now.keys() if fact.startswith(_INDEX)}
        same = all(was.get(index) == now.get(index) for index in indexes)
        rows.append(
            {
                "collection": name,
                "dbHash before": was["dbHash"][:12],
                "dbHash after": now.get("dbHash", "(missing)")[:12],
                "options": "equal" if was["options"] == now.get("options") else "DIFFER",
                "indexes": f"{len(indexes)} equal" if same else "DIFFER",
            }
        )
    return rows


def _differs(lines: list[str]) -> int:
    for line in lines:
        print(f"DIFFERS: {line}", flush=True)
    return _DIFFERENT if lines else 0


def _show_around(rig: Rig) -> None:
    python = shlex.quote(os.path.relpath(sys.executable))
    print("\nThe parts keep running until Ctrl-C. Look around:")
    print(f"  Prefect UI         {rig.server.ui_url}")
    print(f"  list the backups   PREFECT_API_URL={rig.server.api_url} \\")
    print(f"                     {python} -m flows inventory")
    print(f"  MongoDB            {rig.addresses.mongodb}")
    print(f"  S3 endpoint        {rig.addresses.endpoint}, bucket {rig.addresses.bucket}")
    print(f"  S3 access key      {rig.addresses.access_key}")
    print(f"  S3 secret key      {rig.addresses.secret_key}")
    print(f"  log of the flows   {rig.log_path}")


def _wait_for_interrupt() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        print()  # behind the terminal's `^C`


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
