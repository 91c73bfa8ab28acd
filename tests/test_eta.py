"""The time to finish: by the rate, and over the resets of daily limits."""

from math import inf

import pytest

from batchrunner.report.eta import DAY_SECONDS, Daily, seconds_left
from batchrunner.report.live import clock

HOUR = 3600.0


@pytest.mark.parametrize(
    ("pending", "per_second", "daily", "seconds"),
    [
        (0, 0.0, Daily(), 0.0),
        (10, 0.0, Daily(), None),
        (100, 10.0, Daily(), 10.0),
        (100, 10.0, Daily(today=100, each_day=1000, reset_in=HOUR), 10.0),
        (101, 10.0, Daily(today=100, each_day=1000, reset_in=HOUR), HOUR + 0.1),
        (100, 10.0, Daily(today=0, each_day=100, reset_in=HOUR), HOUR + 10),
        (2150, 10.0, Daily(today=100, each_day=1000, reset_in=HOUR), HOUR + 2 * DAY_SECONDS + 5),
        (2100, 10.0, Daily(today=100, each_day=1000, reset_in=HOUR), HOUR + DAY_SECONDS + 100),
        (40_000, 1.0, Daily(today=50_000, each_day=50_000, reset_in=HOUR), 40_000.0),
        (100_000, 1.0, Daily(today=inf, each_day=50_000, reset_in=0.0), DAY_SECONDS + 50_000),
        (10, 1.0, Daily(today=0, each_day=0.5, reset_in=HOUR), None),
    ],
)
def test_what_no_day_holds_waits_for_its_reset(
    pending: int, per_second: float, daily: Daily, seconds: float | None
) -> None:
    assert seconds_left(pending, per_second, daily) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"),
        (0, "0:00"),
        (59.6, "1:00"),
        (3599, "59:59"),
        (3661, "1:01:01"),
        (2 * DAY_SECONDS + 5, "2 d 0:00:05"),
    ],
)
def test_a_time_is_told_as_a_clock_tells_it(seconds: float | None, words: str) -> None:
    assert clock(seconds) == words
