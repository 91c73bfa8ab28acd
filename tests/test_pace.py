"""How many requests may be in flight: by rate and latency where limits are known, by what pays where they are not."""

import pytest

from batchrunner.limits.pace import MOST_WHEN_KNOWN, MOST_WHEN_UNKNOWN, START, Pace

ENDLESS = float("inf")


def answer(pace: Pace, seconds: float, rate: float, latency: float, now: float = 0.0) -> float:
    """Answers of a gateway that gives at most `rate` a second, for so long; the instant after."""
    end = now + seconds
    while now < end:
        in_flight = pace.cap(ENDLESS, 0.0)
        now += 1 / min(rate, in_flight / latency)
        pace.answered(max(latency, in_flight / rate), now, full=True, searching=True)
    return now


def answered_often(latency: float) -> Pace:
    """Room after many answers that all took so long."""
    pace = Pace()
    for _ in range(32):
        pace.answered(latency, 1.0, full=False, searching=False)
    return pace


@pytest.mark.parametrize(
    ("rate", "latency", "expected"),
    [(10.0, 10.0, 150), (100.0, 2.0, 300), (1.0, 0.1, START), (2000.0, 60.0, MOST_WHEN_KNOWN)],
)
def test_room_is_half_as_much_again_as_rate_times_latency(rate: float, latency: float, expected: int) -> None:
    pace = answered_often(latency)
    assert pace.cap(rate, 0.0) == expected


def test_after_the_first_answers_there_is_twice_that_room_as_the_quick_ones_come_first() -> None:
    pace = Pace()
    pace.answered(1.0, 1.0, full=False, searching=False)
    assert pace.cap(100.0, 0.0) == 300


def test_requests_that_hang_make_room_for_others() -> None:
    pace = answered_often(1.0)
    assert pace.cap(10.0, 20.0) == 300


def test_what_the_user_said_holds_whatever_the_rate() -> None:
    assert Pace(given=5).cap(1000.0, 60.0) == 5
    assert Pace(given=500).cap(ENDLESS, 0.0) == 500


def test_a_found_limit_opens_no_more_than_an_unknown_one_may() -> None:
    pace = Pace()
    assert pace.cap(50.0, 0.0, found=True) == START
    pace.answered(60.0, 60.0, full=False, searching=False)
    assert pace.cap(50.0, 0.0, found=True) == MOST_WHEN_UNKNOWN


def test_slow_start_goes_on_for_as_long_as_the_gateway_answers_faster() -> None:
    pace = Pace()
    assert pace.cap(ENDLESS, 0.0) == START
    answer(pace, 20.0, rate=1000.0, latency=1.0)
    assert pace.cap(ENDLESS, 0.0) >= 200


def test_slow_start_ends_where_a_round_brings_no_more_answers() -> None:
    pace = Pace()
    now = answer(pace, 60.0, rate=30.0, latency=1.0)
    for _ in range(30):
        now = answer(pace, 10.0, rate=30.0, latency=1.0, now=now)
        assert 30 <= pace.cap(ENDLESS, 0.0) <= 120


def test_a_step_up_that_brings_nothing_is_undone() -> None:
    pace, widths = Pace(), []
    now = answer(pace, 200.0, rate=30.0, latency=1.0)
    for _ in range(1500):
        now = answer(pace, 1.0, rate=30.0, latency=1.0, now=now)
        widths.append(pace.cap(ENDLESS, 0.0))
    assert len(set(widths)) > 1
    assert max(widths[-500:]) == max(widths[:500])


def test_without_being_used_room_does_not_grow() -> None:
    pace = Pace()
    for number in range(1000):
        pace.answered(0.1, number / 10, full=False, searching=True)
    assert pace.cap(ENDLESS, 0.0) == START


def test_a_refusal_for_concurrency_leaves_what_was_in_flight_beside_it() -> None:
    pace = Pace()
    pace.answered(10.0, 1.0, full=False, searching=False)
    pace.refused_for_concurrency(32)
    assert pace.cap(100.0, 0.0) == 32


def test_after_many_answers_one_more_in_flight_is_tried() -> None:
    pace = Pace()
    pace.answered(10.0, 1.0, full=False, searching=False)
    pace.refused_for_concurrency(8)
    for number in range(80):
        pace.answered(10.0, 2.0 + number, full=True, searching=False)
    assert pace.cap(100.0, 0.0) == 8
    for number in range(20):
        pace.answered(10.0, 100.0 + number, full=True, searching=False)
    assert pace.cap(100.0, 0.0) == 9


def test_one_request_may_always_be_in_flight() -> None:
    pace = Pace()
    pace.refused_for_concurrency(0)
    assert pace.cap(ENDLESS, 0.0) == 1
    assert pace.cap(10.0, 0.0) == 1


def test_room_comes_as_those_in_flight_grow_old() -> None:
    pace = answered_often(1.0)
    assert pace.room_in(30, 10.0, 0.5) == pytest.approx(31 / 15 - 0.5)
    assert pace.room_in(MOST_WHEN_KNOWN, 10.0, 0.5) == ENDLESS


def test_quick_answers_double_the_room_no_sooner_than_every_quarter_of_a_second() -> None:
    pace = Pace()
    for millisecond in range(240):
        pace.answered(0.01, millisecond / 1000, full=True, searching=True)
    assert pace.cap(ENDLESS, 0.0) == 2 * START
    for millisecond in range(240, 400):
        pace.answered(0.01, millisecond / 1000, full=True, searching=True)
    assert pace.cap(ENDLESS, 0.0) == 4 * START
