"""Pauses, probes and room in flight: tables of instants, no waiting."""

import pytest

from batchrunner.limits.bucket import Limit
from batchrunner.limits.lane import Lane, Limits
from batchrunner.limits.pause import LONGEST_SECONDS, Pause

FREE = Limits(concurrency=100)


def test_a_refusal_pauses_for_the_hint_and_never_less() -> None:
    lane = Lane(FREE, now=0.0)
    lease = lane.take(1, 0.0)
    lane.leave(lease)
    lane.limited(lease, 0.5, hint=3.0, jitter=0.7)
    assert 3.5 <= lane.ready_at(1, 0.6) <= 3.5 + 0.3
    lane.limited(lease, 0.5, hint=3.0, jitter=0.0)
    assert lane.ready_at(1, 0.6) >= 3.5


def test_refusals_of_one_episode_double_nothing() -> None:
    lane = Lane(FREE, now=0.0)
    leases = [lane.take(1, 0.0) for _ in range(50)]
    for lease in leases:
        lane.leave(lease)
        lane.limited(lease, 0.2, hint=None, jitter=0.0)
    assert lane.ready_at(1, 0.3) == pytest.approx(1.2)
    assert lane.pause.step == 1


def test_pauses_without_a_hint_double_up_to_more_than_a_window_and_an_answer_ends_them() -> None:
    pause, now, waits = Pause(), 0.0, []
    for _ in range(9):
        pause.limited(now, now, hint=None, jitter=0.0)
        waits.append(pause.until - now)
        now = pause.until
    assert waits == [1, 2, 4, 8, 16, 32, 64, LONGEST_SECONDS, LONGEST_SECONDS]
    pause.lift(now)
    pause.limited(now, now, hint=None, jitter=0.0)
    assert pause.until - now == 1


def test_after_two_refused_episodes_one_probe_at_a_time_is_sent() -> None:
    lane = Lane(FREE, now=0.0)
    for _ in range(2):
        now = lane.ready_at(1, lane.pause.until if lane.pause.step else 0.0)
        lease = lane.take(1, now)
        lane.leave(lease)
        lane.limited(lease, now, hint=None, jitter=0.0)
    now = lane.pause.until
    probe = lane.take(1, lane.ready_at(1, now))
    assert lane.ready_at(1, now) == float("inf")
    lane.leave(probe)
    lane.answered(probe, 0.1)
    assert lane.ready_at(1, now) == now


def test_refusals_through_silences_longer_than_a_window_mean_that_the_quota_is_gone() -> None:
    lane, now, probes = Lane(FREE, now=0.0), 0.0, 0
    while not lane.seems_out_of_quota:
        now = lane.ready_at(1, now)
        lease = lane.take(1, now)
        lane.leave(lease)
        lane.limited(lease, now, hint=None, jitter=0.0)
        probes += 1
    assert probes == 10
    assert 250 < now < 400


def test_an_outage_never_looks_like_a_quota() -> None:
    lane, now = Lane(FREE, now=0.0), 0.0
    for _ in range(20):
        now = lane.ready_at(1, now)
        lease = lane.take(1, now)
        lane.leave(lease)
        lane.unavailable(lease, now, hint=None, jitter=0.0)
    assert not lane.seems_out_of_quota


def test_pauses_of_an_outage_reach_a_minute_and_heed_hints() -> None:
    lane, now, waits = Lane(FREE, now=0.0), 0.0, []
    for hint in (None, 20.0, *[None] * 6):
        lease = lane.take(1, lane.ready_at(1, now))
        lane.leave(lease)
        lane.unavailable(lease, now, hint=hint, jitter=0.0)
        waits.append(lane.pause.until - now)
        now = lane.pause.until
    assert waits == [1, 20, 4, 8, 16, 32, 60, 60]


def test_a_probe_does_not_wait_for_tries_that_were_out_before_the_pause() -> None:
    lane = Lane(FREE, now=0.0)
    lane.take(1, 0.0)  # a long answer
    lease = lane.take(1, 0.0)
    lane.leave(lease)
    lane.unavailable(lease, 1.0, hint=None, jitter=0.0)
    now = lane.pause.until
    assert lane.ready_at(1, now) == now
    lane.take(1, now)
    assert lane.ready_at(1, now) == float("inf")


def test_tries_that_hang_make_room_for_others() -> None:
    lane = Lane(Limits(requests=(Limit(amount=20, window_seconds=1),)), now=0.0)
    quick = lane.take(1, 0.0)
    lane.leave(quick)
    lane.answered(quick, 0.02)
    now = 0.0
    for _ in range(60):
        now = lane.ready_at(1, now)
        lane.take(1, lane.ready_at(1, now))
    assert now < 10


def test_what_an_early_end_leaves_in_debt_is_known() -> None:
    lane = Lane(Limits(tokens=(Limit(amount=1000, window_seconds=60),)), now=0.0)
    assert lane.in_debt_until(0.0) == 0.0
    now = lane.ready_at(900, 0.0)
    lane.take(900, now)
    assert 40 < lane.in_debt_until(now) - now < 70


def test_without_declared_limits_room_grows_with_answers_and_is_halved_once_an_episode() -> None:
    lane = Lane(Limits(), now=0.0)
    assert lane.cap(0.0) == 8
    for _ in range(24):
        lease = lane.take(1, 0.0)
        lane.leave(lease)
        lane.answered(lease, 0.1)
    assert lane.cap(0.0) == 32
    late = [lane.take(1, 1.0) for _ in range(10)]
    for lease in late:
        lane.leave(lease)
        lane.limited(lease, 1.1, hint=None, jitter=0.0)
    assert lane.cap(0.0) == 16
