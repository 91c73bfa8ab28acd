"""Daily quota: when it comes back."""

from datetime import UTC, datetime, timedelta


def next_reset(now: float) -> float:
    """The next 00:00 UTC after `now`; both Unix time."""
    day = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (day + timedelta(days=1)).timestamp()
