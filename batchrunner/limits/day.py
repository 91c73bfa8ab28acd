"""The daily limits of a lane, as one process sees them between two looks into the book.

The book counts what all processes and runs have sent on a day. A process takes a little of what is left on lease and
sends within it; what it sent, and what it did not use after all, goes into the book at the next look. So a kill costs
at most a lease of the quota, and no quota is spent twice.
"""

from dataclasses import dataclass, field

LEASE_LEAST = 16.0  # requests on lease at least
LEASE_SECONDS = 1.0  # and as much as is sent in this time


@dataclass(slots=True)
class Spent:
    """Requests and tokens."""

    requests: float = 0.0
    tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class DayLease:
    """What the book says of today: its name, when it ends (the lane's clock), what is leased, whether all is gone."""

    day: str
    ends_at: float
    requests: float
    tokens: float
    left_requests: float
    left_tokens: float


@dataclass(slots=True)
class Day:
    """Counts what is sent by day, and says when the next try fits. Without limits nothing is ever in the way."""

    requests_limit: float = float("inf")
    tokens_limit: float = float("inf")
    name: str = ""
    ends_at: float = float("-inf")
    leased: Spent = field(default_factory=Spent)
    spent: dict[str, Spent] = field(default_factory=dict)
    left: Spent = field(default_factory=Spent)
    gone: bool = False
    hungry: bool = False
    _ended: Spent = field(default_factory=Spent)  # since the last look, maybe after a reset that it has not told of
    _today: Spent = field(default_factory=Spent)  # by this process, under the present name
    _renamed: dict[str, str] = field(default_factory=dict)  # days that were none

    @property
    def limited(self) -> bool:
        """Whether there is any daily limit."""
        return min(self.requests_limit, self.tokens_limit) < float("inf")

    def ready_at(self, tokens: float, now: float) -> float:
        """When a try of so many tokens fits: now, at the reset, or (infinity) after the next look into the book."""
        if not self.limited:
            return now
        enough_requests = self.requests_limit == float("inf") or self.leased.requests >= 1
        fits = enough_requests and (self.tokens_limit == float("inf") or self.leased.tokens >= tokens)
        if fits and now < self.ends_at:
            return now
        self.hungry = True
        return self.ends_at if self.gone and now < self.ends_at else float("inf")

    def take(self, tokens: float) -> str:
        """Count a try that is sent; the value is the day it counts for."""
        self._count(self.name, 1.0, tokens)
        return self.name

    def over(self, day: str, tokens: float, *, change: float, refused: bool) -> None:
        """A try of this day has ended. It used `tokens`, `change` more than was reserved; a refused one does not
        count. One that was out over the reset counts for both days."""
        if refused or change:
            self._count(day, -1.0 if refused else 0.0, change)
        if refused:
            return
        if self._renamed.get(day, day) != self.name:
            self._count(self.name, 1.0, tokens)
        else:
            self._ended.requests += 1.0
            self._ended.tokens += tokens

    def promise(self, requests: float, tokens: float, *, need: float | None) -> Spent:
        """What may be taken from the lease until the book answers; what does not do for the next try is given back."""
        leased = self.leased
        stuck = need is not None and (leased.requests < 1 or leased.tokens < need)
        keep = Spent() if stuck else Spent(min(leased.requests, requests), min(leased.tokens, max(tokens, need or 0.0)))
        self.leased = Spent(max(0.0, keep.requests), max(0.0, keep.tokens))
        return self.leased

    def hand_in(self) -> dict[str, Spent]:
        """What was spent since this was last asked, for the book."""
        spent, self.spent = self.spent, {}
        return spent

    def take_back(self, spent: dict[str, Spent]) -> None:
        """What was handed in did not come into the book: it is for the next time."""
        for day, more in spent.items():
            ours = self.spent.setdefault(day, Spent())
            ours.requests += more.requests
            ours.tokens += more.tokens

    def apply(self, lease: DayLease, *, need: float, others_hold: bool, first_heard: bool = False) -> None:
        """The book has answered. `need`: tokens of the next try; `others_hold`: something may still come back;
        `first_heard`: the day is told by the gateway's clock for the first time."""
        if self.name not in ("", lease.day):
            self._begin(lease.day, mistaken=first_heard or lease.day < self.name)
        self._ended = Spent()
        meanwhile = self.spent.get(lease.day, Spent())
        self.name, self.ends_at = lease.day, lease.ends_at
        self.leased = Spent(lease.requests - meanwhile.requests, lease.tokens - meanwhile.tokens)
        self.left = Spent(lease.left_requests, lease.left_tokens)
        fits = lease.left_requests >= 1 and lease.left_tokens >= need
        self.gone = self.limited and not fits and not others_hold
        self.hungry = False

    def _begin(self, day: str, *, mistaken: bool) -> None:
        """Another day: what has ended since the last look may count for it. Where the present one was mistaken, as the
        gateway's clock had not been heard, all that was sent counts for it."""
        self._renamed.pop(day, None)
        counts = self._today if mistaken else self._ended
        if mistaken:
            self._renamed[self.name] = day
            self.spent.pop(self.name, None)
        if counts.requests:
            self._count(day, counts.requests, counts.tokens)
        self._today = Spent()

    def _count(self, day: str, requests: float, tokens: float) -> None:
        if self._renamed:
            day = self._renamed.get(day, day)
        spent = self.spent.get(day)
        if spent is None:
            spent = self.spent[day] = Spent()
        spent.requests += requests
        spent.tokens += tokens
        if day == self.name:
            self.leased.requests -= requests
            self.leased.tokens -= tokens
            self._today.requests += requests
            self._today.tokens += tokens


def lease_of(*, left: float, want: float, need: float, promised: float, hungry_others: int) -> float:
    """What a member gets on lease of what is `left` and nobody else's. Endless where there is no limit.

    Never less than it has been promised, and nothing that would not do for its next try.
    """
    if left == float("inf"):
        return left
    if left < max(need, 1.0):
        return promised
    return max(promised, need, min(want, left // (1 + hungry_others)))
