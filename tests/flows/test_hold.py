"""The hold flow: who keeps a backup and why, what a prune makes of it, and what becomes of it in a race."""

from __future__ import annotations

import dataclasses
import platform
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from blocks import BackupStore
from deployments import embedded
from flows.core.errors import BackupError
from flows.core.holds import HoldAction, HoldKind, HoldRequest
from flows.hold import hold
from flows.inventory import inventory
from flows.prune import prune
from flows.storage.repository import Repository
from flows.tasks.lock import hold_plan
from flows.tasks.settings import Overlap
from tests.flows.conftest import Repo
from tests.support.fault_proxy import DROP_ANSWER, FaultProxy, Request, call
from tests.support.flow_runs import flow_run_record, run_flow, table
from tests.support.repositories import NOW, backup_at, plant

RETENTION = {"days": 1, "at_least": 1}


@pytest.fixture
def two(repo: Repo) -> tuple[str, str]:
    """Two old backups in the store of the test, of which a prune removes the first: ids."""
    made = [dataclasses.replace(backup_at(NOW + timedelta(days=day)), plan="default") for day in (-2, -1)]
    plant(repo.block.open(), *made)
    return made[0].backup, made[1].backup


def remaining(repo: Repo) -> list[str]:
    prune(retention=RETENTION, dry_run=False)
    return repo.repository.backup_ids()


def test_a_legal_hold_keeps_a_backup_until_it_is_lifted(two: tuple[str, str], repo: Repo) -> None:
    old, new = two
    run = run_flow(hold, backup=old, why="case 42", by="Anna")
    assert flow_run_record(run.id).name == f"set legal-hold on {old} of default"
    (held,) = run.value.held
    assert held.startswith("legal-hold ")
    assert held.endswith(": case 42")
    assert " by Anna since " in held
    assert [row.held for row in inventory()] == [(held,), ()]
    assert remaining(repo) == [old, new]
    assert table(run_flow(prune, retention=RETENTION).id)[1]["reason"] == held

    lifted = run_flow(hold, backup=old, why="closed", action="lift")
    assert lifted.value.held == ()
    history = table(lifted.id)
    assert [(row["action"], row["kind"], row["why"], row["state"]) for row in history] == [
        ("set", "legal-hold", "case 42", "over"),
        ("lift", "legal-hold", "closed", f"lifts {history[0]['id']}"),
    ]
    assert history[1]["by"].endswith(f" on {platform.node()}")
    assert remaining(repo) == [new]


def test_a_pin_holds_the_latest_until_a_date(two: tuple[str, str], repo: Repo) -> None:
    until = datetime.now(UTC) + timedelta(days=30)
    report = hold(backup="latest", why="before the migration", kind="pin", until=until)  # type: ignore[arg-type]
    assert (report.backup, report.kind, len(report.held)) == (two[1], HoldKind.PIN, 1)
    assert f" until {until:%Y-%m-%d %H:%M} UTC: before the migration" in report.held[0]


def test_a_hold_does_not_wait_for_a_run_that_has_the_plan(two: tuple[str, str], repo: Repo) -> None:
    with hold_plan("default", Overlap.REFUSE):
        assert hold(backup=two[0], why="case 42").held
    assert remaining(repo) == list(two)


def test_an_answer_that_was_lost_makes_no_second_hold(two: tuple[str, str], repo: Repo, proxy: FaultProxy) -> None:
    # Twice, because the SDK repeats a request once by itself; then the task does.
    proxy.fail("PUT", times=2, action=DROP_ANSWER)
    assert len(hold(backup=two[0], why="case 42").held) == 1
    assert len([name for name in repo.files if "/holds/" in name]) == 1


def test_a_hold_set_while_a_prune_removes_wins(
    two: tuple[str, str], repo: Repo, proxy: FaultProxy, s3: embedded.S3Server
) -> None:
    request = HoldRequest(HoldAction.SET, HoldKind.LEGAL_HOLD, "Anna", "case 42")

    def meanwhile(_: Request) -> None:
        direct = BackupStore(**{**dict(repo.block), "endpoint": s3.endpoint})
        Repository(direct.open(), "default").change_holds(two[0], request, at=datetime.now(UTC))

    proxy.fail("POST", times=1, action=call(before=meanwhile))  # the removal of the manifest
    run = run_flow(prune, retention=RETENTION, dry_run=False)
    assert run.value.plan.keep == (two[1], two[0])
    assert table(run.id)[1]["decision"] == "kept"
    assert table(run.id)[1]["reason"].endswith("; stays whole, because it is held since this was decided")
    assert repo.repository.backup_ids() == list(two)
    repo.repository.whole(two[0])


def test_a_hold_that_cannot_be_read_keeps_the_backup_and_is_told(two: tuple[str, str], repo: Repo) -> None:
    hold(backup=two[0], why="case 42")
    (path,) = (repo.folder / "default" / "holds" / two[0]).iterdir()
    path.write_text("{")
    assert inventory()[0].held[0].startswith("counts as held, because a hold cannot be read: default/holds/")
    assert remaining(repo) == list(two)
    with pytest.raises(BackupError, match="a hold of this backup cannot be read, so none is lifted"):
        hold(backup=two[0], why="closed", action=HoldAction.LIFT)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        (
            {"why": " "},
            "`why` is empty or too long (got=0)\nHINT: Say it in up to 2000 letters: an auditor will read it.",
        ),
        (
            {"until": datetime(2100, 1, 1, tzinfo=UTC)},
            "only a pin that is set may have an end (action='set', kind='legal-hold')\n"
            "HINT: Leave `until` empty. A legal hold stands until somebody lifts it.",
        ),
        (
            {"until": datetime(2100, 1, 1), "kind": HoldKind.PIN},
            "`until` has no time zone (got='2100-01-01T00:00:00')\n"
            "HINT: Add it, for example 2026-12-31T00:00:00+01:00, or Z for UTC.",
        ),
        (
            {"plan": "Daily"},
            "not a name for a plan (got='Daily')\n"
            "HINT: Use lower-case letters, digits and `-`, at most 63, beginning with a letter or digit.",
        ),
        (
            {"backup": "yesterday"},
            "not a backup id (got='yesterday')\n"
            "HINT: Give an id such as 2026-03-06T04-00-00Z, or `latest`. The inventory flow lists the ids.",
        ),
        (
            {"store": "attic"},
            "there is no block 'attic' of the type MongoDB Backup Store\n"
            "HINT: Make it in the Prefect UI under Blocks, or give the name of one that is there.",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_asked_of_the_store(
    repo: Repo, proxy: FaultProxy, parameters: dict[str, Any], text: str
) -> None:
    with pytest.raises(BackupError) as caught:
        hold(**{"backup": "2026-03-06T04-00-00Z", "why": "case 42", **parameters})
    assert str(caught.value) == text
    assert proxy.requests == []


def test_a_backup_that_is_not_there_cannot_be_held(two: tuple[str, str], repo: Repo, proxy: FaultProxy) -> None:
    proxy.reset()
    with pytest.raises(BackupError) as caught:
        hold(backup="2020-01-01T00-00-00Z", why="case 42")
    assert str(caught.value) == (
        f"no such backup in this plan (plan='default', store='{repo.block.open().location}', "
        "got='2020-01-01T00-00-00Z')\n"
        "HINT: The inventory flow lists the ids; `latest` is the newest."
    )
    assert proxy.writes == []
