"""What a backup flow returns, and the page that it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from flows.core.manifest import Manifest
from flows.core.report import MOST_ROWS, counted, cut_note, format_bytes, format_count, format_duration, markdown_table
from flows.core.source import Consistency, Kind


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
        f"* **Complete**: {counted(manifest.documents, 'document')} "
        f"in {counted(len(manifest.namespaces), 'namespace')}, "
        f"{format_bytes(manifest.bson_bytes)} of BSON, stored as {format_bytes(manifest.stored_bytes)} ({share:.0f} %) "
        f"in {counted(len(manifest.segments), 'segment')}, in {format_duration(took)}",
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
                for record in manifest.namespaces[:MOST_ROWS]
            ]
        ),
        *cut_note(len(manifest.namespaces)),
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
