"""The limits in force on one lane, whoever says so: declared here, declared by another process, told by headers, found.

Each has its window. A minute of requests and tokens is logged in any case, so that a limit that becomes known has its
log at once.
"""

from collections.abc import Iterable
from dataclasses import replace

from batchrunner.limits.cap import KEYS, MINUTE, Cap, Refused, Use
from batchrunner.limits.crowd import Crowd
from batchrunner.limits.found import Finder
from batchrunner.limits.sharing import Share
from batchrunner.limits.told import Told
from batchrunner.limits.window import GUARD_SECONDS, Key, Limit, Window

UNLIMITED = 1e18
FOUND_GUARD_SECONDS = {"requests": 0.02, "tokens": 0.01}  # amounts of tokens, as found, leave jitter out
_LOOK_EVERY_SECONDS = 1.0
_FOREVER = float("inf")


class InForce:
    """The windows of a lane. `windows` holds all that are logged, `limited` those that have an amount."""

    def __init__(self, declared: Iterable[Limit], *, now: float, late_seconds: float = 0.0) -> None:
        self._late_seconds = late_seconds
        self.finder = Finder({limit.key: limit.amount for limit in declared})
        self.windows: dict[Key, Window] = {}
        self.limited: list[Window] = []
        self.lowered: dict[Key, float] = {}  # of which another process declared less, now or earlier
        self._foreign: dict[Key, float] = {}
        self._before: dict[Key, Cap] = {}
        self._aside: dict[Key, Cap] = {}
        self.crowd = Crowd()
        self._looked_at = now
        self._arrange(now)

    def is_declared(self, key: Key) -> bool:
        """Whether this process declared the limit."""
        return key in self.finder.declared

    def own(self, key: Key) -> float:
        """A limit as this process has it declared or found, whatever others say."""
        cap = self.finder.caps.get(key)
        return min(self.finder.declared.get(key, UNLIMITED), cap.amount if cap is not None else UNLIMITED)

    def rate(self, mean_tokens: float) -> float:
        """Tries per second that the limits allow."""
        mean = max(1.0, mean_tokens)
        return min(
            (w.rate if w.limit.dimension == "requests" else w.possible_rate / mean for w in self.limited),
            default=_FOREVER,
        )

    def doubt_at(self, key: Key) -> float:
        """When this limit is to be left aside for a probe; infinity mostly."""
        return _FOREVER if self.is_declared(key) else self.finder.doubts.due_at

    def doubt(self, now: float) -> None:
        """Leave found limits by the minute aside for a while."""
        self.finder.doubt(now)
        self._arrange(now)

    def hear(self, told: Iterable[Told], now: float) -> None:
        """Headers tell of limits."""
        for one in told:
            self.finder.told(one.dimension, one.amount, window=one.window_seconds, reset=one.reset_seconds, now=now)
        self._arrange(now)

    def answered(self, tokens: float, now: float) -> None:
        """A try was answered and has used so many tokens."""
        if not self.finder.declared:
            self.finder.counting.answered(tokens, now)

    def answered_until(self, until: float) -> Use:
        """Tokens that were answered in each kind of window that ends at this instant; nothing under declared limits."""
        return {} if self.finder.declared else self.finder.counting.used(until)

    def refused(self, refused: Refused, *, first: bool) -> None:
        """Learn from a refusal; `first`: of a series."""
        if first:
            self._before = {key: replace(cap) for key, cap in self.finder.caps.items()}
        self.finder.refused(refused)
        self._arrange(refused.now)

    def also_refused(self, tokens: float, now: float) -> None:
        """A try of the same series, sent before the first refusal came."""
        self.finder.also_refused(tokens)
        self._arrange(now)

    def probe_passed(self, sent_at: float, now: float) -> None:
        """After refusals and a pause a try was let through."""
        self.finder.probe_passed(sent_at, now)
        self._arrange(now)

    def look(self, now: float, *, may_raise: bool) -> None:
        """Raise what has bound for long, end doubts; once a second at most."""
        if not self.finder.caps or now - self._looked_at < _LOOK_EVERY_SECONDS:
            return
        self._looked_at = now
        raised = may_raise and self.finder.raise_used(now, self.used(now))
        if self.finder.settle_doubt(now) or raised:
            self._arrange(now)

    def forget_series(self, now: float) -> None:
        """The refusals of this series told of something else: a daily quota."""
        self.finder.caps = dict(self._before)
        self._arrange(now)

    def crowded(self, beside: int, now: float) -> int | None:
        """After a refusal that told no reason, beside so many in flight: how many of those the gateway is believed to
        take, and nothing then that was found of rates; None where it seems to have refused for a rate."""
        before = self.crowd.limit
        self.crowd.refused(beside)
        limit = self.crowd.limit
        if limit is not None and before is None:
            self._aside = self.finder.drop()
        elif limit is None and before is not None:
            self.finder.caps = self._aside | self.finder.caps
        self._arrange(now)
        return limit

    def share(self, shares: dict[Key, Share], now: float) -> None:
        """Take the part of each limit that the processes on this lane have agreed upon."""
        foreign = {key: share.amount for key, share in shares.items() if share.amount < UNLIMITED}
        if foreign != self._foreign:
            self._foreign = foreign
            declared = self.finder.declared
            self.lowered |= {key: less for key, less in foreign.items() if key in declared and less < self.own(key)}
            self._arrange(now)
        for key, share in shares.items():
            window = self.windows.get(key)
            if window is not None:
                window.divide(share.held, share.rate_share, now)

    def restore(self, found: dict[Key, float], now: float) -> None:
        """Begin with limits that an earlier run, or another process, has found."""
        caps = self.finder.caps
        for key in [key for key, cap in caps.items() if not cap.told and key not in found]:
            del caps[key]
        for key, amount in found.items():
            caps[key] = replace(caps[key], amount=amount) if key in caps else Cap(amount, now, amount)
        self._arrange(now)

    def used(self, until: float) -> Use:
        """What passed in each kind of window that ends at this instant, or a little later."""
        logs = ((key, self.windows.get(key) or self.windows[(key[0], MINUTE)]) for key in KEYS)
        return {key: log.used_since(until - key[1]) for key, log in logs}

    def full(self, until: float, tokens: float) -> Use:
        """What the windows hold if they have no room for a try of so many tokens: half of those more, at a guess."""
        used = self.used(until)
        return {key: use + tokens / 2 if key[0] == "tokens" and use > 0 else use for key, use in used.items()}

    def _arrange(self, now: float) -> None:
        """Make the windows those of the limits that are known now."""
        amounts = {key: cap.amount for key, cap in self.finder.caps.items()}
        for known in (self.finder.declared, self._foreign):
            for key, amount in known.items():
                amounts[key] = min(amount, amounts.get(key, amount))
        for key in (("requests", MINUTE), ("tokens", MINUTE)):
            amounts.setdefault(key, UNLIMITED)
        for key in [key for key in self.windows if key not in amounts]:
            del self.windows[key]
        for key, amount in amounts.items():
            self._set(key, amount, now)
        self.limited = [window for window in self.windows.values() if window.limit.amount < UNLIMITED]
        paced = any(window.limit.dimension == "requests" for window in self.limited)
        for window in self.limited:
            window.loosen(paced and window.limit.dimension == "tokens")

    def _set(self, key: Key, amount: float, now: float) -> None:
        guard = GUARD_SECONDS if self.is_declared(key) or amount >= UNLIMITED else FOUND_GUARD_SECONDS[key[0]]
        guard += self._late_seconds
        limit = Limit(dimension=key[0], amount=amount, window_seconds=key[1], guard_seconds=guard)
        window = self.windows.get(key)
        if window is not None:
            if window.limit != limit:
                window.change(limit, now)
            return
        window = self.windows[key] = Window(limit, now=now)
        minute = self.windows.get((key[0], MINUTE))
        if minute is not None and minute is not window:
            window.seed(minute, now)
