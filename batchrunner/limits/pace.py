"""How many requests may be in flight when the user did not say.

Where limits are known, declared or found: 1.5 times rate times latency, so that a slow minute of the gateway does not
open thousands of connections. Where none is: slow start from eight, doubled with every round of answers for as long as
that brings at least a quarter more answers per second; fourfold where answers take long, as a round is then long, too,
but not while they take longer than at first. Later a careful step up from time to time, undone unless it brings 5 %
more.
"""

from dataclasses import dataclass

START = 8
MOST_WHEN_KNOWN = 8192
MOST_WHEN_UNKNOWN = 256
_HEADROOM = 1.5
_EARLY_ANSWERS, _EARLY_HEADROOM = 32, 3.0  # the first answers to come are the quick ones
_LATENCY_WEIGHT = 0.05
_GAIN, _GAIN_OF_DOUBLING = 1.05, 1.25
_TRUSTED_FROM = 16
_CAREFUL_STEP = 1.25
_LEAST_ANSWERS = 64
_SLOW_SECONDS, _SLOW_GROWTH = 0.5, 4  # answers that take as long
_WAITS_FROM = 1.5  # times as long as at first: what is sent waits there, and it is time to judge
_LEAST_ROUND_SECONDS = 0.25  # what is out when a limit is met is refused: quick answers don't make for much more of it
_FIRST_ROUNDS = 8
_MOST_ROUNDS = 64
_CONCURRENCY_BACK = 10


class Pace:
    """Room in flight of one lane. `latency_seconds` is a running mean, None before any answer."""

    def __init__(self, *, given: int | None = None, most: int | None = None) -> None:
        """`given`: what the user said; `most`: never more, where he said nothing."""
        self.given = given
        self.most = most
        self.latency_seconds: float | None = None
        self._answers = 0
        self.ceiling = float("inf")  # as refusals for concurrency have told
        self.search = Search(most or MOST_WHEN_UNKNOWN)

    def cap(self, rate: float, age_seconds: float, *, found: bool = False) -> int:
        """Requests in flight at most, at `rate` requests per second; endless where no limit is known.

        `age_seconds`: how long those in flight have been out, in the mean; ones that hang make room for others.
        `found`: the rate was found out, not declared.
        """
        if self.given is not None:
            return self.given
        if rate == float("inf"):
            return max(1, int(min(self.search.width, self.ceiling)))
        most = self._most(found=found)
        if self.latency_seconds is None:
            return max(1, int(min(START if found else most, self.ceiling)))
        latency = max(self.latency_seconds, age_seconds)
        return max(1, int(min(most, max(START, round(self._headroom * rate * latency)), self.ceiling)))

    def room_in(self, in_flight: int, rate: float, age_seconds: float, *, found: bool = False) -> float:
        """Seconds until those in flight have been out so long that one more may go; endless: an answer has to come."""
        most = int(min(self._most(found=found), self.ceiling))
        if self.given is not None or rate == float("inf") or self.latency_seconds is None or in_flight >= most:
            return float("inf")
        return max(0.0, (in_flight + 1) / (self._headroom * rate) - age_seconds)

    def answered(self, latency_seconds: float, now: float, *, full: bool, searching: bool) -> None:
        """Take in an answer. `full`: all room was used; `searching`: nothing but the room in flight was in the way."""
        self._answers += 1
        mean = self.latency_seconds
        self.latency_seconds = latency_seconds if mean is None else mean + _LATENCY_WEIGHT * (latency_seconds - mean)
        if self.ceiling < float("inf") and full:
            self.ceiling += 1 / (_CONCURRENCY_BACK * self.ceiling)
        if searching:
            self.search.answered(now, latency_seconds, full=full)

    def refused_for_concurrency(self, in_flight: int) -> None:
        """The gateway had no room for one more beside so many in flight."""
        self.ceiling = max(1.0, min(self.ceiling, in_flight))

    @property
    def _headroom(self) -> float:
        return _HEADROOM if self._answers >= _EARLY_ANSWERS else _EARLY_HEADROOM

    def _most(self, *, found: bool) -> int:
        return self.most or (MOST_WHEN_UNKNOWN if found else MOST_WHEN_KNOWN)


@dataclass(slots=True)
class Search:
    """For a gateway of which no limit is known: how much in flight it is good for.

    A level is a stretch of answers at one width; its answers per second are compared with those of the one before.
    """

    most: int
    width: float = START
    slow_start: bool = True
    _round_from: float = START
    _waited: float = 0.0  # seconds, all answers of the round together
    _latency_at_first: float = float("inf")
    rounds: int = _FIRST_ROUNDS
    _answers: int = 0
    _since: float | None = None
    _left_full: bool = True
    _before: float = 0.0
    _base: float | None = None

    def answered(self, now: float, latency_seconds: float, *, full: bool) -> None:
        """One more answer; `full`: the width was used when it came."""
        if self._since is None:
            self._since = now
            return
        self._answers += 1
        self._left_full = self._left_full and full
        if self.slow_start:
            self._start(now, latency_seconds)
        elif self._answers >= max(_LEAST_ANSWERS, self.width) * (1 if self._base is not None else self.rounds):
            self._step(now)

    def _start(self, now: float, latency_seconds: float) -> None:
        """Several times the width with every round, until one brings hardly more answers per second than the last."""
        assert self._since is not None  # noqa: S101 - set by the first answer
        self._waited += latency_seconds
        latency = self._waited / self._answers
        if self._left_full and latency <= _WAITS_FROM * self._latency_at_first:
            growth = _SLOW_GROWTH if latency >= _SLOW_SECONDS else 2
            self.width = min(self.most, self.width + growth - 1, growth * self._round_from)
        if self._answers < self.width / 2 or now - self._since < _LEAST_ROUND_SECONDS:
            return
        self._round_from, self._waited = self.width, 0.0
        self._latency_at_first = min(self._latency_at_first, latency)
        rate = self._end_level(now)
        if rate is None:
            return
        if self.width > 2 * _TRUSTED_FROM and rate < _GAIN_OF_DOUBLING * self._before:
            self.slow_start = False
            self.width = min(self.width, max(START, _HEADROOM * rate * self._latency_at_first))
        elif self.width >= self.most:
            self.slow_start = False
        self._before = max(rate, self._before)

    def _step(self, now: float) -> None:
        """A quarter more; kept where it pays, else undone and tried again later and later."""
        base, rate = self._base, self._end_level(now)
        if rate is None or (base is None and self.width >= self.most):
            self._base = None
        elif base is None:
            self._base, self.width = rate, min(self.most, self.width * _CAREFUL_STEP)
        else:
            self._base = None
            if rate >= _GAIN * base:
                self.rounds = _FIRST_ROUNDS
            else:
                self.width = max(START, self.width / _CAREFUL_STEP)
                self.rounds = min(_MOST_ROUNDS, 2 * self.rounds)

    def _end_level(self, now: float) -> float | None:
        """Answers per second of the level that ends now; None where its room was not all used."""
        assert self._since is not None  # noqa: S101 - set by the first answer
        seconds, answers, full = now - self._since, self._answers, self._left_full
        self._since, self._answers, self._left_full = now, 0, True
        return answers / seconds if full and seconds > 0 else None
