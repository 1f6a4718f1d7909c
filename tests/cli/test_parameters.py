"""What is typed, as the flows take it."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from cyclopts import App

from flows.backup import backup
from flows.cli.names import types_of
from flows.cli.parameters import options, read, typed
from flows.core.errors import BackupError, ConfigurationError
from flows.core.restore_plan import RestoreMode
from flows.export import export
from flows.prune import prune
from flows.restore import restore
from flows.tasks.settings import OtherStore, Retention


def given(function: Any, *words: str) -> dict[str, Any]:
    """What a flow gets of some words on the command line."""
    known = options(function)
    taken: list[dict[str, Any]] = []

    def command(**named: Any) -> None:
        taken.append(named)

    parameters = typed(function, known)
    told: Any = command
    told.__signature__ = inspect.Signature(parameters)
    told.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    App(default_command=command, result_action="return_value")(list(words), exit_on_error=False, print_error=False)
    return read(known, taken[0])


def test_what_is_not_typed_is_left_to_the_flow() -> None:
    assert given(backup.fn) == {}


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        (["--plan", "mpg"], {"plan": "mpg"}),
        (["--databases", "a", "b", "--exclude", "*.tmp"], {"databases": ["a", "b"], "exclude": ["*.tmp"]}),
        (["--include-users"], {"include_users": True}),
        (["--segments-in-flight", "2"], {"segments_in_flight": 2}),
        (["--retention", "days=30,at-least=5"], {"retention": Retention(days=30, at_least=5)}),
        (["--retention", '{"monthly": 12}'], {"retention": Retention(monthly=12)}),
        (
            ["--retention", "days=9,time_zone=Europe/Berlin"],
            {"retention": Retention(days=9, time_zone="Europe/Berlin")},
        ),
        (["--retention", "none"], {"retention": None}),
        (
            ["--stores", "offsite", '{"store": "far", "retention": null}'],
            {"stores": [OtherStore(store="offsite"), OtherStore(store="far", retention=None)]},
        ),
    ],
)
def test_options_of_a_backup(words: list[str], taken: dict[str, Any]) -> None:
    assert given(backup.fn, *words) == taken


def test_options_of_a_restore() -> None:
    words = ["--mode", "into_new", "--rename", "mpg=mpg_new", "$db$.logs=logs.$db$", "--no-safety-backup"]
    assert given(restore.fn, *words) == {
        "mode": RestoreMode.INTO_NEW,
        "rename": {"mpg": "mpg_new", "$db$.logs": "logs.$db$"},
        "safety_backup": False,
    }
    at = given(restore.fn, "--before", "2026-03-06T12:00:00+01:00")["before"]
    assert at.isoformat() == "2026-03-06T12:00:00+01:00"


@pytest.mark.parametrize(
    ("function", "words", "message"),
    [
        (restore.fn, ["--rename", "mpg"], "--rename takes OLD=NEW"),
        (backup.fn, ["--retention", "dayz=3"], "--retention cannot be read .*dayz"),
        (backup.fn, ["--retention", "soon"], "--retention cannot be read"),
        (backup.fn, ["--stores", '{"retention": {}}'], "--stores cannot be read .*store: Field required"),
        (prune.fn, ["--retention", "none"], "--retention cannot be read"),
    ],
)
def test_what_cannot_be_read_is_refused_with_how_to_write_it(function: Any, words: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        given(function, *words)
    assert isinstance(caught.value, BackupError)
    assert caught.value.hint


def test_a_target_is_a_mongodb_to_restore_into_or_a_store_of_exports() -> None:
    of_restore, of_export = (types_of(inspect.signature(flow.fn).parameters) for flow in (restore, export))
    assert of_restore["target"] == "mongodb-restore-target"
    assert of_export["target"] == "mongodb-backup-store"
    assert of_export["rules"] == "mongodb-export-rules"
    assert given(export.fn, "--partition", "mpg.invoices=issuedAt by year") == {
        "partition": {"mpg.invoices": "issuedAt by year"}
    }
