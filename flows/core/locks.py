"""How long stored objects are locked: a decision of its arguments."""

from __future__ import annotations

from datetime import datetime, timedelta


def lock_to_set(locked: datetime | None, kept_until: datetime | None, *, now: datetime, days: int) -> datetime | None:
    """Until when a backup that is kept has to be locked now.

    A lock never reaches beyond the day on which retention gives the backup up, where that is known: it could not be
    removed then. It is renewed when half of it is over, since each renewal is a request for every object.

    Args:
        locked: When the lock that it has ends; None where it has none.
        kept_until: When retention gives it up; None where that is not known yet.
        now: Aware, as the others.
        days: For how long backups of this store are locked.

    Returns:
        The time; None where its lock is long enough.
    """
    whole, half = now + timedelta(days=days), now + timedelta(days=days / 2)
    if kept_until is not None:
        whole, half = min(whole, kept_until), min(half, kept_until)
    return whole if locked is None or locked < half else None
