"""What a lane has sent and reserved, summed up."""

from collections import defaultdict
from dataclasses import dataclass, field


@dataclass(slots=True)
class Sums:
    """What a lane has admitted, from the first to the last instant, for the summary. `reserved` and `counted` tokens
    are of the same answers: their difference is the error of the estimates."""

    first_at: float | None = None
    last_at: float = 0.0
    requests: int = 0
    tokens: float = 0.0
    reserved: float = 0.0
    counted: float = 0.0
    bound: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def took(self, tokens: float, now: float) -> None:
        """One more was taken."""
        self.first_at = now if self.first_at is None else self.first_at
        self.last_at = now
        self.requests += 1
        self.tokens += tokens
