"""What flows return and show: small values, and the pages that people read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import nlargest

from flows.core.access import Access
from flows.core.index import BackupFacts
from flows.core.keys import backup_time
from flows.core.manifest import Manifest
from flows.core.markup import markdown_text
from flows.core.proof import NamespaceProof
from flows.core.report import format_bytes, format_count, format_duration, markdown_table
from flows.core.restore_plan import Action, RestoreItem, RestorePlan
from flows.core.results import Standing
from flows.core.retention import RetentionPlan
from flows.core.source import Consistency, Kind

LISTED = "listed"
FOREIGN = "foreign"  # an archive of another tool: never pruned, and no part of any retention
# Of a restore with proof, measured on 2 cores that also ran the server: see "How fast" in the README.
_BYTES_PER_SECOND = 40 * 1024 * 1024
_USERS = "those that the target lacks are added, those that it has stay as they are"
_MOST_ROWS = 500  # a page with more is not read; the manifest has them all


@dataclass(frozen=True, slots=True)
class StoreResult:
    """What became of a backup in one store, and of the backups before it."""

    store: str  # name of its block
    pruned: tuple[str, ...] = ()  # ids of the backups that retention removed
    findings: tuple[str, ...] = ()  # what the operator should know about the pruning, as sentences


@dataclass(frozen=True, slots=True)
class BackupSummary:
    """What a backup flow returns."""

    plan: str
    backup: str
    documents: int
    bytes: int  # [bytes] BSON
    stored_bytes: int
    segments: int
    consistency: Consistency
    warnings: tuple[str, ...]
    stores: tuple[StoreResult, ...] = ()


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What a restore flow returns."""

    plan: str
    backup: str
    namespaces: int
    documents: int
    bytes: int
    indexes: int
    read_back: int  # namespaces whose content digest was computed again from the target
    seconds: float  # [s] from the plan to the end: the recovery time
    safety_backup: str  # plan and id of the backup of what was overwritten; empty where there is none
    dry_run: bool


@dataclass(frozen=True, slots=True)
class InventoryRow:
    """One backup in a repository, or an archive beside it. What is not known without reading it is None."""

    plan: str
    backup: str  # its id; of a foreign archive the key
    taken: datetime  # start of the backup, aware UTC
    age: timedelta
    documents: int | None
    bytes: int | None
    stored_bytes: int | None
    segments: int | None
    consistency: str
    state: str = LISTED
    encrypted: bool | None = None
    signed: bool | None = None
    held: tuple[str, ...] = ()  # legal holds and pins that stand, as people read them
    standing: Standing = field(default_factory=Standing)  # what verifications say

    def cells(self) -> dict[str, str]:
        """The row for people."""
        return {
            "plan": self.plan,
            "backup": self.backup,
            "age": format_duration(self.age),
            # What is wrong stands where a screen is still wide enough.
            "state": self.state,
            "read again": str(self.standing),
            "documents": _known(self.documents, format_count),
            "BSON": _known(self.bytes, format_bytes),
            "stored": _known(self.stored_bytes, format_bytes),
            "protection": _protection(self.encrypted, self.signed),
            "held": "; ".join(self.held) or "-",
            "segments": _known(self.segments, str),
            "consistency": self.consistency,
            "taken (UTC)": f"{self.taken:%Y-%m-%d %H:%M:%S}",
        }


def summarize(manifest: Manifest, stores: Sequence[StoreResult]) -> BackupSummary:
    """The small value of a backup."""
    return BackupSummary(
        plan=manifest.plan,
        backup=manifest.backup,
        documents=manifest.documents,
        bytes=manifest.bson_bytes,
        stored_bytes=manifest.stored_bytes,
        segments=len(manifest.segments),
        consistency=manifest.consistency,
        warnings=manifest.warnings,
        stores=tuple(stores),
    )


def _known(number: int | None, show: Callable[[int], str]) -> str:
    return "-" if number is None else show(number)


def _protection(encrypted: bool | None, signed: bool | None) -> str:
    if encrypted is None or signed is None:
        return "-"
    return f"{'encrypted' if encrypted else 'not encrypted'}, {'signed' if signed else 'not signed'}"


def inventory_row(
    plan: str, facts: BackupFacts, *, now: datetime, damage: str, held: tuple[str, ...], standing: Standing
) -> InventoryRow:
    """The row of one backup; its age counts from its start.

    Args:
        plan: Name of the plan.
        facts: Of the backup.
        now: For the age, aware.
        damage: Why it does not count as verified; empty where it does.
        held: Why it is held.
        standing: What verifications say of it.
    """
    taken = backup_time(facts.backup)
    return InventoryRow(
        plan=plan,
        backup=facts.backup,
        taken=taken,
        age=max(now - taken, timedelta(0)),
        documents=facts.documents,
        bytes=facts.bytes,
        stored_bytes=facts.stored_bytes,
        segments=facts.segments,
        consistency=facts.consistency.value,
        state=f"not verified: {damage}" if damage else LISTED,
        encrypted=facts.encrypted,
        signed=bool(facts.signer),
        held=held,
        standing=standing,
    )


def bare_row(
    plan: str,
    backup: str,
    *,
    taken: datetime,
    now: datetime,
    state: str,
    stored_bytes: int | None = None,
    held: tuple[str, ...] = (),
) -> InventoryRow:
    """The row of what has no manifest that could be read."""
    age = max(now - taken, timedelta(0))
    return InventoryRow(plan, backup, taken, age, None, None, stored_bytes, None, "-", state, held=held)


def backup_page(manifest: Manifest, *, stores: Sequence[str] = (), lost: Mapping[str, str] | None = None) -> str:
    """The report of a backup, as Markdown.

    Args:
        manifest: Of the first store that has it.
        stores: Names of the stores that have it, where the plan has several.
        lost: Why others do not, by name.
    """
    took = manifest.finished - manifest.started
    share = 100 * manifest.stored_bytes / manifest.bson_bytes if manifest.bson_bytes else 100
    ways = sorted({segment.confirmed for segment in manifest.segments})
    source = manifest.source
    lines = [
        f"# Backup {manifest.backup} of plan {manifest.plan}",
        "",
        f"* **Complete**: {format_count(manifest.documents)} documents in {len(manifest.namespaces)} namespaces, "
        f"{format_bytes(manifest.bson_bytes)} of BSON, stored as {format_bytes(manifest.stored_bytes)} ({share:.0f} %) "
        f"in {len(manifest.segments)} segments, in {format_duration(took)}",
        f"* **Source**: MongoDB {source.server_version}, {source.topology} {source.replica_set or ''}".rstrip(),
        f"* **Consistency**: {_consistency(manifest)}",
        f"* **Verified** in the store: {' and '.join(ways)}, SHA-256 of every segment in the manifest",
        f"* **Encrypted by us**: {_encrypted(manifest)}",
        f"* **Encrypted by the store**: {_encrypted_by_store(manifest)}",
        f"* **Signed**: {_signed(manifest)}",
        *([f"* **Stored in**: {', '.join(f'`{name}`' for name in stores)}"] if stores else []),
        *(f"* **NOT stored in** `{name}`: {why}" for name, why in (lost or {}).items()),
        *(f"* **Warning**: {warning}" for warning in manifest.warnings),
        "",
        markdown_table(
            [
                {
                    "namespace": str(record.namespace),
                    "kind": record.kind.value,
                    "documents": "-" if record.kind is Kind.VIEW else format_count(record.content.documents),
                    "BSON": "-" if record.kind is Kind.VIEW else format_bytes(record.content.bytes),
                    "content digest": record.content.digest[:16],
                }
                for record in manifest.namespaces[:_MOST_ROWS]
            ]
        ),
        *_cut(len(manifest.namespaces)),
    ]
    return "\n".join(lines)


def _encrypted_by_store(manifest: Manifest) -> str:
    ways = {(segment.store_encryption or "it does not say", segment.store_key) for segment in manifest.segments}
    said = (f"{way} with the key `{key}`" if key else way for way, key in sorted(ways))
    return " and ".join(said) or "nothing was stored"


def _consistency(manifest: Manifest) -> str:
    if manifest.cluster_time is None:
        return "none: collections were read one after the other, while writes went on"
    at = datetime.fromtimestamp(manifest.cluster_time.seconds, tz=manifest.started.tzinfo)
    return f"{manifest.consistency.value}: all as of cluster time {manifest.cluster_time} ({at:%Y-%m-%d %H:%M:%S} UTC)"


def _encrypted(manifest: Manifest) -> str:
    if not manifest.recipients:
        return "no"
    to = "with a passphrase" if manifest.identity else "to " + ", ".join(f"`{name}`" for name in manifest.recipients)
    # Where a backup is taken there are no secret keys, so nothing has opened it yet.
    return f"{to}; that it can be opened is shown by `verify` with identities"


def _signed(manifest: Manifest) -> str:
    if manifest.signature is None:
        return "no: whoever may write to the bucket can change it"
    return f"by `{manifest.signature.signer}`"


def restore_page(
    plan: RestorePlan, manifest: Manifest, *, now: datetime, done: str, access: Access, maintenance: str = ""
) -> str:
    """The plan of a restore, or its report, as Markdown.

    Args:
        plan: What is written where.
        manifest: The backup.
        now: For the age of the data.
        done: The headline: what has happened so far.
        access: Who signed the backup, and what opens it.
        maintenance: The section about the maintenance window; empty where there is none.
    """
    age = max(now - manifest.started, timedelta(0))
    stored = sum(segment.bytes for segment in plan.segments)
    lines = [
        f"# Restore of {manifest.backup}" + (f" of plan {manifest.plan}" if manifest.plan else ""),
        "",
        f"* **{done}**",
        f"* **Target**: {plan.target} at `{plan.address}`"
        + ("; **the very MongoDB that was backed up**, which takes `into_source`" if plan.own_source else ""),
        f"* **Age of the data**: {format_duration(age)}",
        *access.lines(manifest),
        f"* **{'Compares, and writes what is missing' if plan.merged else 'Writes'}**: "
        f"{format_count(plan.documents)} documents in {len(plan.items)} namespaces, "
        f"{format_bytes(plan.bytes)}; "
        f"downloads {format_bytes(stored)} in {len(plan.segments)} segments",
        f"* **Estimate**: about {format_duration(timedelta(seconds=max(1, plan.bytes / _BYTES_PER_SECOND)))} at "
        f"{format_bytes(_BYTES_PER_SECOND)} of BSON per second, and up to {format_bytes(plan.bytes)} of disk there",
        f"* **Replaces**: {_held_by(plan.replaced)}",
        *(
            [f"* **Adds to**: {_held_by(plan.merged)}; those that differ from the backup: {plan.duplicates.value}"]
            if plan.merged
            else []
        ),
        *([f"* **To confirm**: type `{plan.confirmation}` into `confirm`"] if plan.confirmation else []),
        f"* **Users and roles**: {_USERS if plan.users else 'left alone'}",
        *(f"* **Warning**: {warning}" for warning in (*manifest.warnings, *plan.warnings)),
        "",
        *([maintenance, ""] if maintenance else []),
        markdown_table(
            [
                {
                    "from": str(item.record.namespace),
                    "to": str(item.target),
                    "action": f"{item.action.value}: {item.refusal}" if item.refusal else item.action.value,
                    "kind": item.record.kind.value,
                    "documents": format_count(item.record.content.documents),
                    "BSON": format_bytes(item.record.content.bytes),
                    "indexes": "-" if item.record.kind is Kind.VIEW else str(len(item.metadata().indexes)),
                    "there now": _there_now(item),
                }
                for item in plan.items[:_MOST_ROWS]
            ]
        ),
        *_cut(len(plan.items)),
    ]
    return "\n".join(lines)


def restore_report(
    plan: RestorePlan,
    manifest: Manifest,
    proofs: Sequence[NamespaceProof],
    *,
    begun: datetime,
    ended: datetime,
    by: str,
    approved: str,
    kept: str,
    access: Access,
    maintenance: str,
) -> str:
    """What a restore did and proved, as Markdown.

    Args:
        plan: What was written where.
        manifest: The backup.
        proofs: Of all namespaces of the plan.
        begun: When the plan was made; the age of the data counts from here.
        ended: When the last comparison was done.
        by: Who started the run, and where it ran.
        approved: The name that whoever approved it gave, and the comment; empty where nobody was asked.
        kept: Plan and id of the backup of what was overwritten; empty where there is none.
        access: Who signed the backup, and what opened it.
        maintenance: The section about the maintenance window; empty where there is none.
    """
    wrong = sum(bool(proof.differences) for proof in proofs)
    read_back = sum(proof.content is not None for proof in proofs)
    merged = [proof.merged for proof in proofs if proof.merged is not None]
    collections = sum(item.record.kind is not Kind.VIEW for item in plan.items)
    unread = collections - read_back - len(merged)
    written = plan.documents - sum(counts.kept + counts.equal for counts in merged)
    done = (
        "FAILED: the target is not what the manifest says"
        if wrong
        else "Complete: what was compared is as in the manifest"
    )
    lines = [
        f"# Restore of {manifest.backup}" + (f" of plan {manifest.plan}" if manifest.plan else ""),
        "",
        f"* **{done}**",
        f"* **Wrote**: {format_count(written)} documents in {len(plan.items)} namespaces"
        + (f", of {format_count(plan.documents)} in the backup" if merged else f", {format_bytes(plan.bytes)}")
        + f", and {sum(proof.indexes for proof in proofs)} indexes",
        f"* **Time to recover** (RTO): {format_duration(ended - begun)}",
        f"* **Age of the data** (RPO): {format_duration(max(begun - manifest.started, timedelta(0)))}",
        *access.lines(manifest),
        f"* **Read back**: {read_back} namespaces, compared by content digest"
        + (f"; in {len(merged)} each document was compared with what was there" if merged else "")
        + (f"; {unread} were compared by their count, as far as the user may" if unread else ""),
        f"* **Options and indexes**: compared in {sum(proof.metadata for proof in proofs)} of {len(proofs)} namespaces",
        f"* **Users and roles**: {_USERS if plan.users else 'left alone'}",
        *(f"* **Warning**: {warning}" for warning in manifest.warnings),
        *([f"* **What was there before** is kept as {kept}"] if kept else []),
        f"* **Started**: {begun:%Y-%m-%d %H:%M:%S} UTC by {by}",
        *([f"* **Approved** under the name {markdown_text(approved)}"] if approved else []),
        "",
        markdown_table(
            [
                {
                    "namespace": str(proof.namespace),
                    "documents": _documents(proof),
                    "indexes built": str(proof.indexes),
                    "content digest": proof.content.digest[:16] if proof.content else "-",
                    "differences": "; ".join(proof.differences) or "none",
                }
                for proof in sorted(proofs, key=lambda proof: (not proof.differences, proof.namespace))[:_MOST_ROWS]
            ]
        ),
        *_cut(len(proofs)),
        *(["", maintenance] if maintenance else []),
        *_held([command for proof in proofs for command in proof.resume]),
    ]
    return "\n".join(lines)


def _documents(proof: NamespaceProof) -> str:
    if proof.merged is not None:
        counts = {
            "inserted": proof.merged.inserted,
            "overwritten": proof.merged.replaced,
            "kept as they were": proof.merged.kept,
            "equal": proof.merged.equal,
        }
        return ", ".join(f"{format_count(count)} {name}" for name, count in counts.items() if count) or "0"
    return format_count(proof.content.documents) if proof.content else "-"


def _held(commands: list[str]) -> list[str]:
    if not commands:
        return []
    return ["", "No document expires before these are run in mongosh:", "", "```", *commands, "```"]


def _held_by(items: Sequence[RestoreItem]) -> str:
    known = [item.present_documents for item in items if item.present_documents is not None]
    documents = ("" if len(known) == len(items) else "at least ") + format_count(sum(known))
    return f"{len(items)} namespaces that hold {documents} documents"


def _there_now(item: RestoreItem) -> str:
    if item.action is Action.CREATE:
        return "-"
    return "not known" if item.present_documents is None else format_count(item.present_documents)


def inventory_rows(rows: Sequence[InventoryRow]) -> list[dict[str, str]]:
    """Rows for a table that is read. Where there are too many, those with a problem and the newest are shown."""
    shown = set(nlargest(_MOST_ROWS, rows, key=lambda row: (row.state not in {LISTED, FOREIGN}, row.taken)))
    cells = [row.cells() for row in rows if row in shown]
    return _more(cells, len(rows) - len(cells), "more; `python -m flows inventory` shows them all")


def retention_rows(plan: RetentionPlan, *, dry_run: bool) -> list[dict[str, str]]:
    """The decision for every backup, for a table: first what goes, then what stays, each newest first."""
    gone = "would be removed" if dry_run else "removed"
    decisions = sorted(plan.decisions, key=lambda decision: decision.keep)
    shown = [
        {
            "backup": d.backup,
            "age": format_duration(d.age) if d.age >= timedelta(0) else "-",
            "stored": _known(d.stored_bytes, format_bytes),
            "decision": "kept" if d.keep else gone,
            "reason": d.reason,
        }
        for d in decisions[:_MOST_ROWS]
    ]
    kept = sum(d.keep for d in decisions[_MOST_ROWS:])
    more = len(decisions) - len(shown)
    return _more(shown, more, f"more: {more - kept} {gone}, {kept} kept")


def _more(shown: list[dict[str, str]], missing: int, what: str) -> list[dict[str, str]]:
    return [*shown, {**dict.fromkeys(shown[0], ""), "backup": f"… and {missing} {what}"}] if missing else shown


def prune_page(
    plan: RetentionPlan, findings: Sequence[str], rows: Sequence[dict[str, str]], *, name: str, dry_run: bool
) -> str:
    """What pruning did to the backups of a plan, as Markdown.

    Args:
        plan: The decision for every backup.
        findings: What the operator should know, as sentences.
        rows: The objects whose data lives on, for a table.
        name: Of the plan.
        dry_run: Whether nothing was removed.
    """
    gone = "would be removed" if dry_run else "were removed"
    lines = [
        f"# Pruning of plan {name}",
        "",
        f"* **Backups**: {len(plan.keep)} stay, {len(plan.remove)} {gone}",
        *(f"* **Finding**: {finding}" for finding in findings or ["none"]),
        "",
        markdown_table(retention_rows(plan, dry_run=dry_run)[:_MOST_ROWS]),
    ]
    if rows:
        lines += ["", "Objects that were deleted and whose data lives on:", "", markdown_table(rows[:_MOST_ROWS])]
    return "\n".join(lines)


def _cut(rows: int) -> list[str]:
    return ["", f"… and {rows - _MOST_ROWS} more; the manifest has them all."] if rows > _MOST_ROWS else []
