"""Daily quota: one reset for each date whatever the clocks do, and the time of day as the gateway tells it."""

import math
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchrunner.limits.quota import FORGET_AFTER_SECONDS, GatewayClock, Reset

HOUR = 3600.0
MIDNIGHT_UTC = Reset(0, 0, "UTC")
LOS_ANGELES = "America/Los_Angeles"  # 02:00 -> 03:00 on 2026-03-08, 02:00 -> 01:00 on 2026-11-01
LORD_HOWE = "Australia/Lord_Howe"  # 02:00 -> 01:30 on 2026-04-05, 02:00 -> 02:30 on 2026-10-04
KATHMANDU = "Asia/Kathmandu"  # +05:45
ZONES = ("UTC", LOS_ANGELES, LORD_HOWE, KATHMANDU, "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati")


def unix(text: str) -> float:
    """The Unix time of "2026-11-24 08:00", said in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


resets = st.builds(Reset, st.integers(0, 23), st.integers(0, 59), st.sampled_from(ZONES))
instants = st.floats(unix("1990-01-01"), unix("2037-01-01")) | st.integers(-200, 200).map(
    lambda half_hours: unix("2026-03-08 10:00") + half_hours * HOUR / 2
)
days = st.dates(date(1990, 1, 1), date(2037, 1, 1)).map(date.isoformat) | st.sampled_from(
    ["2026-03-08", "2026-11-01", "2026-04-05", "2026-10-04"]
)


@pytest.mark.parametrize(
    ("reset", "day", "begins", "hours"),
    [
        (MIDNIGHT_UTC, "2026-11-24", "2026-11-24 00:00", 24),
        (MIDNIGHT_UTC, "2028-02-29", "2028-02-29 00:00", 24),
        (Reset(0, 0, KATHMANDU), "2026-11-24", "2026-11-23 18:15", 24),
        (Reset(0, 0, "Pacific/Kiritimati"), "2026-11-24", "2026-11-23 10:00", 24),
        (Reset(8, 30, "Europe/Berlin"), "2026-11-24", "2026-11-24 07:30", 24),
        (Reset(0, 0, LOS_ANGELES), "2026-03-07", "2026-03-07 08:00", 24),
        (Reset(0, 0, LOS_ANGELES), "2026-03-08", "2026-03-08 08:00", 23),
        (Reset(0, 0, LOS_ANGELES), "2026-03-09", "2026-03-09 07:00", 24),
        (Reset(0, 0, LOS_ANGELES), "2026-11-01", "2026-11-01 07:00", 25),
        (Reset(0, 0, LOS_ANGELES), "2026-11-02", "2026-11-02 08:00", 24),
        (Reset(2, 30, LOS_ANGELES), "2026-03-07", "2026-03-07 10:30", 24),
        (Reset(2, 30, LOS_ANGELES), "2026-03-08", "2026-03-08 10:30", 23),  # in the gap: the clocks show 03:30
        (Reset(2, 30, LOS_ANGELES), "2026-03-09", "2026-03-09 09:30", 24),
        (Reset(1, 30, LOS_ANGELES), "2026-10-31", "2026-10-31 08:30", 24),
        (Reset(1, 30, LOS_ANGELES), "2026-11-01", "2026-11-01 08:30", 25),  # doubled: the first of the two
        (Reset(1, 30, LOS_ANGELES), "2026-11-02", "2026-11-02 09:30", 24),
        (Reset(0, 0, LORD_HOWE), "2026-04-05", "2026-04-04 13:00", 24.5),
        (Reset(1, 45, LORD_HOWE), "2026-04-05", "2026-04-04 14:45", 24.5),
        (Reset(0, 0, LORD_HOWE), "2026-10-04", "2026-10-03 13:30", 23.5),
        (Reset(2, 15, LORD_HOWE), "2026-10-04", "2026-10-03 15:45", 23.5),
    ],
)
def test_a_day_begins_at_its_reset_and_ends_at_the_next(reset: Reset, day: str, begins: str, hours: float) -> None:
    begin = unix(begins)
    assert reset.begins(day) == begin
    assert reset.next(begin) - begin == hours * HOUR
    assert reset.day(begin) == reset.day(begin + hours * HOUR - 0.001) == day
    assert reset.day(begin - 0.001) < day < reset.day(begin + hours * HOUR)


def test_the_second_showing_of_a_doubled_hour_belongs_to_the_day_that_began_in_the_first() -> None:
    reset = Reset(0, 0, "America/St_Johns")  # on 2000-10-29 the clocks went from 00:01 back to 23:01 of the day before
    begin = unix("2000-10-29 02:30")
    assert reset.begins("2000-10-29") == begin
    assert [reset.day(begin + minutes * 60) for minutes in (-1, 0, 1, 59, 60, 61)] == ["2000-10-28"] + 5 * [
        "2000-10-29"
    ]


def test_a_date_that_a_zone_left_out_is_no_day() -> None:
    reset = Reset(8, 0, "Pacific/Apia")  # which went from 2011-12-29 to 2011-12-31
    last = reset.begins("2011-12-29")
    assert reset.next(last) - last == 24 * HOUR
    assert reset.day(reset.next(last) - 0.001) == "2011-12-29"
    assert reset.day(reset.next(last)) == "2011-12-31"
    assert reset.day(reset.next(reset.next(last))) == "2012-01-01"


@given(resets, instants)
def test_every_instant_lies_in_the_one_day_between_two_resets(reset: Reset, instant: float) -> None:
    day, end = reset.day(instant), reset.next(instant)
    begin = reset.begins(day)
    assert begin <= instant < end
    assert 22 * HOUR < end - begin < 26 * HOUR
    assert reset.next(begin) == end
    assert reset.next(math.nextafter(end, 0)) == end
    assert date.fromisoformat(reset.day(end)) - date.fromisoformat(day) == timedelta(days=1)


@given(resets, days)
@example(Reset(2, 30, LOS_ANGELES), "2026-03-08")
@example(Reset(1, 30, LOS_ANGELES), "2026-11-01")
@example(Reset(1, 45, LORD_HOWE), "2026-04-05")
def test_a_day_begins_when_the_clocks_first_show_the_time_or_would_have(reset: Reset, day: str) -> None:
    begin = reset.begins(day)
    wanted = f"{day} {reset.hour:02}:{reset.minute:02}"

    def shown(instant: float) -> str:
        return f"{datetime.fromtimestamp(instant, ZoneInfo(reset.zone)):%Y-%m-%d %H:%M}"

    assert reset.day(begin) == day
    around = {minutes: shown(begin + minutes * 60) for minutes in range(-120, 121, 15)}
    assert min((minutes for minutes, text in around.items() if text == wanted), default=None) in (0, None)
    if wanted not in around.values():  # skipped: before it an earlier time was shown, now a later one
        assert shown(begin - 2 * HOUR) < wanted < shown(begin)


@given(resets, instants)
def test_resets_go_on_day_after_day(reset: Reset, instant: float) -> None:
    seen = []
    for _ in range(8):
        instant = reset.next(instant)
        seen.append(instant)
    assert seen == sorted(set(seen))
    first = date.fromisoformat(reset.day(seen[0]))
    assert [reset.day(end) for end in seen] == [(first + timedelta(days=n)).isoformat() for n in range(8)]


def test_the_next_reset_at_midnight_utc_is_never_now() -> None:
    assert MIDNIGHT_UTC.next(unix("2026-11-24 23:59:59")) == unix("2026-11-25")
    assert MIDNIGHT_UTC.next(unix("2026-11-25")) == unix("2026-11-26")


def test_before_the_gateway_was_heard_the_local_clock_holds() -> None:
    clock = GatewayClock()
    assert not clock.heard
    assert clock.now(mono=5.0, wall=1000.0) == 1000.0


def test_a_local_clock_that_jumps_moves_nothing_once_the_gateway_was_heard() -> None:
    clock = GatewayClock()
    clock.hear(5000.0, mono=10.0)
    assert clock.heard
    assert [clock.now(mono=70.0, wall=wall) for wall in (0.0, 5060.0, 9e9)] == [5060.0] * 3


@pytest.mark.parametrize(
    ("heard", "now"),
    [
        ([(1000, 0)], 1001.0),
        ([(1000, 0), (1000, 0.9)], 1001.0),  # the same second, a little later
        ([(1000, 0), (970, 1)], 1001.0),  # overtaken by half a minute
        ([(1000, 0), (1005, 1)], 1005.0),  # a fresher one
        ([(1000, 0), (1001, 0.5), (999, 1)], 1001.5),
    ],
)
def test_a_reply_that_was_overtaken_moves_nothing(heard: list[tuple[float, float]], now: float) -> None:
    clock = GatewayClock()
    for date_header, mono in heard:
        clock.hear(date_header, mono)
    assert clock.now(mono=1.0, wall=0.0) == now


def test_a_mistaken_header_is_forgotten_when_ten_minutes_do_not_bear_it_out() -> None:
    clock, ahead = GatewayClock(), 3 * HOUR
    clock.hear(1000 + ahead, mono=0.0)
    wrong = []
    for mono in range(1, 3 * int(FORGET_AFTER_SECONDS)):
        clock.hear(1000 + mono, mono)
        if clock.now(mono, wall=0.0) != 1000 + mono:
            wrong.append(mono)
    assert len(wrong) in range(int(FORGET_AFTER_SECONDS), 2 * int(FORGET_AFTER_SECONDS) + 1)
    assert wrong == list(range(1, len(wrong) + 1))


def test_one_late_reply_after_a_long_silence_moves_nothing_back() -> None:
    clock = GatewayClock()
    clock.hear(1000.0, mono=0.0)
    clock.hear(1000.0 + 7 * HOUR - 60, mono=7 * HOUR)
    assert clock.now(mono=7 * HOUR, wall=0.0) == 1000.0 + 7 * HOUR


@pytest.mark.parametrize("absurd", [math.nan, math.inf, -math.inf, -1.0, 253_402_300_799.0])
def test_a_date_that_no_calendar_can_go_on_from_is_not_heard(absurd: float) -> None:
    clock = GatewayClock()
    clock.hear(absurd, mono=1.0)
    assert clock.now(mono=1.0, wall=7.0) == 7.0


def test_every_date_that_is_heard_has_a_day() -> None:
    clock = GatewayClock()
    for instant in (0.0, 220_000_000_000.0):
        clock.hear(instant, mono=0.0)
        assert Reset(23, 59, LOS_ANGELES).next(clock.now(0.0, wall=0.0)) > instant


replies = st.lists(st.tuples(st.floats(0, 300), st.floats(0, 1200)), min_size=1, max_size=40)


@given(replies, st.floats(0, 1e9))
def test_the_clock_is_never_ahead_of_the_gateway_and_behind_by_the_freshest_reply_at_most(
    replies: list[tuple[float, float]], start: float
) -> None:
    clock, mono = GatewayClock(), 0.0
    came: list[tuple[float, float]] = []
    for gap, delay in replies:
        mono += gap
        came.append((mono, delay))
        clock.hear(float(math.floor(start + 2000 + mono - delay)), mono)
        behind = start + 2000 + mono - clock.now(mono, wall=0.0)
        freshest = min(delay for at, delay in came if mono - at < FORGET_AFTER_SECONDS)
        assert -1e-3 <= behind <= 1 + freshest + 1e-3
