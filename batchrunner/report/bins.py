"""Bins that grow with what is put into them, so that memory doesn't. Pure."""

import math
from collections.abc import Iterator

WIDTHS = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 10_800, 21_600, 43_200, 86_400)  # seconds; each holds the one before
MOST_BINS = 240
BINS_AN_OCTAVE = 32  # a quantile is off by a hundredth at most
_SHORTEST_SECONDS = 1e-4
_LONGEST_SECONDS = 1e6


def wider(width: int) -> int:
    """The next width, whose bins each hold several whole ones of this width."""
    return next((one for one in WIDTHS if one > width), 2 * width)


class Lengths:
    """Lengths of time, in bins whose ends are a fiftieth apart: quantiles of millions within some kilobytes."""

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        """One more."""
        place = round(math.log2(min(max(seconds, _SHORTEST_SECONDS), _LONGEST_SECONDS)) * BINS_AN_OCTAVE)
        self.counts[place] = self.counts.get(place, 0) + 1

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.counts.values())

    def quantile(self, share: float) -> float | None:
        """The length that so large a share of all does not exceed, in seconds; None where there are none."""
        wanted, reached = share * self.count, 0
        for place, count in sorted(self.counts.items()):
            reached += count
            if reached >= wanted:
                return seconds_of(place)
        return None

    def coarse(self, most: int) -> Iterator[tuple[float, float, int]]:
        """Start, end and count of at most so many bins without gaps, from the shortest to the longest; their width is
        even on a logarithmic axis."""
        span = max(self.counts, default=0) - min(self.counts, default=0)
        step = span // (most - 1) + 1
        sums: dict[int, int] = {}
        for place, count in self.counts.items():
            sums[place // step] = sums.get(place // step, 0) + count
        for bin_ in range(min(sums, default=0), max(sums, default=-1) + 1):
            yield seconds_of(bin_ * step - 0.5), seconds_of((bin_ + 1) * step - 0.5), sums.get(bin_, 0)


def seconds_of(place: float) -> float:
    """The length that a place stands for."""
    return float(2 ** (place / BINS_AN_OCTAVE))
