"""One lane: limits, pauses, probes and room in flight as one question. Tables of instants, no waiting."""

import math
from collections import deque
from collections.abc import Callable

import pytest

from batchrunner.limits.estimate import Estimate
from batchrunner.limits.hints import Refusal
from batchrunner.limits.in_flight import Lease
from batchrunner.limits.lane import OF_THE_BOOK, STALE_SECONDS, Lane, Limits
from batchrunner.limits.pace import START
from batchrunner.limits.window import GUARD_SECONDS, Limit
from batchrunner.records import Kind

FREE = Limits(concurrency=100)
ONE = Estimate(1.0)
FOREVER = float("inf")


def minute(*, requests: float | None = None, tokens: float | None = None, concurrency: int | None = None) -> Limits:
    amounts = {"requests": requests, "tokens": tokens}
    windows = (Limit(dimension=name, amount=amount, window_seconds=60.0) for name, amount in amounts.items() if amount)
    return Limits(windows=tuple(windows), concurrency=concurrency)


def refusal(kind: Kind = Kind.RATE_LIMITED, hint: float | None = None) -> Refusal:
    return Refusal(kind=kind, wait_seconds=hint)


def refuse(lane: Lane, lease: Lease, now: float, said: Refusal | None = None, jitter: float = 0.0) -> None:
    lane.over(lease, counted=0.0, refused=True)
    lane.limited_by(lease, now, said or refusal(), jitter=jitter)


def fail(lane: Lane, lease: Lease, now: float) -> None:
    lane.over(lease, counted=None)
    lane.unavailable(lease, now, hint=None, jitter=0.0)


def answer(lane: Lane, lease: Lease, now: float, counted: float = 1.0) -> None:
    lane.over(lease, counted=counted, answered=True)
    lane.answered(lease, now)


def next_take(lane: Lane, now: float, estimate: Estimate = ONE) -> tuple[Lease, float]:
    """The next try, sent as soon as it may be, and when."""
    now = lane.ready_at(estimate, now)
    return lane.take(estimate, now), now


def test_a_refusal_pauses_for_the_hint_and_never_less() -> None:
    lane = Lane(FREE, now=0.0)
    refuse(lane, lane.take(ONE, 0.0), 0.5, refusal(hint=3.0), jitter=0.7)
    assert 3.5 <= lane.ready_at(ONE, 0.6) <= 3.5 + 0.3
    assert lane.bound_by == "pause"


def test_refusals_of_one_episode_double_nothing() -> None:
    lane = Lane(FREE, now=0.0)
    for lease in [lane.take(ONE, 0.0) for _ in range(50)]:
        refuse(lane, lease, 0.2)
    assert lane.ready_at(ONE, 0.3) == pytest.approx(1.2)
    assert lane.pause.step == 1


def probing(lane: Lane, trouble: Callable[[Lane, Lease, float], None], latency: float = 0.05) -> float:
    """Meet trouble until probes are asked for; the end of the pause."""
    now = 0.0
    while not lane.pause.probing:
        lease, sent = next_take(lane, now)
        now = sent + latency
        trouble(lane, lease, now)
    return lane.pause.until


def test_probes_go_out_one_at_a_time_until_one_is_answered() -> None:
    lane = Lane(FREE, now=0.0)
    now = probing(lane, refuse)
    probe, now = next_take(lane, now)
    assert lane.ready_at(ONE, now) > now
    answer(lane, probe, now + 0.01)
    assert lane.ready_at(ONE, now + 0.01) == now + 0.01


def test_a_probe_that_was_not_refused_in_the_time_a_refusal_takes_has_passed() -> None:
    lane = Lane(FREE, now=0.0)
    now = probing(lane, refuse, latency=0.2)
    _, sent = next_take(lane, now)
    assert lane.ready_at(ONE, sent) == pytest.approx(sent + 3 * 0.2)
    now = lane.ready_at(ONE, sent)
    lane.take(ONE, now)
    assert lane.pause.step == 0
    assert lane.ready_at(ONE, now) == now


def test_an_outage_ends_with_an_answer_only() -> None:
    lane = Lane(FREE, now=0.0)
    now = probing(lane, fail)
    probe, now = next_take(lane, now)
    assert lane.ready_at(ONE, now + 1000.0) == FOREVER
    answer(lane, probe, now + 1000.0)
    assert lane.ready_at(ONE, now + 1000.0) == now + 1000.0


def test_a_probe_does_not_wait_for_tries_that_were_out_before_the_pause() -> None:
    lane = Lane(FREE, now=0.0)
    lane.take(ONE, 0.0)  # a long answer
    fail(lane, lane.take(ONE, 0.0), 1.0)
    now = lane.pause.until
    assert lane.ready_at(ONE, now) == now
    lane.take(ONE, now)
    assert lane.ready_at(ONE, now) == FOREVER


def test_refusals_through_silences_longer_than_every_window_mean_that_the_quota_is_gone() -> None:
    lane, now, probes = Lane(FREE, now=0.0), 0.0, 0
    while not lane.seems_out_of_quota:
        lease, now = next_take(lane, now)
        refuse(lane, lease, now)
        probes += 1
    assert probes <= 16
    assert 250 < now < 400


@pytest.mark.parametrize("hint", [None, 5.0])
def test_neither_an_outage_nor_a_gateway_that_says_how_long_to_wait_looks_like_a_spent_quota(
    hint: float | None,
) -> None:
    lane, now = Lane(FREE, now=0.0), 0.0
    for _ in range(30):
        lease, now = next_take(lane, now)
        if hint is None:
            fail(lane, lease, now)
        else:
            refuse(lane, lease, now, refusal(hint=hint))
    assert not lane.seems_out_of_quota


def test_a_given_concurrency_is_kept_and_named() -> None:
    lane = Lane(Limits(concurrency=3), now=0.0)
    leases = [lane.take(ONE, 0.0) for _ in range(3)]
    assert lane.ready_at(ONE, 0.0) == FOREVER
    assert lane.bound_by == "requests in flight"
    assert lane.in_flight == 3
    answer(lane, leases[1], 1.0)
    assert lane.ready_at(ONE, 1.0) == 1.0
    assert lane.bound_by == ""


def test_without_any_limit_room_in_flight_starts_small_and_grows_with_answers() -> None:
    lane, now = Lane(Limits(), now=0.0), 0.0
    assert lane.cap(0.0) == START
    out: deque[tuple[float, Lease]] = deque()
    for number in range(500):
        while lane.ready_at(ONE, now) <= now:
            out.append((now + 0.1 + number * 1e-6, lane.take(ONE, now)))
            now += 1e-5
        end, lease = out.popleft()
        now = max(now, end)
        answer(lane, lease, now)
    assert lane.cap(now) >= 8 * START


def test_refusals_for_concurrency_shrink_the_room_and_no_rate() -> None:
    lane = Lane(Limits(), now=0.0)
    leases = [lane.take(ONE, 0.0) for _ in range(8)]
    refuse(lane, leases.pop(), 0.1, refusal(Kind.CONCURRENCY))
    assert lane.cap(0.1) == 7
    assert not list(lane.force.limited)


def test_tries_that_hang_make_room_for_others() -> None:
    limit = Limit(dimension="requests", amount=20, window_seconds=1.0)
    lane, now = Lane(Limits(windows=(limit,)), now=0.0), 0.0
    answer(lane, lane.take(ONE, 0.0), 0.02)
    for _ in range(60):
        _, now = next_take(lane, now)
    assert now < 10


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        (minute(requests=1), "requests/minute"),
        (minute(tokens=10), "tokens/minute"),
        (Limits(windows=(Limit(dimension="requests", amount=1, window_seconds=1.0),)), "requests/second"),
        (Limits(requests_per_day=5.0), "the daily limit"),
        (Limits(concurrency=1), "requests in flight"),
    ],
)
def test_what_is_in_the_way_is_named(limits: Limits, named: str) -> None:
    lane, estimate = Lane(limits, now=0.0), Estimate(10.0)
    if named != "the daily limit":
        assert lane.ready_at(estimate, 0.0) == 0.0
        assert lane.bound_by == ""
        lane.take(estimate, 0.0)
    assert lane.ready_at(estimate, 0.01) > 0.01
    assert lane.bound_by == named


def test_without_a_lease_from_the_book_nothing_is_sent() -> None:
    lane = Lane(FREE, now=0.0)
    lane.leased_until = 1.0
    assert lane.ready_at(ONE, 1.0) == 1.0
    assert lane.ready_at(ONE, 1.1) == FOREVER
    assert lane.bound_by == OF_THE_BOOK


def test_who_waits_and_since_when_is_known_until_he_is_sent() -> None:
    lane = Lane(Limits(concurrency=1), now=0.0)
    lease = lane.take(ONE, 0.0)
    lane.ready_at(Estimate(7.0), 2.0)
    lane.ready_at(Estimate(7.0), 3.0)
    assert lane.head == (7.0, 2.0)
    answer(lane, lease, 4.0)
    lane.take(Estimate(7.0), 4.0)
    assert lane.head is None


def used(lane: Lane, now: float) -> dict[str, float]:
    return {key[0]: window.used(now) for key, window in lane.force.windows.items()}


def test_answers_are_settled_by_what_they_used_and_unknown_ones_keep_their_estimate() -> None:
    lane = Lane(minute(requests=100, tokens=1000), now=0.0)
    known, unknown = lane.take(Estimate(100.0), 0.0), lane.take(Estimate(100.0), 0.0)
    lane.over(known, counted=30.0, answered=True)
    lane.over(unknown, counted=None)
    assert used(lane, 1.0) == {"requests": 2.0, "tokens": 130.0}
    assert lane.sums.tokens == 130.0


@pytest.mark.parametrize(("limits", "requests"), [(minute(requests=100), 1.0), (Limits(), 0.0)])
def test_refused_requests_stay_counted_under_declared_limits_and_are_given_back_under_found_ones(
    limits: Limits, requests: float
) -> None:
    lane = Lane(limits, now=0.0)
    lane.over(lane.take(Estimate(100.0), 0.0), counted=0.0, refused=True)
    assert used(lane, 1.0) == {"requests": requests, "tokens": 0.0}


@pytest.mark.parametrize("limits", [minute(requests=100, tokens=1000), Limits(), FREE])
def test_a_cancelled_lease_leaves_no_trace(limits: Limits) -> None:
    lane, fresh = Lane(limits, now=0.0), Lane(limits, now=0.0)
    lane.cancel(lane.take(Estimate(100.0, 25.0, 3.0), 0.0))
    assert used(lane, 0.0) == used(fresh, 0.0)
    assert lane.in_flight == 0
    assert lane.out.error(Estimate(1.0), 10.0) == 0.0
    assert (lane.sums.requests, lane.sums.tokens) == (0, 0.0)
    for estimate in (ONE, Estimate(1000.0)):
        assert lane.ready_at(estimate, 0.0) == fresh.ready_at(estimate, 0.0)


def test_a_cancelled_lease_costs_nothing_of_the_day() -> None:
    lane = Lane(Limits(requests_per_day=10.0), now=0.0)
    lane.cancel(lane.take(Estimate(100.0), 0.0))
    assert sum(spent.requests for spent in lane.day.hand_in().values()) == 0


def test_estimates_that_may_be_off_keep_a_margin_free_that_answers_give_back() -> None:
    lane = Lane(minute(tokens=1000), now=0.0)
    lease = lane.take(Estimate(500.0, 100.0**2), 0.0)
    assert lane.out.error(Estimate(100.0), 10.0) == pytest.approx(100.0)
    assert lane.ready_at(Estimate(300.0), 40.0) > 40.0
    answer(lane, lease, 40.0, counted=500.0)
    assert lane.out.error(Estimate(100.0), 10.0) == 0.0
    assert lane.ready_at(Estimate(300.0), 40.0) == 40.0


def test_a_large_row_holds_up_no_requests_while_its_tokens_have_room() -> None:
    lane = Lane(minute(requests=60, tokens=1000), now=0.0)
    for second in range(30):
        lane.take(ONE, float(second))
    lane.take(Estimate(100.0), 30.0)
    assert lane.ready_at(Estimate(10.0), 30.0) == pytest.approx(31.0, abs=0.1)


def test_only_as_many_estimates_keep_a_margin_free_as_the_window_holds() -> None:
    lane = Lane(FREE, now=0.0)
    for at in range(40):
        lane.take(Estimate(100.0, 25.0), float(at))
    assert lane.out.error(Estimate(100.0), 40.0) == pytest.approx(5 * 40**0.5)
    assert lane.out.error(Estimate(100.0), 10.0) == pytest.approx(5 * 10**0.5)


def test_a_unit_larger_than_a_whole_window_or_day_never_fits() -> None:
    lane = Lane(minute(tokens=1000), now=0.0)
    assert lane.most_tokens == 1000.0
    assert Lane(Limits(tokens_per_day=10.0), now=0.0).most_tokens == 10.0
    assert Lane(Limits(), now=0.0).most_tokens == math.inf


def test_a_limit_that_was_found_holds_from_then_on_and_others_find_it_remembered() -> None:
    lane, other = Lane(Limits(), now=0.0), Lane(Limits(), now=0.0)
    for number in range(30):
        answer(lane, lane.take(ONE, number / 100), number / 100 + 0.005)
    refuse(lane, lane.take(ONE, 0.5), 0.55, refusal(hint=30.0))
    found = {key: cap.amount for key, cap in lane.force.finder.caps.items()}
    assert found["requests", 60.0] == pytest.approx(30, abs=1)
    other.force.restore(found, 1.0)
    assert {window.limit.key: window.limit.amount for window in other.force.limited} == found


def test_a_try_larger_than_a_limit_that_was_only_found_has_a_whole_window_to_itself() -> None:
    lane = Lane(Limits(), now=0.0)
    lane.force.restore({("tokens", 60.0): 500.0}, 0.0)
    large = Estimate(800.0)
    now = lane.ready_at(large, 0.0)
    lane.take(large, now)
    assert now < 60
    assert now + 60 < lane.ready_at(Estimate(10.0), now) < now + 100


def test_tries_that_are_written_late_are_fresh_for_longer_and_weigh_for_longer() -> None:
    lane = Lane(minute(requests=100), now=0.0, late_seconds=0.1)
    lease = lane.take(ONE, 0.0)
    assert lane.fresh_for(lease, 0.05) == pytest.approx(STALE_SECONDS + 0.1 - 0.05)
    assert [window.limit.span for window in lane.force.limited] == [pytest.approx(60 + GUARD_SECONDS + 0.1)]
    lane.leased_until = 0.06  # what the book has promised holds no longer
    assert lane.fresh_for(lease, 0.05) == pytest.approx(0.01)


def test_a_small_part_of_the_tokens_holds_up_no_requests_where_requests_are_paced() -> None:
    limits = (("requests", 1.0, 60.0), ("tokens", 60.0, 500_000.0))
    windows = tuple(Limit(dimension=what, amount=amount, window_seconds=width) for what, width, amount in limits)
    lane = Lane(Limits(windows=windows), now=0.0)
    lane.mean_tokens = 60.0
    free = lane.rate()
    lane.force.windows["tokens", 60.0].divide(20_000.0, 0.04, 1.0)  # a share of what was used so far
    assert lane.rate() == free
