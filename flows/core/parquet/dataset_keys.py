"""The keys of everything in a data set."""

from __future__ import annotations

import re
from urllib.parse import quote

from flows.core.keys import check_plan_name
from flows.core.names import Namespace

_VERSION_NAME = re.compile(r"(\d{8})\.json")


def export_prefix(name: str) -> str:
    """Where all objects of a data set are."""
    return f"{check_plan_name(name)}/export/"


def versions_prefix(name: str) -> str:
    """Where the manifests of a data set are."""
    return f"{export_prefix(name)}versions/"


def version_key(name: str, version: int) -> str:
    """The key of the manifest with a number."""
    return f"{versions_prefix(name)}{version:08d}.json"


def views_key(name: str, version: int) -> str:
    """The key of the views that belong to the manifest with a number."""
    return f"{versions_prefix(name)}{version:08d}.sql"


def version_of(key: str) -> int | None:
    """The number in the key of a manifest; None where it is none."""
    match = _VERSION_NAME.fullmatch(key.rpartition("/")[2])
    return int(match[1]) if match else None


def data_prefix(name: str) -> str:
    """Where the files of all exports are."""
    return f"{export_prefix(name)}data/"


def files_prefix(name: str, namespace: Namespace, export: str) -> str:
    """Where the files of a namespace of one export are."""
    return f"{data_prefix(name)}{key_part(str(namespace))}/{export}/"


def schema_key(name: str, namespace: Namespace, sha256: str) -> str:
    """The key of a schema."""
    return f"{export_prefix(name)}schemas/{key_part(str(namespace))}/{sha256}.json"


def key_part(text: str) -> str:
    """A name as a part of a key: what some store or reader could take amiss is percent-encoded."""
    # A part that is only dots would be resolved by stores over folders; no namespace and no date is one.
    return quote(text, safe="=")
