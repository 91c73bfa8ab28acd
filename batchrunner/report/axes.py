"""Axes: where the ticks of a plot stand and what they say, and a time axis that leaves out idle hours. Pure."""

import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

_STEPS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
_IDLE_BINS = 12  # and a tenth of all others: so long a gap is left out
_OF_LENGTHS = ((1.0, (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)), (3.0, (1.0, 2.0, 5.0)))  # of axes of fewer decades than that


class Tick(NamedTuple):
    """A label and its place on an axis."""

    at: float
    words: str


class Stretch(NamedTuple):
    """Bins from `first` to `last` without a long gap, drawn from `x` on."""

    first: int
    last: int
    x: int

    @property
    def end(self) -> int:
        """Where it ends on the axis."""
        return self.x + self.last - self.first + 1


class TimeAxis:
    """Bins of so many seconds since 1970, one unit of the axis each, in their order; idle hours are a short gap."""

    def __init__(self, bins: Iterable[int], width: int) -> None:
        self.width = width
        self.stretches = list(_stretches(sorted(set(bins))))

    @property
    def end(self) -> int:
        """The length of the axis."""
        return self.stretches[-1].end if self.stretches else 1

    def x(self, at: float) -> float | None:
        """Where this instant is; None in a gap."""
        bins = at / self.width
        for one in self.stretches:
            if one.first <= bins <= one.last + 1:
                return one.x + bins - one.first
        return None

    def clamped(self, at: float) -> float:
        """The same, and for an instant in a gap where the axis goes on."""
        x = self.x(at)
        later = [one.x for one in self.stretches if at / self.width <= one.first]
        return x if x is not None else later[0] if later else self.end

    def told(self, x: float) -> str:
        """When it was at this place of the axis."""
        one = next(one for one in reversed(self.stretches) if one.x <= x)
        return f"{_utc((one.first + x - one.x) * self.width):%-d %b %H:%M:%S}"

    def ticks(self, most: int) -> list[Tick]:
        """At most so many labels: where stretches begin, then round instants."""
        closest = self.end / most
        ticks: list[Tick] = []
        for tick in [*self._beginnings(), *self._round_instants(most)]:
            if all(abs(tick.at - other.at) >= closest for other in ticks) and tick.at <= self.end - closest / 3:
                ticks.append(tick)
        return sorted(ticks)

    def gaps(self) -> list[tuple[float, float]]:
        """The places of what was left out."""
        pairs = zip(self.stretches, self.stretches[1:], strict=False)
        return [(before.end, after.x) for before, after in pairs]

    def _beginnings(self) -> Iterator[Tick]:
        for one in self.stretches if len(self.stretches) > 1 else ():
            yield Tick(one.x, f"{_utc(one.first * self.width):%-d %b %H:%M}")

    def _round_instants(self, most: int) -> Iterator[Tick]:
        seconds = self.width * self.end / most
        step = next((step for step in _STEPS if step >= seconds), math.ceil(seconds / 86_400) * 86_400)
        for one in self.stretches:
            for at in range(-(-one.first * self.width // step) * step, (one.last + 1) * self.width, step):
                yield Tick(one.x + at / self.width - one.first, _clock(at, step))


def amount_ticks(largest: float, most: int = 5, *, whole: bool = False) -> list[Tick]:
    """From 0 to a round amount that `largest` does not exceed by much; `whole`: there is nothing between 0 and 1."""
    rough = max(largest, 1e-9) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    step = max(step, 1.0) if whole else step
    digits = max(0, -math.floor(math.log10(step) + 1e-9) + (step / power == 2.5))  # noqa: PLR2004 - 2.5 has one more
    count = math.ceil(largest / step - 1e-6) or 1
    return [Tick(place * step, short_amount(place * step, digits)) for place in range(count + 1)]


def length_ticks(shortest: float, longest: float) -> list[Tick]:
    """Labels for lengths of time (seconds) on a logarithmic axis of base 2."""
    decades = math.log10(longest / shortest)
    factors = next((some for most, some in _OF_LENGTHS if decades < most), (1.0,))
    powers = range(math.floor(math.log10(shortest)), math.ceil(math.log10(longest)) + 1)
    lengths = [factor * 10.0**power for power in powers for factor in factors]
    return [Tick(math.log2(one), short_length(one)) for one in lengths if shortest <= one <= longest]


def short_amount(amount: float, digits: int = 0) -> str:
    """1,200 or 35k or 1.2M."""
    for power, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if amount >= 10 * power or (amount >= power > 1e3):  # noqa: PLR2004
            return f"{amount / power:.3g}{sign}"
    return f"{amount:,.{digits}f}"


def short_length(seconds: float) -> str:
    """250 ms, 1.5 s, 4 min."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 100:  # noqa: PLR2004 - up to there seconds say more
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min"


def _stretches(bins: list[int]) -> Iterator[Stretch]:
    longest_gap = _IDLE_BINS + len(bins) // 10
    between = 2 + len(bins) // 40
    x, first = 0, 0
    for place, bin_ in enumerate(bins):
        if place + 1 == len(bins) or bins[place + 1] - bin_ > longest_gap:
            yield Stretch(bins[first], bin_, x)
            x += bin_ - bins[first] + 1 + between
            first = place + 1


def _clock(at: int, step: int) -> str:
    instant = _utc(at)
    if at % 86_400 == 0:
        return f"{instant:%-d %b}"
    return f"{instant:%H:%M:%S}" if step < 60 else f"{instant:%H:%M}"  # noqa: PLR2004 - seconds in a minute


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
