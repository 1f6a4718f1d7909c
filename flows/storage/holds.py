"""Legal holds and pins in a store: read with suspicion, and written so that no act is lost."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime

from flows.core.errors import BackupError, BackupNotFound, IntegrityError, ObjectExists, RepositoryError
from flows.core.holds import HOLD_LIMIT_BYTES, HoldAction, HoldEvent, HoldRequest, Holds
from flows.core.keys import hold_prefix, is_folder
from flows.storage.manifests import check_listed
from flows.storage.store import ObjectStore, ReadableStore


def read_act(store: ReadableStore, key: str) -> HoldEvent | str:
    """Read what is stored at one key; what cannot be read gives key and problem as one text.

    Raises:
        StoreUnavailable: Where the store may answer in a minute.
    """
    try:
        return HoldEvent.from_json(store.get(key, limit=HOLD_LIMIT_BYTES), key=key)
    except BackupError as error:
        if error.retryable:
            raise
        return f"{key}: {error.message}"


def holds_from(acts: Iterable[HoldEvent | str]) -> Holds:
    """What was read of one backup, as one value."""
    read = list(acts)
    return Holds(
        tuple(act for act in read if isinstance(act, HoldEvent)), tuple(act for act in read if isinstance(act, str))
    )


def read_holds(store: ObjectStore, plan: str, backup: str) -> Holds:
    """Read the holds of one backup, as they are now."""
    keys = (item.key for item in store.list(hold_prefix(plan, backup)))
    return holds_from(read_act(store, key) for key in keys if not is_folder(key))


def change_holds(store: ObjectStore, plan: str, backup: str, request: HoldRequest, *, at: datetime) -> Holds:
    """Set or lift a hold. Safe to repeat with the same `at`.

    Whoever deletes a backup looks at its holds before and after its manifest is gone. So a hold that was written while
    the manifest was there, and finds it there afterwards, stands.

    Args:
        store: Where the backup is.
        plan: Name of the plan.
        backup: Id of the backup. One that is gone may still have holds to lift.
        request: What to do.
        at: Now, aware.

    Returns:
        All holds of the backup.

    Raises:
        BackupNotFound: To set one, where there is no such backup.
        RepositoryError: Where the backup was removed while the hold was set.
        Refused: See `HoldRequest.event`.
    """
    sets = request.action is HoldAction.SET
    if sets:
        check_listed(store, plan, backup)
    holds = read_holds(store, plan, backup)
    if not any((event.at, event.action) == (at, request.action) for event in holds.events):  # of an earlier try
        _write(store, request.event(plan, backup, holds, at=at))
    if sets:
        try:
            check_listed(store, plan, backup)
        except BackupNotFound as error:
            raise RepositoryError(
                "the backup was removed while the hold was set",
                hint="Look at the inventory: if it lists the backup again, the hold stands. Else what is left is kept.",
                plan=plan,
                store=store.location,
                backup=backup,
            ) from error
    return read_holds(store, plan, backup)


def _write(store: ObjectStore, event: HoldEvent) -> None:
    """Write an act under its own name, and see that it is there."""
    data = event.to_json()
    with suppress(ObjectExists):  # from an earlier try: the name holds the hash of the content
        store.put(event.key, data, if_absent=True)
    if store.get(event.key, limit=HOLD_LIMIT_BYTES) != data:
        raise IntegrityError(
            "the store took the hold and has something else",
            hint="Check the store, then do it again.",
            key=event.key,
        )
