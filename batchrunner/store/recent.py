"""What ended lately: found from the end of the tries, however many there were before."""

from collections.abc import Callable
from typing import Any, NamedTuple

_RECENT = (
    "SELECT count(*), count(*) - count(kind), total(total_tokens) FROM tries "
    "WHERE rowid >= ? AND sent_at + latency_s >= ?"
)
_RECENTLY_FAILED = (  # CROSS JOIN keeps SQLite from going through all units first
    "SELECT count(DISTINCT tries.number) FROM tries CROSS JOIN units ON units.number = tries.number "
    "WHERE tries.rowid >= ? AND sent_at + latency_s >= ? AND tries.kind NOT NULL AND ok = 0"
)


class Recent(NamedTuple):
    """What ended since some instant."""

    tries: int
    units: int
    tokens: int


def recent_in(rows: Callable[..., list[Any]], last: int, since: float) -> Recent:
    """What ended since then (Unix time); `rows` executes SQL with its values, `last`: how many tries there are."""
    first = _first_ended(rows, last, since)
    ((tries, answered, tokens),) = rows(_RECENT, first, since)
    ((failed,),) = rows(_RECENTLY_FAILED, first, since)
    return Recent(tries=tries, units=answered + failed, tokens=int(tokens))


def _first_ended(rows: Callable[..., list[Any]], last: int, since: float) -> int:
    """The number of the first try that ended then or later: they are recorded in this order, nearly."""
    low, high = 1, last + 1
    while low < high:
        middle = (low + high) // 2
        ((ended_at,),) = rows("SELECT max(sent_at + latency_s) FROM tries WHERE rowid = ?", middle)
        if ended_at is None or ended_at < since:
            low = middle + 1
        else:
            high = middle
    return low
