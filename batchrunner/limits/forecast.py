"""How long a lane will take for so many tries and what will hold it up, by the arithmetic that it keeps to itself.

In steady state a lane sends what the tightest of its windows lets pass in a window and its guard, or what its room in
flight gives back in the time of an answer. Day by day it does so until the quota is gone, then waits for the reset; a
try that is out over the reset counts for both days. Nothing is foreseen of refused and failed tries. Pure.
"""

import math
from dataclasses import dataclass, field, replace

from batchrunner.limits.day import Spent
from batchrunner.limits.lane import FOREVER, IN_FLIGHT, LARGEST_MARGIN, SIGMAS, Limits
from batchrunner.limits.pace import MOST_WHEN_KNOWN, MOST_WHEN_UNKNOWN
from batchrunner.limits.quota import Reset
from batchrunner.limits.window import Limit, name_of

AS_BEFORE = "the pace of the earlier run"
LONGEST_DAYS = 3660  # looked ahead
_SEEN = 5000.0  # answers that an estimate remembers


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a lane is to send. `tokens`: in sum, as the gateway counts them for its limits; `deviation`: the standard
    deviation, in tokens, of what a try counts from what is reserved for it; `latency_seconds`: of an answer;
    `seen_rate`: tries per second at which such work went earlier, which holds where no limit is known."""

    requests: float
    tokens: float
    latency_seconds: float
    deviation: float = 0.0
    seen_rate: float | None = None

    @property
    def mean_tokens(self) -> float:
        """Tokens of a try."""
        return max(1.0, self.tokens / self.requests) if self.requests else 1.0

    def plus(self, other: "Work") -> "Work":
        """Both, on one lane."""
        requests = max(1.0, self.requests + other.requests)
        share = other.requests / requests
        return Work(
            requests=self.requests + other.requests,
            tokens=self.tokens + other.tokens,
            latency_seconds=self.latency_seconds + share * (other.latency_seconds - self.latency_seconds),
            deviation=math.sqrt(self.deviation**2 + share * (other.deviation**2 - self.deviation**2)),
            seen_rate=self.seen_rate,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """When days end, what today has used already, and until when (Unix time) the gateway said that nothing is left."""

    reset: Reset
    used: Spent = field(default_factory=Spent)
    gone_until: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DayAhead:
    """One day of the gateway's: its name, from when to when tries are sent (Unix time), and how many; `gone`: then its
    quota is gone."""

    day: str
    begins_at: float
    ends_at: float
    requests: float
    tokens: float
    gone: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """When the last answer comes (Unix time), infinity where that is beyond LONGEST_DAYS; `rate`: tries per second
    while it sends; `bound_by`: shares of the time by what holds it up; one of `days` for each that it sends on,
    for all where no day has a limit."""

    ends_at: float
    rate: float
    bound_by: dict[str, float]
    days: tuple[DayAhead, ...]

    def sent_by(self, instant: float) -> float:
        """Tries that will have been sent by then."""
        return sum(
            day.requests * min(1.0, max(0.0, instant - day.begins_at) / max(1e-9, day.ends_at - day.begins_at))
            for day in self.days
        )


def rate_of(work: Work, limits: Limits) -> tuple[float, str]:
    """Tries per second in steady state, and what allows no more."""
    if not limits.windows and limits.concurrency is None and work.seen_rate is not None:
        return work.seen_rate, AS_BEFORE
    rates = [(_rate_in(limit, work), name_of(limit.key)) for limit in limits.windows]
    most = limits.concurrency or limits.most_concurrency or (MOST_WHEN_KNOWN if rates else MOST_WHEN_UNKNOWN)
    return min([*rates, (most / max(1e-3, work.latency_seconds), IN_FLIGHT)])


def forecast(work: Work, limits: Limits, quota: Quota, *, begins_at: float) -> Forecast:
    """How the lane will fare from this instant (Unix time) on."""
    rate, why = rate_of(work, limits)
    at, left, used = max(begins_at, quota.gone_until), work.requests, quota.used
    waited = {"the daily limit": at - begins_at} if at > begins_at else {}
    if at > begins_at and quota.reset.day(at) != quota.reset.day(begins_at):
        used = Spent()
    days: list[DayAhead] = []
    while left > 0 and len(days) < LONGEST_DAYS:
        day = _day(work, limits, quota.reset, at=at, left=left, used=used, rate=rate)
        days.append(day)
        waited[why] = waited.get(why, 0.0) + day.ends_at - day.begins_at
        left -= day.requests
        if left <= 0:
            break
        at = quota.reset.next(at)
        idle = at - day.ends_at
        if day.gone:
            gone = _quota_that_ends_first(work, limits)
            waited[gone] = waited.get(gone, 0.0) + idle
        out = min(day.requests, rate * max(0.0, work.latency_seconds - idle))
        used = Spent(out, out * work.mean_tokens)
    ends_at = begins_at if not days else FOREVER if left > 0 else days[-1].ends_at + work.latency_seconds
    sum_seconds = sum(waited.values())
    shares = {name: seconds / sum_seconds for name, seconds in waited.items()} if sum_seconds > 0 else {}
    return Forecast(ends_at=ends_at, rate=rate, bound_by=_largest_first(shares), days=tuple(days))


def most_seldom(limits: Limits, share: float) -> Limits:
    """The same limits, of whose windows only this share can be used."""
    return replace(limits, windows=tuple(replace(limit, amount=limit.amount * share) for limit in limits.windows))


def has_days(limits: Limits) -> bool:
    """Whether there is any daily limit."""
    return min(limits.requests_per_day, limits.tokens_per_day) < FOREVER


def _day(work: Work, limits: Limits, reset: Reset, *, at: float, left: float, used: Spent, rate: float) -> DayAhead:
    """What is sent from this instant to the end of its day."""
    fits = rate * (reset.next(at) - at) if has_days(limits) else FOREVER
    allowed = _left_of(work, limits, used)
    sends = min(left, allowed, fits)
    return DayAhead(
        day=reset.day(at),
        begins_at=at,
        ends_at=at + max(0.0, sends - (1 if sends == left else 0)) / rate,
        requests=sends,
        tokens=sends * work.mean_tokens,
        gone=allowed <= min(left, fits),
    )


def _left_of(work: Work, limits: Limits, used: Spent) -> float:
    """Whole tries that a day's quota has left; at least one on a day that is whole, however large."""
    requests = math.floor(limits.requests_per_day - used.requests) if limits.requests_per_day < FOREVER else FOREVER
    tokens = FOREVER
    if limits.tokens_per_day < FOREVER:
        tokens = math.floor((limits.tokens_per_day - used.tokens) / work.mean_tokens)
    return max(0.0 if used.requests else 1.0, min(requests, tokens))


def _quota_that_ends_first(work: Work, limits: Limits) -> str:
    by_tokens = limits.tokens_per_day / work.mean_tokens
    return "requests/day" if limits.requests_per_day <= by_tokens else "tokens/day"


def _rate_in(limit: Limit, work: Work) -> float:
    if limit.dimension == "requests":
        return limit.amount / limit.span
    mean = min(work.mean_tokens, limit.amount)
    paced = limit.amount / limit.span / mean
    margin = min(SIGMAS * _error(work, paced, limit.amount / mean), LARGEST_MARGIN * limit.amount)
    used = max(
        mean, limit.amount - margin - mean / 2
    )  # room for half a row is left in the mean, for the next does not fit
    return used / limit.span / mean


def _error(work: Work, rate: float, rows: float) -> float:
    """Tokens by which the estimates of what is out may be off together; `rows`: how many a window holds."""
    out = 1.0 + min(rows, rate * work.latency_seconds)
    shared = out * work.deviation / math.sqrt(min(_SEEN, max(1.0, work.requests / 2)))
    return math.sqrt(out * work.deviation**2 + shared**2)


def _largest_first(shares: dict[str, float]) -> dict[str, float]:
    return dict(sorted(shares.items(), key=lambda one: -one[1]))
