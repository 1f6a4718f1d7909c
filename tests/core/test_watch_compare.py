"""What is suspicious about a backup, and what would be a false alarm."""

from __future__ import annotations

import dataclasses

import bson
import pytest

from flows.core.manifest import Manifest
from flows.core.names import Namespace
from flows.core.selection import Selection
from flows.core.source import Kind
from flows.core.ttl import Ages
from flows.core.watch_compare import Contents, Holding, fewer, smaller, vanished
from tests.support.samples import collection, entry, manifest, segment
from tests.support.watches import DAY, contents

MIB = 1 << 20
NIGHTLY, ONE = Selection(), Selection(databases=("mpg",))


def nights(*sizes: int) -> list[Contents]:
    """Newest first, taken a day apart."""
    return [contents(n * DAY, {"mpg.a": 1000}, size=size) for n, size in enumerate(sizes)]


def test_a_backup_half_the_size_of_those_before_is_suspicious_with_before_and_after() -> None:
    newest, *earlier = nights(4 * MIB, 10 * MIB, 9 * MIB, 11 * MIB)
    found = smaller(newest, earlier, 50)
    assert found is not None
    assert found.what == (
        f"backup {newest.backup} has 4.0 MiB of BSON, the 3 backups before it had 10.0 MiB (median): 60 % less"
    )
    assert found.before == earlier[0].backup
    assert smaller(newest, earlier, 60) is None
    assert smaller(newest, earlier, 0) is None


@pytest.mark.parametrize(
    "sizes",
    [
        (5 * MIB, 10 * MIB),  # just a half
        (20 * MIB, 10 * MIB),
        (10 * MIB, 100 * MIB, 10 * MIB, 10 * MIB),  # one odd backup is no measure
        (1000, 900_000),  # small ones
        (4 * MIB,),  # the first
        (0, 0, 0),
    ],
)
def test_sizes_that_are_no_reason_to_ask(sizes: tuple[int, ...]) -> None:
    newest, *earlier = nights(*sizes)
    assert smaller(newest, earlier, 50) is None


def test_namespaces_that_are_gone_are_named_with_what_they_had() -> None:
    before = {f"mpg.c{n}": n for n in range(1, 8)} | {"mpg.view": None}
    newest, earlier = contents(0 * DAY, {"mpg.new": 5}), contents(DAY, before)
    found = vanished(newest, [earlier], ())
    assert found is not None
    assert found.what == (
        f"8 namespaces are gone since backup {earlier.backup}: mpg.c1 (1 document), mpg.c2 (2 documents), "
        "mpg.c3 (3 documents), mpg.c4 (4 documents), mpg.c5 (5 documents) and 3 more"
    )
    one = vanished(contents(0 * DAY, {}), [contents(DAY, {"mpg.view": None})], ())
    assert one is not None
    assert one.what.startswith("a namespace is gone since backup ")
    assert one.what.endswith(": mpg.view (a view)")


@pytest.mark.parametrize(
    "name",
    ["mpg.empty", "mpg.tmp.agg_out.1f", "admin.system.users", "mpg.$admin.system.users", "logs.2026-03-05"],
)
def test_what_comes_and_goes_by_itself_is_not_missed(name: str) -> None:
    before = contents(DAY, {"mpg.a": 1, name: 0 if name == "mpg.empty" else 500})
    assert vanished(contents(0 * DAY, {"mpg.a": 1}), [before], ("logs.*",)) is None


def test_what_was_not_asked_for_is_not_missed() -> None:
    before = contents(DAY, {"mpg.a": 1, "crm.b": 500, "mpg.c": 500}, selection=NIGHTLY)
    narrow = contents(0 * DAY, {"mpg.a": 1}, selection=Selection(databases=("mpg",), exclude=("mpg.c",)))
    assert vanished(narrow, [before], ()) is None
    assert smaller(dataclasses.replace(narrow, bytes=1), [before], 50) is None
    # What it should still have had is missed.
    lost = dataclasses.replace(narrow, namespaces={})
    found = vanished(lost, [before], ())
    assert found is not None
    assert "mpg.a" in found.what
    assert "crm.b" not in found.what


def test_a_backup_by_hand_of_one_database_does_not_hide_what_the_nightly_ones_lose() -> None:
    full = contents(2 * DAY, {"mpg.a": 1, "crm.b": 500}, selection=NIGHTLY)
    by_hand = contents(DAY, {"mpg.a": 1}, selection=ONE)
    newest = contents(0 * DAY, {"mpg.a": 1}, selection=NIGHTLY)
    found = vanished(newest, [by_hand, full], ())
    assert found is not None
    assert found.before == full.backup


def test_backups_of_older_releases_say_nothing_of_their_selection_and_are_compared() -> None:
    old = [contents(DAY, {"mpg.a": 1, "mpg.b": 9}, selection=None)]
    assert vanished(contents(0 * DAY, {"mpg.a": 1}, selection=None), old, ()) is not None
    assert vanished(contents(0 * DAY, {"mpg.a": 1}, selection=ONE), old, ()) is not None
    assert vanished(contents(0 * DAY, {"crm.a": 1}, selection=Selection(databases=("crm",))), old, ()) is None
    assert vanished(contents(0 * DAY, {}), [], ()) is None


def test_the_order_in_which_a_selection_is_written_does_not_matter() -> None:
    one = contents(DAY, {"a.a": 1}, size=9 * MIB, selection=Selection(databases=("a", "b")))
    other = contents(0 * DAY, {"a.a": 1}, size=MIB, selection=Selection(databases=("b", "a")))
    assert smaller(other, [one], 50) is not None


def test_a_count_that_fell_is_told_with_before_and_after() -> None:
    before = contents(DAY, {"mpg.a": 1234, "mpg.b": 1000, "mpg.c": 100})
    newest = contents(0 * DAY, {"mpg.a": 12, "mpg.b": 500, "mpg.c": 0})
    found = fewer(newest, [before], 50, ())
    assert found is not None
    assert found.what == (
        f"2 collections have far fewer documents than in backup {before.backup}: "
        "mpg.a 1,234 before, 12 now, mpg.c 100 before, 0 now"
    )
    assert fewer(newest, [before], 0, ()) is None
    assert fewer(newest, [before], 50, ("mpg.*",)) is None
    assert fewer(newest, [], 50, ()) is None


def test_counts_that_are_no_reason_to_ask() -> None:
    before = contents(DAY, {"mpg.small": 99, "mpg.sessions": 5000, "mpg.view": None}, expires=("mpg.sessions",))
    newest = contents(0 * DAY, {"mpg.small": 1, "mpg.sessions": 3, "mpg.view": None}, expires=("mpg.sessions",))
    assert fewer(newest, [before], 50, ()) is None


def test_what_is_compared_is_read_from_a_manifest() -> None:
    documents = b"".join(bson.encode({"_id": n}) for n in range(3))
    plain, view, dying = collection("mpg.a"), collection("mpg.v", Kind.VIEW), collection("mpg.t")
    dying = dataclasses.replace(dying, ages=(Ages("at_1", ()),))
    made = manifest([plain, view, dying], [segment(0, *(entry(info, documents) for info in (plain, view, dying)))])
    made = dataclasses.replace(made, selection=Selection(("mpg",), (), ("mpg.x*",)))
    again = Manifest.from_json(made.to_json())
    assert again.selection == made.selection
    found = Contents.of(again)
    assert found.selection == made.selection
    assert found.namespaces == {
        Namespace.parse("mpg.a"): Holding(3, False),
        Namespace.parse("mpg.v"): Holding(None, False),
        Namespace.parse("mpg.t"): Holding(3, True),
    }
    without = made.to_json().replace(b'"selection"', b'"selectiom"')
    assert Manifest.from_json(without).selection is None
