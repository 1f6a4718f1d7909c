"""Views look at collections by name: which ones, and how a view follows when they are renamed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flows.core.errors import ConfigurationError
from flows.core.extjson import Document
from flows.core.names import Namespace

# Stages that read another collection of the view's database, and the field that names it.
_READERS = {"$lookup": "from", "$graphLookup": "from", "$unionWith": "coll"}

Change = Callable[[str], str]


def changed_names(
    view: Namespace, target: Namespace, options: Document, places: Mapping[Namespace, Namespace]
) -> dict[str, str]:
    """Find the collections that a view has to look for under another name.

    Args:
        view: Its name in the backup.
        target: Where it is restored.
        options: Its definition, `viewOn` and `pipeline`.
        places: Where everything goes that this restore writes; what is not in it keeps its name.

    Returns:
        Collections by the name that the definition has, with the new name.

    Raises:
        ConfigurationError: Where one of them goes to another database than the view, which could not see it there.
    """
    changed = {}
    for name in sorted(_names(options)):
        place = places.get(Namespace(view.database, name))
        if place is None:
            continue
        if place.database != target.database:
            raise ConfigurationError(
                "a view would be in another database than a collection that it looks at",
                hint="A view sees its own database only: rename both into the same one, for example with "
                f"`{view.database}: {target.database if target.database != view.database else place.database}`, "
                "or leave the view out with `exclude`.",
                view=str(view),
                goes_to=str(target),
                looks_at=f"{view.database}.{name}",
                which_goes_to=str(place),
            )
        if place.collection != name:
            changed[name] = place.collection
    return changed


def follow(options: Document, names: Mapping[str, str]) -> Document:
    """The definition of a view with other names of collections; order and all else stay."""
    return _definition(options, lambda name: names.get(name, name))


def _names(options: Document) -> set[str]:
    found = set()

    def note(name: str) -> str:
        found.add(name)
        return name

    _definition(options, note)
    return found


def _definition(options: Document, change: Change) -> Document:
    changed = dict(options)
    if isinstance(options.get("viewOn"), str):
        changed["viewOn"] = change(options["viewOn"])
    if "pipeline" in options:
        changed["pipeline"] = _pipeline(options["pipeline"], change)
    return changed


def _pipeline(stages: Any, change: Change) -> Any:
    if not isinstance(stages, list):
        return stages
    return [
        {name: _argument(name, value, change) for name, value in stage.items()} if isinstance(stage, dict) else stage
        for stage in stages
    ]


def _argument(stage: str, value: Any, change: Change) -> Any:
    if stage == "$unionWith" and isinstance(value, str):
        return change(value)
    if not isinstance(value, dict):
        return value
    if stage == "$facet":
        return {name: _pipeline(stages, change) for name, stages in value.items()}
    if stage not in _READERS:
        return value
    changed = dict(value)
    field = _READERS[stage]
    # A document in place of the name is another database, which only MongoDB's own views have.
    if isinstance(value.get(field), str):
        changed[field] = change(value[field])
    if "pipeline" in value:
        changed["pipeline"] = _pipeline(value["pipeline"], change)
    return changed
