"""Pauses, probes and room in flight: tables of instants, no waiting."""

import pytest

from batchrunner.limits.bucket import Limit
from batchrunner.limits.lane import Lane, Limits
from batchrunner.limits.pause import LONGEST_SECONDS, Pause

FREE = Limits(concurrency=100)


def test_a_refusal_pauses_for_the_hint_and_never_less() -> None:
    lane = Lane(FREE, now=0.0)
    lease = lane.take(1, 0.0)
    lane.leave(lease, 0)
    lane.limited(lease, 0.5, hint=3.0, jitter=0.7)
    assert 3.5 <= lane.ready_at(1, 0.6) <= 3.5 + 0.3
    lane.limited(lease, 0.5, hint=3.0, jitter=0.0)
    assert lane.ready_at(1, 0.6) >= 3.5


def test_refusals_of_one_episode_double_nothing() -> None:
    lane = Lane(FREE, now=0.0)
    leases = [lane.take(1, 0.0) for _ in range(50)]
    for lease in leases:
        lane.leave(lease, 0)
        lane.limited(lease, 0.2, hint=None, jitter=0.0)
    assert lane.ready_at(1, 0.3) == pytest.approx(1.2)
    assert lane.pause.step == 1


def test_pauses_without_a_hint_double_up_to_more_than_a_window_and_an_answer_ends_them() -> None:
    pause, now, waits = Pause(), 0.0, []
    for _ in range(9):
        pause.extend(now, now, hint=None, jitter=0.0)
        waits.append(pause.until - now)
        now = pause.until
    assert waits == [1, 2, 4, 8, 16, 32, 64, LONGEST_SECONDS, LONGEST_SECONDS]
    pause.lift(now)
    pause.extend(now, now, hint=None, jitter=0.0)
    assert pause.until - now == 1


def test_after_two_refused_episodes_one_probe_at_a_time_is_sent() -> None:
    lane = Lane(FREE, now=0.0)
    for _ in range(2):
        now = lane.ready_at(1, lane.pause.until if lane.pause.step else 0.0)
        lease = lane.take(1, now)
        lane.leave(lease, 0)
        lane.limited(lease, now, hint=None, jitter=0.0)
    now = lane.pause.until
    probe = lane.take(1, lane.ready_at(1, now))
    assert lane.ready_at(1, now) == float("inf")
    lane.leave(probe, 1)
    lane.answered(probe, 0.1)
    assert lane.ready_at(1, now) == now


def test_refusals_through_silences_longer_than_a_window_mean_that_the_quota_is_gone() -> None:
    lane, now, probes = Lane(FREE, now=0.0), 0.0, 0
    while not lane.seems_out_of_quota:
        now = lane.ready_at(1, now)
        lease = lane.take(1, now)
        lane.leave(lease, 0)
        lane.limited(lease, now, hint=None, jitter=0.0)
        probes += 1
    assert probes == 10
    assert 250 < now < 400


def test_an_outage_never_looks_like_a_quota() -> None:
    lane, now = Lane(FREE, now=0.0), 0.0
    for _ in range(20):
        now = lane.ready_at(1, now)
        lease = lane.take(1, now)
        lane.leave(lease, None)
        lane.unavailable(lease, now, jitter=0.0)
    assert not lane.seems_out_of_quota


def test_an_upfront_gateway_keeps_what_it_charged_and_gives_back_what_it_refused() -> None:
    tokens = (Limit(amount=1000, window_seconds=60),)
    answered, refused = (Lane(Limits(tokens=tokens, upfront=True), now=0.0) for _ in range(2))
    for lane, used in ((answered, 10), (refused, 0)):
        lease = lane.take(900, lane.ready_at(900, 0.0))
        lane.leave(lease, used)
    assert answered.ready_at(20, 0.0) > 30
    assert refused.ready_at(5, 0.0) == 0.0


def test_without_declared_limits_room_grows_with_answers_and_is_halved_once_an_episode() -> None:
    lane = Lane(Limits(), now=0.0)
    assert lane.cap == 8
    for _ in range(24):
        lease = lane.take(1, 0.0)
        lane.leave(lease, 1)
        lane.answered(lease, 0.1)
    assert lane.cap == 32
    late = [lane.take(1, 1.0) for _ in range(10)]
    for lease in late:
        lane.leave(lease, 0)
        lane.limited(lease, 1.1, hint=None, jitter=0.0)
    assert lane.cap == 16
