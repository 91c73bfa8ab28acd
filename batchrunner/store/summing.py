"""Sums over all tries of a store, quick for millions: within one day and model there is nothing to sort, which would
take most of the time."""

from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta
from typing import Any, NamedTuple, TypeVar

import msgspec

from batchrunner.records import money
from batchrunner.store.heeding import Heed, heed_nobody

_AT_ONCE = 20_000
_DAY, _MODEL = "CAST(sent_at AS INTEGER) / 86400", "coalesce(model, '')"
_SUMS = (
    "count(*), total(prompt_tokens), total(completion_tokens), total(cached_tokens), total(reasoning_tokens), "
    "count(*) - count(cost), total(cost)"
)
_SOME = (
    f"SELECT min({_DAY}), max({_DAY}), min({_MODEL}), max({_MODEL}), {_SUMS} "  # noqa: S608 - constants
    "FROM tries WHERE rowid BETWEEN ? AND ?"
)
_SOME_APART = f"{_SOME} GROUP BY {_DAY}, {_MODEL}"

_Key = TypeVar("_Key")


class DayUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent on one UTC day. `cost` is None where nobody knows any, else that of all tries but
    `tries_without_cost`."""

    tries: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    tries_without_cost: int


class ModelUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent to one model on one UTC day, as in DayUsage. `model` is the one that was asked, None where an older
    version did not record it."""

    day: str
    model: str | None
    tries: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost: float | None
    tries_without_cost: int


class Sums(NamedTuple):
    """Sums over tries; `costs` are those that are known."""

    tries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    tries_without_cost: int = 0
    costs: float = 0.0

    @property
    def cost(self) -> float | None:
        """What all of them cost but `tries_without_cost`; None where nothing is known of it."""
        return known_cost(self.costs, self.tries_without_cost)

    def plus(self, other: "Sums") -> "Sums":
        """Both together."""
        return Sums._make(map(sum, zip(self, other, strict=True)))


class Tries(NamedTuple):
    """A sum of tries that were sent to one model on one UTC day; `day` counts from 1970, `model` is "" where nobody
    recorded it."""

    day: int
    model: str
    sums: Sums


def known_cost(costs: float, tries_without_cost: int) -> float | None:
    """A sum of costs as it is told: None where nothing is known of them."""
    return money(costs) if costs or not tries_without_cost else None


def sums_by_day(rows: Callable[..., list[Any]], last: int, heed: Heed = heed_nobody) -> Iterator[Tries]:
    """All tries up to row `last`, in several sums a day and model; `rows` executes SQL with its values, `heed` is told
    of the tries."""
    for first in range(1, last + 1, _AT_ONCE):
        some = (first, first + _AT_ONCE - 1)
        found = rows(_SOME, *some)
        if found[0][:4:2] != found[0][1:4:2]:
            found = rows(_SOME_APART, *some)
        for day, _, model, _, *counts, costs in found:
            if day is not None:
                yield Tries(day, model, Sums._make((*map(int, counts), costs)))
        heed(min(_AT_ONCE, last + 1 - first))


def summed(tries: Iterable[Tries]) -> Sums:
    """All together."""
    return _summed_by(tries, lambda _: None).get(None, Sums())


def usage_by_day(tries: Iterable[Tries]) -> dict[str, DayUsage]:
    """What was sent, by UTC day in ISO form, in order."""
    days = _summed_by(tries, lambda one: one.day)
    return {
        _iso(day): DayUsage(
            tries=sums.tries,
            prompt_tokens=sums.prompt_tokens,
            completion_tokens=sums.completion_tokens,
            cost=sums.cost,
            tries_without_cost=sums.tries_without_cost,
        )
        for day, sums in sorted(days.items())
    }


def usage_by_model_and_day(tries: Iterable[Tries]) -> list[ModelUsage]:
    """What was sent, by model and UTC day, in the order of these."""
    found = _summed_by(tries, lambda one: (one.model, one.day))
    return [
        ModelUsage(
            day=_iso(day),
            model=model or None,
            tries=sums.tries,
            prompt_tokens=sums.prompt_tokens,
            completion_tokens=sums.completion_tokens,
            cached_tokens=sums.cached_tokens,
            reasoning_tokens=sums.reasoning_tokens,
            cost=sums.cost,
            tries_without_cost=sums.tries_without_cost,
        )
        for (model, day), sums in sorted(found.items())
    ]


def _summed_by(tries: Iterable[Tries], key: Callable[[Tries], _Key]) -> dict[_Key, Sums]:
    found: dict[_Key, Sums] = {}
    for one in tries:
        found[key(one)] = found.get(key(one), Sums()).plus(one.sums)
    return found


def _iso(day: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()
