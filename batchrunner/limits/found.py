"""Limits that nobody declared, found out from what the gateway refuses, says and lets through.

Whenever a try is refused, some limit is full, and what was admitted within its window is its amount. Which window?
After a second of silence a limit by the second has forgotten all, a limit by the minute hardly anything: so the probe
that follows the first pause tells them apart. Requests or tokens? Both are kept as found, and lowered together, until
one of them turns out to vary more at refusals than the other. What is found too low grows back: while it is the limit
that binds, it is raised a little from time to time, and more boldly for as long as nothing is refused.

Amounts of tokens are noisy, as nobody knows before what an answer will use: a limit of a second that holds fifty rows
refuses at 90 % of it or at 100 %. So a refusal lowers an amount by a little, by twice as much each time one follows
another before it was raised; and raises come as seldom as the pause is long that they cost.

Two refusals in a short time: what passed between them is what the gateway forgets in that time, whatever its kind.
So a bucket, which lets a whole stored window pass at first, is seen through at its second refusal.

Declared limits stand: a refusal while one of them is full is a matter of jitter, unless it happens again soon.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from batchrunner.limits.cap import (
    FIRST_CUT,
    FIRST_HOLD,
    KEYS,
    MINUTE,
    SECOND,
    SOON_AGAIN,
    Cap,
    Full,
    Refused,
    Use,
    least_hold,
)
from batchrunner.limits.counting import Counting, lower_seconds
from batchrunner.limits.doubt import Doubts
from batchrunner.limits.silence import acquits_seconds, without_seconds
from batchrunner.limits.suspects import choose
from batchrunner.limits.window import Dimension, Key

_SECONDS_HINT = 1.0  # a hint up to this long speaks of a limit by the second
_USED = 0.9
_FULL: dict[Dimension, float] = {"requests": 0.9, "tokens": 0.7}  # a part is kept free of estimates' errors
_FEW = 4.0
_SOON = 10  # windows


@dataclass(slots=True)
class Finder:
    """What is known of one lane's undeclared limits, beside the declared ones."""

    declared: Mapping[Key, float] = field(default_factory=dict)
    caps: dict[Key, Cap] = field(default_factory=dict)
    idle: dict[Key, Cap] = field(default_factory=dict)  # suspects of which the other dimension is the better one
    _suspected: Refused | None = None
    _refused_at: float = float("-inf")
    _learned_at: float = float("-inf")
    _minute_then: float = 0.0
    _passed: dict[Dimension, float] = field(default_factory=lambda: {"requests": 0.0, "tokens": 0.0})
    _longest_reset: dict[Dimension, float] = field(default_factory=dict)
    _series: Refused | None = None  # the first refusal of the present or the last series
    doubts: Doubts = field(default_factory=Doubts)
    counting: Counting = field(default_factory=Counting)

    @property
    def suspects(self) -> bool:
        """Whether a probe is wanted to tell one kind of window from another."""
        return self._suspected is not None or self.doubts.open

    def doubt(self, now: float) -> None:
        """Leave the minute's limits aside until the next refusal, or until more has passed than they would have let."""
        self.caps = self.doubts.begin(self.caps, now, minute=self._minute_then)

    def settle_doubt(self, now: float) -> bool:
        """Whether a doubt was right: more has passed than a minute's limit would have let."""
        if not self.doubts.open or self._may_be_of_a_minute(now - self._refused_at):
            return False
        self._end_doubt(keep=False)
        return True

    def passed(self, requests: float, tokens: float) -> None:
        """A try was sent: it counts between two refusals; a refused one is taken back."""
        self._passed["requests"] += requests
        self._passed["tokens"] += tokens

    def probe_passed(self, sent_at: float, now: float) -> None:
        """After a refusal and its pause a try was let through."""
        if self._suspected is not None:
            self._adopt(SECOND, self._suspected, now)
            self._suspected = None
        paid = self.counting.paid(self._series, sent_at)
        if paid is not None and not self.doubts.open and all(key[1] == SECOND for key in self.caps):
            lower_seconds(self.caps | self.idle, paid, now)

    def refused(self, refused: Refused) -> None:
        """Learn from a refusal. One after the pause of another tells no more, but by its hint."""
        if refused.again and not self.doubts.open and self.counting.go_on(self._series, refused):
            return
        refused = self.counting.as_counted(refused, self.caps | self.idle)
        if refused.again and not self.suspects:
            if self._speaks_of_a_minute(refused):
                self._leave_seconds()
                self._adopt(MINUTE, refused, refused.now)
            elif refused.hint is None and self._series and acquits_seconds(self.caps, self._series.used, refused.used):
                self._leave_silent(self._series)
            return
        as_before = bool(self.doubts.aside) and self._may_be_of_a_minute(refused.sent_at - self._refused_at)
        self._end_doubt(keep=as_before)
        if as_before:
            pass
        elif self._suspected is not None:
            self._adopt(MINUTE, self._suspected, refused.now)
            self._suspected = None
            self.doubts.plan(refused.now)
        elif self._explained(refused):
            pass
        elif all(cap.told for cap in self.caps.values()):
            self._first(refused)
        else:
            self._again(refused)
        self._series = refused
        self._refused_at, self._learned_at = refused.sent_at, refused.now
        self._minute_then = refused.used["requests", MINUTE]
        self._passed = {"requests": 0.0, "tokens": 0.0}
        self.counting.passed = 0.0

    def also_refused(self, tokens: float) -> None:
        """Another try was refused, that had been sent before the first refusal came and was taken for passed then."""
        used = self._suspected.used if self._suspected is not None and self._suspected.now >= self._learned_at else {}
        self.counting.also_refused(tokens)
        for key in KEYS:
            amount = 1.0 if key[0] == "requests" else 0.0 if key in self.counting.late else tokens
            if key in used:
                used[key] = max(0.0, used[key] - amount)
            cap = self.caps.get(key) or self.idle.get(key)
            if cap is not None and cap.refusals == 1 and cap.changed_at >= self._learned_at and not cap.told:
                self._take_back(key, cap, amount)

    def _take_back(self, key: Key, cap: Cap, amount: float) -> None:
        """Less had passed than was thought. A window in which nothing had was not full: that is no limit."""
        if cap.amount - amount < 1.0 and len(self.caps) > 1:
            self.caps.pop(key, None)
            self.idle.pop(key, None)
            return
        cap.amount = max(1.0, cap.amount - amount)
        cap.seen = max(1.0, cap.seen - amount)

    def raise_used(self, now: float, used: Use) -> bool:
        """Raise what has bound for long enough without a refusal; whether anything changed."""
        due = [(key, cap) for key, cap in self.caps.items() if not cap.told and now >= cap.raised_at(key[1])]
        raised = False
        for key, cap in due:
            one = 1.0 if key[0] == "requests" else 0.0
            if used[key] < min(_USED * cap.amount, cap.amount - one):  # of two a second one is often all that is seen
                continue
            if not cap.raised and self._passed[key[0]] < SOON_AGAIN * cap.amount:
                continue
            cap.lift(now, one)
            raised = True
            if cap.amount >= self.declared.get(key, float("inf")):
                del self.caps[key]
        return raised

    def told(
        self, dimension: Dimension, amount: float, *, window: float | None, reset: float | None, now: float
    ) -> None:
        """Headers tell of a limit. Where they do not name its window, the longest reset seen does."""
        if window is None:
            longest = max(self._longest_reset.get(dimension, 0.0), reset or 0.0)
            self._longest_reset[dimension] = longest
            if not longest or longest > MINUTE:
                return
            window = SECOND if longest <= SECOND else MINUTE
        if window not in (SECOND, MINUTE) or (dimension, window) in self.declared or amount < 1:
            return
        other = self.caps.get((dimension, SECOND if window == MINUTE else MINUTE))
        if other is not None and other.told:
            del self.caps[(dimension, SECOND if window == MINUTE else MINUTE)]
        self.counting.told[dimension, window] = amount
        known = self.caps.get((dimension, window))
        if known is None or known.told:
            self.caps[(dimension, window)] = Cap(amount, now, amount, told=True)

    def _explained(self, refused: Refused) -> bool:
        """Whether a limit that was declared, or told by headers, is full; one that is so again soon is found lower."""
        known = dict(self.declared) | {key: cap.amount for key, cap in self.caps.items() if cap.told}
        full = [key for key, amount in known.items() if refused.used.get(key, 0.0) >= _FULL[key[0]] * amount]
        if not full:
            return False
        key = max(full, key=lambda key: refused.used[key] / known[key])
        cap = self.caps.get(key)
        if cap is not None and not cap.told:
            return False
        if refused.sent_at - self._refused_at < _SOON * key[1]:
            seen = min(known[key], refused.used[key])
            self.caps[key] = Cap(max(1.0, (1 - FIRST_CUT) * seen), refused.now, seen)
        return True

    def _first(self, refused: Refused) -> None:
        """The first refusal: a hint tells the window; a run longer than both has been cut to either; else ask."""
        if refused.hint is not None:
            window = SECOND if refused.hint <= _SECONDS_HINT else MINUTE
            self._adopt(window, refused, refused.now)
        if (refused.hint is None or refused.hint <= _SECONDS_HINT) and refused.ran >= MINUTE:
            if refused.used["requests", SECOND] >= _FEW:
                self._adopt(SECOND, refused, refused.now)
            self._adopt(MINUTE, refused, refused.now)
        elif refused.hint is None:
            self._suspected = refused

    def drop(self) -> dict[Key, Cap]:
        """Keep to nothing that was found, and doubt nothing; what it was."""
        caps = self.doubts.end(self.caps, keep=True)
        self.doubts, self._suspected = Doubts(), None
        self.caps = {key: cap for key, cap in caps.items() if cap.told}
        return {key: cap for key, cap in caps.items() if not cap.told}

    def _speaks_of_a_minute(self, refused: Refused) -> bool:
        """Whether the gateway wants a longer pause than any limit by the second, where no other is known."""
        return (refused.hint or 0.0) > _SECONDS_HINT and all(key[1] == SECOND for key in self.caps)

    def _leave_silent(self, first: Refused) -> None:
        """The series is one of a limit by the minute, which its first refusal met; those by the second are none."""
        self.caps, self.idle = without_seconds(self.caps), without_seconds(self.idle)
        minutes = {key: cap for key, cap in (self.caps | self.idle).items() if key[1] == MINUTE and not cap.told}
        if minutes:
            self._lower_window(MINUTE, minutes, first)
        else:
            self._adopt(MINUTE, first, first.now)

    def _leave_seconds(self) -> None:
        """Give up the limits by the second that this series of refusals was first taken for."""
        self.caps = {key: cap for key, cap in self.caps.items() if cap.refusals > 1}
        self.idle = {key: cap for key, cap in self.idle.items() if cap.refusals > 1}

    def _end_doubt(self, *, keep: bool) -> None:
        if self.doubts.open and not keep:
            self.idle = {key: cap for key, cap in self.idle.items() if key[1] != MINUTE}
        self.caps = self.doubts.end(self.caps, keep=keep)

    def _again(self, refused: Refused) -> None:
        """Lower the limits of the window that is nearest to its amounts; where none is near, there is one of another
        kind, unless the gateway has changed one that is long known."""
        used, between = refused.used, refused.sent_at - self._refused_at
        suspects = self.idle | {key: cap for key, cap in self.caps.items() if not cap.told}
        found = {key: cap for key, cap in suspects.items() if refused.dimension in (None, key[0])}
        nearest = max(found, key=lambda key: used[key] / found[key].explains_from, default=None)
        if nearest is None or used[nearest] < found[nearest].explains_from:
            known = nearest is not None and found[nearest].refusals > _FEW
            minute = self._may_be_of_a_minute(between) and not (known and used["requests", MINUTE] <= self._minute_then)
            second = used["requests", SECOND] >= _FEW or not self.caps
            wanted = [key for key in KEYS if (minute if key[1] == MINUTE else second)]
            missing = [key for key in wanted if key not in found and used[key] > 0]
            for key in missing:
                self._adopt_one(key, refused, refused.now)
            choose(self.caps, self.idle, refused.now)
            if minute and refused.ran < MINUTE:
                self.doubts.plan(refused.now)
            if missing and not known:
                return
        if nearest is not None:
            self._lower_window(nearest[1], found, refused)

    def _lower_window(self, window: float, found: Mapping[Key, Cap], refused: Refused) -> None:
        """Lower what is kept to of this window; of both dimensions only what was full, if one was."""
        used = refused.used
        of_window = [key for key in found if key[1] == window]
        for key in of_window:
            found[key].note(used[key])
        kept = [key for key in of_window if key in self.caps]
        full = [key for key in kept if used[key] >= _FULL[key[0]] * found[key].amount]
        for key in full or kept:
            cap, late = found[key], key in self.counting.late
            if late and not cap.raised and refused.sent_at < cap.changed_at + refused.latency + window:
                continue  # what was out when it was lowered is still being answered
            passed = self.counting.passed if late else self._passed[key[0]]
            cap.lower(Full.at(key, refused, passed, since=self._refused_at, exact=late), window, refused.now)
        choose(self.caps, self.idle, refused.now)

    def _may_be_of_a_minute(self, between: float) -> bool:
        """Whether no more passed since the last refusal than a minute's limit, full then, forgets in that time."""
        return self._passed["requests"] <= _FEW + 2 * self._minute_then * between / MINUTE

    def _adopt(self, window: float, refused: Refused, now: float) -> None:
        for key in KEYS:
            if key[1] == window:
                self._adopt_one(key, refused, now)
        choose(self.caps, self.idle, now)

    def _adopt_one(self, key: Key, refused: Refused, now: float) -> None:
        used = refused.used[key]
        if refused.dimension in (None, key[0]) and used > 0:
            hold = FIRST_HOLD if refused.hint is None else least_hold(refused.hint, key[1])
            self.caps[key] = Cap(max(1.0, used), now, used, hold=hold)
            self.idle.pop(key, None)
