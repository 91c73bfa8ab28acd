"""How the page of a run says figures, instants and words that are not ours."""

from datetime import UTC, date, datetime, timedelta

from batchrunner.report.axes import short_amount, short_length
from batchrunner.report.safe import safe_text
from batchrunner.report.summary import amount_of


def duration(seconds: float) -> str:
    """7 h 12 min, 3 min 20 s, 4.2 s."""
    if seconds < 60:  # noqa: PLR2004 - seconds in a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"


def instant(at: float) -> str:
    """27 Nov 2026 02:13 UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%-d %b %Y %H:%M} UTC"


def day_of(day: int) -> str:
    """The date of a day counted from 1970."""
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()


def share(of: float) -> str:
    """94 %."""
    return f"{100 * of:.0f} %"


def unbroken(words: str) -> str:
    """The same, with every per cent on the line of its figure."""
    return words.replace(" %", "\N{NO-BREAK SPACE}%")


FILTERS = {
    "number": lambda number: f"{number:,}",
    "short": short_amount,
    "lasting": lambda seconds: "-" if seconds is None else short_length(seconds),
    "duration": duration,
    "instant": instant,
    "day": day_of,
    "share": share,
    "shown": safe_text,
    "unbroken": unbroken,
    "money": lambda cost: "unknown" if cost is None else amount_of(cost),
}
