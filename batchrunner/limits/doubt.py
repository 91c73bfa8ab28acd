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
    """When to doubt, and what is left `aside` meanwhile; None where nothing is doubted now."""

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
        """What is left without the minute's limits; a careful rate where that is nothing. `minute`: requests that had
        passed in a minute."""
        self._due.pop(0)
        self.aside = {key: cap for key, cap in caps.items() if key[1] == MINUTE and not cap.told}
        left = {key: cap for key, cap in caps.items() if key not in self.aside}
        careful = max(_LEAST_RATE, _CAREFUL * minute / MINUTE)
        return left or {_CAREFUL_KEY: Cap(careful, now, careful, told=True)}

    def end(self, caps: dict[Key, Cap], *, keep: bool) -> dict[Key, Cap]:
        """The limits after the doubt, without its careful rate; `keep`: those that were doubted are back."""
        if self.aside is None:
            return caps
        aside, self.aside = self.aside, None
        caps = {key: cap for key, cap in caps.items() if not (cap.told and key == _CAREFUL_KEY)}
        return caps | aside if keep else caps
