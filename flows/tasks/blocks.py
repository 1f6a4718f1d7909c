"""Loading blocks by the names that operators give."""

from __future__ import annotations

from typing import TypeVar, cast

from prefect.blocks.core import Block

from blocks import BackupIdentities
from flows.core.encryption import Identities
from flows.core.errors import ConfigurationError

B = TypeVar("B", bound=Block)


def load_block(kind: type[B], name: str) -> B:
    """Load a block of one type by its name.

    Raises:
        ConfigurationError: Where there is none, or what it holds cannot be used. Never quotes its values.
    """
    try:
        return cast(B, kind.load(name))
    except ValueError as error:
        raise ConfigurationError(
            f"there is no block {name!r} of the type {kind._block_type_name}",
            hint="Make it in the Prefect UI under Blocks, or give the name of one that is there.",
        ) from error
    except RuntimeError as error:
        raise ConfigurationError(
            f"the block {name!r} of the type {kind._block_type_name} holds values that cannot be used",
            hint="Open it in the Prefect UI under Blocks and correct it.",
            fields=_wrong_fields(error),
        ) from None


def load_identities(name: str | None) -> Identities:
    """What opens encrypted backups, and who may sign one; nothing where no block is named.

    Raises:
        ConfigurationError: As in `load_block`.
    """
    return load_block(BackupIdentities, name).open() if name else Identities()


def _wrong_fields(error: BaseException) -> list[str]:
    """Which fields the validation refused; the exception itself quotes what was typed, which may be a password."""
    cause = error.__cause__ or error.__context__
    errors = getattr(cause, "errors", None)
    if not callable(errors):
        return []
    return [
        ".".join(map(str, item["loc"])) + ": " + item["msg"] for item in errors(include_input=False, include_url=False)
    ]
