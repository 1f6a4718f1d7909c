"""The catalogue of errors."""

from __future__ import annotations

import pickle

import pytest

from flows.core import errors
from flows.core.errors import BackupError


def every(kind: type[BackupError] = BackupError) -> list[type[BackupError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in every(child))]


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.__dict__.get("code") for kind in every()]
    assert None not in codes
    assert len(set(codes)) == len(codes)


def test_what_may_pass_in_a_minute_is_retryable_and_nothing_else() -> None:
    assert {kind.__name__ for kind in every() if kind.retryable} == {
        "SourceUnavailable",
        "TargetUnavailable",
        "StoreUnavailable",
        "ServerUnavailable",
        "StoredWrongly",
    }


@pytest.mark.parametrize("kind", every())
def test_an_error_survives_pickling_with_its_facts(kind: type[BackupError]) -> None:
    error = pickle.loads(pickle.dumps(kind("a fact", hint="Do this.", key="k", got=5)))
    assert type(error) is kind
    assert str(error) == "a fact (key='k', got=5)\nHINT: Do this."


def test_an_error_without_facts_or_hint_is_its_sentence() -> None:
    assert str(errors.Refused("no")) == "no"
