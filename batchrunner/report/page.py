"""The page of a run: one HTML file with its style and its plots in it, and nothing else.

It has no script, and its policy forbids any, as it does whatever would be loaded: so words that are not ours, which are
escaped and cut, could do nothing even if they weren't. Prompts and answers are not in it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2

from batchrunner import __version__
from batchrunner.report import charts
from batchrunner.report.axes import TimeAxis, short_amount
from batchrunner.report.bounds import LaneUse, words_of
from batchrunner.report.causes import Cause
from batchrunner.report.charts import LIMITED, Chart
from batchrunner.report.facts import Facts, Mood
from batchrunner.report.history import Sums
from batchrunner.report.live import words_of_now
from batchrunner.report.past import PastRun
from batchrunner.report.plots import draw
from batchrunner.report.safe import safe_text
from batchrunner.report.summary import amount_of
from batchrunner.report.wording import FILTERS, duration, instant

FOLDER = Path(__file__).parent
MOST_CAUSES = 25
MOST_NOTED = 3
MOST_ROWS = 60  # of a table
LONGEST_MESSAGE = 400
LONGEST_WORDS = 1000
WIDE, NARROW, HALF = (1120, 210), (390, 210), (540, 210)

_MOST_LIMITED = 0.001  # of all tries: more 429s than that are no part of keeping to a limit
_PLAIN = 10.0  # per cent, and from the other end: shares that need no decimals
_BADGES = {
    Mood.GOOD: "finished",
    Mood.FLAWED: "finished, some failed",
    Mood.UNDERWAY: "running",
    Mood.PAUSED: "stopped, can go on",
    Mood.BAD: "stopped",
}


def page_of(facts: Facts) -> str:
    """The whole page."""
    style = (FOLDER / "page.css").read_text()
    return environment(FOLDER).get_template("page.html").render(told(facts), style=style)


def environment(*folders: Path) -> jinja2.Environment:
    """Where pages are made of the templates in these folders: whatever they show is made safe and escaped."""
    made = jinja2.Environment(
        autoescape=True,
        finalize=_safe,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader(folders),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(FILTERS)
    return made


def told(facts: Facts) -> dict[str, Any]:
    """What `run.html` shows of them. `linked`: of whether it leads on to rows."""
    variants = _variants(facts)
    axis = TimeAxis({bin_ for bin_, _ in facts.history.by_time}, facts.history.width)
    return {
        "linked": False,
        "facts": facts,
        "version": __version__,
        "name": Path(facts.output).name,
        "badge": _BADGES[facts.mood],
        "headline": _headline(facts),
        "notes": list(_notes(facts)),
        "tiles": list(_tiles(facts)),
        "warned": _warned(facts),
        "declared": list(facts.runs[-1].declared.items()) if facts.runs else [],
        "lanes": [(lane, words_of(lane)) for lane in _lanes(facts)],
        "now": _now(facts),
        "limited": _limited(facts),
        "all_failed": sum(one.tries for one in facts.history.failed.values()),
        "over_time": _over_time(facts, axis) if axis.stretches else [],
        "lengths": _lengths(facts),
        "causes": facts.causes[:MOST_CAUSES],
        "more_causes": facts.causes[MOST_CAUSES:],
        "example": _example,
        "failed": sorted(facts.history.failed.items(), key=lambda one: -one[1].tries)[:MOST_ROWS],
        "days": _days(facts)[-MOST_ROWS:],
        "named": any(model for _, model in facts.history.by_day_and_model()),
        "variants": variants,
        "slowest": max((one["quantiles"][-1] or 0.0 for one in variants), default=0.0) or 1.0,
        "runs": [(run, _ending_of(facts, run), _bound_by(facts, run)) for run in facts.runs[-MOST_ROWS:]],
        "total": facts.history.sums,
        "longest": LONGEST_MESSAGE,
    }


def _safe(value: object) -> object:
    """Whatever the page says that is not its own markup, before it is escaped."""
    return safe_text(value, LONGEST_WORDS) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _headline(facts: Facts) -> str:
    """What somebody in a hurry wants to know."""
    units = facts.units
    match facts.mood:
        case Mood.GOOD:
            return "The one unit was answered." if units.total == 1 else f"All {units.total:,} units were answered."
        case Mood.FLAWED:
            return f"{units.ok:,} of {units.total:,} units were answered, {units.failed:,} failed."
        case Mood.UNDERWAY:
            eta = f" At this rate it is done in {duration(facts.eta_s)}." if facts.eta_s else ""
            return f"{units.ok + units.failed:,} of {units.total:,} units are done.{eta}"
        case _:
            rest = f"{units.pending:,} of {units.total:,} units are pending"
            return f"{rest}, {units.failed:,} failed." if units.failed else f"{rest}, none failed."


def _notes(facts: Facts) -> Iterable[str]:
    """What else to know at once."""
    if facts.mood in (Mood.PAUSED, Mood.BAD):
        yield _ending(facts.state, facts.message)
    if facts.resume_at is not None:
        yield f"Come back at {instant(facts.resume_at)}: run the same command again."
    elif facts.mood in (Mood.PAUSED, Mood.BAD):
        yield "The same command goes on where it stopped."
    if facts.worked_on_by:
        pace = f", {facts.units_per_s:,.1f} units a second in the last minute" if facts.units_per_s else ""
        yield f"At work: {facts.worked_on_by}; {facts.in_flight:,} in flight{pace}."
    lanes = _lanes(facts)
    for lane in lanes[:MOST_NOTED]:
        words = words_of(lane)
        if words:
            yield words if len(lanes) == 1 else f"{lane.lane}: {words}"
    for cause in facts.causes[:MOST_NOTED]:
        yield f"{cause.units:,} failed: {cause.kind}, {cause.message}"
    if facts.in_doubt:
        yield f"{facts.in_doubt:,} in doubt: in flight when a run was cut off, so perhaps paid twice."
    if facts.mood is Mood.FLAWED:
        yield "batchrunner retry asks the failed ones again."


def _tiles(facts: Facts) -> Iterable[tuple[str, str, str]]:
    """Figure, name and a further word of each."""
    units, used, tries = facts.units, facts.history.sums, facts.history.sums.tries
    yield f"{units.ok:,}", "answered", _percent(units.ok, units.total)
    yield f"{units.failed:,}", "failed", _percent(units.failed, units.total)
    if units.pending:
        yield f"{units.pending:,}", "pending", _percent(units.pending, units.total)
    seconds = _seconds_at_work(facts)
    if seconds:
        yield duration(seconds), "at work", "in one run" if len(facts.runs) == 1 else f"in {len(facts.runs):,} runs"
        yield short_amount(tries / seconds, 1), "requests a second", "on average"
    yield f"{_limited(facts):,}", "429s", _percent(_limited(facts), tries)
    yield (
        short_amount(used.tokens),
        "tokens",
        f"{short_amount(used.prompt_tokens)} + {short_amount(used.completion_tokens)}",
    )
    if used.cost is not None:
        unknown = f"unknown of {used.tries_without_cost:,} tries"
        yield amount_of(used.cost), "cost", unknown if used.tries_without_cost else "of all tries"


def _warned(facts: Facts) -> set[str]:
    """The figures that are not as they should be."""
    limited = _limited(facts) > _MOST_LIMITED * facts.history.sums.tries
    return {name for name, wrong in (("failed", facts.units.failed > 0), ("429s", limited)) if wrong}


def _limited(facts: Facts) -> int:
    """Tries answered 429."""
    return sum(one.tries for (kind, _), one in facts.history.failed.items() if kind in LIMITED)


def _seconds_at_work(facts: Facts) -> float:
    """Of all processes; of one that was cut off nobody knows when."""
    known = [run.did.duration_s for run in facts.runs if run.did is not None]
    running = [facts.made_at - run.began_at for run in facts.runs[-1:] if facts.mood is Mood.UNDERWAY]
    return sum(known) + sum(running)


def _lanes(facts: Facts) -> list[LaneUse]:
    """Of the process at work or cut off, else of the last one that asked and ended."""
    if facts.live is not None and facts.live.lanes:
        return [lane.use for lane in facts.live.lanes]
    done = [run.did for run in facts.runs if run.did is not None and run.did.tries]
    return [lane for lane in done[-1].lanes if lane.requests] if done else []


def _now(facts: Facts) -> dict[str, str]:
    """What each lane does, while the run goes on."""
    lanes = facts.live.lanes if facts.live is not None and facts.mood is Mood.UNDERWAY else []
    return {lane.lane: words_of_now(lane) for lane in lanes}


def _over_time(facts: Facts, axis: TimeAxis) -> list[tuple[str, str, Chart, str, str]]:
    made = [
        ("Requests", "by how they ended, when they were sent", charts.requests_chart(facts, axis)),
        ("Tokens", "of requests, when they were sent", charts.tokens_chart(facts, axis)),
        ("Failed requests", "by kind; most are asked again", charts.failures_chart(facts, axis)),
    ]
    return [(title, words, chart, *_drawn(chart, WIDE)) for title, words, chart in made if chart is not None]


def _lengths(facts: Facts) -> list[tuple[str, str, list[tuple[str, float | None]], str, str]]:
    made = []
    for title, lengths, nothing in (
        ("Time to an answer", facts.history.latency, "Nothing was answered yet."),
        ("Time to the first token", facts.history.first_tokens, "Known of streams only; none were asked for."),
    ):
        chart = charts.lengths_chart(lengths)
        marks = [(name, lengths.quantile(share)) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))]
        made.append((title, nothing, marks, *(("", "") if chart is None else _drawn(chart, HALF))))
    return made


def _drawn(chart: Chart, wide: tuple[int, int]) -> tuple[str, str]:
    """For wide pages, and for narrow ones, where it would be too small to read."""
    return (
        draw(chart.wide, width=wide[0], height=wide[1]),
        draw(chart.narrow, width=NARROW[0], height=NARROW[1]),
    )


def _example(facts: Facts, cause: Cause) -> dict[str, Any]:
    """The first unit that failed so."""
    row, number = cause.row, cause.first // facts.arms
    if row is None:
        return {"id": "", "row": number, "variant": "", "status": None, "message": cause.message}
    error = row.error
    return {
        "id": row.id,
        "row": row.row,
        "variant": row.variant or "",
        "status": error.status if error else None,
        "message": error.message if error else cause.message,
    }


def _days(facts: Facts) -> list[tuple[int, str, Sums]]:
    return [(day, model, sums) for (day, model), sums in facts.history.by_day_and_model().items()]


def _variants(facts: Facts) -> list[dict[str, Any]]:
    """Side by side, where there are several."""
    used, history = facts.history.by_variant(), facts.history
    if len(facts.places) < 2:  # noqa: PLR2004
        return []
    rows = []
    for place, one in enumerate(facts.places):
        latency = history.latencies.get(place)
        quantiles = [latency.quantile(share) if latency else None for share in (0.05, 0.5, 0.95)]
        rows.append({"place": one, "sums": used.get(place, Sums()), "quantiles": quantiles})
    return rows


def _ending(state: str, message: str) -> str:
    """Most messages say it themselves."""
    return message if state in message else f"{state}: {message}".removesuffix(": ")


def _ending_of(facts: Facts, run: PastRun) -> str:
    if run.ending is not None:
        return _ending(run.ending, run.message or "")
    return "running" if facts.mood is Mood.UNDERWAY and run is facts.runs[-1] else "cut off"


def _bound_by(facts: Facts, run: PastRun) -> str:
    lanes = run.did.lanes if run.did else _lanes(facts) if facts.live and run is facts.runs[-1] else []
    shares = [one for lane in lanes for one in lane.bound_by.items()]
    name, share = max(shares, key=lambda one: one[1], default=("", 0.0))
    return f"{name} {share:.0%}".replace("%", " %") if name else "-"


def _percent(part: int, whole: int) -> str:
    """Never rounded to all or nothing."""
    if part in (0, whole):
        return "100 %" if part else "0 %"
    share = 100 * part / whole
    digits = 0 if _PLAIN <= share <= 100 - _PLAIN else 1 if 1 <= share <= 99 else 2  # noqa: PLR2004 - per cent
    return f"{min(max(share, 0.01), 99.99):.{digits}f} %"
