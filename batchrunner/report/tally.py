"""What this process has seen recorded so far, as one small fold: for the progress line and the summary."""

from collections import Counter
from dataclasses import dataclass, field

from batchrunner.records import Kind, Outcome, Try


@dataclass(slots=True)
class Tally:
    """Counts since this process began; what earlier ones did is in the store."""

    ok: int = 0
    failed: int = 0
    tries: int = 0
    tokens: int = 0
    costs: float = 0.0
    tries_without_cost: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def units(self) -> int:
        """Units that ended."""
        return self.ok + self.failed

    @property
    def limited(self) -> int:
        """Tries answered 429."""
        return sum(self.failures[kind] for kind in (Kind.RATE_LIMITED, Kind.CONCURRENCY, Kind.DAILY_LIMIT))

    def add(self, tried: Try | None, outcome: Outcome | None) -> None:
        """Fold one recorded entry in."""
        if tried is not None:
            self.tries += 1
            if tried.failure is not None:
                self.failures[tried.failure.kind] += 1
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
