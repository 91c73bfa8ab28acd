"""All tries of a run in a few kilobytes: what was sent when, how long it took, what failed, and what it cost.

A pure fold: tries are added in any order, and more of them later, as a run goes on.
"""

from collections.abc import Iterable
from operator import itemgetter
from typing import TypeVar

import msgspec

from batchrunner.report.bins import MOST_BINS, WIDTHS, Lengths, wider
from batchrunner.store.reading import TryRow

DAY_SECONDS = 86_400
OTHERS = "(others)"
_Key = TypeVar("_Key")
MOST_NAMES = 64  # of models, which are foreign words; the rest is one


class Sums(msgspec.Struct, kw_only=True):
    """What some tries used. `costs` are those that are known."""

    tries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    costs: float = 0.0
    tries_without_cost: int = 0

    @property
    def tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost(self) -> float | None:
        """What all of them cost but `tries_without_cost`; None where nothing is known of it."""
        return self.costs if self.costs or (self.tries and not self.tries_without_cost) else None

    def plus(self, other: "Sums") -> "Sums":
        """Both together."""
        pairs = zip(self.__struct_fields__, msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return Sums(**{name: one + two for name, one, two in pairs})


class Failed(msgspec.Struct, kw_only=True):
    """Failed tries of one kind and HTTP status. `message`: of the last one; instants are Unix time."""

    tries: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    message: str = ""


class History:
    """The fold. `arms` and `samples`: units of each row, and how many of these are samples of one variant.

    `by_time`: tries and tokens by number of the bin, each of `width` seconds since 1970, and kind of failure ("" of
    none); `used`: by UTC day, model and place of the variant; `latencies`: of answered tries, by variant; `failed`: by
    kind and HTTP status.
    """

    def __init__(self, *, arms: int = 1, samples: int = 1) -> None:
        self.width = WIDTHS[0]
        self.by_time: dict[tuple[int, str], list[int]] = {}
        self.used: dict[tuple[int, str, int], Sums] = {}
        self.latencies: dict[int, Lengths] = {}
        self.first_tokens = Lengths()
        self.failed: dict[tuple[str, int], Failed] = {}
        self._bins: set[int] = set()
        self._models: set[str] = set()
        self._arms = arms
        self._samples = samples

    def add(self, tries: Iterable[TryRow]) -> None:
        """Fold more tries in."""
        for one in tries:
            number, sent_at, latency_s, first_token_s, kind, _, _, prompt, completion, *_ = one
            cell = self._cell(int(sent_at), kind or "")
            cell[0] += 1
            cell[1] += (prompt or 0) + (completion or 0)
            variant = number % self._arms // self._samples
            if kind is None:
                latencies = self.latencies.get(variant) or self.latencies.setdefault(variant, Lengths())
                latencies.add(latency_s)
            else:
                self._fail(kind, one)
            if first_token_s is not None:
                self.first_tokens.add(first_token_s)
            day = int(sent_at) // DAY_SECONDS
            _sum(self.used.get((day, one[11] or "", variant)) or self._new_sums(day, one[11] or "", variant), one)

    @property
    def latency(self) -> Lengths:
        """How long all answered tries took."""
        total = Lengths()
        for one in self.latencies.values():
            for place, count in one.counts.items():
                total.counts[place] = total.counts.get(place, 0) + count
        return total

    def by_day_and_model(self) -> dict[tuple[int, str], Sums]:
        """What was used, in order."""
        return _grouped(((day, model), sums) for (day, model, _), sums in self.used.items())

    def by_variant(self) -> dict[int, Sums]:
        """What was used, by place of the variant."""
        return _grouped((variant, sums) for (_, _, variant), sums in self.used.items())

    @property
    def sums(self) -> Sums:
        """What was used in all."""
        return _grouped((0, sums) for sums in self.used.values()).get(0, Sums())

    def _cell(self, second: int, kind: str) -> list[int]:
        bin_ = second // self.width
        cell = self.by_time.get((bin_, kind))
        if cell is None:
            self._bins.add(bin_)
            cell = self.by_time[bin_, kind] = [0, 0]
            while len(self._bins) > MOST_BINS:
                self._widen()
            cell = self.by_time[second // self.width, kind]
        return cell

    def _widen(self) -> None:
        width = wider(self.width)
        wide: dict[tuple[int, str], list[int]] = {}
        for (bin_, kind), (tries, tokens) in self.by_time.items():
            cell = wide.setdefault((bin_ * self.width // width, kind), [0, 0])
            cell[0] += tries
            cell[1] += tokens
        self.width, self.by_time, self._bins = width, wide, {bin_ for bin_, _ in wide}

    def _new_sums(self, day: int, model: str, variant: int) -> Sums:
        if model not in self._models and len(self._models) >= MOST_NAMES:
            model = OTHERS
        self._models.add(model)
        return self.used.setdefault((day, model, variant), Sums())

    def _fail(self, kind: str, one: TryRow) -> None:
        _, sent_at, _, _, _, status, message, *_ = one
        failed = self.failed.get((kind, status or 0))
        if failed is None:
            failed = self.failed[kind, status or 0] = Failed(first_at=sent_at)
        failed.tries += 1
        failed.first_at, failed.last_at = min(failed.first_at, sent_at), max(failed.last_at, sent_at)
        failed.message = message or failed.message


def _grouped(parts: Iterable[tuple[_Key, Sums]]) -> dict[_Key, Sums]:
    groups: dict[_Key, Sums] = {}
    for key, sums in sorted(parts, key=itemgetter(0)):
        groups[key] = groups.get(key, Sums()).plus(sums)
    return groups


def _sum(sums: Sums, one: TryRow) -> None:
    _, _, _, _, _, _, _, prompt, completion, cached, reasoning, _, cost = one
    sums.tries += 1
    if cost is None:
        sums.tries_without_cost += 1
    else:
        sums.costs += cost
    if prompt is None and completion is None:
        return
    sums.prompt_tokens += prompt or 0
    sums.completion_tokens += completion or 0
    sums.cached_tokens += cached or 0
    sums.reasoning_tokens += reasoning or 0
