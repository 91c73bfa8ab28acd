"""A limit by the minute that was found in less than a minute is doubted twice.

It would keep the lane from sending for the rest of the minute. So it is left aside for a while, carefully, at a few
times its rate: where more passes then than a minute's limit could have forgotten, it was none.
"""

from dataclasses import dataclass, field

from batchrunner.limits.cap import MINUTE, SECOND, Cap
from batchrunner.limits.window import Key

_DOUBTS_SECONDS = (3.0, 15.0)
_CAREFUL = 4
_LEAST_RATE = 2.0  # requests per second
_CAREFUL_KEY: Key = ("requests", SECOND)


@dataclass(slots=True)
class Doubts:
    """When to doubt, and the limits before the present doubt, `aside` meanwhile; None where nothing is doubted now."""

    aside: dict[Key, Cap] | None = None
    _due: list[float] = field(default_factory=list)

    @property
    def due_at(self) -> float:
        """When to `begin` next; infinity mostly."""
        return self._due[0] if self._due else float("inf")

    @property
    def open(self) -> bool:
        """Whether limits are left aside now."""
        return self.aside is not None

    def plan(self, now: float) -> None:
        """A limit by the minute has just been found."""
        self._due = [now + seconds for seconds in _DOUBTS_SECONDS]

    def begin(self, caps: dict[Key, Cap], now: float, *, minute: float) -> dict[Key, Cap]:
        """A careful rate beside what is left without the minute's limits. `minute`: requests that had passed in one."""
        self._due.pop(0)
        self.aside = caps
        left = {key: cap for key, cap in caps.items() if key[1] != MINUTE or cap.told}
        careful = max(_LEAST_RATE, _CAREFUL * minute / MINUTE)
        known = left.get(_CAREFUL_KEY)
        if known is None or known.amount > careful:
            left[_CAREFUL_KEY] = Cap(careful, now, careful, told=True)
        return left

    def end(self, caps: dict[Key, Cap], *, keep: bool) -> dict[Key, Cap]:
        """The limits after the doubt, as they were before it; `keep`: those of the minute, too."""
        if self.aside is None:
            return caps
        aside, self.aside = self.aside, None
        return {key: cap for key, cap in aside.items() if keep or key[1] != MINUTE or cap.told}
