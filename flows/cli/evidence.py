"""The commands for evidence: `evidence verify` and `evidence report`."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from flows.cli.manner import Manner
from flows.cli.names import block
from flows.cli.screen import Screen
from flows.cli.status import Status
from flows.core.errors import ConfigurationError
from flows.core.evidence_chain import ChainReport, check_head
from flows.core.evidence_report import ReportSummary
from flows.core.evidence_tables import chain_text
from flows.core.signing import trusted_signer
from flows.storage.evidence import REPORT_LIMIT_BYTES, copied, prove

Plan = Annotated[str, Parameter(metavar="NAME")]
Store = Annotated[str, block("store")]
Identities = Annotated[str | None, block("identities")]
Day = Annotated[date | None, Parameter(metavar="DAY")]

app = App(name="evidence", help="Prove what drills and verifications have left, or report on it.")


@app.command
def verify(
    *,
    plan: Plan = "default",
    store: Store = "backups",
    identities: Identities = None,
    expect_head: Annotated[str | None, Parameter(metavar="SHA256")] = None,
    folder: Path | None = None,
    trust: Annotated[list[str] | None, Parameter(metavar="ed25519:…", consume_multiple=True, negative=())] = None,
    manner: Manner = Manner(),  # noqa: B008 - it cannot be changed
) -> Status:
    """Tell which records of a plan are missing, changed, moved or forged.

    Args:
        plan: Name of the backup job.
        store: Name of the MongoDB Backup Store block.
        identities: Name of the MongoDB Backup Identities block with the trusted signers.
        expect_head: The head that you noted: it must be there still.
        folder: A copy of the store on this machine, which needs neither Prefect nor credentials.
        trust: With --folder: who must have signed.
    """
    if folder is None:
        if trust:
            return manner.present(_no_folder, Screen.text)
        # Prefect takes seconds to import, and copies need none of it.
        from flows.cli.running import run  # noqa: PLC0415
        from flows.evidence import evidence_verify  # noqa: PLC0415

        given = {"plan": plan, "store": store, "identities": identities, "expect_head": expect_head}
        return run(evidence_verify, lambda: given, manner)

    def act() -> ChainReport:
        head = check_head(expect_head) if expect_head else None
        signers = [trusted_signer(text) for text in trust or ()]
        chain = prove(copied(folder, plan), plan, trusted=signers, expected_head=head)
        if not chain.whole and manner.talks:
            Screen().table([fault.cells() for fault in chain.faults], "What is wrong with the evidence")
        chain.check()
        return chain

    return manner.present(act, lambda screen, chain: screen.text(chain_text(chain)))


def _no_folder() -> str:
    raise ConfigurationError("--trust is for --folder", hint="Name a block with --identities instead.")


@app.command
def report(
    *,
    plan: Plan = "default",
    store: Store = "backups",
    identities: Identities = None,
    first: Annotated[Day, Parameter(name="--from")] = None,
    last: Annotated[Day, Parameter(name="--to")] = None,
    time_zone: Annotated[str, Parameter(metavar="ZONE")] = "UTC",
    output: Path | None = None,
    manner: Manner = Manner(),  # noqa: B008 - it cannot be changed
) -> Status:
    """Make the document of a period for an auditor: a page here, and an HTML file with charts in the store.

    Args:
        plan: Name of the backup job.
        store: Name of the MongoDB Backup Store block.
        identities: Name of the MongoDB Backup Identities block: only records of its trusted signers count.
        first: First day, such as 2026-03-01; none means 30 days with the last.
        last: Last day; none means today.
        time_zone: Whose days, such as Europe/Berlin.
        output: Keep the HTML file here too.
    """
    from blocks import BackupStore  # noqa: PLC0415 - Prefect takes seconds to import
    from flows.cli.running import run  # noqa: PLC0415
    from flows.evidence import evidence_report  # noqa: PLC0415
    from flows.tasks.blocks import load_block  # noqa: PLC0415

    def keep(made: ReportSummary) -> None:
        if output is not None:
            stored = load_block(BackupStore, store).open()
            output.write_bytes(stored.get(made.key, limit=REPORT_LIMIT_BYTES))

    given = {
        "plan": plan,
        "store": store,
        "identities": identities,
        "first": first,
        "last": last,
        "time_zone": time_zone,
    }
    return run(evidence_report, lambda: given, manner, then=keep)
