"""Sums over all tries of a store, quick for millions: within one day there is nothing to sort, which would take most of
the time."""

from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta
from typing import Any, NamedTuple

import msgspec

_AT_ONCE = 20_000
_DAYS = "min(CAST(sent_at AS INTEGER) / 86400), max(CAST(sent_at AS INTEGER) / 86400)"
_SUMS = "count(*), total(prompt_tokens), total(completion_tokens), total(cached_tokens), total(reasoning_tokens)"
_SOME = f"SELECT {_DAYS}, {_SUMS} FROM tries WHERE rowid BETWEEN ? AND ?"  # noqa: S608 - constants
_SOME_BY_DAY = f"{_SOME} GROUP BY CAST(sent_at AS INTEGER) / 86400"


class DayUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent on one UTC day."""

    tries: int
    prompt_tokens: int
    completion_tokens: int


class Tries(NamedTuple):
    """A sum of tries that were sent on one UTC day; `day` counts from 1970."""

    day: int
    tries: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int


def sums_by_day(rows: Callable[..., list[Any]], last: int) -> Iterator[Tries]:
    """All tries up to row `last`, in several sums a day; `rows` executes SQL with its values."""
    for first in range(1, last + 1, _AT_ONCE):
        some = (first, first + _AT_ONCE - 1)
        found = rows(_SOME, *some)
        if found[0][0] != found[0][1]:
            found = rows(_SOME_BY_DAY, *some)
        for day, _, *sums in found:
            if day is not None:
                yield Tries(day, *map(int, sums))


def usage_by_day(tries: Iterable[Tries]) -> dict[str, DayUsage]:
    """What was sent, by UTC day in ISO form, in order."""
    days: dict[int, Tries] = {}
    for one in tries:
        before = days.get(one.day)
        days[one.day] = one if before is None else Tries(one.day, *map(sum, zip(before[1:], one[1:], strict=True)))
    return {
        (date(1970, 1, 1) + timedelta(days=day)).isoformat(): DayUsage(
            tries=sums.tries, prompt_tokens=sums.prompt_tokens, completion_tokens=sums.completion_tokens
        )
        for day, sums in sorted(days.items())
    }
