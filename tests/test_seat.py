"""A seat whose book is far away, or out of reach for a while: nothing is told twice, nothing is forgotten."""

import pytest

from batchrunner.limits.day import Spent
from batchrunner.limits.decide import MEMBER_SECONDS, decide
from batchrunner.limits.estimate import Estimate
from batchrunner.limits.lane import OF_THE_BOOK, Lane, Limits
from batchrunner.limits.page import Page
from batchrunner.limits.quota import GatewayClock, Reset
from batchrunner.limits.seat import Seat
from batchrunner.limits.window import Limit

NOW = 1000.0
UNIX = 1_800_000_000.0


def seated() -> Seat:
    """With 60 requests a second and a thousand a day; the gateway has told the time."""
    limit = Limit(dimension="requests", amount=60.0, window_seconds=1.0)
    lane = Lane(Limits(windows=(limit,), requests_per_day=1000.0), now=NOW)
    clock = GatewayClock()
    clock.hear(UNIX, NOW)
    return Seat(lane, reset=Reset(0, 0, "UTC"), clock=clock)


def look(seat: Seat, now: float) -> None:
    """A look into a book in which nobody else stands."""
    seat.apply(decide(seat.notes(now, UNIX), Page(), now), now, UNIX)


def send(seat: Seat, now: float, count: int) -> None:
    for _ in range(count):
        seat.lane.take(Estimate(10.0), now)


def test_what_a_book_out_of_reach_did_not_hear_is_told_the_next_time() -> None:
    seat = seated()
    look(seat, NOW)
    send(seat, NOW, 2)
    seat.gone(UNIX + 60)
    first = seat.notes(NOW + 0.2, UNIX)
    seat.take_back(first)
    send(seat, NOW + 0.3, 1)
    again = seat.notes(NOW + 0.4, UNIX)
    (day,) = first.spent
    assert (first.spent, again.spent) == ({day: Spent(2.0, 20.0)}, {day: Spent(3.0, 30.0)})
    assert (first.gone_until, again.gone_until) == (UNIX + 60, UNIX + 60)
    assert seat.notes(NOW + 0.6, UNIX).spent == {}


def test_the_gateways_clock_that_was_heard_first_is_news_until_the_book_has_it() -> None:
    seat = seated()
    seat._heard_before = False  # noqa: SLF001 - as before the first reply
    first = seat.notes(NOW, UNIX)
    seat.take_back(first)
    assert [first.first_heard, seat.notes(NOW + 0.2, UNIX).first_heard] == [True, True]
    assert not seat.notes(NOW + 0.4, UNIX).first_heard


def test_a_lane_sends_nothing_after_its_lease_however_often_the_book_is_out_of_reach() -> None:
    seat = seated()
    look(seat, NOW)
    for beat in range(1, 20):
        seat.take_back(seat.notes(NOW + 0.2 * beat, UNIX))
    assert seat.lane.ready_at(Estimate(10.0), NOW + MEMBER_SECONDS + 0.01) == float("inf")
    assert seat.lane.bound_by == OF_THE_BOOK


@pytest.mark.parametrize(("took", "lasts"), [(0.002, MEMBER_SECONDS), (0.3, 1.5), (30.0, 4.0)])
def test_a_book_that_takes_long_to_answer_gives_longer_leases(took: float, lasts: float) -> None:
    seat = seated()
    seat.book_took(took)
    member = seat.notes(NOW, UNIX).member
    assert member.until - member.at == pytest.approx(lasts)


def test_what_is_promised_until_a_far_book_answers_never_passes_the_part_that_is_held() -> None:
    seat = seated()
    look(seat, NOW)
    seat.book_took(10.0)
    send(seat, NOW, 1)
    (part,) = [part for part in seat.notes(NOW + 0.2, UNIX).member.parts if part.amount == 60.0]
    assert part.held <= 60.0
