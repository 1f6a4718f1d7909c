"""What keeps the memory of an export small: rows that wait in large pieces, and free memory that goes back.

Converted batches are many small buffers. Were they held as they are, what is converted meanwhile would lie between
them, and what a written row group frees would be holes that nobody fills.
"""

from __future__ import annotations

import ctypes

import pyarrow as pa

PIECE_BYTES = 8 * 10**6  # [bytes]
# See mallopt(3), and <malloc.h> for the numbers.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE_BYTES = 4 << 20  # [bytes] blocks from here on are the system's, and go back when they are freed
_SLACK_BYTES = 16 << 20  # [bytes] that may stay free at the end of a heap


class WaitingRows:
    """Rows of one schema that wait until there are enough of them for a row group."""

    def __init__(self) -> None:
        self.bytes = 0  # [bytes] of Arrow
        self._pieces: list[pa.Table] = []
        self._fresh: list[pa.Table] = []
        self._fresh_bytes = 0

    def add(self, table: pa.Table) -> None:
        """Hold some more."""
        self.bytes += table.nbytes
        self._fresh_bytes += table.nbytes
        self._fresh.append(table)
        if self._fresh_bytes >= PIECE_BYTES:
            self._pieces.append(pa.concat_tables(self._fresh).combine_chunks())
            self._fresh, self._fresh_bytes = [], 0
            give_back()

    def table(self) -> pa.Table:
        """All of them, in their order."""
        return pa.concat_tables([*self._pieces, *self._fresh])


def keep_little() -> None:
    """Let the C library give back what is freed, in this process. Where it is not glibc, nothing happens.

    glibc learns from large blocks that are freed to keep such ones in its heaps, where small ones that stay hold them
    fast. With fixed thresholds it learns nothing, and an export takes a tenth less memory.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        set_option(_M_TRIM_THRESHOLD, _SLACK_BYTES)


def give_back() -> None:
    """Give memory that is free back to the system, where the C library does not do that by itself (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
