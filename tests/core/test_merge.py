"""What is added to a namespace that the target has, what stands against it, and what of the target stays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flows.core.errors import Refused, TargetNotEmpty
from flows.core.extjson import CollectionMetadata, dumps_metadata
from flows.core.merge import Duplicates, Existing, missing_indexes, notes, refusal
from flows.core.names import Namespace
from flows.core.proof import Merged
from flows.core.restore_plan import Action, RestoreMode, RestorePlan, RestoreRequest, plan_restore
from flows.core.selection import Selection
from flows.core.source import Kind
from tests.support.samples import collection, entry, manifest, segment

PLACE = Namespace("mpg", "a")
ID = {"v": 2, "key": {"_id": 1}, "name": "_id_"}
PLAIN = CollectionMetadata({}, [ID])
CAPPED = CollectionMetadata({"capped": True, "size": 4096}, [ID])
VIEW = CollectionMetadata({"viewOn": "invoices", "pipeline": []})
OTHER_VIEW = CollectionMetadata({"viewOn": "orders", "pipeline": []})


def there(metadata: CollectionMetadata | None = PLAIN, kind: Kind = Kind.COLLECTION) -> Existing:
    return Existing(PLACE, kind, 5, metadata)


def index(name: str, field: str, **options: Any) -> dict[str, Any]:
    return {"v": 2, "key": {field: 1}, "name": name, **options}


@pytest.mark.parametrize(
    ("kind", "held", "present", "duplicates", "why"),
    [
        (Kind.COLLECTION, PLAIN, there(), Duplicates.OVERWRITE, ""),
        (Kind.COLLECTION, PLAIN, there(None), Duplicates.FAIL, ""),
        (Kind.COLLECTION, PLAIN, there(VIEW, Kind.VIEW), Duplicates.KEEP, "it is a view there, and a collection in"),
        (Kind.COLLECTION, CAPPED, there(), Duplicates.KEEP, "it is capped"),
        (Kind.COLLECTION, PLAIN, there(CAPPED), Duplicates.KEEP, "it is capped"),
        (Kind.TIMESERIES, PLAIN, there(PLAIN, Kind.TIMESERIES), Duplicates.KEEP, ""),
        (Kind.TIMESERIES, PLAIN, there(PLAIN, Kind.TIMESERIES), Duplicates.OVERWRITE, "may hold newer measurements"),
        (Kind.VIEW, VIEW, there(VIEW, Kind.VIEW), Duplicates.FAIL, ""),
        (Kind.VIEW, VIEW, there(OTHER_VIEW, Kind.VIEW), Duplicates.FAIL, "the view has another definition there"),
        (Kind.VIEW, VIEW, there(OTHER_VIEW, Kind.VIEW), Duplicates.OVERWRITE, ""),
    ],
)
def test_what_cannot_be_added_to_is_refused(
    kind: Kind, held: CollectionMetadata, present: Existing, duplicates: Duplicates, why: str
) -> None:
    found = refusal(kind, held, present, duplicates)
    assert (why in found) if why else found == ""


def test_only_indexes_whose_name_and_key_are_free_are_built() -> None:
    held = CollectionMetadata({}, [ID, index("new", "n"), index("same", "s"), index("taken", "t"), index("k", "key")])
    target = CollectionMetadata({}, [ID, index("same", "s"), index("taken", "other"), index("by_key", "key")])
    assert [found["name"] for found in missing_indexes(held, target).indexes] == ["new"]
    assert missing_indexes(held, None) == held
    assert notes(Kind.COLLECTION, held, there(target)) == [
        "the target keeps its own: index 'k' is missing",
        "the target keeps its own: index 'taken' differs",
    ]


def test_options_of_the_target_stay_and_are_told() -> None:
    held = CollectionMetadata({"validator": {"a": 1}, "size": 1}, [ID])
    found = notes(Kind.COLLECTION, held, there(CollectionMetadata({"size": 2, "comment": 3}, [ID])))
    assert found == [
        "the target keeps its own: option 'comment' is not in the backup",
        "the target keeps its own: option 'size' differs",
        "the target keeps its own: option 'validator' is missing",
    ]
    assert "could not be compared" in notes(Kind.COLLECTION, held, there(None))[0]
    assert notes(Kind.VIEW, VIEW, there(VIEW, Kind.VIEW)) == []
    assert "which stays" in notes(Kind.VIEW, VIEW, there(OTHER_VIEW, Kind.VIEW))[0]


A = replace(
    collection("mpg.a"),
    metadata=dumps_metadata(options=None, indexes=[], uuid=None, collection_name="a", type="collection"),
)
BACKUP = manifest([A, collection("mpg.b")], [segment(0, entry(A, b""), entry(collection("mpg.b"), b""))])


def plan(duplicates: Duplicates, present: Existing) -> RestorePlan:
    request = RestoreRequest(mode=RestoreMode.MERGE, duplicates=duplicates)
    return plan_restore(BACKUP, request, existing={present.namespace: present})


def test_a_merge_creates_what_is_not_there_and_adds_to_the_rest() -> None:
    decided = plan(Duplicates.KEEP, there())
    assert [item.action for item in decided.items] == [Action.MERGE, Action.CREATE]
    decided.check_free()
    assert decided.merged == decided.items[:1]
    assert decided.endangered == ()
    decided.check_confirmation("")


def test_to_overwrite_documents_wants_the_name_of_the_database_and_they_are_kept_first() -> None:
    decided = plan(Duplicates.OVERWRITE, there())
    with pytest.raises(Refused, match="this restore overwrites what is there and was not confirmed"):
        decided.check_confirmation("")
    decided.check_confirmation("mpg")
    assert decided.overwritten == Selection(("mpg",), ("mpg.a",))


def test_what_cannot_be_merged_is_refused_with_its_reason() -> None:
    decided = plan(Duplicates.KEEP, there(CAPPED))
    with pytest.raises(TargetNotEmpty) as refused:
        decided.check_free()
    assert "cannot be merged into what the target has: it is capped" in refused.value.message
    assert refused.value.facts == {"namespaces": 1, "first": "mpg.a"}


def test_expiry_cannot_be_held_where_the_target_has_a_rule_of_its_own() -> None:
    expiring = CollectionMetadata({}, [ID, index("old", "at", expireAfterSeconds=60)])
    decided = plan(Duplicates.KEEP, there(expiring))
    decided.check_expiry(hold=False)
    with pytest.raises(Refused, match="deletes old ones by a rule of its own"):
        decided.check_expiry(hold=True)
    plan(Duplicates.KEEP, there()).check_expiry(hold=True)


def test_counts_add_up() -> None:
    assert Merged(1, 2, 3, 4) + Merged(10, 20, 30, 40) == Merged(11, 22, 33, 44)
    assert Merged(1, 2, 3, 4).documents == 10
