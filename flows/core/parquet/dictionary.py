"""Stand-in."""

from __future__ import annotations

from collections.abc import Mapping

from flows.core.parquet.profile import Profile
from flows.core.parquet.schema import ExportSchema


def data_dictionary(schema: ExportSchema, profile: Profile, first_seen: Mapping[str, str]) -> str:
    """Markdown."""
    return f"# {schema.namespace}"
