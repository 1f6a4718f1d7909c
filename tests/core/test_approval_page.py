"""What a second person reads before a restore."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import bson

from flows.core.access import Access
from flows.core.approval_page import approval_page
from flows.core.maintenance import Command, Mask, Procedure
from flows.core.merge import Duplicates, Existing
from flows.core.names import Namespace
from flows.core.restore_plan import RestoreMode, RestorePlan, RestoreRequest, plan_restore
from flows.core.source import Kind
from tests.support.samples import STARTED, collection, entry, manifest, segment

ONE = bson.encode({"_id": 1})
A, B, VIEW = collection("mpg.a"), collection("mpg.b"), collection("mpg.v", Kind.VIEW)
BACKUP = manifest([A, B, VIEW], [segment(0, entry(A, ONE), entry(B, ONE + ONE), entry(VIEW, b""))])
NOW = STARTED + timedelta(hours=2, minutes=5)


def plan(request: RestoreRequest, existing: dict[str, tuple[Kind, int | None]]) -> RestorePlan:
    """A plan for a target that has these."""
    names = {Namespace.parse(name): there for name, there in existing.items()}
    found = {name: Existing(name, kind, count) for name, (kind, count) in names.items()}
    decided = plan_restore(BACKUP, request, existing=found)
    return replace(decided, target="MongoDB 6.0.5, replica set rs0", address="mongo-1:27017")


def page(decided: RestorePlan, *, procedure: Procedure = Procedure(), safety_plan: str = "") -> str:
    return approval_page(
        decided,
        BACKUP,
        now=NOW,
        until=NOW + timedelta(hours=1),
        by="Ada on worker_1",
        page="restore-mpg",
        access=Access(),
        procedure=procedure,
        safety_plan=safety_plan,
    )


def fates(text: str) -> list[str]:
    """What is said of each namespace."""
    listed = text.partition("What happens to each namespace of the target:")[2]
    return [line.removeprefix("* ") for line in listed.splitlines() if line.startswith("* ")]


def test_it_begins_with_what_is_lost_and_fits_a_narrow_form() -> None:
    decided = plan(
        RestoreRequest(mode=RestoreMode.REPLACE), {"mpg.b": (Kind.COLLECTION, 7_000), "mpg.v": (Kind.VIEW, 0)}
    )
    text = page(decided, safety_plan="mpg-before-restore")
    assert text.startswith("**This restore drops 2 namespaces with 7,000 documents and writes 3 documents (42 B).**\n")
    assert fates(text) == [
        "mpg.b: **dropped with 7,000 documents**, then gets 2 documents",
        "mpg.v: **dropped with its definition**, then gets the view",
        "mpg.a: new, 1 document",
    ]
    assert "Target: MongoDB 6.0.5, replica set rs0 at `mongo-1:27017`.\n" in text
    assert "* **Backup**: 2026-03-06T04-00-00Z of plan mpg, 2 h 5 min old\n" in text
    assert "* **Backed up first**: what is overwritten, as plan mpg-before-restore\n" in text
    assert "* **Asked for** by Ada on worker\\_1\n" in text
    assert text.endswith("Without an answer by 2026-03-06 07:05 UTC the run ends, and nothing is written.")
    assert "|" not in text


def test_what_cannot_be_counted_is_not_said_to_be_nothing() -> None:
    decided = plan(
        RestoreRequest(mode=RestoreMode.REPLACE), {"mpg.a": (Kind.COLLECTION, None), "mpg.b": (Kind.COLLECTION, 1)}
    )
    text = page(decided)
    assert "drops 2 namespaces with at least 1 document and" in text
    assert "mpg.a: **dropped with all that it has**, then gets 1 document" in fates(text)
    assert "Backed up first" not in text


def test_a_merge_says_what_becomes_of_documents_that_differ() -> None:
    there = {"mpg.a": (Kind.COLLECTION, 5)}
    for duplicates, words in (
        (Duplicates.KEEP, "those that differ stay as they are"),
        (Duplicates.OVERWRITE, "**those that differ are overwritten**"),
        (Duplicates.FAIL, "the first that differs ends the restore"),
    ):
        text = page(plan(RestoreRequest(mode=RestoreMode.MERGE, duplicates=duplicates), there))
        assert "This restore adds to 1 namespace with 5 documents and compares 3 documents" in text
        assert ("overwrites those that differ" in text.partition("\n")[0]) == (duplicates is Duplicates.OVERWRITE)
        assert fates(text)[0] == f"mpg.a: keeps 5 documents and gets what it lacks of 1 document; {words}"


def test_names_are_text_and_secrets_are_hidden() -> None:
    step = Command("stop `a` with s3cret", ("true",), 10.0)
    text = page(
        plan(RestoreRequest(rename={"mpg": "_m_[p]"}), {}),
        procedure=Procedure(before=(step,), after=(step,), mask=Mask.of(["s3cret"])),
    )
    assert "\\_m\\_\\[p\\].a (from mpg.a): new, 1 document" in fates(text)
    assert "* **Runs before**: stop \\`a\\` with \\*\\*" in text
    assert "* **Runs afterwards**: stop" in text
    assert "s3cret" not in text


def test_only_the_most_dangerous_of_many_are_listed() -> None:
    many = [collection(f"mpg.c{number:02}") for number in range(40)]
    backup = manifest(many, [segment(0, *(entry(one, ONE) for one in many))])
    last = Namespace.parse("mpg.c39")
    decided = plan_restore(
        backup,
        RestoreRequest(mode=RestoreMode.REPLACE),
        existing={last: Existing(last, Kind.COLLECTION, 3)},
    )
    listed = fates(page(decided))
    assert listed[0].startswith("mpg.c39: **dropped with 3 documents**")
    assert listed[-1] == "… and 10 more"
    assert len(listed) == 31
