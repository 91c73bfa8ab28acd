"""How the daily reset is written: a time of day and the name of a zone, "00:00 America/Los_Angeles"."""

import difflib
import re
from zoneinfo import ZoneInfo, available_timezones

_WRITTEN = re.compile(r"\s*([01]?[0-9]|2[0-3]):([0-5][0-9])\s+(\S.*?)\s*")


def parse_reset(text: str) -> tuple[int, int, str]:
    """Hour, minute and zone. ValueError says what to write."""
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise ValueError(f'{text!r} is no daily reset: write a time and a zone, "00:00 UTC" or "08:30 Europe/Berlin"')
    zone = found[3]
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):  # the last: a folder of the database, or too long a name
        raise ValueError(f"there is no zone {zone!r}; {_advice(zone)}") from None
    return int(found[1]), int(found[2]), zone


def _advice(zone: str) -> str:
    """The nearest zone, by its whole name or its last part: Berlin is near Europe/Berlin."""
    names = {part.casefold(): name for name in sorted(available_timezones()) for part in (name, name.split("/")[-1])}
    near = difflib.get_close_matches(zone.casefold(), names, n=1)
    return f"did you mean {names[near[0]]!r}?" if near else "write UTC, or one such as Europe/Berlin"
