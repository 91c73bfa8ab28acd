"""The limits, counted exactly: every lane has a window per limit; a request is admitted by all or by none.

A lane is (account, model). Seconds and minutes follow the monotonic clock, days the wall clock from 00:00
UTC. Refused requests do not count.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from batchrunner.simulator.window import SECOND_NS, FixedWindow, Window, WindowKind, make_window

DAY_SECONDS = 86_400

Lane = tuple[str, str]


class Dimension(StrEnum):
    """What a limit counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"


class TokenAccounting(StrEnum):
    """When tokens count: what is used, at arrival; the same when the answer is done; the most, at arrival."""

    ADMISSION = "admission"
    COMPLETION = "completion"
    UPFRONT = "upfront"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """One moment on both clocks, in nanoseconds; `wall_ns` is Unix time."""

    mono_ns: int
    wall_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """At most `amount` requests or tokens in a window of 1, 60 or 86,400 seconds."""

    dimension: Dimension
    window_seconds: int
    amount: int

    @property
    def daily(self) -> bool:
        return self.window_seconds == DAY_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the gateway permits. With `enforce` off everything is counted and nothing refused."""

    limits: tuple[Limit, ...] = ()
    window: WindowKind = WindowKind.ROLLING
    token_accounting: TokenAccounting = TokenAccounting.ADMISSION
    max_concurrency: int | None = None
    enforce: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Tokens of one request: what it will really use, and the most it may (prompt + max_tokens)."""

    prompt: int
    completion: int
    ceiling: int

    @property
    def total(self) -> int:
        return self.prompt + self.completion


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Which limit said no (`index` into the rules' limits), and how long until the request would fit."""

    index: int
    limit: Limit
    wait_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """How much of a limit is used now, and how long until nothing of it would be."""

    limit: Limit
    used: int
    reset_ns: int


class Meter:
    """Every lane's windows. It decides and counts in one step, so that nothing comes between."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._lanes: dict[Lane, tuple[Window, ...]] = {}

    def admit(self, lane: Lane, cost: Cost, now: Instant) -> Refusal | None:
        """Count a request and return None, or say which limit it breaks: the one with the longest wait."""
        windows = self._windows(lane)
        refusal = self._refusal(windows, cost, now) if self._rules.enforce else None
        if refusal is None:
            for limit, window in zip(self._rules.limits, windows, strict=True):
                window.add(_on_its_clock(limit, now), self._taken(limit, cost))
        return refusal

    def settle(self, lane: Lane, tokens: int, now: Instant) -> None:
        """Count the tokens of an answer that is done; only for accounting at completion."""
        for limit, window in zip(self._rules.limits, self._windows(lane), strict=True):
            if limit.dimension is Dimension.TOKENS:
                window.add(_on_its_clock(limit, now), tokens)

    def levels(self, lane: Lane, now: Instant) -> list[Level]:
        """How full each window of a lane is, in the order of the limits."""
        return [
            Level(limit=limit, used=window.used(at_ns), reset_ns=window.reset_ns(at_ns))
            for limit, window in zip(self._rules.limits, self._windows(lane), strict=True)
            for at_ns in (_on_its_clock(limit, now),)
        ]

    def _refusal(self, windows: tuple[Window, ...], cost: Cost, now: Instant) -> Refusal | None:
        worst: Refusal | None = None
        for index, (limit, window) in enumerate(zip(self._rules.limits, windows, strict=True)):
            wait_ns = window.wait_ns(_on_its_clock(limit, now), self._needed(limit, cost))
            if wait_ns > (worst.wait_ns if worst else 0):
                worst = Refusal(index=index, limit=limit, wait_ns=wait_ns)
        return worst

    def _needed(self, limit: Limit, cost: Cost) -> int:
        """The room a request must find. At completion nobody knows yet: any room at all will do."""
        return max(1, self._taken(limit, cost))

    def _taken(self, limit: Limit, cost: Cost) -> int:
        if limit.dimension is Dimension.REQUESTS:
            return 1
        return tokens_at_arrival(self._rules.token_accounting, cost)

    def _windows(self, lane: Lane) -> tuple[Window, ...]:
        windows = self._lanes.get(lane)
        if windows is None:
            windows = tuple(_make_window(limit, self._rules.window) for limit in self._rules.limits)
            self._lanes[lane] = windows
        return windows


class InFlight:
    """Who is being served, by account, and the most that ever were at once."""

    def __init__(self) -> None:
        self._by_account: Counter[str] = Counter()
        self._now = 0
        self.most = 0

    def of(self, account: str) -> int:
        return self._by_account[account]

    @contextmanager
    def inside(self, account: str) -> Iterator[None]:
        """Count one request of the account for as long as the block lasts."""
        self._by_account[account] += 1
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            yield
        finally:
            self._by_account[account] -= 1
            self._now -= 1


def tokens_at_arrival(accounting: TokenAccounting, cost: Cost) -> int:
    """Tokens that count as soon as a request is admitted."""
    match accounting:
        case TokenAccounting.ADMISSION:
            return cost.total
        case TokenAccounting.COMPLETION:
            return 0
        case TokenAccounting.UPFRONT:
            return cost.ceiling
        case _:
            assert_never(accounting)


def _on_its_clock(limit: Limit, now: Instant) -> int:
    return now.wall_ns if limit.daily else now.mono_ns


def _make_window(limit: Limit, kind: WindowKind) -> Window:
    window_ns = limit.window_seconds * SECOND_NS
    return FixedWindow(limit.amount, window_ns) if limit.daily else make_window(kind, limit.amount, window_ns)
