"""The forecast of a lane against what the lane does: in virtual time, over resets and changes of the clocks."""

import math
import statistics
from datetime import UTC, datetime
from itertools import islice
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.limits.day import LEASE_LEAST, DayLease, Spent
from batchrunner.limits.forecast import LONGEST_DAYS, Forecast, Quota, Work, forecast, most_seldom, rate_of
from batchrunner.limits.lane import FOREVER, Lane, Limits
from batchrunner.limits.pace import MOST_WHEN_KNOWN, MOST_WHEN_UNKNOWN
from batchrunner.limits.quota import Reset
from batchrunner.limits.window import Limit
from tests.virtual import Scene, Stage, draw_rows, play

TWO_PERCENT = 0.02
UTC_MIDNIGHT = Reset(0, 0, "UTC")
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0

SCENES = {
    "50 requests a second": Scene(limits=(("requests", 1, 50),), requests=5000),
    "600 requests a minute": Scene(limits=(("requests", 60, 600),), requests=3000),
    "600 a minute, answers take a minute": Scene(limits=(("requests", 60, 600),), requests=5000, latency=(60.0, 0.3)),
    "a million tokens a minute": Scene(limits=(("tokens", 60, 1_000_000),), requests=20_000, latency=(10.0, 0.3)),
    "60k tokens a minute, upfront": Scene(limits=(("tokens", 60, 60_000),), requests=1000, accounting="upfront"),
    "10k tokens a second, upfront": Scene(limits=(("tokens", 1, 10_000),), requests=3000, accounting="upfront"),
    "requests and tokens a minute": Scene(limits=(("requests", 60, 600), ("tokens", 60, 100_000)), requests=5000),
}


def windows(*limits: tuple[str, int, int]) -> tuple[Limit, ...]:
    """(dimension, seconds, amount) as limits of a lane."""
    return tuple(
        Limit(dimension="requests" if what == "requests" else "tokens", window_seconds=float(seconds), amount=amount)
        for what, seconds, amount in limits
    )


def work_of(scene: Scene) -> Work:
    """What a scene asks, as one knows it who has seen such rows before."""
    costs = [cost for _, cost in islice(draw_rows(scene, Random(1)), 5000)]
    upfront = scene.accounting == "upfront"
    median, sigma = scene.latency
    return Work(
        requests=scene.requests,
        tokens=scene.requests * statistics.mean(cost.ceiling if upfront else cost.total for cost in costs),
        latency_seconds=median * math.exp(sigma * sigma / 2),
        deviation=0.0 if upfront else statistics.pstdev(cost.completion for cost in costs),
    )


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_a_lane_takes_as_long_as_was_foreseen(scene: Scene) -> None:
    work = work_of(scene)
    seen = forecast(work, Limits(windows=windows(*scene.limits)), Quota(reset=UTC_MIDNIGHT), begins_at=NOON)
    last_sent = seen.ends_at - NOON - work.latency_seconds
    assert last_sent == pytest.approx(play(scene).seconds, rel=TWO_PERCENT)


class DaysOnStage(Stage):
    """A lane with daily limits and a book in memory: what the book does when the lane has used up what it had on
    lease."""

    def __init__(self, scene: Scene, limits: Limits, reset: Reset, begins_at: float) -> None:
        super().__init__(scene)
        self.lane = Lane(limits, now=0.0)
        self.reset, self.begins_at = reset, begins_at
        self.used: dict[str, Spent] = {}
        self.meet()

    def _send(self) -> None:
        super()._send()
        while self.lane.day.hungry and not (self.lane.day.gone and self.now < self.lane.day.ends_at):
            self.meet()
            super()._send()

    def meet(self) -> None:
        """Hand in what was spent, and take the next lease from the day that it is by then."""
        day, unix = self.lane.day, self.begins_at + self.now
        for name, spent in day.hand_in().items():
            before = self.used.get(name, Spent())
            self.used[name] = Spent(before.requests + spent.requests, before.tokens + spent.tokens)
        name, ends_at = self.reset.day(unix), self.reset.next(unix) - self.begins_at
        used = self.used.get(name, Spent())
        left_requests, left_tokens = day.requests_limit - used.requests, day.tokens_limit - used.tokens
        need = self.lane.head[0] if self.lane.head else 0.0
        least = max(need, LEASE_LEAST * self.lane.mean_tokens)
        lease = DayLease(
            day=name,
            ends_at=ends_at,
            requests=min(left_requests, LEASE_LEAST),
            tokens=min(left_tokens, least),
            left_requests=left_requests,
            left_tokens=left_tokens,
        )
        day.apply(lease, need=need, others_hold=False)


LOS_ANGELES = Reset(0, 0, "America/Los_Angeles")
BERLIN = Reset(8, 30, "Europe/Berlin")
OVER_RESETS = {
    "a quota that is gone at noon, for three days": (
        Limits(windows=windows(("requests", 60, 10)), requests_per_day=7000),
        UTC_MIDNIGHT,
        datetime(2026, 11, 24, 2, tzinfo=UTC),
        20_000,
    ),
    "a night of 25 hours": (
        Limits(windows=windows(("requests", 60, 10)), requests_per_day=8000),
        LOS_ANGELES,
        datetime(2026, 11, 1, 3, tzinfo=ZoneInfo("America/Los_Angeles")),
        12_000,
    ),
    "a night of 23 hours": (
        Limits(windows=windows(("requests", 60, 10)), requests_per_day=8000),
        LOS_ANGELES,
        datetime(2026, 3, 8, 1, tzinfo=ZoneInfo("America/Los_Angeles")),
        12_000,
    ),
    "a reset in the morning after the clocks were changed": (
        Limits(windows=windows(("requests", 60, 10)), requests_per_day=5000),
        BERLIN,
        datetime(2026, 10, 24, 20, tzinfo=ZoneInfo("Europe/Berlin")),
        9_000,
    ),
    "a quota that is never gone": (
        Limits(windows=windows(("requests", 60, 10)), requests_per_day=100_000),
        UTC_MIDNIGHT,
        datetime(2026, 11, 24, 20, tzinfo=UTC),
        9_000,
    ),
}


@pytest.mark.parametrize(("limits", "reset", "begins", "requests"), OVER_RESETS.values(), ids=OVER_RESETS)
def test_over_resets_and_changes_of_the_clocks_too(
    limits: Limits, reset: Reset, begins: datetime, requests: int
) -> None:
    begins_at = begins.timestamp()
    scene = Scene(limits=(), requests=requests, latency=(2.0, 0.3))
    took = DaysOnStage(scene, limits, reset, begins_at).play().seconds
    work = work_of(scene)
    seen = forecast(work, limits, Quota(reset=reset), begins_at=begins_at)
    assert seen.ends_at - begins_at - work.latency_seconds == pytest.approx(took, rel=TWO_PERCENT)
    assert abs(seen.ends_at - begins_at - took) < 600, "a day that is an hour longer or shorter is one"


def test_tokens_by_the_day_are_spent_as_foreseen() -> None:
    scene = Scene(limits=(), requests=3000, accounting="upfront", latency=(2.0, 0.3))
    limits = Limits(windows=windows(("requests", 60, 60)), tokens_per_day=800_000)
    stage = DaysOnStage(scene, limits, UTC_MIDNIGHT, NOON)
    stage.estimator.accounting = "upfront"
    seen = forecast(work_of(scene), limits, Quota(reset=UTC_MIDNIGHT), begins_at=NOON)
    assert seen.ends_at - NOON == pytest.approx(stage.play().seconds, rel=TWO_PERCENT)
    assert len(seen.days) == 3


def plain(requests: int, limits: Limits, **quota: object) -> Forecast:
    """Of rows that count a hundred tokens each and are answered in a second."""
    work = Work(requests=requests, tokens=100.0 * requests, latency_seconds=1.0)
    return forecast(work, limits, Quota(reset=UTC_MIDNIGHT, **quota), begins_at=NOON)  # type: ignore[arg-type]


def test_what_was_used_today_is_not_there_any_more() -> None:
    limits = Limits(windows=windows(("requests", 1, 100)), requests_per_day=1000)
    assert plain(1000, limits).ends_at - NOON < 60
    ahead = plain(1000, limits, used=Spent(requests=400, tokens=0))
    assert [day.requests for day in ahead.days] == [600, 400]
    assert DAY / 2 < ahead.ends_at - NOON < DAY / 2 + 60
    assert next(iter(ahead.bound_by)) == "requests/day"


def test_a_quota_that_the_gateway_said_is_gone_is_waited_for() -> None:
    limits = Limits(windows=windows(("requests", 1, 100)))
    assert plain(100, limits, gone_until=NOON + 3600).ends_at == pytest.approx(NOON + 3600, abs=10)


def test_tries_that_are_out_over_the_reset_count_for_both_days() -> None:
    limits = Limits(windows=windows(("requests", 1, 10)), requests_per_day=430_000)
    work = Work(requests=900_000, tokens=9e7, latency_seconds=600.0)
    ahead = forecast(work, limits, Quota(reset=UTC_MIDNIGHT), begins_at=NOON)
    first, second = ahead.days[:2]
    assert (first.gone, second.gone) == (False, True)
    assert second.requests == pytest.approx(430_000 - 600 * ahead.rate, abs=2)


def test_what_binds_is_the_tightest_of_all() -> None:
    work = Work(requests=10_000, tokens=1e6, latency_seconds=10.0)
    both = windows(("requests", 60, 600), ("tokens", 60, 10_000))
    assert rate_of(work, Limits(windows=both))[1] == "tokens/minute"
    assert rate_of(work, Limits(windows=both, concurrency=4)) == (0.4, "requests in flight")
    assert rate_of(work, Limits(windows=windows(("requests", 1, 10**6)))) == (
        MOST_WHEN_KNOWN / 10,
        "requests in flight",
    )
    assert rate_of(work, Limits()) == (MOST_WHEN_UNKNOWN / 10, "requests in flight")


def test_a_job_of_centuries_ends_beyond_what_is_foreseen() -> None:
    ahead = plain(10**7, Limits(requests_per_day=10))
    assert ahead.ends_at == FOREVER
    assert len(ahead.days) == LONGEST_DAYS


def test_a_row_larger_than_a_days_quota_seems_to_take_a_day_each() -> None:
    assert len(plain(3, Limits(tokens_per_day=50)).days) == 3


def test_nothing_to_ask_takes_no_time() -> None:
    assert plain(0, Limits()).ends_at == NOON


AMOUNTS = st.integers(1, 10**7)
ROUNDING_SECONDS = 1e-5  # Unix time of the next century has no more digits than that, after some sums


@given(requests=AMOUNTS, rpm=AMOUNTS, tpm=AMOUNTS, rpd=st.integers(1000, 10**7), tokens=st.integers(1, 10**5))
def test_more_work_or_smaller_limits_never_end_sooner(requests: int, rpm: int, tpm: int, rpd: int, tokens: int) -> None:
    limits = Limits(windows=windows(("requests", 60, rpm), ("tokens", 60, tpm)), requests_per_day=rpd)
    quota = Quota(reset=UTC_MIDNIGHT)

    def ends(work: Work, under: Limits) -> float:
        ahead = forecast(work, under, quota, begins_at=NOON)
        assert ahead.ends_at >= NOON
        assert sum(ahead.bound_by.values()) == pytest.approx(1.0) or not ahead.bound_by
        assert all(day.requests <= rpd for day in ahead.days)
        if ahead.ends_at < FOREVER:
            assert sum(day.requests for day in ahead.days) == pytest.approx(work.requests)
            assert ahead.sent_by(ahead.ends_at) == pytest.approx(work.requests)
            assert ahead.sent_by(NOON) == 0
        return ahead.ends_at

    work = Work(requests=requests, tokens=float(requests * tokens), latency_seconds=1.0)
    more = Work(requests=2 * requests, tokens=2.0 * requests * tokens, latency_seconds=1.0)
    assert ends(more, limits) >= ends(work, limits) - ROUNDING_SECONDS
    assert ends(work, most_seldom(limits, 0.9)) >= ends(work, limits) - ROUNDING_SECONDS
