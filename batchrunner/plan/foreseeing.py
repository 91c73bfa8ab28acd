"""How the lanes of planned jobs will fare: what each has to send, under which limits, and the forecasts. Pure.

Jobs that ask on the same lane share its limits, as runs at the same time do: the work of all counts.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from batchrunner.limits.day import Spent
from batchrunner.limits.forecast import Forecast, Quota, Work, forecast, most_seldom
from batchrunner.limits.in_force import FOUND_GUARD_SECONDS
from batchrunner.limits.lane import FOREVER, Limits
from batchrunner.limits.pace import START
from batchrunner.limits.page import Page
from batchrunner.limits.quota import Reset
from batchrunner.limits.window import Key, Limit
from batchrunner.plan.planning import Surveyed
from batchrunner.runner.declared import declared
from batchrunner.runner.simulated import LATENCY_SECONDS

FIRST_TOKEN_SECONDS = 0.5
TOKENS_PER_SECOND = 50.0
FOUND_USED = 0.92  # of a limit that was found out, at least
_DEVIATES = 0.5  # a completion from the likely one, before any was seen


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneAhead:
    """One job on one lane. `most`: the work at worst, None where nothing bounds it; `found`: limits that hold because
    they were found out."""

    key: tuple[str, str | None, str]
    job: str
    label: str
    units: int
    likely: Work
    most: Work | None
    limits: Limits
    found: frozenset[Key]
    quota: Quota

    @property
    def rate_known(self) -> bool:
        """Whether something says how fast it may go, or what it may have in flight."""
        return bool(self.limits.windows) or self.limits.concurrency is not None


def lanes_of(found: Surveyed, now: float) -> Iterator[LaneAhead]:
    """The lanes of one job."""
    asked, weighed = found.asked, found.weighed
    models: dict[str, list[str]] = {}
    for model in weighed.loads:
        models.setdefault(asked.lane_of(model), []).append(model)
    for lane, names in models.items():
        works = [_works(found, model) for model in names]
        likely, most = works[0]
        for more, more_at_most in works[1:]:
            likely = likely.plus(more)
            most = None if most is None or more_at_most is None else most.plus(more_at_most)
        table, page = found.table(names[0]), found.pages.get(lane)
        limits, of_book = _limits(declared(table), page)
        yield LaneAhead(
            key=(asked.base_url, asked.account, lane),
            job=asked.name,
            label=lane or "account",
            units=round(likely.requests),
            likely=replace(likely, seen_rate=weighed.rate_for(names)),
            most=most,
            limits=limits,
            found=of_book,
            quota=_quota(Reset(*table.reset), page, now, heeds_gone=not asked.settings.ignore_resume_at),
        )


def together(lane: LaneAhead, every: Iterable[LaneAhead]) -> LaneAhead:
    """The lane with the work of all jobs on it, under the lowest of the limits that they declare."""
    others = [one for one in every if one is not lane and one.key == lane.key]
    for other in others:
        windows = {limit.key: limit for limit in lane.limits.windows}
        for limit in other.limits.windows:
            windows[limit.key] = min(limit, windows.get(limit.key, limit), key=lambda one: one.amount)
        lane = replace(
            lane,
            likely=lane.likely.plus(other.likely),
            most=None if lane.most is None or other.most is None else lane.most.plus(other.most),
            limits=replace(
                lane.limits,
                windows=tuple(windows.values()),
                requests_per_day=min(lane.limits.requests_per_day, other.limits.requests_per_day),
                tokens_per_day=min(lane.limits.tokens_per_day, other.limits.tokens_per_day),
            ),
        )
    return lane


def forecasts(lane: LaneAhead, now: float) -> tuple[Forecast, Forecast | None]:
    """The likely one, and that at worst; of a lane whose pace nobody knows the fastest and the slowest."""
    if not lane.rate_known:
        slow = replace(lane.limits, concurrency=START)
        worst = replace(lane.most or lane.likely, seen_rate=None)
        return forecast(lane.likely, lane.limits, lane.quota, begins_at=now), forecast(
            worst, slow, lane.quota, begins_at=now
        )
    likely = forecast(lane.likely, lane.limits, lane.quota, begins_at=now)
    if lane.most is None:
        return likely, None
    limits = most_seldom(lane.limits, FOUND_USED) if lane.found else lane.limits
    return likely, forecast(lane.most, limits, lane.quota, begins_at=now)


def _works(found: Surveyed, model: str) -> tuple[Work, Work | None]:
    """What a model is to answer, likely and at most."""
    weighed, estimator = found.weighed, found.estimators[model]
    load, scale = weighed.loads[model], weighed.scale
    deviation = 0.0
    if estimator.learned:
        deviation = estimator.deviation
    elif estimator.accounting == "settled":
        deviation = _DEVIATES * load.likely / load.units
    likely = Work(
        requests=load.units * scale,
        tokens=load.counted * scale,
        latency_seconds=_latency(found, load.likely / load.units),
        deviation=deviation,
    )
    if load.unbounded:
        return likely, None
    longest = _latency(found, load.most / load.units)
    return likely, replace(likely, tokens=load.counted_most * scale, latency_seconds=longest)


def _latency(found: Surveyed, completion: float) -> float:
    """Seconds for an answer of so many tokens: as seen, as simulated, or as answers mostly come."""
    if found.weighed.latency_seconds is not None:
        return found.weighed.latency_seconds
    if found.asked.settings.identity_url is not None:
        return float(LATENCY_SECONDS)
    return FIRST_TOKEN_SECONDS + completion / TOKENS_PER_SECOND


def _limits(limits: Limits, page: Page | None) -> tuple[Limits, frozenset[Key]]:
    """With those that the book has as found where they are lower than what is declared; and which these are."""
    windows = {limit.key: limit for limit in limits.windows}
    lower = set()
    for one in page.found if page is not None else ():
        known = windows.get(one.key)
        if known is None or one.amount < known.amount:
            windows[one.key] = Limit(
                dimension=one.dimension,
                window_seconds=one.window_seconds,
                amount=one.amount,
                guard_seconds=FOUND_GUARD_SECONDS[one.dimension],
            )
            lower.add(one.key)
    return replace(limits, windows=tuple(windows.values())), frozenset(lower)


def _quota(reset: Reset, page: Page | None, now: float, *, heeds_gone: bool) -> Quota:
    if page is None:
        return Quota(reset=reset)
    today = reset.day(now)
    used = page.days.get(today, Spent())
    leased = [other for other in page.others if other.day == today]
    return Quota(
        reset=reset,
        used=Spent(
            used.requests + sum(other.day_requests for other in leased if other.day_requests < FOREVER),
            used.tokens + sum(other.day_tokens for other in leased if other.day_tokens < FOREVER),
        ),
        gone_until=page.gone_until if heeds_gone else 0.0,
    )
