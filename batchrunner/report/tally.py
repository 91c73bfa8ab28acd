"""What this process has seen recorded so far, as one small fold: for the progress line and the summary."""

from collections import Counter, deque
from dataclasses import dataclass, field

import msgspec

from batchrunner.records import Kind, Outcome, Try

_REMEMBERED = 256


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """A try that failed, or a unit that failed before it was asked: its number, and what went wrong."""

    number: int
    kind: str
    status: int | None
    message: str


@dataclass(slots=True)
class Tally:
    """Counts since this process began; what earlier ones did is in the store. `failures`, by kind, are failed tries and
    units that could not be asked; the last of them are in `latest`. `costs`: of all tries but `tries_without_cost`."""

    ok: int = 0
    failed: int = 0
    tries: int = 0
    tokens: int = 0
    costs: float = 0.0
    tries_without_cost: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    latest: deque[Trouble] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    @property
    def units(self) -> int:
        """Units that ended."""
        return self.ok + self.failed

    @property
    def limited(self) -> int:
        """Tries answered 429."""
        return sum(self.failures[kind] for kind in (Kind.RATE_LIMITED, Kind.CONCURRENCY, Kind.DAILY_LIMIT))

    def add(self, tried: Try | None, outcome: Outcome | None, unit: int | None) -> None:
        """Fold one recorded entry in; `unit`: the number of the one that ended."""
        if tried is not None:
            self.tries += 1
            if tried.failure is not None:
                what = tried.failure
                self._note(tried.number, what.kind, what.status, what.message)
            if tried.cost is None:
                self.tries_without_cost += 1
            else:
                self.costs += tried.cost
            if tried.usage is not None:
                self.tokens += tried.usage.total_tokens or 0
        if outcome is None:
            return
        if outcome.error is None:
            self.ok += 1
        else:
            self.failed += 1
            if tried is None:
                self._note(
                    outcome.row if unit is None else unit,
                    outcome.error.kind,
                    outcome.error.status,
                    outcome.error.message,
                )

    def _note(self, number: int, kind: str, status: int | None, message: str) -> None:
        self.failures[kind] += 1
        self.latest.append(Trouble(number=number, kind=kind, status=status, message=message))
