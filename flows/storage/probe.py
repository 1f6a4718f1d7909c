"""Try at set-up what a backup will need at three in the morning."""

from __future__ import annotations

from flows.core.checks import CheckLines
from flows.core.errors import ObjectExists, StoreError
from flows.storage.store import ObjectStore, compare, try_line

_CONTENT = b"written by a check of this store; may be deleted\n"


def probe(store: ObjectStore, scratch: str, *, conditional_writes: bool) -> CheckLines:
    """List, write, read back and delete one small object.

    Args:
        store: What to try.
        scratch: The random part of the object's key.
        conditional_writes: Whether the store claims to refuse a key that is taken.

    Returns:
        A line for each thing tried. What needs the object is not tried where it cannot be written.
    """
    key = f".check-{scratch}"

    def listing() -> str:
        # One object is enough: a repository may hold a million.
        return "allowed" if next(iter(store.list("")), None) else "allowed, nothing is there yet"

    def write() -> str:
        store.put(key, _CONTENT)
        return f"{len(_CONTENT)} bytes at {key}"

    def protect() -> str:
        try:
            store.put(key, _CONTENT, if_absent=True)
        except ObjectExists:
            return "the store refuses to overwrite when asked"
        raise StoreError(
            "the store overwrites an object that it was told to keep",
            hint="Use the provider profile 'other' for this store, and run one backup of a plan at a time.",
        )

    def read() -> str:
        compare(store.location, key, what="content", expected=repr(_CONTENT), got=repr(store.get(key, limit=4096)))
        return "the same bytes"

    def delete() -> str:
        store.delete([key])
        return f"{key} is gone"

    lines = [try_line("list", listing), try_line("write", write)]
    if lines[-1].ok:
        if conditional_writes:
            lines.append(try_line("overwrite protection", protect))
        lines += [try_line("read back", read), try_line("delete", delete)]
    return lines
