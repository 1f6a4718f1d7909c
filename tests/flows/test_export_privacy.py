"""Personal data is planted in every field of a collection, exported by default-deny, and then looked for everywhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import bson
import pyarrow.parquet as pq
import pytest
from bson.raw_bson import RawBSONDocument
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from pymongo import MongoClient

from blocks import ErasureSubject, ExportRules
from deployments import embedded
from flows.backup import backup
from flows.core.parquet.pseudonyms import Keys, RootKey
from flows.core.parquet.records import ExportKind, FileRole
from flows.erase import erase
from flows.export import export
from flows.tasks.export_job import EngineChoice
from tests.flows.conftest import store_of_a_module
from tests.support.exports import Target, ask
from tests.support.flow_runs import FlowRunRecord, flow_run_record, logged, new_second, run_flow, table, task_runs

Client = MongoClient[dict[str, Any]]
VAULT = "export_vault"
PEOPLE = f"{VAULT}.people"
KEY = RootKey.generate()
NAME = "Kanarienvogel"  # the person
NUMBER = 4_917_012_345_678  # a telephone number
BORN = datetime(1987, 6, 5, 4, 3, 2, 1000, tzinfo=UTC)
MARK = NAME.encode()[:12]  # of an ObjectId
EVERY: list[Any] = [
    NAME,
    NAME.encode(),
    bson.Binary(NAME.encode(), 128),
    bson.Binary.from_uuid(UUID(bytes=(NAME + "xxx").encode())),
    bson.ObjectId(MARK),
    bson.Int64(NUMBER),
    float(NUMBER),
    bson.Decimal128(str(NUMBER)),
    BORN,
    bson.Regex(NAME),
    bson.Code(NAME),
    bson.Code("x", {"y": NAME}),
    bson.DBRef(NAME, NAME),
    {"name": NAME, f"{NAME}@x": 1},
    [NAME, {"name": NAME}, [NAME]],
]
RULES: dict[str, Any] = {
    PEOPLE: {
        "unlisted": "drop",
        "rules": [
            {"path": "_id", "action": "hmac", "domain": "person"},
            {"path": "email", "action": "hmac", "domain": "person", "normalize": "lower"},
            {"path": "born", "action": "date", "unit": "year"},
            {"path": "phone", "action": "mask"},
            {"path": "zip", "action": "truncate", "chars": 1},
            {"path": "visits[].amount", "action": "bucket", "step": 10_000_000_000_000},
            {"path": "group", "action": "keep"},
            {"path": "since", "action": "keep"},
        ],
    }
}


def person(number: int) -> dict[str, Any]:
    """A person with the name in every field, in every type by turns."""
    odd = EVERY[number % len(EVERY)]
    return {
        "_id": f"{NAME}-{number}",
        "email": f"{NAME}{number % 7}@EXAMPLE.com" if number % 11 else odd,
        "born": BORN if number % 5 else odd,
        "phone": f"+{NUMBER}" if number % 6 else odd,
        "zip": f"9{NUMBER}",
        "visits": [{"amount": NUMBER, "note": NAME}, {"amount": odd if number % 9 == 0 else NUMBER}, odd],
        "group": number % 3 if number % 4 else {"name": NAME, "list": [NAME]},
        "since": datetime(2026, 1 + number % 3, 1, tzinfo=UTC),
        "name": NAME,
        "odd": odd,
        "empty": None,
        f"{NAME}@example.com": {f"{NAME}-{n}@example.com": n for n in range(3)},
        "many": {f"{NAME} {n}": n for n in range(300 if number % 10 == 0 else 2)},
        "deep": {"a": [{"b": {"c": odd}}]},
    }


@pytest.fixture(scope="module", autouse=True)
def stored(_blocks: None, mongo_client: Client, s3: embedded.S3Server) -> Iterator[None]:
    people = mongo_client[VAULT].people
    people.insert_many([person(number) for number in range(120)])
    # Text that is not UTF-8 makes a document one that no row can hold.
    broken = bson.encode({"_id": "broken", "name": f"{NAME} ??"}).replace(b"??", b"\xff\xfe")
    people.insert_one(RawBSONDocument(broken))
    store_of_a_module(s3, "vault")
    take()
    ExportRules(rules=RULES, keys=KEY.secret).save("vault", overwrite=True)
    yield
    mongo_client.drop_database(VAULT)


def take() -> None:
    with new_second() as made:
        made.append(backup(store="vault", databases=[VAULT], retention=None).backup)


def run_export(**parameters: Any) -> FlowRunRecord:
    with new_second():
        return run_flow(export, **{"store": "vault", "rules": "vault", "engine": EngineChoice.PYTHON, **parameters})


def traces(text: bytes) -> list[str]:
    """What of a person stands in bytes, in any of its spellings."""
    spellings = {
        "name": NAME.encode(),
        "name in hex": MARK.hex().encode(),
        "name in base64": base64.b64encode(NAME.encode())[:16],
        "number": str(NUMBER).encode(),
        "number as an integer": NUMBER.to_bytes(8, "little"),
        "day of birth": b"1987-06-05",
        "birth in milliseconds": str(int(BORN.timestamp() * 1000)).encode(),
    }
    low = text.lower()
    return [what for what, spelling in spellings.items() if spelling.lower() in low]


def said(run: FlowRunRecord) -> bytes:
    """All that Prefect keeps of a run: its record, those of its tasks, its log and all it has published."""
    parts = [flow_run_record(run.id).model_dump_json(), *(task.model_dump_json() for task in task_runs(run.id))]
    only = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    with get_client(sync_client=True) as client:
        artifacts = [artifact.model_dump_json() for artifact in client.read_artifacts(artifact_filter=only)]
    assert artifacts
    return "\n".join([*parts, *logged(run.id), *artifacts, str(run.state.message)]).encode()


def contents(path: Path) -> bytes:
    """Every byte of a stored object, and every value in it."""
    data = path.read_bytes()
    if path.suffix != ".parquet":
        return data
    file = pq.ParquetFile(path)
    statistics = [
        str(file.metadata.row_group(group).column(column).to_dict())
        for group in range(file.num_row_groups)
        for column in range(file.metadata.num_columns)
    ]
    table = file.read()
    values = [str(table.to_pydict()), str(table.schema.to_string(truncate_metadata=False)), str(file.metadata.metadata)]
    return data + "\n".join([*statistics, *values]).encode()


def test_nothing_of_a_person_leaves(mongo_client: Client, target: Target, spool: Path) -> None:
    partition = {PEOPLE: "since"}
    runs = [run_export(dry_run=True), run_export(incremental=True, partition=partition)]
    # What changes later leaves no more than what was there before.
    mongo_client[VAULT].people.update_many({"group": 1}, {"$set": {"note": NAME, "phone": NAME}})
    mongo_client[VAULT].people.delete_many({"group": 2})
    mongo_client[VAULT].people.insert_many([{**person(n), f"{NAME} {n}": n, "born": NAME} for n in range(200, 230)])
    take()
    runs.append(run_export(incremental=True, partition=partition))
    for run in runs:
        assert run.state.is_completed(), run.error

    found = {name: traces(contents(target.folder / name)) for name in target.files}
    found |= {f"key of {name}": traces(name.encode()) for name in target.files}
    found |= {f"run {number}": traces(said(run)) for number, run in enumerate(runs)}
    found |= {f"spool {path}": traces(str(path).encode()) or ["a file"] for path in spool.rglob("*") if path.is_file()}
    assert {place: what for place, what in found.items() if what} == {}

    # And it was looked at the right places, which hold what may leave.
    dataset = target.dataset()
    assert {file.role for file in dataset.files} == {
        FileRole.ROWS,
        FileRole.CHANGES,
        FileRole.IDENTITIES,
        FileRole.DICTIONARY,
    }
    assert [export.keys for export in dataset.exports] == [(KEY.id,)] * 2
    assert dataset.exports[0].namespaces[0].rejected == 1
    query = target.current(PEOPLE)
    (row,) = ask(f"SELECT count(*), count(DISTINCT _id), min(born), max(zip), max(phone) FROM ({query})")
    assert row[0] == mongo_client[VAULT].people.count_documents({}) - 1
    assert row[1:] == (row[0], datetime(1987, 1, 1, tzinfo=UTC), "9", "****")
    pseudonym = Keys([KEY]).pseudonyms("shared person").of(f"{NAME}3@example.com".lower().encode(), 128)
    expected = mongo_client[VAULT].people.count_documents({"email": f"{NAME}3@EXAMPLE.com"})
    assert ask(f"SELECT count(*) FROM ({query}) WHERE email = '{pseudonym}'") == [(expected,)]
    dictionary = next(target.file(file) for file in dataset.files if file.role is FileRole.DICTIONARY).read_text()
    assert "`email`" in dictionary
    assert "hmac domain=person" in dictionary
    listing = json.dumps(table(runs[0].id))
    assert '"field": "name"' in listing
    assert "Xxxxxxxxxxxxx" in listing


def test_a_person_is_erased_from_exports_and_stays_away(mongo_client: Client, target: Target) -> None:
    people = mongo_client[VAULT].people
    email = f"{NAME}5@example.com"
    run_export(incremental=True)
    people.update_many({"email": email.upper()}, {"$set": {"group": 7}})
    people.update_many({"group": 0}, {"$set": {"group": 8}})
    take()
    assert run_export(incremental=True).value.namespaces[0].kind is ExportKind.CHANGES
    mine = {"email": {"$regex": f"^{email}$", "$options": "i"}}
    pseudonym = Keys([KEY]).pseudonyms("shared person").of(email.lower().encode(), 128).encode()
    everything = {name for name in target.files if pseudonym in contents(target.folder / name)}
    before = ask(f"SELECT count(*) FROM ({target.current(PEOPLE)})")[0][0]

    ErasureSubject(values=email).save("case-7", overwrite=True)
    run = run_flow(erase, subject="case-7", why="case 7", rules="vault", domain="person", dry_run=False)
    assert run.state.is_completed(), run.error
    assert everything & set(target.files) == set()
    assert [name for name in target.files if pseudonym in contents(target.folder / name)] == []
    assert run.value.gone > people.count_documents(mine) > 0  # with versions that were before
    assert ask(f"SELECT count(*) FROM ({target.current(PEOPLE)})") == [(before - people.count_documents(mine),)]

    people.delete_many(mine)
    take()
    assert run_export(incremental=True).value.namespaces[0].kind is ExportKind.CHANGES
    assert [name for name in target.files if pseudonym in contents(target.folder / name)] == []
    query = f'SELECT count(*), sum(CAST("group" AS BIGINT)) FROM ({target.current(PEOPLE)})'
    total = sum(one["group"] for one in people.find({"_id": {"$ne": "broken"}}) if isinstance(one["group"], int))
    assert ask(query) == [(people.count_documents({}) - 1, total)]
    assert traces(said(run)) == []


def test_a_collection_without_rules_is_refused_before_anything_is_read(mongo_client: Client, target: Target) -> None:
    ExportRules(rules={"other.*": {"unlisted": "drop"}}).save("others", overwrite=True)
    run = run_export(rules="others")
    assert str(run.error).startswith(f"the rules say nothing of a collection (namespace='{PEOPLE}')")
    assert target.files == []


def test_a_misspelt_rule_is_told(target: Target) -> None:
    rules = [{"path": "naem", "action": "drop"}, {"path": "group", "action": "keep"}]
    ExportRules(rules={f"{VAULT}.*": {"unlisted": "drop", "rules": rules}}).save("misspelt", overwrite=True)
    run = run_export(rules="misspelt", dry_run=True)
    warning = f"no field of {PEOPLE} is meant by the rules for naem: look for typing errors"
    assert warning in run.value.warnings
    assert warning in logged(run.id)
