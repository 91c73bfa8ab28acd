"""The bucket's one law: in no window more than the limit, whatever is asked and whenever."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.limits.bucket import Bucket, Limit


def admissions(bucket: Bucket, amounts: list[int], pauses: list[float], start: float = 0.0) -> list[tuple[float, int]]:
    """Take each amount at the first instant it is allowed at, after a pause of one's own."""
    now, taken = start, []
    for amount, pause in zip(amounts, pauses, strict=False):
        now = max(now + pause, bucket.ready_at(amount, now + pause))
        bucket.take(amount, now)
        taken.append((now, amount))
    return taken


def most_in_a_window(taken: list[tuple[float, int]], seconds: float) -> int:
    return max(sum(amount for at, amount in taken if start <= at < start + seconds) for start, _ in taken)


@given(
    limit=st.integers(1, 500),
    window=st.sampled_from([1.0, 60.0]),
    pauses=st.lists(st.one_of(st.just(0.0), st.floats(0, 3)), min_size=1, max_size=300),
)
def test_in_no_window_more_requests_than_the_limit(limit: int, window: float, pauses: list[float]) -> None:
    bucket = Bucket(Limit(amount=limit, window_seconds=window), now=0.0)
    taken = admissions(bucket, [1] * len(pauses), pauses)
    assert most_in_a_window(taken, window + 0.05 - 1e-6) <= limit


@given(
    limit=st.integers(200, 100_000),
    shares=st.lists(st.floats(0.0001, 1.0), min_size=1, max_size=120),
    pause=st.floats(0, 20),
)
def test_in_no_window_more_tokens_than_the_limit_for_sizes_over_four_orders(
    limit: int, shares: list[float], pause: float
) -> None:
    bucket = Bucket(Limit(amount=limit, window_seconds=60), now=0.0)
    amounts = [max(1, int(share * limit)) for share in shares]
    pauses = [pause * (number % 3 == 0) for number in range(len(amounts))]
    taken = admissions(bucket, amounts, pauses)
    assert most_in_a_window(taken, 60.05 - 1e-6) <= limit


@given(
    limit=st.integers(1, 300),
    before=st.lists(st.floats(0, 0.5), min_size=1, max_size=100),
    gap=st.floats(0, 5),
    after=st.lists(st.floats(0, 0.5), min_size=1, max_size=100),
)
def test_a_run_that_follows_another_with_an_empty_bucket_stays_in_the_limit_with_it(
    limit: int, before: list[float], gap: float, after: list[float]
) -> None:
    one = Limit(amount=limit, window_seconds=1)
    first = admissions(Bucket(one, now=0.0), [1] * len(before), before)
    start = first[-1][0] + gap
    second = admissions(Bucket(one, now=start, empty=True), [1] * len(after), after, start)
    assert most_in_a_window(first + second, 1.05 - 1e-6) <= limit


@given(limit=st.integers(1, 1000), taken=st.integers(0, 50), wait=st.floats(0, 2), amount=st.integers(1, 50))
def test_ready_at_is_the_first_instant_at_which_it_fits(limit: int, taken: int, wait: float, amount: int) -> None:
    bucket = Bucket(Limit(amount=limit, window_seconds=1), now=0.0)
    now = admissions(bucket, [1] * taken, [0.0] * taken)[-1][0] if taken else 0.0
    ready = bucket.ready_at(amount, now + wait)
    assert ready >= now + wait
    assert bucket.ready_at(amount, ready) == pytest.approx(ready)
    if ready > now + wait:
        early = now + wait + (ready - now - wait) * 0.99
        assert bucket.ready_at(amount, early) > early


@given(taken=st.integers(1, 50), used=st.integers(0, 50))
def test_a_try_that_used_less_or_more_than_was_taken_counts_as_what_it_used(taken: int, used: int) -> None:
    limit = Limit(amount=10_000, window_seconds=60)
    settled, exact = Bucket(limit, now=0.0), Bucket(limit, now=0.0)
    settled.take(taken, 0.0)
    settled.settle(taken, used)
    exact.take(used, 0.0)
    assert settled.ready_at(51, 0.0) == pytest.approx(exact.ready_at(51, 0.0))


def test_a_large_reservation_that_was_hardly_used_leaves_no_debt() -> None:
    bucket = Bucket(Limit(amount=1000, window_seconds=60), now=0.0)
    now = bucket.ready_at(900, 0.0)
    bucket.take(900, now)
    assert bucket.ready_at(5, now) > now + 30
    bucket.settle(900, 10)
    assert bucket.ready_at(5, now) == now


@pytest.mark.parametrize("limit", [1, 2, 50, 600, 2000])
@pytest.mark.parametrize("window", [1.0, 60.0])
def test_the_limit_is_used_to_99_per_cent_of_what_the_guard_leaves(limit: int, window: float) -> None:
    bucket = Bucket(Limit(amount=limit, window_seconds=window), now=0.0)
    count = 20 * limit + 50
    taken = admissions(bucket, [1] * count, [0.0] * count)
    steady = taken[len(taken) // 2 :]
    rate = (len(steady) - 1) / (steady[-1][0] - steady[0][0])
    assert rate >= 0.99 * limit / (window + 0.05)


def test_it_starts_with_a_small_burst_and_neither_idle_nor_with_a_whole_window() -> None:
    bucket = Bucket(Limit(amount=600, window_seconds=60), now=0.0)
    taken = admissions(bucket, [1] * 100, [0.0] * 100)
    assert taken[0][0] == 0.0
    assert sum(at == 0.0 for at, _ in taken) == math.floor(1 + 0.005 * 600)
    assert sum(at < 5 for at, _ in taken) == pytest.approx(53, abs=2)


def test_a_late_wake_up_within_the_burst_loses_no_rate() -> None:
    bucket = Bucket(Limit(amount=100, window_seconds=1), now=0.0)
    now, count = 0.0, 2000
    for _ in range(count):
        now = bucket.ready_at(1, now) + 0.004
        bucket.take(1, now)
    assert count / now >= 0.99 * 100 / 1.05


def test_an_amount_larger_than_the_limit_never_fits() -> None:
    bucket = Bucket(Limit(amount=100, window_seconds=1), now=0.0)
    assert bucket.fits(100)
    assert not bucket.fits(101)
