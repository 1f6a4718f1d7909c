"""Opening a segment as it was stored: decrypting, then decompressing, in one stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from flows.core.compress import Compression, Readable, open_compressed
from flows.core.encryption import Identity, open_encrypted
from flows.core.errors import ConfigurationError
from flows.core.manifest import SegmentRecord


@contextmanager
def open_segment(path: Path, record: SegmentRecord, *, key: str, identity: Identity | None) -> Iterator[Readable]:
    """Open the archive in a file that holds a stored object. Neither form of it is in memory or on disk as a whole.

    Args:
        path: The stored bytes.
        record: What the manifest says of them.
        key: Where they are stored, for messages.
        identity: What opens them; None where they are not encrypted.

    Raises:
        ConfigurationError: They are encrypted and there is no identity.
        IntegrityError: While reading, where the ciphertext was changed or cut off.
        FormatError, Truncated: While reading, where the bytes within are not what the compression writes.
    """
    with ExitStack() as stack:
        file: BinaryIO = stack.enter_context(path.open("rb"))
        if record.recipients:
            if identity is None:
                raise ConfigurationError(
                    "the segment is encrypted, and there is no identity to open it with",
                    key=key,
                    segment=record.name,
                    recipients=record.recipients,
                )
            file = stack.enter_context(open_encrypted(file, identity, key=key, segment=record.name))
        yield stack.enter_context(open_compressed(file, Compression(record.compression), name=record.name))
