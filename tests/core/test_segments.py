"""Cutting the work of a backup into segments."""

from __future__ import annotations

import bson
import pytest

from flows.core.errors import ConfigurationError
from flows.core.names import Namespace
from flows.core.segments import MIB, check_segment_bytes, cut, pieces
from flows.core.source import CollectionInfo, Kind


def collection(name: str, size: int, kind: Kind = Kind.COLLECTION, *, capped: bool = False) -> CollectionInfo:
    return CollectionInfo(Namespace("d", name), kind, "", kind.value, capped=capped, bytes=size, documents=size // 100)


def bound(value: int) -> bytes:
    return bson.encode({"_id": value})


def test_a_database_below_the_segment_size_is_one_segment() -> None:
    infos = [collection("a", 100), collection("b", 0), collection("v", 0, Kind.VIEW), collection("c", 155 * MIB)]
    segments = cut(infos, {}, 256 * MIB)
    assert [[str(p.collection.namespace) for p in s.parts] for s in segments] == [["d.a", "d.b", "d.v", "d.c"]]


def test_small_collections_share_until_a_segment_is_full() -> None:
    segments = cut([collection(name, 40 * MIB) for name in "abcde"], {}, 100 * MIB)
    assert [[p.collection.namespace.collection for p in s.parts] for s in segments] == [["a", "b"], ["c", "d"], ["e"]]
    assert [s.index for s in segments] == [0, 1, 2]


def test_a_large_collection_is_one_segment_a_range_without_a_gap() -> None:
    big = collection("big", 300 * MIB)
    assert pieces(big, 100 * MIB) == 3
    segments = cut([collection("a", 1), big], {big.namespace: [bound(10), bound(20)]}, 100 * MIB)
    ranges = [(s.parts[0].lower, s.parts[0].upper) for s in segments if s.parts[0].collection is big]
    assert ranges == [(None, bound(10)), (bound(10), bound(20)), (bound(20), None)]
    assert sum(s.estimated_bytes for s in segments) == 300 * MIB + 1


def test_a_capped_collection_is_never_split_because_its_order_would_be_lost() -> None:
    assert pieces(collection("log", 10_000 * MIB, capped=True), 256 * MIB) == 1


def test_users_and_roles_are_in_the_first_segment() -> None:
    users = CollectionInfo(Namespace("admin", "system.users"), Kind.COLLECTION, "", "collection", documents=2)
    big = collection("big", 300 * MIB)
    segments = cut([users, big, collection("a", 5)], {big.namespace: [bound(1)]}, 256 * MIB)
    assert segments[0].parts[0].collection is users


def test_a_segment_smaller_than_a_document_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="the segment size is too small"):
        check_segment_bytes(16 * MIB - 1)
    assert check_segment_bytes(16 * MIB) == 16 * MIB
