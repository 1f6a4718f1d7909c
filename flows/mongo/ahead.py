"""Reading ahead: the server prepares the next batches while this one is looked at."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress

_DEPTH = 4  # batches that wait; with those at both ends it bounds the memory


def read_ahead(batches: Generator[bytes, None, None]) -> Iterator[bytes]:
    """Pass batches on in their order, while a thread already fetches the next ones.

    What the source of the batches raises is raised here, in its place in the order. A consumer that stops early closes
    this generator; the thread then ends after the batch that it is fetching, and closes its source.

    Args:
        batches: Used in the thread alone from now on.
    """
    ready: queue.Queue[bytes | BaseException | None] = queue.Queue(_DEPTH)
    over = threading.Event()

    def put(item: bytes | BaseException | None) -> None:
        while not over.is_set():
            with suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return

    def fetch() -> None:
        try:
            for batch in batches:
                put(batch)
                if over.is_set():
                    break
            put(None)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the batches are used
            put(error)
        finally:
            batches.close()

    thread = threading.Thread(target=fetch, daemon=True, name="read-ahead")
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        over.set()
        thread.join()
