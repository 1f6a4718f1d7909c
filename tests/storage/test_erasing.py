"""Erasing a person from a data set: what goes, what stays, what a crash leaves, and what the search finds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.core.errors import ErasureIncomplete, IntegrityError
from flows.core.names import Namespace
from flows.core.parquet.dataset import Dataset
from flows.core.parquet.erasure_report import ErasedNamespace, ErasureReport, Proof, Removal, erasure_page, without
from flows.core.parquet.pseudonyms import Keys, RootKey
from flows.core.parquet.records import FileRole
from flows.core.parquet.rules import RuleSet
from flows.core.parquet.sought import Sought
from flows.storage.erasing import erase_namespace, prove
from flows.storage.exports import publish, read_dataset
from flows.storage.memory import MemoryStore
from flows.storage.removing import remove_unnamed, views_of
from tests.support.datasets import NAME, export_documents, now, rows_in

ANNA, EMAIL = "C-4711-anna", "anna.meier@example.com"
NS = "shop.invoices"
KEYS = Keys([RootKey.generate()])
RULES = RuleSet.parse(
    {
        "shop.*": {
            "unlisted": "drop",
            "rules": [
                {"path": "_id", "action": "keep"},
                {"path": "customer.id", "action": "hmac", "domain": "subject"},
                {"path": "payers[].id", "action": "hmac", "domain": "subject"},
                {"path": "total", "action": "keep"},
                {"path": "note", "action": "keep"},
            ],
        }
    }
)


def invoice(number: int, who: str, **more: Any) -> dict[str, Any]:
    return {
        "_id": number,
        "customer": {"id": who, "email": f"{who}@example.com"},
        "total": number,
        "at": datetime(2026, 1 + number % 3, 1, tzinfo=UTC),
        **more,
    }


DOCUMENTS = [
    invoice(1, "C-1"),
    invoice(2, ANNA),
    invoice(3, "C-2", payers=[{"id": "C-9"}, {"id": ANNA}]),
    *(invoice(number, f"C-{number}") for number in range(4, 40)),
]


class Crash(BaseException):
    pass


class Store(MemoryStore):
    """Objects in memory; the write of a number fails, and so do all after it."""

    def __init__(self) -> None:
        super().__init__(clock=now)
        self.left: int | None = None

    def _write(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Crash

    def put(self, *given: Any, **more: Any) -> None:
        self._write()
        super().put(*given, **more)

    def delete(self, keys: Any) -> Any:
        left: list[Any] = []
        for key in keys:
            self._write()
            left += super().delete([key])
        return tuple(left)

    @property
    def everything(self) -> dict[str, bytes]:
        return {item.key: self.get(item.key, limit=1 << 30) for item in self.list("")}


def erase(store: Store, folder: Path, sought: Sought, *, dry_run: bool = False) -> tuple[ErasureReport, Dataset]:
    """As the flow does it."""
    sought.check()
    before = read_dataset(store, NAME, now=now())
    work = folder / hashlib.sha1(str(len(list(folder.iterdir()))).encode()).hexdigest()
    work.mkdir()
    found = tuple(
        erase_namespace(store, before, namespace, sought, work, dry_run=dry_run, progress=lambda _: None)
        for namespace in before.namespaces
        if sought.concerns(str(namespace))
    )
    assert list(work.iterdir()) == []
    after = before if dry_run else without(before, found, written=now())
    if after is not before:
        publish(store, after, views_of(store, after))
    done = Removal() if dry_run else remove_unnamed(store, after)
    needles = sought.clear.union(*(item.needles for item in found))
    proof = None if dry_run else prove(store, after, needles, work, progress=lambda _: None)
    return report_of(before, after, found, done, proof), after


def report_of(
    before: Dataset, after: Dataset, found: tuple[ErasedNamespace, ...], done: Removal, proof: Proof | None
) -> ErasureReport:
    return ErasureReport(
        dataset=NAME,
        target="memory://",
        by="Anna",
        why="case 42",
        started=now(),
        finished=now(),
        values=1,
        domain="subject",
        keys=KEYS.ids,
        version_before=before.version,
        version_after=after.version,
        namespaces=found,
        removed=done.objects,
        kept=done.kept,
        proof=proof,
        dry_run=proof is None,
    )


def clear(*values: str, **fields: str) -> Sought:
    return Sought.of(values, {"shop.*": ", ".join(fields.values())})


def ids(store: Store, dataset: Dataset) -> list[int]:
    return [row["_id"] for row in rows_in(store, dataset, NS)]


def traces_in_bytes(store: Store, *needles: str) -> list[str]:
    """Keys of the objects in which a text stands: in their bytes, or in any value of theirs."""
    found = []
    for key, data in store.everything.items():
        text = str(pq.read_table(pa.BufferReader(data)).to_pydict()) if key.endswith(".parquet") else ""
        found += [key for needle in needles if needle.encode() in data or needle in text]
    return found


def test_the_rows_of_a_person_go_from_every_export(tmp_path: Path) -> None:
    store = Store()
    export_documents(store, tmp_path, {NS: DOCUMENTS, "shop.other": [{"_id": 1, "who": "C-1"}]}, at=now())
    before = export_documents(store, tmp_path, {NS: DOCUMENTS[1:9]}, at=now() + timedelta(days=1))
    whole = rows_in(store, before, NS)
    assert traces_in_bytes(store, ANNA)
    report, after = erase(store, tmp_path, clear(ANNA, a="customer.id", b="payers[].id"))
    assert (report.gone, after.version, report.removed) == (4, 3, 2 + 4)
    assert rows_in(store, after, NS) == [row for row in whole if row["_id"] not in (2, 3)]
    assert read_dataset(store, NAME, now=now()) == after
    assert traces_in_bytes(store, ANNA, EMAIL) == []
    assert report.proof is not None
    assert (report.proof.traces, report.proof.rows) == ((), 36 + 6 + 1 + 1)
    assert report.proof.objects == len(store.everything)
    report.check()
    assert {key for key in store.everything if "/data/" in key} == {file.key for file in after.files}
    assert [key for key in store.everything if "-v00000003.parquet" in key]
    # Nothing is written where nobody is found any more.
    again, same = erase(store, tmp_path, clear(ANNA, a="customer.id", b="payers[].id"))
    assert (again.gone, again.removed, same) == (0, 0, after)


def test_a_dry_run_finds_and_writes_nothing(tmp_path: Path) -> None:
    store = Store()
    export_documents(store, tmp_path, {NS: DOCUMENTS}, at=now())
    before = store.everything
    report, after = erase(store, tmp_path, clear(ANNA, a="customer.id"), dry_run=True)
    assert (report.gone, after.version, store.everything) == (1, 1, before)
    page = erasure_page(report)
    assert "1 row of one person would go; nothing was written, this is a dry run." in page
    assert ANNA not in page


def test_a_person_goes_by_pseudonyms_and_the_record_says_not_who(tmp_path: Path) -> None:
    store = Store()
    rejects = {NS: [bson.encode({"x": ANNA}), bson.encode({"x": "C-1"})]}
    export_documents(store, tmp_path, {NS: DOCUMENTS}, at=now(), rules=RULES, keys=KEYS, rejects=rejects)
    pseudonym = KEYS.pseudonyms("shared subject").of(ANNA.encode(), 128)
    assert traces_in_bytes(store, pseudonym)
    report, after = erase(store, tmp_path, Sought((ANNA,), {}, "subject", KEYS, RULES))
    assert sorted(set(range(1, 40)) - set(ids(store, after))) == [2, 3]
    assert traces_in_bytes(store, pseudonym, ANNA) == []
    (item,) = report.namespaces
    assert item.fields == ("customer.id", "payers[].id")
    assert [(file.role, file.gone) for file in item.files] == [(FileRole.ROWS, 2), (FileRole.REJECTS, 1)]
    report.check()
    record, page = report.record().decode(), erasure_page(report)
    for text in (record, page, repr(report)):
        assert pseudonym not in text
        assert ANNA not in text
    assert "**No trace was found.**" in page
    assert report.record_key == "default/export/erasures/2026-03-06T04-00-00Z.json"


def test_a_document_goes_with_all_its_versions_and_the_note_of_its_deletion(tmp_path: Path) -> None:
    store = Store()
    export_documents(store, tmp_path, {NS: DOCUMENTS}, at=now(), identities=True)
    changed = [invoice(2, "C-77"), {"_id": 3}, invoice(50, "C-78")]
    ops = {"2": "update", "3": "delete"}
    export_documents(store, tmp_path, {NS: changed}, at=now() + timedelta(days=1), changes=ops)
    report, after = erase(store, tmp_path, clear(ANNA, a="customer.id", b="payers[].id"))
    assert (report.gone, sorted(ids(store, after))) == (4, [1, *range(4, 40), 50])
    # Nor does the next export of changes know the documents.
    (left,) = (file for file in after.files if file.role is FileRole.IDENTITIES)
    assert sorted(pq.read_table(pa.BufferReader(store.get(left.key, limit=left.bytes)))["_id"].to_pylist()) == [
        1,
        *range(4, 40),
    ]
    # A file of which no row is left is not there any more.
    everything = [invoice(60, ANNA)]
    export_documents(store, tmp_path, {NS: everything}, at=now() + timedelta(days=2), changes={})
    report, after = erase(store, tmp_path, clear(ANNA, a="customer.id"))
    assert [file.new for file in report.namespaces[0].files] == [None]
    assert after.exports[-1].files == ()
    assert traces_in_bytes(store, ANNA) == []


def test_what_is_left_elsewhere_is_told(tmp_path: Path) -> None:
    store = Store()
    documents = [*DOCUMENTS, invoice(99, "C-99", note=f"ask {ANNA} first")]
    export_documents(store, tmp_path, {NS: documents}, at=now())
    report, after = erase(store, tmp_path, clear(ANNA, a="customer.id", b="payers[].id"))
    (key,) = (file.key for file in after.files)
    with pytest.raises(ErasureIncomplete) as caught:
        report.check()
    assert caught.value.facts["traces"][-1] == f"note in {key}"
    assert caught.value.hint == (
        "The page of this run says what is left and until when. Run it again with the fields that still tell of the "
        "person, or with `anywhere`; what is locked goes when its lock ends."
    )
    page = erasure_page(report)
    assert "**Traces were found.**" in page
    assert f"| {key} | note | 1 |" in page
    report, after = erase(store, tmp_path, Sought((ANNA,), {}, anywhere=True))
    report.check()
    assert 99 not in ids(store, after)


def test_what_is_locked_is_told_with_its_end(tmp_path: Path) -> None:
    store = Store()
    dataset = export_documents(store, tmp_path, {NS: DOCUMENTS}, at=now())
    until = now() + timedelta(days=30)
    store.extend_lock([dataset.files[0].key], until)
    report, _ = erase(store, tmp_path, clear(ANNA, a="customer.id", b="payers[].id"))
    assert [(one.key, one.why, one.until) for one in report.kept] == [(dataset.files[0].key, "locked", until)]
    assert "| locked | 2026-04-05 04:00 UTC |" in erasure_page(report)
    with pytest.raises(ErasureIncomplete, match="kept=1"):
        report.check()
    # Once the lock is over, running it again removes the file and finds nothing more.
    store._clock = lambda: until + timedelta(seconds=1)
    report, _ = erase(store, tmp_path, clear(ANNA, a="customer.id", b="payers[].id"))
    assert (report.gone, report.removed, report.kept) == (0, 1, ())
    report.check()


def test_a_crash_at_any_write_leaves_a_whole_data_set_and_is_made_good(tmp_path: Path) -> None:
    sought = clear(ANNA, a="customer.id", b="payers[].id")
    number, crashed = 0, True
    while crashed:
        store = Store()
        folder = tmp_path / str(number)
        folder.mkdir()
        before = export_documents(store, folder, {NS: DOCUMENTS}, at=now(), partition="at")
        whole = ids(store, before)
        store.left = number
        try:
            erase(store, folder, sought)
            crashed = False
        except Crash:
            number += 1
        store.left = None
        found = read_dataset(store, NAME, now=now())
        assert sorted(ids(store, found)) in (sorted(whole), sorted(set(whole) - {2, 3}))
        report, after = erase(store, folder, sought)
        report.check()
        assert sorted(ids(store, after)) == sorted(set(whole) - {2, 3})
        assert traces_in_bytes(store, ANNA) == []
    assert number > 6  # two new files, views and manifest, two old ones of these, two old files


def test_a_file_that_was_changed_is_not_believed(tmp_path: Path) -> None:
    store = Store()
    dataset = export_documents(store, tmp_path, {NS: DOCUMENTS}, at=now())
    key = dataset.files[0].key
    data = bytearray(store.get(key, limit=1 << 30))
    data[100] ^= 1
    store.put(key, bytes(data))
    with pytest.raises(IntegrityError, match="the SHA-256 of a file is not the one in the manifest"):
        erase(store, tmp_path, clear(ANNA, a="customer.id"))


def test_files_stay_in_their_partitions(tmp_path: Path) -> None:
    store = Store()
    before = export_documents(store, tmp_path, {NS: DOCUMENTS}, at=now(), partition="at")
    _, after = erase(store, tmp_path, clear(ANNA, a="customer.id"))
    partitions: Callable[[Dataset], list[str]] = lambda dataset: sorted(file.partition for file in dataset.files)  # noqa: E731
    assert partitions(after) == partitions(before) == ["month=2026-01", "month=2026-02", "month=2026-03"]
    (new,) = {file.key for file in after.files} - {file.key for file in before.files}
    assert new.endswith("/month=2026-03/part-000-v00000002.parquet")
    assert after.exports[0].named(Namespace.parse(NS)) is not None
