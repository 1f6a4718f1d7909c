"""What an export does with each namespace, decided before anything is written."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import bson
import pytest

from flows.core.errors import ConfigurationError
from flows.core.names import Namespace
from flows.core.parquet.assembling import Brought, exported_namespace
from flows.core.parquet.choice import choose
from flows.core.parquet.dataset import Dataset
from flows.core.parquet.engine import engine
from flows.core.parquet.plan import Linking, Ruling, file_metadata, plan_namespace, since_of
from flows.core.parquet.profile import Profile
from flows.core.parquet.pseudonyms import Keys, RootKey
from flows.core.parquet.records import Changes, ExportKind, FileRole
from flows.core.parquet.rules import RuleSet
from flows.core.parquet.wishes import Wishes
from flows.core.selection import Selection
from flows.core.source import Kind
from tests.core.parquet.test_dataset import IDS, dataset, file, record

NOW = datetime(2026, 3, 6, 4, tzinfo=UTC)
INVOICES = Namespace("mpg", "invoices")
KEY = RootKey.generate()


def profile(*documents: dict[str, Any]) -> Profile:
    return engine("python").profile("mpg.invoices", b"".join(map(bson.encode, documents)))


ONE = profile({"_id": 1, "number": "A", "at": NOW, "total": {"gross": 1.5}})


def plan(
    found: Profile = ONE, wishes: Wishes = Wishes(), before: Dataset | None = None, known: Any = None, **more: Any
):
    empty = Dataset.empty("mpg", now=NOW)
    return plan_namespace(before or empty, IDS[0], found, known, wishes, {"export": IDS[0]}, **more)


@pytest.mark.parametrize(
    ("wishes", "text"),
    [
        (Wishes(level=0), "no such level"),
        (Wishes(partition={"invoices": "at"}), "not a namespace"),
        (Wishes(bloom={"invoices": "at"}), "not a namespace"),
        (Wishes(partition={"mpg.invoices": "at by hour"}), "partition by"),
    ],
)
def test_wishes_that_can_never_work_are_refused(wishes: Wishes, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        wishes.check()


def test_wishes_for_what_is_not_exported_are_refused() -> None:
    wishes = Wishes(partition={"mpg.invoices": "at"}, bloom={"mpg.orders": "_id"})
    wishes.check()
    wishes.check_used([INVOICES, Namespace("mpg", "orders")])
    with pytest.raises(ConfigurationError, match="not exported"):
        wishes.check_used([INVOICES])


def test_wishes_that_do_not_fit_the_schema_are_refused() -> None:
    good = Wishes(partition={"mpg.invoices": "at"}, bloom={"mpg.invoices": "number, total.gross"})
    columns = plan(wishes=good).columns
    assert (str(columns.partitioning), columns.form.bloom) == ("at by month", ("number", "total.gross"))
    for wrong in (Wishes(partition={"mpg.invoices": "number"}), Wishes(bloom={"mpg.invoices": "total"})):
        with pytest.raises(ConfigurationError):
            plan(wishes=wrong)
    assert plan(Profile("mpg.invoices"), wishes=good).columns.arrow.names == ["_nulls", "_extra"]


def test_files_say_what_they_are_and_texts_have_no_statistics() -> None:
    metadata = file_metadata(
        dataset="mpg", export=IDS[0], plan="mpg", backup="", cluster_time=None, data_time=NOW, tool="x 1"
    )
    assert metadata == {
        "dataset": "mpg",
        "export": IDS[0],
        "plan": "mpg",
        "data-time": "2026-03-06T04:00:00+00:00",
        "tool": "x 1",
    }
    made = plan()
    assert made.columns.form.metadata["schema"] == made.schema.sha256 == made.record.sha256
    assert "number" not in made.columns.form.statistics
    assert made.record.first_seen["/total/gross"] == IDS[0]
    assert "/total/gross" in made.dictionary


def test_fields_that_came_later_are_told_from_those_that_were_there() -> None:
    first = plan()
    before = dataclasses.replace(dataset(record(IDS[0])), schemas=(first.record,))
    later = plan_namespace(before, IDS[1], profile({"_id": 1, "new": 1}), first.schema, Wishes(), {})
    assert later.record.first_seen["/new"] == IDS[1]
    assert later.record.first_seen["/number"] == IDS[0]
    assert later.schema.version == 2


@pytest.mark.parametrize(
    ("rules", "is_refused"),
    [
        ([{"path": "number", "action": "keep"}], True),
        ([{"path": "_id", "action": "keep"}, {"path": "number", "action": "keep"}], False),
        ([{"path": "_id", "action": "hmac"}, {"path": "number", "action": "keep"}], False),
        ([{"path": "_id", "action": "bucket", "step": 10}, {"path": "number", "action": "keep"}], True),
    ],
)
def test_changes_need_an_id_that_leaves_and_tells_documents_apart(rules: Any, is_refused: bool) -> None:
    ruling = Ruling(RuleSet.parse({"mpg.invoices": {"unlisted": "drop", "rules": rules}}), Keys([KEY]))
    linking = Linking.of("mpg", ruling)
    if is_refused:
        with pytest.raises(ConfigurationError, match="`_id` does not leave"):
            plan(ruling=ruling, linking=linking)
    else:
        made = plan(ruling=ruling, linking=linking, since="")
        assert made.columns.identities.columns == ("_id",)
        assert made.columns.arrow.names == ["_id", "number", *made.columns.arrow.names[2:]]
        assert "total" not in made.dictionary
        assert "/total" not in made.record.first_seen


def test_the_key_of_hashes_is_secret_where_rules_hide_values() -> None:
    rules = RuleSet.parse({"mpg.invoices": {"unlisted": "drop", "rules": [{"path": "_id", "action": "keep"}]}})
    public, other = Linking.of("mpg", None), Linking.of("other", None)
    secret = Linking.of("mpg", Ruling(rules, Keys([KEY])))
    assert len({public.secret, other.secret, secret.secret}) == 3
    assert (public.hash_key, secret.hash_key) == ("public", KEY.id)
    assert secret.secret.hex() not in repr(secret)
    with pytest.raises(ConfigurationError, match="needs a key"):
        Linking.of("mpg", Ruling(rules, Keys()))


def test_when_an_export_can_give_the_changes_since_the_last_one() -> None:
    def exported(day: int, kind: ExportKind = ExportKind.FULL, since: str = "", **more: Any):
        made = record(IDS[day], kind, since)
        (item,) = made.namespaces
        files = (*item.files, file(IDS[day], "identities-part-00000-000.parquet", FileRole.IDENTITIES))
        item = dataclasses.replace(item, files=files, hash_key="public", **more)
        return dataclasses.replace(made, namespaces=(item,))

    def since(*exports: Any, rules: str = "", full_every: int = 30, linking: Linking | None = Linking(b"k", "public")):
        return since_of(dataset(*exports), INVOICES, linking=linking, rules=rules, full_every=full_every)

    whole, changes = exported(0), exported(1, ExportKind.CHANGES, IDS[0])
    assert since(whole) == IDS[0]
    assert since(whole, changes) == IDS[1]
    assert since(whole, changes, full_every=2) == ""
    assert since(whole, changes, full_every=0) == IDS[1]
    assert since(whole, rules="ab" * 32) == ""
    assert since(whole, linking=None) == ""
    assert since(whole, linking=Linking(b"k", "another")) == ""
    assert since(record(IDS[0])) == ""
    assert since() == ""


def test_the_passes_have_to_agree() -> None:
    schema = plan().record
    read = Brought().plus(500, 1, [dataclasses.replace(file(IDS[0]), rows=499)])
    made = exported_namespace(INVOICES, read, profiled=500, expected=500, schema=schema)
    assert (made.rows, made.rejected, made.kind) == (499, 1, ExportKind.FULL)
    for profiled, expected in ((499, None), (500, 501)):
        with pytest.raises(Exception, match="do not agree"):
            exported_namespace(INVOICES, read, profiled=profiled, expected=expected, schema=schema)
    with pytest.raises(Exception, match="not as many rows"):
        exported_namespace(INVOICES, Brought(500, 0, read.files), profiled=500, expected=500, schema=schema)
    changed = exported_namespace(
        INVOICES,
        Brought(500, 0, (dataclasses.replace(file(IDS[0]), role=FileRole.CHANGES, rows=6),)),
        profiled=500,
        expected=None,
        schema=schema,
        since=IDS[0],
        changes=Changes(1, 2, 3),
    )
    assert changed.kind is ExportKind.CHANGES


def test_collections_alone_are_chosen_and_what_is_left_out_is_told() -> None:
    kinds = {
        Namespace("mpg", "invoices"): Kind.COLLECTION,
        Namespace("mpg", "readings"): Kind.TIMESERIES,
        Namespace("mpg", "open"): Kind.VIEW,
        Namespace("admin", "system.users"): Kind.COLLECTION,
        Namespace("logs", "lines"): Kind.COLLECTION,
    }
    chosen, warnings = choose(kinds, Selection((), (), ("*.nothing",)))
    assert list(map(str, chosen)) == ["logs.lines", "mpg.invoices"]
    assert len(warnings) == 2
    assert "mpg.readings is not exported" in warnings[1]
    assert list(map(str, choose(kinds, Selection(("mpg",), (), ()))[0])) == ["mpg.invoices"]
    for wrong, text in (
        (Selection(("gone",), (), ()), "no such database"),
        (Selection((), ("mpg.gone",), ()), "matches nothing"),
        (Selection((), (), ("*",)), "nothing is selected"),
    ):
        with pytest.raises(ConfigurationError, match=text):
            choose(kinds, wrong)
    with pytest.raises(ConfigurationError, match="no collection to export"):
        choose({Namespace("mpg", "open"): Kind.VIEW}, Selection())
