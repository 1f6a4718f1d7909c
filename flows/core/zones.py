"""Time zones by their names."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flows.core.errors import ConfigurationError


def time_zone(name: str) -> ZoneInfo:
    """The time zone of an IANA name.

    Raises:
        ConfigurationError: There is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # it looks for files, and a folder is none
        raise ConfigurationError(
            "not a time zone",
            hint="Give a name of the IANA database, such as Europe/Berlin, or UTC.",
            got=name,
        ) from error
