"""Reading ahead: nothing is lost, reordered or hidden, and an early end is an end."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from flows.core.errors import SourceUnavailable
from flows.mongo.ahead import read_ahead


def batches(count: int, seen: list[str], *, fail_at: int | None = None) -> Generator[bytes, None, None]:
    try:
        for i in range(count):
            if i == fail_at:
                raise SourceUnavailable("the connection broke")
            yield str(i).encode()
    finally:
        seen.append(threading.current_thread().name)


@pytest.mark.parametrize("count", [0, 1, 3, 100])
def test_every_batch_comes_in_its_order(count: int) -> None:
    seen: list[str] = []
    assert list(read_ahead(batches(count, seen))) == [str(i).encode() for i in range(count)]
    assert seen == ["read-ahead"]


def test_an_error_comes_in_its_place_and_not_before() -> None:
    got = []
    with pytest.raises(SourceUnavailable, match="the connection broke"):
        for batch in read_ahead(batches(10, [], fail_at=3)):
            got.append(batch)
    assert got == [b"0", b"1", b"2"]


def test_who_stops_early_leaves_no_thread_and_an_ended_source() -> None:
    seen: list[str] = []
    stream = read_ahead(batches(1_000_000, seen))
    assert next(stream) == b"0"
    stream.close()  # type: ignore[attr-defined]
    assert seen == ["read-ahead"]
    assert not [thread for thread in threading.enumerate() if thread.name == "read-ahead"]
