"""From what was found of jobs to their plans: counts, tokens, cost, times, and words on what they go by. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from batchrunner.job.schema import STANDARD_OUTPUT, PricesTable
from batchrunner.limits.forecast import AS_BEFORE, DayAhead, Forecast, has_days
from batchrunner.limits.lane import FOREVER, Limits
from batchrunner.limits.pace import START
from batchrunner.limits.window import name_of
from batchrunner.plan.foreseeing import TOKENS_PER_SECOND, LaneAhead, forecasts, lanes_of, together
from batchrunner.plan.planning import Surveyed, live
from batchrunner.plan.weighing import Load, Unfit
from batchrunner.records import Usage
from batchrunner.report.plan import (
    BudgetPlan,
    DayPlan,
    Failing,
    Instants,
    LanePlan,
    LimitAhead,
    Plan,
    Span,
    Tokens,
    Units,
    UntilPlan,
    Used,
    rfc_3339,
)
from batchrunner.runner.budget import NO_BOUND
from batchrunner.runner.money import cost_of, finder_of

CostOf = Callable[[str, float, float], float | None]  # of so many prompt and completion tokens of a model, if known
_MISSED = 3.0  # of what is in none of n that were looked at there are at most 3 in n, nineteen times of twenty


def plans_of(surveys: Sequence[Surveyed], *, now: float) -> list[Plan]:
    """The plans of jobs that would begin at `now`, at the same time."""
    lanes = [list(lanes_of(one, now)) for one in surveys]
    every = [lane for some in lanes for lane in some]
    return [
        _plan(found, [_LaneSeen(lane, every, now) for lane in own], now)
        for found, own in zip(surveys, lanes, strict=True)
    ]


def cost_span(loads: Mapping[str, Load], scale: float, costs: CostOf) -> Span | None:
    """The range of what they cost; None where the price of any model is unknown, which is not zero."""
    likely = [costs(model, load.prompt * scale, load.likely * scale) for model, load in loads.items()]
    most = [costs(model, load.prompt * scale, load.most * scale) for model, load in loads.items()]
    if None in likely or None in most:
        return None
    unbounded = any(load.unbounded for load in loads.values())
    return Span(likely=sum(filter(None, likely)), most=None if unbounded else sum(filter(None, most)))


class _LaneSeen:
    """A lane and its two forecasts."""

    def __init__(self, lane: LaneAhead, every: Sequence[LaneAhead], now: float) -> None:
        self.lane = lane
        self.shared_with = [one.job for one in every if one is not lane and one.key == lane.key]
        self.shared = together(lane, every)
        self.likely, self.most = forecasts(self.shared, now)


def _plan(found: Surveyed, lanes: Sequence[_LaneSeen], now: float) -> Plan:
    prepared, weighed, asked = found.prepared, found.weighed, found.asked
    last = max(lanes, key=lambda one: one.likely.ends_at, default=None)
    likely = now if last is None else last.likely.ends_at
    most = _latest([one.most for one in lanes], now)
    tokens, cost = _tokens(found), cost_span(weighed.loads, weighed.scale, _costs(asked.job.prices))
    return Plan(
        job=asked.name,
        output=STANDARD_OUTPUT if asked.settings.to_stdout else str(asked.job.output_path),
        rows=prepared.rows if prepared.chosen is None else len(prepared.chosen),
        units=Units(total=prepared.asked, done=found.done, to_ask=weighed.pending),
        looked_at=weighed.seen,
        invalid=_failing(weighed.invalid, weighed.scale),
        too_large=_failing(weighed.too_large, weighed.scale),
        tokens=tokens,
        cost=cost,
        begins_at=rfc_3339(now) or "",
        rate_known=all(one.shared.rate_known for one in lanes),
        duration_s=_duration(likely, most, now),
        ends_at=Instants(likely=rfc_3339(likely), most=rfc_3339(most)),
        bound_by={} if last is None else _shares(last.likely),
        until=None if asked.until is None else _until(asked.until, likely, most, lanes),
        budgets=list(_budgets(found, tokens.total, cost)),
        lanes=[_lane(one, now) for one in lanes],
        notes=list(_notes(found, lanes)),
    )


def _costs(prices: PricesTable) -> CostOf:
    price_of = finder_of(prices)

    def costs(model: str, prompt: float, completion: float) -> float | None:
        return cost_of(Usage(prompt_tokens=round(prompt), completion_tokens=round(completion)), price_of(model))

    return costs


def _latest(ahead: Sequence[Forecast | None], now: float) -> float | None:
    return None if None in ahead else max((one.ends_at for one in ahead if one is not None), default=now)


def _duration(likely: float, most: float | None, now: float) -> Span:
    return Span(likely=_seconds(likely - now), most=None if most is None else _seconds(most - now))


def _seconds(seconds: float) -> float | None:
    return None if seconds == FOREVER else round(seconds, 1)


def _shares(ahead: Forecast) -> dict[str, float]:
    return {name: round(share, 4) for name, share in ahead.bound_by.items()}


def _failing(unfit: Unfit, scale: float) -> Failing:
    return Failing(units=round(unfit.units * scale), first=unfit.first)


def _tokens(found: Surveyed) -> Tokens:
    weighed = found.weighed
    loads, scale = weighed.loads.values(), weighed.scale
    prompt, likely = sum(load.prompt for load in loads) * scale, sum(load.likely for load in loads) * scale
    most = None if any(load.unbounded for load in loads) else round(sum(load.most for load in loads) * scale)
    return Tokens(
        prompt=round(prompt),
        completion=Span(likely=round(likely), most=most),
        total=Span(likely=round(prompt + likely), most=None if most is None else round(prompt + most)),
        error=round(weighed.tokens.error(weighed.seen, weighed.pending), 5),
        learned_from=weighed.learned,
    )


def _until(until: float, likely: float, most: float | None, lanes: Sequence[_LaneSeen]) -> UntilPlan:
    known = all(one.shared.rate_known or one.shared.likely.seen_rate is not None for one in lanes)
    by_then = None if any(one.shared_with for one in lanes) else sum(one.likely.sent_by(until) for one in lanes)
    in_time = likely <= until or not lanes
    return UntilPlan(
        at=rfc_3339(until) or "",
        likely=in_time if known or not in_time else None,
        surely=None if most is None and in_time else most is not None and (most <= until or not lanes),
        units_by_then=None if by_then is None or not known else round(by_then),
    )


def _budgets(found: Surveyed, tokens: Span, cost: Span | None) -> Iterator[BudgetPlan]:
    if found.budget is None:
        return
    most, spent, weighed = found.budget.most, found.budget.spent, found.weighed
    tries = sum(load.units for load in weighed.loads.values()) * weighed.scale
    for name, amount, used, need in (
        ("--budget-tokens", most.tokens, spent.tokens, tokens),
        ("--budget-cost", most.cost, spent.cost, cost or Span()),
    ):
        if amount == NO_BOUND:
            continue
        left = max(0.0, amount - used)
        share = None if need.likely is None else min(1.0, left / need.likely) if need.likely else 1.0
        yield BudgetPlan(
            budget=name,
            amount=amount,
            spent=used,
            likely=None if need.likely is None else need.likely <= left,
            surely=None if need.most is None else need.most <= left,
            units=None if share is None else round(share * tries),
        )


def _lane(seen: _LaneSeen, now: float) -> LanePlan:
    lane, likely, most = seen.lane, seen.likely, seen.most
    limits, today = seen.shared.limits, lane.quota.reset.day(now)
    return LanePlan(
        lane=lane.label,
        units=lane.units,
        tokens=Span(likely=round(lane.likely.tokens), most=None if lane.most is None else round(lane.most.tokens)),
        limits=[*_windows(limits, lane), *_days(limits)],
        rate_known=seen.shared.rate_known,
        used_today=Used(day=today, requests=round(lane.quota.used.requests), tokens=round(lane.quota.used.tokens)),
        latency_s=round(lane.likely.latency_seconds, 3),
        rate_per_s=round(likely.rate, 4),
        duration_s=_duration(likely.ends_at, None if most is None else most.ends_at, now),
        ends_at=Instants(likely=rfc_3339(likely.ends_at), most=None if most is None else rfc_3339(most.ends_at)),
        bound_by=_shares(likely),
        days=[_day(day) for day in likely.days] if has_days(limits) else [],
        shared_with=seen.shared_with,
    )


def _windows(limits: Limits, lane: LaneAhead) -> Iterator[LimitAhead]:
    for limit in limits.windows:
        yield LimitAhead(limit=name_of(limit.key), amount=round(limit.amount, 1), found=limit.key in lane.found)


def _days(limits: Limits) -> Iterator[LimitAhead]:
    for name, amount in (("requests/day", limits.requests_per_day), ("tokens/day", limits.tokens_per_day)):
        if amount < FOREVER:
            yield LimitAhead(limit=name, amount=amount, found=False)


def _day(day: DayAhead) -> DayPlan:
    return DayPlan(
        day=day.day,
        begins_at=rfc_3339(day.begins_at) or "",
        ends_at=rfc_3339(day.ends_at) or "",
        requests=round(day.requests),
        tokens=round(day.tokens),
        quota_gone=day.gone,
    )


def _notes(found: Surveyed, lanes: Sequence[_LaneSeen]) -> Iterator[str]:
    """What the plan goes by, and what it can't know."""
    weighed, settings = found.weighed, found.asked.settings
    if found.holder is not None:
        yield f"a run works on this output now ({found.holder}): the counts are those of this moment"
    if not weighed.pending:
        yield "nothing is left to ask: the run would send nothing"
        return
    yield from _notes_on_tokens(found)
    yield from _notes_on_pace(found, lanes)
    if any(day.gone for one in lanes for day in one.likely.days[:-1]) and settings.on_daily_limit == "park":
        yield "the run parks (75) when a day's quota is gone: these times suppose the same command at every reset"
    if found.asked.account is None:
        last = "; what the book has is that of the lane last used with this URL and model" if found.pages else ""
        yield f"no key is here, and a run needs one{last}"
    yield from found.prepared.warnings
    yield "no refused, failed or repeated tries are foreseen"


def _notes_on_tokens(found: Surveyed) -> Iterator[str]:
    weighed = found.weighed
    if weighed.seen < weighed.pending:
        error = weighed.tokens.error(weighed.seen, weighed.pending)
        missed = round(_MISSED * weighed.scale)
        yield (
            f"{weighed.seen:,} units at random were looked at: tokens may be off by {100 * error:.2g} % for that, and "
            f"of each kind of row that fails up to {missed:,} may have been missed"
        )
    if weighed.learned:
        yield f"tokens and latency go by the last {weighed.learned:,} answers of the earlier run"
    elif weighed.loads:
        yield (
            "no answer was seen yet: 0.3 tokens a character, and 35 % of max_tokens (512 tokens without) for a "
            "completion, are guesses"
        )
    if any(load.unbounded for load in weighed.loads.values()):
        yield "without max_tokens nothing bounds a completion, its time and its cost"


def _notes_on_pace(found: Surveyed, lanes: Sequence[_LaneSeen]) -> Iterator[str]:
    for seen in lanes:
        lane = seen.shared
        if not lane.rate_known:
            how = AS_BEFORE if lane.likely.seen_rate is not None else "256 requests in flight, or --max-concurrency,"
            yield (
                f"{lane.label}: no limit by the second or minute is declared or was found yet, so nobody knows the "
                f"pace: from {how} down to {START} in flight"
            )
        elif lane.found:
            yield f"{lane.label}: limits that earlier runs found hold here, used to 92 % at least"
        guessed = found.weighed.latency_seconds is None and "requests in flight" in seen.likely.bound_by
        if guessed:
            seconds, speed = lane.likely.latency_seconds, TOKENS_PER_SECOND
            yield f"{lane.label}: {seconds:.1f} s for an answer is a guess ({speed:.0f} tokens/s)"
    others = sum(map(live, found.pages.values()))
    if others:
        yield f"{others} other process{'es use' if others > 1 else ' uses'} these limits now: each has its part"
