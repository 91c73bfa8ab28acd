"""How long a run will take yet: at its present rate, and with the pauses that daily limits make. Pure."""

from math import inf

import msgspec

DAY_SECONDS = 86_400.0


class Daily(msgspec.Struct, frozen=True, kw_only=True):
    """Units that fit into what is left of today's quota, into a whole day's, and seconds until the reset."""

    today: float = inf
    each_day: float = inf
    reset_in: float = 0.0


def seconds_left(pending: int, per_second: float, daily: Daily) -> float | None:
    """Seconds until so many units have ended; None where nobody can tell."""
    if pending <= 0:
        return 0.0
    if per_second <= 0:
        return None
    if pending <= min(daily.today, per_second * max(daily.reset_in, 0.0)) or daily.each_day == inf:
        return pending / per_second
    rest = pending - min(daily.today, per_second * daily.reset_in)
    a_day = min(daily.each_day, per_second * DAY_SECONDS)
    if a_day < 1:
        return None
    whole, last = divmod(rest, a_day)
    if last == 0:
        whole, last = whole - 1, a_day
    return daily.reset_in + whole * DAY_SECONDS + last / per_second
