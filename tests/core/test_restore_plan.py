"""What a restore decides before it touches anything, and what it says when it stops midway."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import bson
import pytest

from flows.core.access import Access
from flows.core.errors import ConfigurationError, IntegrityError, Refused, RestoreIncomplete, TargetNotEmpty
from flows.core.extjson import dumps_metadata
from flows.core.merge import Existing
from flows.core.names import Namespace
from flows.core.restore_page import restore_page
from flows.core.restore_plan import (
    Action,
    RestoreMode,
    RestorePlan,
    RestoreRequest,
    check_before,
    compare_servers,
    plan_restore,
)
from flows.core.restore_progress import RestoreProgress
from flows.core.selection import Selection
from flows.core.source import CollectionInfo, Kind, SourceIdentity
from tests.support.samples import SOURCE, STARTED, collection, entry, manifest, segment

ONE = bson.encode({"_id": 1})
A, B, TS = collection("mpg.a"), collection("mpg.b"), collection("crm.metrics", Kind.TIMESERIES)
USERS = CollectionInfo(Namespace("mpg", "$admin.system.users"), Kind.COLLECTION, "", "")
BACKUP = manifest([A, B, TS], [segment(0, entry(A, ONE), entry(B, ONE)), segment(1, entry(TS, ONE))])


def there(documents: dict[str, int]) -> dict[Namespace, Existing]:
    """What the target has, by name, with the number of its documents."""
    names = {Namespace.parse(name): count for name, count in documents.items()}
    return {name: Existing(name, Kind.COLLECTION, count) for name, count in names.items()}


def plan(
    selection: Selection = Selection(),
    *,
    mode: RestoreMode = RestoreMode.INTO_NEW,
    rename: dict[str, str] | None = None,
    users: bool = False,
    existing: dict[str, int] | None = None,
) -> RestorePlan:
    request = RestoreRequest(selection, mode, rename=rename or {}, users=users)
    return plan_restore(BACKUP, request, existing=there(existing or {}))


def test_everything_is_created_where_nothing_is() -> None:
    decided = plan()
    assert [(str(i.target), i.action) for i in decided.items] == [
        ("crm.metrics", Action.CREATE),
        ("mpg.a", Action.CREATE),
        ("mpg.b", Action.CREATE),
    ]
    assert decided.confirmation == ""
    decided.check_confirmation("")


def test_only_segments_that_hold_something_wanted_are_fetched() -> None:
    decided = plan(Selection(include=("mpg.a",)))
    assert [s.name for s in decided.segments] == ["segment-00000.archive.gz"]
    assert decided.documents == 1


def test_a_renamed_time_series_collection_takes_its_buckets_along() -> None:
    decided = plan(Selection(databases=("crm",)), rename={"crm": "crm2"})
    assert str(decided.items[0].target) == "crm2.metrics"
    assert str(decided.items[0].data_target) == "crm2.system.buckets.metrics"


def test_a_time_series_collection_is_renamed_by_the_name_that_users_know() -> None:
    (item,) = plan(Selection(databases=("crm",)), rename={"crm.metrics": "old.m"}).items
    assert (str(item.target), str(item.data_target)) == ("old.m", "old.system.buckets.m")


def test_the_plan_shows_both_names() -> None:
    decided = plan(Selection(include=("mpg.*",)), rename={"mpg.a": "mpg.a_old"}, existing={"mpg.a": 1})
    assert [(str(item.record.namespace), str(item.target), item.action) for item in decided.items] == [
        ("mpg.a", "mpg.a_old", Action.CREATE),
        ("mpg.b", "mpg.b", Action.CREATE),
    ]
    page = restore_page(decided, BACKUP, now=STARTED, done="", access=Access())
    assert "| mpg.a → mpg.a_old | create | collection |" in page


def view(name: str, **options: object) -> CollectionInfo:
    info = collection(name, Kind.VIEW)
    metadata = dumps_metadata(options=options, indexes=[], uuid=None, collection_name="", type="view")
    return replace(info, metadata=metadata)


def test_the_plan_counts_the_indexes_that_will_be_built() -> None:
    keys = [{"key": {"_id": 1}, "name": "_id_"}, {"key": {"number": 1}, "name": "number_1"}]
    text = dumps_metadata(options={}, indexes=keys, uuid=None, collection_name="a", type="collection")
    indexed, seen = replace(A, metadata=text), view("mpg.v", viewOn="a", pipeline=[])
    backup = manifest([indexed, seen], [segment(0, entry(indexed, ONE), entry(seen, b""))])
    page = restore_page(
        plan_restore(backup, RestoreRequest(), existing={}), backup, now=STARTED, done="", access=Access()
    )
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    assert rows[0].index("indexes") == 5
    assert [(row[0], row[5]) for row in rows[2:]] == [("mpg.a", "2"), ("mpg.v", "-")]


V1 = view("mpg.v", viewOn="a", pipeline=[{"$unionWith": "not here"}])
V2 = view("crm.v", viewOn="metrics", pipeline=[{"$unionWith": "system.buckets.metrics"}])
VIEWS = manifest([A, TS, V1, V2], [segment(0, entry(A, ONE), entry(TS, ONE), entry(V1, b""), entry(V2, b""))])


def views(rename: dict[str, str], *exclude: str) -> dict[str, dict[str, object]]:
    """Name and definition of the views of a plan."""
    decided = plan_restore(VIEWS, RestoreRequest(Selection(exclude=exclude), rename=rename), existing={})
    return {str(i.target): i.metadata().options for i in decided.items if i.record.kind is Kind.VIEW}


def test_a_view_follows_what_is_renamed_beside_it() -> None:
    assert views({"mpg.*": "mpg.old_*", "crm.m*": "crm.M*"}) == {
        "crm.v": {"viewOn": "Metrics", "pipeline": [{"$unionWith": "system.buckets.Metrics"}]},
        "mpg.old_v": {"viewOn": "old_a", "pipeline": [{"$unionWith": "not here"}]},
    }
    assert views({"mpg.*": "copy.old_*"}, "mpg.a")["copy.old_v"]["viewOn"] == "a"


def test_a_view_that_would_be_parted_from_its_collection_is_refused() -> None:
    for rename in ({"mpg.a": "copy.a"}, {"mpg.v": "copy.v"}, {"crm.metrics": "copy.metrics"}):
        with pytest.raises(ConfigurationError, match="a view would be in another database than a collection"):
            views(rename)


def test_into_new_refuses_what_is_there() -> None:
    plan().check_free()
    decided = plan(existing={"mpg.a": 5})
    assert [item.action for item in decided.items] == [Action.CREATE, Action.REFUSE, Action.CREATE]
    assert decided.confirmation == ""  # nothing is dropped
    with pytest.raises(TargetNotEmpty) as caught:
        decided.check_free()
    assert str(caught.value) == (
        "the target already has namespaces that this restore would write (namespaces=1, first='mpg.a')\n"
        "HINT: Restore into another database with `rename`, add what is missing with mode `merge`, or replace them "
        "with mode `replace`."
    )


def test_other_collections_of_the_target_do_not_matter() -> None:
    assert plan(existing={"mpg.other": 5}).replaced == ()


def test_a_replacement_wants_the_name_of_the_database_typed() -> None:
    decided = plan(mode=RestoreMode.REPLACE, existing={"mpg.a": 5, "crm.metrics": 1})
    assert decided.confirmation == "crm,mpg"
    for typed in ("", "mpg", "mpg,crm", "yes"):
        with pytest.raises(Refused) as caught:
            decided.check_confirmation(typed)
    assert str(caught.value) == (
        "this restore overwrites what is there and was not confirmed (expected='crm,mpg', got='yes')\n"
        "HINT: Set `confirm` to 'crm,mpg' to overwrite in 2 namespaces, or restore into another database with `rename`."
    )
    decided.check_confirmation(" crm,mpg ")


def test_two_databases_into_one_are_refused() -> None:
    backup = manifest([A, collection("crm.a")], [segment(0, entry(A, ONE), entry(collection("crm.a"), ONE))])
    with pytest.raises(ConfigurationError, match="two namespaces would be restored into one"):
        plan_restore(backup, RestoreRequest(rename={"crm": "mpg"}), existing={})


@pytest.mark.parametrize("given", [{"rename": {"mgp": "x"}}, {"selection": Selection(databases=("mgp",))}])
def test_a_database_that_the_backup_has_not_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        plan(**given)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "the backup does not hold this database (backup='2026-03-06T04-00-00Z', got='mgp')\nHINT: It holds: crm, mpg."
    )


def test_a_rule_that_would_do_nothing_is_refused() -> None:
    for rename in ({"mpg.c": "mpg.d"}, {"mpg.$admin$.x": "mpg.y"}):
        with pytest.raises(ConfigurationError, match="a rename rule matches nothing in the backup"):
            plan(rename=rename)
    with pytest.raises(ConfigurationError, match="earlier rename rules leave nothing to this one"):
        plan(rename={"mpg": "copy", "mpg.a": "mpg.b"})
    # A part of the backup is restored: what the rule is for need not be in it.
    assert len(plan(Selection(include=("mpg.a",)), rename={"crm": "crm2"}).items) == 1


def test_users_are_taken_only_where_they_were_asked_for_and_are_there() -> None:
    backup = manifest([USERS, A], [segment(0, entry(USERS, ONE), entry(A, ONE))])
    without = plan_restore(backup, RestoreRequest(), existing={})
    assert without.users == ()
    assert [str(i.target) for i in without.items] == ["mpg.a"]
    assert plan_restore(backup, RestoreRequest(users=True), existing={}).users == (USERS.namespace,)
    with pytest.raises(ConfigurationError, match="holds no users and roles"):
        plan(users=True)


def test_a_failure_midway_says_in_what_state_the_target_is() -> None:
    progress = RestoreProgress(plan())
    progress.prepared()
    progress.loaded("segment-00000.archive.gz")
    with pytest.raises(RestoreIncomplete) as caught, progress.told_on_failure(""):
        raise IntegrityError("the SHA-256 is wrong", hint="Take an older backup.", key="k")
    assert str(caught.value) == (
        "the restore stopped: the SHA-256 is wrong; the target has 1 of 2 segments for certain, the documents of 2 "
        "collections are complete, 1 may be empty or incomplete, indexes and views may be missing (key='k')\n"
        "HINT: Take an older backup. To restore this or another backup again, use mode `replace` with `confirm`: "
        "it drops what is there and begins anew."
    )
    assert isinstance(caught.value.__cause__, IntegrityError)


def test_a_failure_while_the_target_is_prepared_claims_neither_that_it_is_dropped_nor_that_it_is_there() -> None:
    into_new = RestoreProgress(plan())
    assert into_new.sentence() == "no documents were loaded, new namespaces may be there, empty"
    existing = {"mpg.a": 5, "mpg.b": 1}
    assert RestoreProgress(plan(mode=RestoreMode.REPLACE, existing=existing)).sentence() == (
        "no documents were loaded, the 2 namespaces to be replaced may be dropped, new namespaces may be there, empty"
    )


def test_a_view_is_not_said_to_have_documents() -> None:
    view = collection("mpg.v", Kind.VIEW)
    backup = manifest([A, view], [segment(0, entry(A, ONE), entry(view, b""))])
    progress = RestoreProgress(plan_restore(backup, RestoreRequest(), existing={}))
    progress.prepared()
    assert "the documents of 0 collections are complete, 1 may be empty or incomplete" in progress.sentence()


def test_a_collection_is_completed_by_the_last_of_its_segments() -> None:
    big, empty, view = collection("mpg.big"), collection("mpg.empty"), collection("mpg.v", Kind.VIEW)
    segments = [
        segment(0, entry(A, ONE), entry(empty, b""), entry(view, b""), entry(big, ONE)),
        segment(1, entry(big, bson.encode({"_id": 2}))),
    ]
    backup = manifest([A, big, empty, view], segments)
    decided = plan_restore(backup, RestoreRequest(), existing={})
    progress = RestoreProgress(decided)

    def completed() -> list[str]:
        return [str(item.target) for item in progress.completed()]

    assert completed() == ["mpg.empty"]
    progress.loaded("segment-00001.archive.gz")
    assert completed() == []
    progress.loaded("segment-00000.archive.gz")
    assert completed() == ["mpg.a", "mpg.big"]
    assert completed() == []


def server(version: str, replica_set_id: str | None = SOURCE.replica_set_id) -> SourceIdentity:
    return SourceIdentity(version, "replica set", "other-name", replica_set_id)


def test_the_source_is_known_by_its_replica_set_and_not_by_its_name() -> None:
    assert compare_servers(SOURCE, server("6.0.9")) == (True, ())
    assert compare_servers(SOURCE, server("6.0.5", "f" * 24)) == (False, ())
    same, notes = compare_servers(SOURCE, server("6.0.5", None))
    assert not same
    assert "cannot be told" in notes[0]


def test_the_source_is_written_only_where_that_was_asked_for() -> None:
    decided = replace(plan(), own_source=True)
    decided.check_source(allowed=True)
    plan().check_source(allowed=False)
    with pytest.raises(Refused, match="the very MongoDB that this backup was taken of"):
        decided.check_source(allowed=False)


@pytest.mark.parametrize("version", ["5.0.31", "4.4.0", "5.3.9"])
def test_an_older_server_is_refused(version: str) -> None:
    with pytest.raises(Refused, match="an older MongoDB"):
        compare_servers(SOURCE, server(version, "f" * 24))


def test_a_newer_server_is_told() -> None:
    _, notes = compare_servers(SOURCE, server("10.0.1", "f" * 24))
    assert notes[0].startswith("the backup is of MongoDB 6.0.5 and the target is 10.0.1")


def test_a_time_needs_its_zone_and_goes_without_a_backup() -> None:
    moment = datetime(2026, 3, 6, 12)
    check_before(None, "2026-03-06T04-00-00Z")
    check_before(moment.replace(tzinfo=UTC), "latest")
    with pytest.raises(ConfigurationError, match="has no time zone"):
        check_before(moment, "latest")
    with pytest.raises(ConfigurationError, match="both a backup and `before`"):
        check_before(moment.replace(tzinfo=UTC), "2026-03-06T04-00-00Z")


def test_a_plan_that_would_be_another_one_now_is_not_acted_on() -> None:
    existing = {"mpg.a": 5}
    decided = plan(mode=RestoreMode.REPLACE, existing=existing)
    decided.check_unchanged(plan(mode=RestoreMode.REPLACE, existing={"mpg.a": 9}))
    with pytest.raises(Refused, match="the target has changed since this plan was made") as caught:
        decided.check_unchanged(plan(mode=RestoreMode.REPLACE, existing={**existing, "mpg.b": 1}))
    assert caught.value.facts == {"namespace": "mpg.b"}


@pytest.mark.parametrize(
    ("mode", "kept", "encrypted", "warned"),
    [
        (RestoreMode.REPLACE, True, True, ""),
        (RestoreMode.REPLACE, True, False, "is backed up first, not encrypted"),
        (RestoreMode.REPLACE, False, False, "is lost"),
        (RestoreMode.REPLACE, False, True, "is lost"),
        (RestoreMode.MERGE, False, False, ""),  # documents that differ stay
    ],
)
def test_what_is_overwritten_without_a_backup_that_is_encrypted_is_told(
    mode: RestoreMode, kept: bool, encrypted: bool, warned: str
) -> None:
    decided = plan(mode=mode, existing={"mpg.a": 3}).told_of_safety(kept=kept, encrypted=encrypted)
    told = [warning for warning in decided.warnings if warning.startswith("what is overwritten")]
    assert [f"what is overwritten {warned}" in warning for warning in told] == [True] * bool(warned)
