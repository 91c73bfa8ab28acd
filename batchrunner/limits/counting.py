"""When a gateway counts tokens: as a try comes, or as its answer goes.

Where it counts what an answer has used once that is there, a limit is full by what was answered within its window, and
what was sent within it is no more than a hint of that, wherever answers take long or the lane has just begun. Both are
summed up; of limits by the minute, and those that headers tell, that is believed which varies less at refusals.

Such a gateway has no silence when nothing is sent: what is out is still being answered, and a bucket may owe it. What
was answered from the first refusal until a try passes is then what a limit by the second has forgotten in that time.
"""

from collections.abc import Mapping
from dataclasses import replace

from batchrunner.limits.cap import MINUTE, SECOND, Cap, Refused, Use
from batchrunner.limits.window import Key, Limit, Window

LONGEST_SILENCE_SECONDS = 5.0
_KEPT = 6
_APART = 0.5  # windows: else two sums are much the same
_DIFFERS, _CLEARLY = 0.03, 0.5
_LOWEST_PAID = 0.2
_STORED = 2.0  # a full bucket and what came into it meanwhile: so many times the limit may have been answered
_SECOND_KEY: Key = ("tokens", SECOND)


class Counting:
    """What was answered lately, what both sums were at refusals, and of which limits answers are what counts (`late`).

    `passed`: tokens answered since the last refusal that told something.
    """

    def __init__(self) -> None:
        self.late: set[Key] = set()
        self.passed = 0.0
        self.told: dict[Key, float] = {}  # by headers, whatever was found since
        self._in_debt = False
        limits = [Limit(dimension="tokens", amount=1e18, window_seconds=seconds) for seconds in (SECOND, MINUTE)]
        self._logs = [Window(limit, now=0.0) for limit in limits]
        self._sent: dict[Key, list[float]] = {limit.key: [] for limit in limits}
        self._answered: dict[Key, list[float]] = {limit.key: [] for limit in limits}
        self._noted_at = dict.fromkeys(self._sent, float("-inf"))

    def answered(self, tokens: float, now: float) -> None:
        """An answer has come that used so many."""
        self.passed += tokens
        for log in self._logs:
            log.used(now)
            log.take(tokens, now)

    def used(self, until: float) -> Use:
        """What was answered within each window that ends at this instant, or a little later."""
        return {log.limit.key: log.used_since(until - log.limit.window_seconds) for log in self._logs}

    def as_counted(self, refused: Refused, caps: Mapping[Key, Cap]) -> Refused:
        """The refusal with the tokens by the way of counting that is believed after it, as are these limits."""
        for key in self._sent if refused.answered and not refused.again else ():
            was_late, known = key in self.late, key in caps and (key in self.told or key[1] == MINUTE)
            self._note(key, refused, known=known)
            if known and was_late != (key in self.late) and not caps[key].told:
                caps[key].recount(self._held(key)[:-1], refused.now)
        late = {key: tokens for key, tokens in refused.answered.items() if key in self.late}
        return replace(refused, used=refused.used | late) if late else refused

    def also_refused(self, tokens: float) -> None:
        """A try was refused that had been taken for sent before the last refusal."""
        for sums in self._sent.values():
            if sums:
                sums[-1] -= tokens

    def go_on(self, first: Refused | None, refused: Refused) -> bool:
        """Whether answers since the first refusal of a series may be why another follows, which then tells nothing."""
        if first is None:
            return False
        before, since = first.answered.get(_SECOND_KEY, 0.0), refused.sent_at - first.now
        forgets = min(LONGEST_SILENCE_SECONDS, SECOND + _STORED * self.passed / before) if before else 0.0
        go_on = since < forgets and (refused.hint or 0.0) <= LONGEST_SILENCE_SECONDS
        self._in_debt = go_on and since >= SECOND
        return go_on

    def paid(self, first: Refused | None, sent_at: float) -> float | None:
        """Tokens by the second that the gateway has forgotten since the first refusal of a series, if the try that
        passed now, sent then, had to wait for that."""
        owed, self._in_debt = self._in_debt, False
        seconds = sent_at - first.now if first is not None else 0.0
        return self.passed / seconds if owed and seconds >= SECOND else None

    def _held(self, key: Key) -> list[float]:
        return (self._answered if key in self.late else self._sent)[key]

    def _note(self, key: Key, refused: Refused, *, known: bool) -> None:
        """Note what was sent and answered before a refusal, and judge a limit that is `known` by that; not twice in a
        moment, unless by what is told."""
        told = [self.told[key]] if key in self.told else []
        if not told and refused.sent_at - self._noted_at[key] < _APART * key[1]:
            return
        self._noted_at[key] = refused.sent_at
        sent, answered = self._sent[key], self._answered[key]
        for sums, use in ((sent, refused.used), (answered, refused.answered)):
            sums.append(use[key])
            del sums[:-_KEPT]
        of_sent, of_answered = _varied([*told, *sent]), _varied([*told, *answered])
        less, more = sorted((of_sent, of_answered))
        if known and more > _DIFFERS and less < _CLEARLY * more:
            (self.late.add if of_answered < of_sent else self.late.discard)(key)


def lower_seconds(caps: Mapping[Key, Cap], tokens: float, now: float) -> None:
    """No more tokens than these by the second, and as many less requests."""
    found = {key: cap for key, cap in caps.items() if key[1] == SECOND and not cap.told}
    share = max(_LOWEST_PAID, tokens / found[_SECOND_KEY].amount) if _SECOND_KEY in found else 1.0
    for cap in found.values():
        if share < 1.0:
            cap.scale(share, now)


def _varied(sums: list[float]) -> float:
    """By what share of their mean they differ from it; endless where nothing was there, as that tells of no limit."""
    mean = sum(sums) / len(sums)
    return sum(abs(one - mean) for one in sums) / len(sums) / mean if mean > 0 else float("inf")
