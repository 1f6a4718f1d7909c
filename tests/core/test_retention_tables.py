"""A year of backups under six policies: what is kept, and why, as it was once checked by hand."""

from __future__ import annotations

import pytest

from tests.support.retention_tables import CASES, Case, path, table


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_year_of_backups_is_kept_as_it_was_checked(case: Case) -> None:
    assert table(case) == path(case).read_text()
