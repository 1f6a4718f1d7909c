"""Blocks and block types on the Prefect server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, cast
from uuid import UUID

from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import BlockDocument
from prefect.exceptions import ObjectNotFound

import blocks
from deployments.setup.changes import Long, Thing
from deployments.setup.wanted import Wanted, block_name, plain
from flows.core.errors import ConfigurationError

_PAGE = 200  # of a listing


def _own_types() -> list[type[Block]]:
    return [getattr(blocks, name) for name in blocks.__all__]


def type_things() -> list[Thing]:
    """Our block types: the forms under Blocks."""
    return [
        Thing(
            "block type",
            kind.get_block_type_slug(),
            "form in the UI",
            {"form": Long(kind._calculate_schema_checksum())},
        )
        for kind in _own_types()
    ]


def existing_types(client: SyncPrefectClient) -> dict[tuple[str, str], dict[str, Any]]:
    """Those that the server knows; one whose form is another than ours has no form here."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for kind in _own_types():
        checksum = kind._calculate_schema_checksum()
        with contextlib.suppress(ObjectNotFound):
            client.read_block_type_by_slug(kind.get_block_type_slug())
            found["block type", kind.get_block_type_slug()] = {"form": Long("another")}
            client.read_block_schema_by_checksum(checksum)
            found["block type", kind.get_block_type_slug()] = {"form": Long(checksum)}
    return found


def save_type(slug: str) -> None:
    """Tell the server a block type."""
    next(kind for kind in _own_types() if kind.get_block_type_slug() == slug).register_type_and_schema()


def existing_blocks(client: SyncPrefectClient, wanted: Sequence[Wanted]) -> dict[tuple[str, str], dict[str, Any]]:
    """The blocks of the same names, by the fields that the set-up knows; no fields where they cannot be used."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for block in wanted:
        fields = _fields(client, block)
        if fields is not None:
            known = (*block.fields, *block.refers)
            found["block", block_name(block.kind, block.name)] = {
                name: plain(value) for name, value in fields.items() if name in known
            }
    return found


def _fields(client: SyncPrefectClient, wanted: Wanted) -> dict[str, Any] | None:
    """The fields of the block that is there; None where there is none."""
    try:
        client.read_block_document_by_name(wanted.name, wanted.kind.get_block_type_slug())
    except ObjectNotFound:
        return None
    try:
        block = cast(Block, wanted.kind.load(wanted.name))
    except RuntimeError:  # it does not pass the validation; the message would quote its values
        return {}
    return {name: getattr(block, name) for name in wanted.kind.model_fields}


def save_block(client: SyncPrefectClient, wanted: Wanted) -> None:
    """Make or change a block; fields that the set-up does not know stay as they are."""
    refers = {name: Block.load(other) for name, other in wanted.refers.items()}
    fields = {**(_fields(client, wanted) or {}), **wanted.fields, **refers}
    wanted.kind(**fields).save(wanted.name, overwrite=True)


def notification_block(client: SyncPrefectClient, name: str) -> UUID:
    """The id of a notification block.

    Args:
        client: Of the server.
        name: Its name, or type and name as in slack-webhook/ops.

    Raises:
        ConfigurationError: There is none of this name, or more than one.
    """
    named = {
        f"{document.block_type.slug}/{document.name}": document.id
        for document in _documents(client)
        if document.block_type and document.block_schema and "notify" in document.block_schema.capabilities
    }
    found = [label for label in named if name in (label, label.partition("/")[2])]
    if len(found) != 1:
        raise ConfigurationError(
            f"there {'are several notification blocks' if found else 'is no notification block'} of this name",
            hint="Make one in the Prefect UI under Blocks, such as Slack Webhook, and name it with its type: "
            "slack-webhook/ops. Without one there are no alarms.",
            variable="MONGO_BACKUP_ALERT_BLOCK",
            expected=f"one of {', '.join(found or named) or 'none so far'}",
            got=name,
        )
    return named[found[0]]


def check_watch_alarms(client: SyncPrefectClient, name: str) -> None:
    """See that the block is there that the watch is to tell.

    Raises:
        ConfigurationError: It is not.
    """
    kind = blocks.BackupAlarms
    try:
        client.read_block_document_by_name(name, kind.get_block_type_slug())
    except ObjectNotFound as error:
        raise ConfigurationError(
            f"there is no block of the type {kind._block_type_name} of this name",
            hint="Make it in the Prefect UI under Blocks, or leave the variable out.",
            variable="MONGO_BACKUP_WATCH_ALARMS",
            got=name,
        ) from error


def _documents(client: SyncPrefectClient) -> Iterator[BlockDocument]:
    offset = 0
    while page := client.read_block_documents(offset=offset, limit=_PAGE, include_secrets=False):
        yield from page
        offset += len(page)
