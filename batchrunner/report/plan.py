"""A plan: what a run would do, before it does anything. The record that --json prints, and its lines for people."""

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from batchrunner.report.summary import amount_of

_DAY = 86_400
_SHOWN_DAYS = 5
_SHOWN_FROM = 0.05  # of the time, of what binds


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A likely amount and the most that it can be; null is unknown."""

    likely: float | None = None
    most: float | None = None


class Instants(msgspec.Struct, frozen=True, kw_only=True):
    """The same of instants, in RFC 3339."""

    likely: str | None = None
    most: str | None = None


class Units(msgspec.Struct, frozen=True, kw_only=True):
    """Units of the job: `done` ended in earlier runs and are skipped, `to_ask` are left."""

    total: int
    done: int
    to_ask: int


class Failing(msgspec.Struct, frozen=True, kw_only=True):
    """Units that will fail before they are sent, and words for the first ones that were seen."""

    units: int
    first: list[str]


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """Of what is to ask. `error`: by how much the likely total may be off as not every unit was looked at, relative to
    it; `learned_from`: answers of the earlier run that the estimate goes by, 0 where it is a first guess."""

    prompt: int
    completion: Span
    total: Span
    error: float
    learned_from: int


class LimitAhead(msgspec.Struct, frozen=True, kw_only=True):
    """A limit that the forecast goes by; `found`: out by earlier runs, not declared."""

    limit: str
    amount: float
    found: bool


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """What this machine's book has for the gateway's present day."""

    day: str
    requests: int
    tokens: int


class DayPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent on one day of the gateway's, from when to when; `quota_gone`: then nothing is left of its quota."""

    day: str
    begins_at: str
    ends_at: str
    requests: int
    tokens: int
    quota_gone: bool


class LanePlan(msgspec.Struct, frozen=True, kw_only=True):
    """One lane. `tokens`: as the limits count them; `rate_per_s`: tries per second while it sends; `days`: the likely
    ones; `shared_with`: other jobs of this plan that ask on the same lane, their work counted in times and days."""

    lane: str
    units: int
    tokens: Span
    limits: list[LimitAhead]
    rate_known: bool
    used_today: Used | None
    latency_s: float
    rate_per_s: float
    duration_s: Span
    ends_at: Instants
    bound_by: dict[str, float]
    days: list[DayPlan]
    shared_with: list[str] = []


class UntilPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Whether all ends before the deadline: likely, and surely; null where nobody knows. `units_by_then`: that will
    likely have been sent."""

    at: str
    likely: bool | None
    surely: bool | None
    units_by_then: int | None


class BudgetPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a budget lasts: likely, and surely; null where nobody knows. `spent`: by earlier runs; `units`: that will
    likely have been asked when all is answered or it is used up."""

    budget: str
    amount: float
    spent: float
    likely: bool | None
    surely: bool | None
    units: int | None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of the job would do if it began at `begins_at`. `looked_at`: units of which the rest is told;
    `rate_known`: whether its lanes' pace is known, else times go from the fastest to the slowest that is sensible."""

    job: str
    output: str
    rows: int
    units: Units
    looked_at: int
    invalid: Failing
    too_large: Failing
    tokens: Tokens
    cost: Span | None
    begins_at: str
    rate_known: bool
    duration_s: Span
    ends_at: Instants
    bound_by: dict[str, float]
    until: UntilPlan | None
    budgets: list[BudgetPlan]
    lanes: list[LanePlan]
    notes: list[str]


def rfc_3339(unix: float | None) -> str | None:
    """An instant in UTC; None where there is none, or it is beyond what is foreseen."""
    if unix is None or unix == float("inf"):
        return None
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def lines_of(plan: Plan) -> Iterator[str]:
    """For people: a table, then days and notes."""
    yield f"{plan.job} -> {plan.output} (a plan: nothing is sent or written)"
    rows = list(_table(plan))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    yield from (f"  {a.ljust(widths[0])}  {b.rjust(widths[1])}  {c.rjust(widths[2])}".rstrip() for a, b, c in rows)
    for failing, what in ((plan.invalid, "invalid"), (plan.too_large, "larger than a limit's window")):
        yield from (f"  {what}: {words}" for words in failing.first)
    if plan.until is not None:
        yield f"  {_words_of_until(plan.until, plan.units.to_ask)}"
    yield from (f"  {_words_of_budget(budget, plan.units.to_ask)}" for budget in plan.budgets)
    for lane in plan.lanes:
        yield from _lines_of_lane(lane, several=len(plan.lanes) > 1)
    yield from (f"  - {note}" for note in plan.notes)


def _table(plan: Plan) -> Iterator[tuple[str, str, str]]:
    units, tokens = plan.units, plan.tokens
    yield "rows", f"{plan.rows:,}", ""
    if units.total != plan.rows:
        yield "units", f"{units.total:,}", ""
    yield "done before", f"{units.done:,}", ""
    yield "to ask", f"{units.to_ask:,}", ""
    about = "about " if plan.looked_at < units.to_ask else ""
    yield "of these invalid", f"{about if plan.invalid.units else ''}{plan.invalid.units:,}", ""
    yield "of these too large", f"{about if plan.too_large.units else ''}{plan.too_large.units:,}", ""
    yield ("", "likely", "at most") if plan.rate_known else ("", "at best", "at worst")
    yield "prompt tokens", f"{tokens.prompt:,}", ""
    yield "completion tokens", _count(tokens.completion.likely), _count(tokens.completion.most)
    yield "tokens", _count(tokens.total.likely), _count(tokens.total.most)
    if plan.cost is not None:
        yield "cost", _money(plan.cost.likely), _money(plan.cost.most)
    yield "time", words_of_seconds(plan.duration_s.likely), words_of_seconds(plan.duration_s.most)
    yield "ends", _local(plan.ends_at.likely), _local(plan.ends_at.most)


def _lines_of_lane(lane: LanePlan, *, several: bool) -> Iterator[str]:
    bound = [f"{name} binds {100 * share:.0f} %" for name, share in lane.bound_by.items() if share >= _SHOWN_FROM]
    parts = [f"{', '.join(bound)} of the time", f"{lane.rate_per_s:,.3g} tries/s while it sends"]
    if lane.used_today is not None and (lane.used_today.requests or lane.used_today.tokens):
        parts.append(f"used today: {lane.used_today.requests:,} requests, {lane.used_today.tokens:,} tokens")
    if lane.shared_with:
        parts.append(f"shared with {', '.join(lane.shared_with)}, counted in")
    if several:
        parts.insert(0, f"{lane.units:,} units, {words_of_seconds(lane.duration_s.likely)}")
    if lane.units:
        yield f"  {lane.lane}: {'; '.join(parts)}"
    if len(lane.days) > 1:
        for day in lane.days[:_SHOWN_DAYS]:
            gone = ", then the quota is gone" if day.quota_gone else ""
            yield f"    from {_local(day.begins_at)} to {_local(day.ends_at)}: {day.requests:,} tries{gone}"
        if len(lane.days) > _SHOWN_DAYS:
            yield f"    and so on, {len(lane.days):,} days in all"


def _words_of_until(until: UntilPlan, to_ask: int) -> str:
    at = _local(until.at)
    deadline = f"the deadline, {at} (--until, --max-duration)"
    if until.likely is None:
        return f"{deadline}: nobody knows whether it ends before"
    if until.likely:
        return f"{deadline}: it ends before" + ("" if until.surely else ", likely")
    by_then = (
        "" if until.units_by_then is None else f": about {until.units_by_then:,} of {to_ask:,} will have been sent"
    )
    return f"{deadline}: it does not end before{by_then}"


def _words_of_budget(budget: BudgetPlan, to_ask: int) -> str:
    show = _money if budget.budget == "--budget-cost" else _count
    words = f"{budget.budget} {show(budget.amount)}" + (f", {show(budget.spent)} spent" if budget.spent else "")
    if budget.likely is None:
        return f"{words}: nobody knows whether it lasts"
    if budget.likely:
        return f"{words}: it lasts" + ("" if budget.surely else ", likely")
    return f"{words}: it is used up before the end, after about {budget.units or 0:,} of {to_ask:,}"


def words_of_seconds(seconds: float | None) -> str:
    """3 h 12 min; the two largest units."""
    if seconds is None:
        return "unknown"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    left = round(seconds)
    parts: list[str] = []
    for length, unit in ((_DAY, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, length)
        parts += [f"{count} {unit}"] if count or parts else []
    return " ".join(parts[:2])


def _local(instant: str | None) -> str:
    return "unknown" if instant is None else datetime.fromisoformat(instant).astimezone().strftime("%Y-%m-%d %H:%M %Z")


def _count(amount: float | None) -> str:
    return "unknown" if amount is None else f"{amount:,.0f}"


def _money(amount: float | None) -> str:
    return "unknown" if amount is None else amount_of(amount)
