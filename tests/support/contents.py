"""What a database holds, as the server tells it: for comparing a restored one with its source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pymongo import MongoClient


@dataclass(frozen=True)
class Contents:
    """Everything that a restore has to bring back; two of them compare field by field."""

    hashes: dict[str, str]  # dbHash by collection; `system.views` has the definitions
    options: dict[str, Any]  # type and options by name, validators and pipelines among them
    indexes: dict[str, list[Any]]

    def under_another_name(self) -> Contents:
        """What has to be the same in a database of another name: not the names under which it stores its views."""
        return replace(self, hashes={name: value for name, value in self.hashes.items() if name != "system.views"})


def contents(client: MongoClient[dict[str, Any]], name: str) -> Contents:
    """Read all of it but uuids, which are compared where they matter."""
    db = client[name]
    listed = {item["name"]: item for item in db.list_collections()}
    return Contents(
        hashes=db.command("dbHash")["collections"],
        options={found: (item["type"], item.get("options", {})) for found, item in listed.items()},
        indexes={
            found: sorted((index.to_dict() for index in db[found].list_indexes()), key=str)
            for found, item in listed.items()
            if item["type"] != "view"
        },
    )


def uuids(client: MongoClient[dict[str, Any]], name: str) -> dict[str, str]:
    """The uuid of every collection, in hex."""
    return {
        item["name"]: bytes(item["info"]["uuid"]).hex()
        for item in client[name].list_collections()
        if "uuid" in item["info"]
    }
