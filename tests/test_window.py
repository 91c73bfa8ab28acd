"""A window's one law: never more than its allotment in any window and guard, whatever is asked, settled or changed."""

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.limits.window import CURVE_POINTS, GUARD_SECONDS, Limit, Slot, Window

CLOSE = 1e-6  # of what floats add up to
SLOT = 1 / 1000  # of a window: how exact the log is


def requests(amount: float, seconds: float = 60.0) -> Limit:
    return Limit(dimension="requests", amount=amount, window_seconds=seconds)


def tokens(amount: float, seconds: float = 60.0) -> Limit:
    return Limit(dimension="tokens", amount=amount, window_seconds=seconds)


def most_in_a_window(taken: list[tuple[float, float]], seconds: float) -> float:
    """The fullest of all windows [start, start + seconds) by another count than the log's: sorted sums."""
    taken = sorted(taken)
    instants = [at for at, _ in taken]
    sums = [0.0, *accumulate(amount for _, amount in taken)]
    ends = [bisect_left(instants, at + seconds - CLOSE) for at in instants]
    return max((sums[end] - sums[place] for place, end in enumerate(ends)), default=0.0)


def admitted(
    window: Window, amounts: list[float], pauses: list[float] | None = None, start: float = 0.0
) -> list[tuple[float, float]]:
    """Take each amount at the first instant at which it may be taken, after a pause of one's own."""
    now, taken = start, []
    for place, amount in enumerate(amounts):
        now += pauses[place % len(pauses)] if pauses else 0.0
        now = window.ready_at(amount, now)
        window.take(amount, now)
        taken.append((now, amount))
    return taken


@dataclass
class Busy:
    """One that takes from a window and settles later. `counts`: what each try is known to have used, by its start."""

    window: Window
    now: float = 0.0
    counts: list[tuple[float, float]] = field(default_factory=list)
    open: list[tuple[int, Slot]] = field(default_factory=list)

    def take(self, amount: float) -> None:
        self.now = self.window.ready_at(amount, self.now)
        slot = self.window.take(amount, self.now)
        self.open.append((len(self.counts), slot))
        self.counts.append((self.now, amount))

    def settle(self, place: int, change: float) -> None:
        number, slot = self.open.pop(place % len(self.open))
        at, amount = self.counts[number]
        change = max(change, -amount)
        self.window.settle(slot, change)
        self.counts[number] = (at, amount + change)


pauses = st.lists(st.just(0.0) | st.floats(0, 3) | st.floats(0, 90), min_size=1, max_size=20)
steps = st.lists(st.tuples(st.floats(0.0001, 1), st.floats(0, 40), st.integers(0, 9), st.floats(-1, 1)), max_size=60)


@given(st.integers(1, 500), st.sampled_from([1.0, 60.0]), st.integers(1, 300), pauses)
def test_in_no_window_and_guard_more_requests_than_the_limit(
    limit: int, seconds: float, count: int, pauses: list[float]
) -> None:
    taken = admitted(Window(requests(limit, seconds), now=0.0), [1.0] * count, pauses)
    assert most_in_a_window(taken, seconds + GUARD_SECONDS) <= limit


@given(st.integers(1, 1_000_000), st.lists(st.floats(0.000001, 1.0), min_size=1, max_size=120), pauses)
def test_in_no_window_more_tokens_than_the_limit_for_any_sizes(
    limit: int, shares: list[float], pauses: list[float]
) -> None:
    amounts = [max(1.0, share * limit) for share in shares]
    taken = admitted(Window(tokens(limit), now=0.0), amounts, pauses)
    assert most_in_a_window(taken, 60 + GUARD_SECONDS) <= limit * (1 + 1e-9) + CLOSE


@given(st.lists(st.floats(0.000001, 1.0), min_size=1, max_size=120), pauses)
def test_in_no_window_more_than_the_limit_where_another_pace_does_the_spreading(
    shares: list[float], pauses: list[float]
) -> None:
    window = Window(tokens(1000), now=0.0)
    window.loosen(True)  # noqa: FBT003
    taken = admitted(window, [max(1.0, share * 1000) for share in shares], pauses)
    assert most_in_a_window(taken, 60 + GUARD_SECONDS) <= 1000 * (1 + 1e-9) + CLOSE


@pytest.mark.parametrize(("loose", "delay"), [(False, 5.0), (True, 0.0)])
def test_a_large_amount_delays_what_follows_only_where_no_other_pace_does_the_spreading(
    loose: bool,  # noqa: FBT001
    delay: float,
) -> None:
    window = Window(tokens(1000), now=0.0)
    window.loosen(loose)
    for second in range(30):
        window.take(1.0, float(second))
    window.take(100.0, 30.0)
    assert window.ready_at(5.0, 30.0) - 30.0 == pytest.approx(delay, abs=0.5)


@given(steps)
def test_what_was_settled_down_makes_room_and_no_window_is_passed(steps: list[tuple[float, float, int, float]]) -> None:
    busy = Busy(Window(tokens(1000), now=0.0))
    for share, pause, place, change in steps:
        busy.take(1000 * share)
        busy.now += pause
        if place < 7:
            busy.settle(place, -abs(change) * 1000)
    assert most_in_a_window(busy.counts, 60 + GUARD_SECONDS) <= 1000 + CLOSE


@given(steps)
def test_a_window_is_passed_only_by_what_tries_used_more_than_was_said(
    steps: list[tuple[float, float, int, float]],
) -> None:
    busy, more = Busy(Window(tokens(1000), now=0.0)), 0.0
    for share, pause, place, change in steps:
        busy.take(1000 * share)
        busy.now += pause
        if place < 7:
            busy.settle(place, change * 1000)
            more += max(0.0, change * 1000)
    assert most_in_a_window(busy.counts, 60 + GUARD_SECONDS) <= 1000 + more + CLOSE


@given(steps)
def test_what_was_used_more_than_said_is_known_to_all_that_follows(
    steps: list[tuple[float, float, int, float]],
) -> None:
    busy = Busy(Window(tokens(1000), now=0.0))
    for share, pause, _, change in steps:
        busy.take(1000 * share)
        busy.settle(0, change * 1000)
        at = busy.counts[-1][0]
        before = [one for one in busy.counts[:-1] if one[0] > at - 60 - GUARD_SECONDS + CLOSE]
        assert sum(one[1] for one in before) + 1000 * share <= 1000 + CLOSE
        busy.now += pause


@given(st.integers(1, 300), st.lists(st.floats(0, 0.5), min_size=1, max_size=100), st.floats(0, 5), st.integers(1, 100))
def test_a_window_that_takes_over_the_log_of_another_stays_in_the_limit_with_it(
    limit: int, before: list[float], gap: float, count: int
) -> None:
    minute = Window(requests(100_000), now=0.0)
    second = Window(requests(limit, 1.0), now=0.0)
    taken, now = [], 0.0
    for pause in before:  # kept to the limit of a second that nobody knows yet
        now = second.ready_at(1.0, minute.ready_at(1.0, now + pause))
        second.take(1.0, now)
        minute.take(1.0, now)
        taken.append((now, 1.0))
    found = Window(requests(limit, 1.0), now=now + gap)
    found.seed(minute, now + gap)
    taken += admitted(found, [1.0] * count, start=now + gap)
    assert most_in_a_window(taken, 1 + GUARD_SECONDS) <= limit


@given(
    st.lists(
        st.tuples(st.integers(1, 100), st.floats(0.05, 1.0), st.lists(st.floats(0, 5), min_size=1, max_size=10)),
        min_size=1,
        max_size=12,
    )
)
def test_in_no_window_that_begins_after_a_change_more_than_what_holds_since(
    changes: list[tuple[int, float, list[float]]],
) -> None:
    window, taken, now = Window(requests(100, 10.0), now=0.0), [], 0.0
    for limit, share, pauses in changes:
        window.change(requests(limit, 10.0), now)
        window.divide(max(1.0, share * limit), share, now)
        since = len(taken)
        before = window.used(now)
        for pause in pauses:
            ready = window.ready_at(1.0, now + pause)
            if ready < math.inf:
                now = ready
                window.take(1.0, now)
                taken.append((now, 1.0))
                assert window.used(now) <= window.allotment + CLOSE
        held = max(before, window.allotment)
        assert most_in_a_window(taken[since:], 10 + GUARD_SECONDS) <= window.allotment + CLOSE
        assert window.used(now) <= held + CLOSE


@pytest.mark.parametrize(("part", "limit", "part_then"), [(100, 50, 50), (100, 200, 200), (40, 200, 40), (40, 30, 30)])
def test_a_new_limit_is_all_for_one_alone_and_never_raises_the_part_of_one_among_others(
    part: int, limit: int, part_then: int
) -> None:
    window = Window(requests(100), now=0.0)
    window.allotment = part
    window.change(requests(limit), 0.0)
    assert window.allotment == part_then


@given(
    st.sampled_from([1.0, 60.0]),
    st.lists(st.floats(0.001, 1), max_size=40),
    st.floats(0, 90),
    st.floats(0.001, 1),
    st.floats(0, 1),
)
def test_ready_at_is_the_first_instant_at_which_an_amount_fits(
    seconds: float, before: list[float], wait: float, share: float, margin: float
) -> None:
    window = Window(tokens(1000, seconds), now=0.0)
    taken = admitted(window, [1000 * one for one in before])
    asked = (taken[-1][0] if taken else 0.0) + wait
    amount, margin = 1000 * share, 1000 * margin
    ready = window.ready_at(amount, asked, margin)
    assert asked <= ready <= asked + 2 * (seconds + 1)
    if ready > asked + 1e-3:
        for early in (0.0, 0.5, 0.999):
            at = asked + early * (ready - asked)
            assert window.ready_at(amount, at, margin) == pytest.approx(ready, abs=1e-6)
            assert window.ready_at(amount, at, margin) > at
    assert window.ready_at(amount, ready, margin) == pytest.approx(ready, abs=1e-6)


@given(st.floats(0, 1000), st.floats(0, 1000), st.floats(0, 59), st.floats(1, 1000))
def test_after_settling_it_is_as_if_only_that_had_been_taken(
    said: float, used: float, later: float, following: float
) -> None:
    settled, exact = Window(tokens(1000), now=0.0), Window(tokens(1000), now=0.0)
    slot = settled.take(said, 0.0)
    exact.take(used, 0.0)
    settled.settle(slot, used - said)
    assert settled.used(later) == pytest.approx(exact.used(later))
    assert settled.ready_at(following, later) == pytest.approx(exact.ready_at(following, later), abs=1e-6)


@given(st.floats(0, 1000), st.floats(0, 1000), st.floats(61, 200))
def test_what_is_settled_after_its_window_has_passed_weighs_nothing(said: float, used: float, later: float) -> None:
    window = Window(tokens(1000), now=0.0)
    slot = window.take(said, 0.0)
    window.take(10.0, later - 1)
    assert window.used(later) == pytest.approx(10.0)
    window.settle(slot, used - said)
    assert window.used(later) == pytest.approx(10.0)


def test_a_large_reservation_that_was_hardly_used_leaves_no_debt() -> None:
    window = Window(tokens(1000), now=0.0)
    slot = window.take(900.0, 0.0)
    assert window.ready_at(5.0, 1.0) > 30
    window.settle(slot, -890.0)
    assert window.ready_at(5.0, 1.0) == 1.0


@pytest.mark.parametrize("latency", [2.0, 20.0])
@pytest.mark.parametrize("used", [0.1, 0.5, 0.9])
def test_reservations_settled_down_to_a_part_of_them_waste_nothing_of_the_limit(used: float, latency: float) -> None:
    window, now, out, sums = Window(tokens(60_000), now=0.0), 0.0, [], 0.0
    reserved, start, end = 1000.0, 180.0, 780.0
    while now < end:
        ready = window.ready_at(reserved, now)
        if out and out[0][0] < ready:
            now, slot = out.pop(0)
            window.settle(slot, (used - 1) * reserved)
            continue
        now = ready
        out.append((now + latency, window.take(reserved, now)))
        sums += used * reserved * (now >= start)
    held = latency * reserved + (60.05 - latency) * used * reserved  # by a rate of one try per second
    assert sums >= 0.97 * (end - start) * used * reserved * 60_000 / held


def test_what_was_given_back_during_a_silence_is_no_burst_after_it() -> None:
    window = Window(tokens(60_000), now=0.0)
    slots = [window.take(1000.0, window.ready_at(1000.0, second)) for second in range(50)]
    for slot in slots:
        window.settle(slot, -1000.0)
    taken = admitted(window, [100.0] * 400, start=200.0)
    assert sum(amount for at, amount in taken if at == 200.0) <= window.burst + 100


@pytest.mark.parametrize(("limit", "at_once"), [(1, 1), (60, 1), (600, 1), (60_000, 1)])
def test_it_starts_with_a_small_burst_and_neither_idle_nor_with_a_whole_window(limit: int, at_once: int) -> None:
    taken = admitted(Window(requests(limit), now=0.0), [1.0] * limit)
    assert sum(at == 0.0 for at, _ in taken) == at_once
    for share in (0.25, 0.5, 1.0):
        begun = sum(at < share * 60 for at, _ in taken)
        assert share * limit * 0.99 <= begun <= share * limit + at_once
    assert taken[-1][0] <= 60 + GUARD_SECONDS


@pytest.mark.parametrize("late", [0.0, 0.001, 0.004])
@pytest.mark.parametrize("limit", [1, 2, 50, 600, 2000])
@pytest.mark.parametrize("seconds", [1.0, 60.0])
def test_the_limit_is_used_to_99_per_cent_of_what_the_guard_leaves(limit: int, seconds: float, late: float) -> None:
    window, now, taken = Window(requests(limit, seconds), now=0.0), 0.0, []
    for number in range(4 * limit + 40):
        ready = window.ready_at(1.0, now)
        now = ready if ready <= now else ready + late * (number % 4) / 3
        window.take(1.0, now)
        taken.append(now)
    since = len(taken) // 2
    rate = (len(taken) - 1 - since) / (taken[-1] - taken[since])
    lost = late / 2 / (seconds + GUARD_SECONDS) if limit == 1 else 0.0  # each wake-up there is a whole window's
    assert rate >= (0.99 - lost) * limit / (seconds + GUARD_SECONDS)


def admitted_by_log_alone(limit: float, amounts: list[float]) -> float:
    """When the last of these begins, first in, first out, if nothing but the law were in the way."""
    log: list[tuple[float, float]] = []
    now, weight, first = 0.0, 0.0, 0
    for amount in amounts:
        while weight + amount > limit:
            now = max(now, log[first][0] + 60 + GUARD_SECONDS)
            weight -= log[first][1]
            first += 1
        log.append((now, amount))
        weight += amount
    return now


@pytest.mark.parametrize("seed", range(4))
def test_sizes_over_two_orders_of_magnitude_waste_no_more_than_first_in_first_out_must(seed: int) -> None:
    places = [math.modf((place + 1) * (0.6180339887 + seed / 7))[0] for place in range(1500)]
    amounts = [1000 * 0.5 * 100 ** (place - 1) for place in places]
    end = admitted(Window(tokens(1000), now=0.0), amounts)[-1][0]
    ideal = sum(amounts) / 1000 * (60 + GUARD_SECONDS)
    must = admitted_by_log_alone(1000.0, amounts)
    assert end <= 1.12 * must  # which bursts as it likes
    assert ideal / end >= 0.8


@given(steps, st.floats(0, 59))
def test_the_curve_is_never_less_than_what_really_weighs_later(
    steps: list[tuple[float, float, int, float]], wait: float
) -> None:
    busy = Busy(Window(tokens(1000), now=0.0))
    for share, pause, place, change in steps:
        busy.take(1000 * share)
        busy.now += pause / 10
        if place < 5:
            busy.settle(place, change * 500)
    now = busy.now + wait
    curve = busy.window.curve(now)
    step = busy.window.limit.span / CURVE_POINTS
    assert len(curve) == CURVE_POINTS
    assert curve[0] == pytest.approx(busy.window.used(now), abs=1e-6)
    assert curve == sorted(curve, reverse=True)
    for point, told in enumerate([*curve, 0.0]):
        weighs = busy.window.used(now + point * step + 1e-9)
        assert weighs <= told + CLOSE
        if point < CURVE_POINTS - 1:
            assert told <= curve[max(0, point - 1)] + CLOSE


@given(st.floats(1, 1000), st.floats(0, 1e9), st.floats(1, 1000))
def test_a_margin_never_keeps_out_an_amount_that_would_fit_alone(
    amount: float, margin: float, allotment: float
) -> None:
    window = Window(tokens(1000), now=0.0)
    window.allotment = allotment
    assert (window.ready_at(amount, 0.0, margin) < math.inf) == (amount <= allotment + CLOSE)
    if amount <= allotment:
        assert window.ready_at(amount, 0.0, margin) == 0.0
        window.take(amount, 0.0)
        assert window.ready_at(amount, 0.0, margin) <= 2 * 60.05


def test_a_margin_is_kept_free_beside_others() -> None:
    window = Window(tokens(1000), now=0.0)
    window.take(500.0, 0.0)
    assert window.ready_at(300.0, 40.0, 200.0) == 40.0
    assert window.ready_at(300.0, 40.0, 201.0) == pytest.approx(60.05)


def test_an_amount_larger_than_the_part_waits_for_the_part_to_grow() -> None:
    window = Window(requests(100), now=0.0)
    window.allotment = 0.5
    assert window.ready_at(1.0, 0.0) == math.inf
    window.allotment = 1.0
    assert window.ready_at(1.0, 0.0) == 0.0


def test_what_passed_since_an_instant_is_known_to_the_precision_of_a_slot() -> None:
    window = Window(requests(600), now=0.0)
    taken = admitted(window, [1.0] * 500)
    since = taken[250][0]
    assert window.used_since(since - 2 * 60 * SLOT) >= 250 >= window.used_since(since + 2 * 60 * SLOT) - 1
