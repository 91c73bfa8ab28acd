"""How the units of each variant of a sweep went: sums over a run store, few at a time. Memory does not grow with it."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

_UNITS = "SELECT number % :arms / :samples, count(*), total(ok) FROM units WHERE number < :total GROUP BY 1"
_TRIES = (
    "SELECT number % :arms / :samples, count(*), total(prompt_tokens), total(completion_tokens), total(cached_tokens), "
    "count(*) - count(cost), total(cost) "
    "FROM tries WHERE number < :total GROUP BY 1"
)
_LATENCIES = (  # to the millisecond, so that there are few of them however many tries there were
    "SELECT number % :arms / :samples, CAST(round(latency_s * 1000) AS INTEGER), count(*) "
    "FROM tries WHERE number < :total AND kind IS NULL GROUP BY 1, 2"
)


class VariantSums(NamedTuple):
    """One variant: units that ended, what all tries used, what those cost of which that is known, and how long the
    answered ones took (seconds); None where there were none."""

    ok: int = 0
    failed: int = 0
    tries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    tries_without_cost: int = 0
    costs: float = 0.0
    latency_mean_s: float | None = None
    latency_median_s: float | None = None


def sums_by_variant(
    rows: Callable[[str, Mapping[str, int]], list[Any]], total: int, *, variants: int, samples: int
) -> Iterator[VariantSums]:
    """The variants of the units below `total`, in order; `rows` executes SQL with its values."""
    values = {"arms": variants * samples, "samples": samples, "total": total}
    units = {place: (int(ok), count - int(ok)) for place, count, ok in rows(_UNITS, values)}
    tries = {place: (*map(int, counts), costs) for place, *counts, costs in rows(_TRIES, values)}
    times: dict[int, Counter[int]] = {}
    for place, milliseconds, count in rows(_LATENCIES, values):
        times.setdefault(place, Counter())[milliseconds] = count
    for place in range(variants):
        none = (0, 0, 0, 0, 0, 0.0)
        sums = (*units.get(place, (0, 0)), *tries.get(place, none), *_latency(times.get(place, Counter())))
        yield VariantSums(*sums)


def _latency(times: Counter[int]) -> tuple[float | None, float | None]:
    """Mean and median, in seconds, of so many latencies in milliseconds."""
    count = times.total()
    if not count:
        return None, None
    ordered = sorted(times.items())
    reached = accumulate(many for _, many in ordered)
    median = next(time for (time, _), sofar in zip(ordered, reached, strict=True) if 2 * sofar >= count)
    return sum(time * many for time, many in ordered) / count / 1000, median / 1000
