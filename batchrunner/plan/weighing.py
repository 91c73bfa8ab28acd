"""What the units of a job will take, told from those that are composed as the run would: all where they are few, else
so many at random. Memory does not grow with the input.

Tokens go by what the answers of an earlier run used, where it left some, else by the estimator's first guesses.
"""

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import msgspec

from batchrunner.chat.request import RequestSettings, compose
from batchrunner.limits.estimate import Estimator, Foreseen
from batchrunner.records import FileContent, Request, Row, Usage
from batchrunner.runner.preparing import Prepared
from batchrunner.store.bitmap import Bitmap
from batchrunner.store.reading import Answered

MOST_COMPOSED = 50_000
NAMED = 3
_SURE = 2.0  # standard errors: nineteen times of twenty

EstimatorOf = Callable[[str], Estimator]


@dataclass(slots=True)
class Sum:
    """A sum over the units looked at, and what tells how far the one over all may be off."""

    total: float = 0.0
    squares: float = 0.0

    def add(self, amount: float) -> None:
        """One more unit."""
        self.total += amount
        self.squares += amount * amount

    def error(self, seen: int, units: int) -> float:
        """By how much the whole, told from `seen` of so many units, may be off (two standard errors): relative."""
        if not self.total or seen < 2 or seen >= units:  # noqa: PLR2004 - one tells of no spread
            return 0.0
        mean = self.total / seen
        variance = max(0.0, self.squares / seen - mean * mean)
        return _SURE * math.sqrt(variance / seen * (1 - seen / units)) / mean


@dataclass(slots=True)
class Load:
    """What the units of one model, of those looked at, will take. `unbounded`: some have no max_tokens."""

    units: int = 0
    prompt: float = 0.0
    likely: float = 0.0
    most: float = 0.0
    counted: float = 0.0
    counted_most: float = 0.0
    unbounded: bool = False

    def add(self, seen: Foreseen) -> None:
        """One more unit."""
        most = seen.likely if seen.most is None else seen.most
        self.units += 1
        self.prompt += seen.prompt
        self.likely += seen.likely
        self.most += most
        self.counted += seen.counted
        self.counted_most += seen.prompt + most
        self.unbounded = self.unbounded or seen.most is None


@dataclass(slots=True)
class Unfit:
    """Units that will fail before they are sent: how many of those looked at, and words for the first."""

    units: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, words: str) -> None:
        """One more."""
        self.units += 1
        if len(self.first) < NAMED:
            self.first.append(words)


@dataclass(slots=True)
class Weighed:
    """`pending`: units to ask; `seen`: how many of them were looked at; `learned`: answers of an earlier run that the
    tokens go by; `latency_seconds` and `rate` (answers per second) as they were in it, None where nobody knows."""

    pending: int
    seen: int
    loads: dict[str, Load] = field(default_factory=dict)
    invalid: Unfit = field(default_factory=Unfit)
    too_large: Unfit = field(default_factory=Unfit)
    tokens: Sum = field(default_factory=Sum)
    learned: int = 0
    latency_seconds: float | None = None
    rate: float | None = None

    @property
    def scale(self) -> float:
        """Units to ask for each that was looked at."""
        return self.pending / self.seen if self.seen else 1.0

    def rate_for(self, models: Iterable[str]) -> float | None:
        """The part of the rate that falls to these models, by their units."""
        units = sum(load.units for load in self.loads.values())
        own = sum(self.loads[model].units for model in models)
        return None if self.rate is None or not units else self.rate * own / units


def weigh(
    prepared: Prepared,
    ended: Bitmap,
    answered: Sequence[Answered],
    estimator_of: EstimatorOf,
    most_tokens_of: Callable[[str], float],
) -> Weighed:
    """Look at the units that have not `ended`. `answered`: tries of an earlier run to learn from; `most_tokens_of`:
    what a try to a model may take at most."""
    pending = prepared.unasked(ended).others()
    chosen = _chosen(pending, MOST_COMPOSED)
    by_number = {one.number: one for one in answered if one.number < prepared.total}
    weighed = Weighed(pending=len(pending), seen=len(chosen))
    requests = _compose_all(prepared, chosen, by_number, estimator_of, weighed)
    for request in requests:
        _add(weighed, request, estimator_of(request.model), most_tokens_of(request.model))
    if by_number:
        weighed.latency_seconds = sum(one.latency_s for one in answered) / len(answered)
        weighed.rate = rate_of(answered)
    return weighed


def _compose_all(
    prepared: Prepared,
    chosen: Bitmap,
    answered: Mapping[int, Answered],
    estimator_of: EstimatorOf,
    weighed: Weighed,
) -> list[Request]:
    """The chosen units' requests without their bodies; estimators learn from those answered on the way."""
    arms = [_without_files(arm) for arm in prepared.settings]
    wanted = Bitmap(prepared.total, chain(chosen, answered))
    found = []
    for unit in _units(prepared, wanted):
        request = compose(unit, arms[unit.arm])
        if not isinstance(request, Request):
            if unit.number in chosen:
                weighed.invalid.add(f"row {unit.row} (id {unit.id!r}): {request.message}")
            continue
        light = msgspec.structs.replace(request, body=b"", check=None)
        one = answered.get(unit.number)
        if one is not None:
            total = one.prompt_tokens + one.completion_tokens
            usage = Usage(prompt_tokens=one.prompt_tokens, completion_tokens=one.completion_tokens, total_tokens=total)
            estimator_of(light.model).learn(light, usage)
            weighed.learned += 1
        if unit.number in chosen:
            found.append(light)
    return found


def _units(prepared: Prepared, wanted: Bitmap) -> Iterable[Row]:
    return chain.from_iterable(prepared.units(lambda number: number not in wanted, prepared.rows)) if wanted else ()


def _add(weighed: Weighed, request: Request, estimator: Estimator, most_tokens: float) -> None:
    least = estimator.least(request)
    if least > most_tokens:
        words = f"row {request.row} (id {request.id!r}): about {least:,.0f} tokens at least, {most_tokens:,.0f} fit"
        weighed.too_large.add(words)
        return
    seen = estimator.foresee(request)
    weighed.loads.setdefault(request.model, Load()).add(seen)
    weighed.tokens.add(seen.prompt + seen.likely)


def _chosen(pending: Bitmap, most: int) -> Bitmap:
    """All of them, or so many at random: always the same."""
    if len(pending) <= most:
        return pending
    ranks = iter(sorted(random.Random(0).sample(range(len(pending)), most)))
    found, rank = Bitmap(pending.size), next(ranks)
    for place, number in enumerate(pending):
        if place == rank:
            found.add(number)
            rank = next(ranks, -1)
    return found


def _without_files(arm: RequestSettings) -> RequestSettings:
    """The contents of files weigh nothing in an estimate; whether they can be read, the run will tell."""
    empty = FileContent(media_type="", base64="")
    return arm if arm.read_file is None else msgspec.structs.replace(arm, read_file=lambda _: empty)


def rate_of(answered: Sequence[Answered]) -> float | None:
    """Answers per second of the time in which any request was out: nights between two runs are no part of it."""
    seconds, until = 0.0, -math.inf
    for one in sorted(answered, key=lambda one: one.sent_at):
        ended = one.sent_at + one.latency_s
        seconds += max(0.0, ended - max(until, one.sent_at))
        until = max(until, ended)
    return len(answered) / seconds if seconds else None
