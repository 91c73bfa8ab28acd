"""Refused again after a silence: a limit by the second has forgotten all by then, so it was never one.

Where no hint tells the window, a limit by the second that happens to be full takes the blame for every refusal of one
by the minute; pauses are short then, and a dozen probes are refused each time. The first refusal that comes after a
second in which hardly anything was sent shows it.
"""

from collections.abc import Mapping

from batchrunner.limits.cap import SECOND, Cap, Use
from batchrunner.limits.window import Key

_SEEMS_FULL, _SILENT = 0.5, 0.1  # of an amount


def acquits_seconds(caps: Mapping[Key, Cap], first: Use, again: Use) -> bool:
    """Whether a limit by the second seemed full at the `first` refusal of a series, and hardly anything was in it when
    a try was refused `again`. Uses are what had passed in each window."""
    seconds = {key: cap.amount for key, cap in caps.items() if key[1] == SECOND and not cap.told}
    full = [key for key, amount in seconds.items() if first[key] >= _SEEMS_FULL * amount]
    return bool(full) and all(again[key] <= _SILENT * seconds[key] for key in full)


def without_seconds(caps: Mapping[Key, Cap]) -> dict[Key, Cap]:
    """The limits without those by the second that were found."""
    return {key: cap for key, cap in caps.items() if key[1] != SECOND or cap.told}
