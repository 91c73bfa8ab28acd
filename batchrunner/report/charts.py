"""What the plots of a run's page show: rates over time against the limit, failures over time, lengths of time."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from batchrunner.records import Kind
from batchrunner.report.axes import Tick, TimeAxis, amount_ticks, length_ticks, short_amount, short_length
from batchrunner.report.bins import Lengths
from batchrunner.report.facts import Facts
from batchrunner.report.past import PastRun
from batchrunner.report.plots import Layer, Plot, Spot, steps

LIMITED = (Kind.RATE_LIMITED, Kind.CONCURRENCY, Kind.DAILY_LIMIT)
WINDOWS = {"second": 1.0, "minute": 60.0}
MOST_KINDS = 6  # of failures that have a colour of their own
MOST_RUNS = 100  # whose limits are drawn
OTHER_KINDS = "other"
_LABELS_WIDE, _LABELS_NARROW = 10, 4
_LENGTHS_NARROW = 6
_NARROWEST_OCTAVES = 2.0  # of an axis of lengths
_MARGIN_OCTAVES = 0.25
_BARS = 40
_HEADROOM = 1.04
_AS_DECLARED = 0.99
_WIDEST = 5  # signs of a label on the y axis

Series = Sequence[tuple[str, Mapping[int, float]]]


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """One picture in two widths. `legend`: look and words of its layers; `unit`: of its y axis."""

    wide: Plot
    narrow: Plot
    legend: list[tuple[str, str]]
    unit: str


def requests_chart(facts: Facts, axis: TimeAxis) -> Chart:
    """Tries by how they ended, and the limit of requests."""
    by_time = facts.history.by_time
    answered, limited, broken = Counter[int](), Counter[int](), Counter[int]()
    for (bin_, kind), (tries, _) in by_time.items():
        (answered if not kind else limited if kind in LIMITED else broken)[bin_] += tries
    series = [("answered", answered), ("limited", limited), ("broken", broken)]
    words = {"answered": "answered", "limited": "429", "broken": "failed otherwise"}
    return _rates(facts, axis, [one for one in series if one[1]], words, "requests")


def tokens_chart(facts: Facts, axis: TimeAxis) -> Chart:
    """Tokens used, and their limit."""
    tokens = Counter[int]()
    for (bin_, _), (_, used) in facts.history.by_time.items():
        tokens[bin_] += used
    return _rates(facts, axis, [("tokens", tokens)], {"tokens": "prompt and completion"}, "tokens")


def failures_chart(facts: Facts, axis: TimeAxis) -> Chart | None:
    """Failed tries by their kind; None where none failed."""
    by_kind: dict[str, Counter[int]] = {}
    totals = Counter[str]()
    for (bin_, kind), (tries, _) in facts.history.by_time.items():
        if kind:
            by_kind.setdefault(kind, Counter())[bin_] += tries
            totals[kind] += tries
    if not totals:
        return None
    kinds = [kind for kind, _ in totals.most_common(MOST_KINDS)]
    other = sum((by_kind[kind] for kind in totals if kind not in kinds), Counter[int]())
    looks = {kind: f"limited-{kind}" if kind in LIMITED else f"kind-{place}" for place, kind in enumerate(kinds)}
    series = [(looks[kind], by_kind[kind]) for kind in kinds]
    words = {looks[kind]: f"{kind} {totals[kind]:,}" for kind in kinds}
    if other:
        series.append(("kind-other", other))
        words["kind-other"] = f"{OTHER_KINDS} {other.total():,}"
    unit = f"in {short_length(axis.width)}"
    return _over_time(axis, series, words, unit)


def lengths_chart(lengths: Lengths) -> Chart | None:
    """How often which length of time was; None where there are none."""
    count = lengths.count
    if not count:
        return None
    bins = list(lengths.coarse(_BARS))
    shares = [(math.log2(start), math.log2(end), 100 * many / count) for start, end, many in bins]
    spare = max(_MARGIN_OCTAVES, (_NARROWEST_OCTAVES - math.log2(bins[-1][1] / bins[0][0])) / 2)
    first, last = bins[0][0] / 2**spare, bins[-1][1] * 2**spare
    y_ticks = amount_ticks(min(100.0, _HEADROOM * max(share for _, _, share in shares)))
    layers = [Layer("lengths", steps(shares))]
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        x = math.log2(lengths.quantile(share) or first)
        layers.append(Layer(f"mark {name}", [(x, 0.0), (x, y_ticks[-1].at)], filled=False))
    spots = [
        Spot(math.log2(start), math.log2(end), f"{short_length(start)} to {short_length(end)}: {many:,}")
        for start, end, many in bins
        if many
    ]
    x_range, x_ticks = (math.log2(first), math.log2(last)), length_ticks(first, last)
    every = -(-len(x_ticks) // _LENGTHS_NARROW)
    wide, narrow = (
        Plot(layers, x_range, ticks, [_percent(tick) for tick in y_ticks], spots)
        for ticks in (x_ticks, x_ticks[::every])
    )
    return Chart(wide=wide, narrow=narrow, legend=[], unit="share of answers")


def limit_of(lanes: Mapping[str, Mapping[str, float]], dimension: str) -> tuple[float, str] | None:
    """The limit that binds first, of all these lanes together: by the second, and the window it is told for. None where
    a lane has none."""
    lowest = []
    for limits in lanes.values():
        rates = [
            (amount / WINDOWS[window], window)
            for (what, _, window), amount in ((name.partition("/"), amount) for name, amount in limits.items())
            if what == dimension and window in WINDOWS
        ]
        if not rates:
            return None
        lowest.append(min(rates))
    return (sum(rate for rate, _ in lowest), lowest[0][1]) if lowest else None


class _Held(NamedTuple):
    """The limit of a run, by the second, the window it is told for, and the lower one that held at its end."""

    past: PastRun
    rate: float
    window: str
    lower: float | None


def _rates(facts: Facts, axis: TimeAxis, series: Series, words: dict[str, str], dimension: str) -> Chart:
    """By the second or the minute, whichever the limit is told for."""
    held = list(_limits_held(facts, dimension))
    largest = max((sum(rates) for rates in _heights(series).values()), default=0.0) / axis.width
    window = held[-1].window if held else "second" if largest >= 1 else "minute"
    seconds = WINDOWS[window]
    lines = []
    for one in held:
        lines.append(_limit_line(axis, one.past, "limit", one.rate * seconds, facts.made_at))
        words = {**words, "limit": f"limit {short_amount(one.rate * seconds)} a {window}"}
    for one in held:
        if one.lower is not None:
            lines.append(_limit_line(axis, one.past, "lower", one.lower * seconds, facts.made_at))
            words = {**words, "lower": f"at the end {short_amount(one.lower * seconds)}"}
    return _over_time(axis, series, words, f"a {window}", factor=seconds / axis.width, lines=lines)


def _limits_held(facts: Facts, dimension: str) -> Iterator[_Held]:
    """Of each run that had one: as declared for the lanes that asked, else as it was found."""
    for past in facts.runs[-MOST_RUNS:]:
        last = past.limits(facts.live if past is facts.runs[-1] else None)
        now = limit_of(last, dimension)
        limit = limit_of({lane: past.declared.get(lane, {}) for lane in last}, dimension) or now
        if limit is not None:
            lower = now[0] if now is not None and now[0] < _AS_DECLARED * limit[0] else None
            yield _Held(past, *limit, lower)


def _limit_line(axis: TimeAxis, past: PastRun, look: str, height: float, now: float) -> Layer:
    start, end = axis.clamped(past.began_at), axis.clamped(past.ended_at or now)
    return Layer(look, [(start, height), (max(end, start), height)], filled=False)


def _over_time(
    axis: TimeAxis,
    series: Series,
    words: dict[str, str],
    unit: str,
    *,
    factor: float = 0.0,
    lines: Sequence[Layer] = (),
) -> Chart:
    """Rates, which are counts times a factor; without one the counts themselves."""
    heights = {bin_: [height * (factor or 1) for height in some] for bin_, some in _heights(series).items()}
    tops = [sum(some) for some in heights.values()] + [height for line in lines for _, height in line.points]
    y_ticks = amount_ticks(_HEADROOM * max(tops, default=0.0), whole=not factor)
    layers = [
        Layer(name, steps([(start, end, sum(some[: place + 1])) for start, end, some in _drawn(axis, heights)]))
        for place, (name, _) in reversed(list(enumerate(series)))
    ]
    layers += [
        Layer("gap", [(start, 0.0), (start, y_ticks[-1].at), (end, y_ticks[-1].at), (end, 0.0)])
        for start, end in axis.gaps()
    ]
    names = [words[name].partition(" ")[0] for name, _ in series]
    spots = [
        Spot(start, end, _spot_words(axis, start, names, some))
        for start, end, some in _drawn(axis, heights)
        if any(some)
    ]
    wide, narrow = (
        Plot([*layers, *lines], (0.0, axis.end), axis.ticks(most), list(map(_as_wide, y_ticks)), spots)
        for most in (_LABELS_WIDE, _LABELS_NARROW)
    )
    return Chart(wide=wide, narrow=narrow, legend=list(words.items()), unit=unit)


def _heights(series: Series) -> dict[int, list[float]]:
    """By bin the heights of all series, in their order."""
    bins = sorted({bin_ for _, counts in series for bin_ in counts})
    return {bin_: [counts.get(bin_, 0) for _, counts in series] for bin_ in bins}


def _drawn(axis: TimeAxis, heights: dict[int, list[float]]) -> Iterator[tuple[float, float, list[float]]]:
    """Every bin of the axis, also those in which nothing was."""
    nothing = [0.0] * len(next(iter(heights.values()), []))
    for one in axis.stretches:
        for bin_ in range(one.first, one.last + 1):
            x = one.x + bin_ - one.first
            yield x, x + 1, heights.get(bin_, nothing)


def _spot_words(axis: TimeAxis, x: float, names: Iterable[str], some: list[float]) -> str:
    values = ", ".join(f"{name} {short_amount(height, 1)}" for name, height in zip(names, some, strict=True) if height)
    return f"{axis.told(x)}: {values}"


def _as_wide(tick: Tick) -> Tick:
    """Labels of one width, so that plots below each other have their instants below each other."""
    return Tick(tick.at, tick.words.rjust(_WIDEST, "\N{FIGURE SPACE}"))


def _percent(tick: Tick) -> Tick:
    return Tick(tick.at, f"{tick.words} %")
