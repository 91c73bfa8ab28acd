"""How many requests may be in flight when the user did not say.

With known limits: 1.5 times rate times latency, so that a slow minute of the gateway does not open thousands
of connections. Without: slow start from eight, one cut per episode of 429s, then one more per round.
"""

from dataclasses import dataclass

START = 8
MOST_WHEN_KNOWN = 8192
MOST_WHEN_UNKNOWN = 256
_HEADROOM = 1.5
_LATENCY_WEIGHT = 0.05


@dataclass(slots=True)
class KnownPace:
    """For a lane whose limits are declared. `latency_seconds` is a running mean, None before any answer."""

    latency_seconds: float | None = None

    def cap(self, rate: float, age_seconds: float) -> int:
        """Requests in flight at most, at `rate` requests per second.

        `age_seconds`: how long those in flight have been out, in the mean; ones that hang make room for others.
        """
        if self.latency_seconds is None:
            return MOST_WHEN_KNOWN
        latency = max(self.latency_seconds, age_seconds)
        return min(MOST_WHEN_KNOWN, max(START, round(_HEADROOM * rate * latency)))

    def room_in(self, in_flight: int, rate: float, age_seconds: float) -> float:
        """Seconds until those in flight have been out so long that one more may go."""
        if in_flight >= MOST_WHEN_KNOWN:
            return float("inf")
        return max(0.0, (in_flight + 1) / (_HEADROOM * rate) - age_seconds)

    def answered(self, latency_seconds: float) -> None:
        """Take in how long an answer took."""
        mean = self.latency_seconds
        self.latency_seconds = latency_seconds if mean is None else mean + _LATENCY_WEIGHT * (latency_seconds - mean)

    def limited(self) -> None:
        """A new episode of 429s: the buckets and the pause answer it, not this."""


@dataclass(slots=True)
class FoundPace:
    """For a lane whose limits nobody declared."""

    width: float = START
    cut_before: bool = False

    def cap(self, _rate: float, _age_seconds: float) -> int:
        """Requests in flight at most."""
        return int(self.width)

    def room_in(self, _in_flight: int, _rate: float, _age_seconds: float) -> float:
        """Only an answer makes room."""
        return float("inf")

    def answered(self, _latency_seconds: float) -> None:
        """Grow: twofold a round until the first cut, by one a round afterwards."""
        self.width = min(MOST_WHEN_UNKNOWN, self.width + (1 / self.width if self.cut_before else 1.0))

    def limited(self) -> None:
        """A new episode of 429s: halve."""
        self.cut_before = True
        self.width = max(1.0, self.width / 2)


@dataclass(slots=True)
class GivenPace:
    """For `--concurrency N`."""

    width: int

    def cap(self, _rate: float, _age_seconds: float) -> int:
        """Requests in flight at most."""
        return self.width

    def room_in(self, _in_flight: int, _rate: float, _age_seconds: float) -> float:
        """Only an answer makes room."""
        return float("inf")

    def answered(self, _latency_seconds: float) -> None:
        """Nothing to learn."""

    def limited(self) -> None:
        """Nothing to learn."""


Pace = KnownPace | FoundPace | GivenPace
