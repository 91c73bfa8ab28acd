"""One limit as found: how much, how sure, and when it may be raised next."""

from dataclasses import dataclass

from batchrunner.limits.window import Key

SECOND, MINUTE = 1.0, 60.0
KEYS: tuple[Key, ...] = (("requests", SECOND), ("requests", MINUTE), ("tokens", SECOND), ("tokens", MINUTE))
FIRST_CUT = 0.01
FIRST_STEP = 0.01
FIRST_HOLD = 1.0  # windows between two raises
_LEAST_HOLD_SECONDS, _LONGEST_HOLD_SECONDS = 4.0, 960.0
_REMEMBERED = 4
_FAR = 0.1
_WEIGHT, _WEIGHT_NEAR = 2 / 3, 1 / 3  # of the newest refusal, far from the mean and near to it

Use = dict[Key, float]


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

    def note(self, used: float) -> None:
        """It held so much when something was refused."""
        off = abs(used / self.seen - 1) if self.seen else 0.0
        self.refusals += 1
        self.spread += (min(off, _FAR) - self.spread) / min(self.refusals, _REMEMBERED)
        self.seen += (_WEIGHT if off > _FAR else _WEIGHT_NEAR) * (used - self.seen)

    def raised_at(self, window_seconds: float) -> float:
        """When it may be raised next, an instant of the lane's clock."""
        hold = max(_LEAST_HOLD_SECONDS, self.hold * window_seconds)
        return self.changed_at + min(_LONGEST_HOLD_SECONDS, hold)
