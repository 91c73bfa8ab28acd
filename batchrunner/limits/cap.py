"""One limit as found: how much, how sure, and when it may be raised next."""

from dataclasses import dataclass, field
from statistics import median

from batchrunner.limits.window import Dimension, Key

SECOND, MINUTE = 1.0, 60.0
KEYS: tuple[Key, ...] = (("requests", SECOND), ("requests", MINUTE), ("tokens", SECOND), ("tokens", MINUTE))
FIRST_CUT, _DEAR_CUT, _LARGEST_CUT = 0.01, 0.03, 0.16
FIRST_STEP, _BOLD_STEP, _LARGEST_STEP = 0.01, 0.04, 0.25
SOON_AGAIN, _SOON_SHOWN = 2.0, 3.0  # windows full; windows
FIRST_HOLD = 1.0  # windows between two raises
_LEAST_HOLD_SECONDS, _LONGEST_HOLD_SECONDS = 4.0, 960.0
# Windows to hold after a refused raise, a window that its pause cost: to wait longer than the second would cost as much
# where limits are noisy.
_LEAST_HOLD_PER_PAUSE, _HOLD_PER_PAUSE = 15, 45
_REQUESTS_PER_RAISE = 150  # so that refused raises are one try in a hundred at most
_LOWEST_CUT, _LOWEST_SEEN, _LOWEST_SEEN_LATER = 0.5, 0.85, 0.75
_SHOWN = 2 / 3  # of a rate that two refusals show
_SPREADS = 1.5  # above the mean
_FEW = 4.0
_REMEMBERED = 4
_KEPT = 6
_SECOND_REFUSAL = 2
_FAR = 0.1
_EXPLAINED, _EXPLAINED_AT_FIRST = 0.8, 0.5
_WEIGHT, _WEIGHT_NEAR = 2 / 3, 1 / 3  # of the newest refusal, far from the mean and near to it

Use = dict[Key, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A try that was refused for a rate, the first since something passed, or after the pause of one (`again`).

    `used`: what had passed in each kind of window before it; `ran`: seconds since the lane's first try; `hint` and
    `dimension` as the gateway said; `answered`: tokens of answers in each window, `latency`: what those take. Instants
    are seconds of the lane's clock.
    """

    sent_at: float
    now: float
    used: Use
    ran: float
    hint: float | None = None
    dimension: Dimension | None = None
    again: bool = False
    answered: Use = field(default_factory=dict)
    latency: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """What a limit held when something was refused: `used` in its window, by so many `rows`; `passed`: in the `seconds`
    since the refusal before; `paused`: seconds that this one costs; `exact`: counted, not estimated."""

    used: float
    rows: float
    passed: float
    seconds: float
    paused: float
    exact: bool

    @classmethod
    def at(cls, key: Key, refused: Refused, passed: float, *, since: float, exact: bool) -> "Full":
        """What the limit of this key held at a refusal; `passed`: in its dimension `since` the one before.

        `exact`: tokens, too, were counted, not estimated.
        """
        dimension, window = key
        return cls(
            used=refused.used[key],
            rows=refused.used["requests", window],
            passed=passed,
            seconds=refused.sent_at - since,
            paused=paused_seconds(refused.hint, window),
            exact=exact or dimension == "requests",
        )


@dataclass(slots=True)
class Cap:
    """One limit as found. `seen`: the mean of what it held at refusals, `spread`: by what share that varied, over so
    many `refusals`; `step`: by how much it is raised next; `hold`: windows to wait before; `cut`: by how much it was
    lowered last; `raised`: since then, from what was `before`; `told`: by headers."""

    amount: float
    changed_at: float
    seen: float
    spread: float = 0.0
    refusals: int = 1
    step: float = FIRST_STEP
    hold: float = FIRST_HOLD
    cut: float = FIRST_CUT
    raised: bool = False
    before: float = 0.0
    told: bool = False
    _held: list[float] = field(default_factory=list)

    def note(self, used: float) -> None:
        """It held so much when something was refused. The first refusal met a start that nothing had paced."""
        self.refusals += 1
        self._held = [*self._held[1 - _KEPT :], used]
        if self.refusals == _SECOND_REFUSAL:
            self.seen = used
            return
        off = abs(used / self.seen - 1) if self.seen else 0.0
        self.spread += (min(off, _FAR) - self.spread) / min(self.refusals - 1, _REMEMBERED)
        self.seen += (_WEIGHT if off > _FAR else _WEIGHT_NEAR) * (used - self.seen)

    def lift(self, now: float, least: float) -> None:
        """Raise it, by twice as much as the last time."""
        self.before = self.amount
        self.amount += max(self.amount * self.step, least)
        self.step = min(_LARGEST_STEP, 2 * self.step)
        if self.step > _BOLD_STEP:
            self.hold = max(FIRST_HOLD, self.hold / 2)
        self.changed_at = now
        self.raised = True

    def lower(self, full: Full, window_seconds: float, now: float) -> None:
        """Down to what such a limit holds when it refuses: what had passed in its window, or less where two refusals
        soon after one another show how fast it forgets."""
        again = not self.raised and full.passed < SOON_AGAIN * self.amount
        soon = full.seconds < window_seconds or (again and window_seconds > max(SECOND, full.seconds / _SOON_SHOWN))
        if not self.raised and full.seconds > 0 and soon and full.rows >= _FEW:
            lowest = (_LOWEST_SEEN if full.seconds < window_seconds else _LOWEST_SEEN_LATER) * full.used
            rate = max(lowest, min(full.used, full.passed / full.seconds * window_seconds))
            self.seen -= _SHOWN * (full.used - rate)
        held = full.used if full.exact else self.seen * (1 + (0.0 if again else _SPREADS * self.spread))
        first = _DEAR_CUT if full.paused >= window_seconds / 2 else FIRST_CUT
        self.cut = min(_LARGEST_CUT, max(first, 2 * self.cut)) if again else first
        cut = self.cut if again or not full.exact else 0.0
        if self.raised and full.exact:  # a small raise is taken back
            held = min(held, max(self.before, (1 - _BOLD_STEP) * held))
        self.amount = max(1.0, _LOWEST_CUT * self.amount, min(self.amount, held) * (1 - cut))
        least = least_hold(full.paused, window_seconds)
        if self.raised:
            seldom = _REQUESTS_PER_RAISE / max(1.0, full.rows)
            longest = max(1.0, seldom, _HOLD_PER_PAUSE * full.paused / window_seconds)
            self.hold = min(longest, max(2 * self.hold, least))
        self.hold = max(self.hold, least)
        self.raised = False
        self.step = FIRST_STEP
        self.changed_at = now

    def recount(self, held: list[float], now: float) -> None:
        """It held something else at refusals than was thought."""
        self._held, self.spread = held[1:], 0.0
        self.seen = max(1.0, held[-1]) if held else self.seen
        self.amount, self.changed_at = max(1.0, self.seen), now
        self.step, self.raised = FIRST_STEP, False

    def scale(self, share: float, now: float) -> None:
        """Down to a share of what it was, which is no exact one: so it is raised boldly."""
        self.amount, self.seen, self.changed_at = max(1.0, share * self.amount), max(1.0, share * self.seen), now
        self.step, self.hold = _BOLD_STEP, FIRST_HOLD

    def resume(self, now: float) -> None:
        """It is kept to again: at what it held at refusals."""
        self.amount, self.changed_at = max(1.0, self.seen), now
        self.step, self.raised = FIRST_STEP, False

    @property
    def explains_from(self) -> float:
        """What it has to hold to explain a refusal; a first amount is that of a start that nothing had paced."""
        return (_EXPLAINED if self.refusals > 1 else _EXPLAINED_AT_FIRST) * min(self.amount, max(1.0, self.seen))

    @property
    def varied(self) -> float:
        """By what share of their median, in the mean, the last refusals differed in what it held."""
        if len(self._held) < _SECOND_REFUSAL:
            return 0.0
        middle = max(1.0, median(self._held))
        return sum(abs(used - middle) for used in self._held) / len(self._held) / middle

    def raised_at(self, window_seconds: float) -> float:
        """When it may be raised next, an instant of the lane's clock."""
        hold = max(_LEAST_HOLD_SECONDS, self.hold * window_seconds)
        return self.changed_at + min(_LONGEST_HOLD_SECONDS, hold)


def paused_seconds(hint: float | None, window_seconds: float) -> float:
    """What a refusal costs."""
    return hint if hint is not None else min(1.0, window_seconds / 10)


def least_hold(paused: float, window_seconds: float) -> float:
    """Windows to wait before a raise whose refusal costs such a pause; what is too low has to grow back."""
    return max(FIRST_HOLD, min(MINUTE, _LEAST_HOLD_PER_PAUSE * min(paused, window_seconds)) / window_seconds)
