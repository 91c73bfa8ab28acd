"""Something that takes a while to make, kept for a while: so that whoever looks at a run costs it little."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

SHARE = 20  # making takes no more than one part in so many of the time

_Made = TypeVar("_Made")


class Kept(Generic[_Made]):
    """What `make` made last, made anew once twenty times the time that it took has passed. Used by one thread at a
    time."""

    def __init__(self, make: Callable[[], _Made], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._make = make
        self._clock = clock
        self._made: _Made | None = None
        self._until = 0.0

    def get(self) -> _Made:
        """It. Raises what `make` raises."""
        began = self._clock()
        if self._made is None or began >= self._until:
            self._made = self._make()
            ended = self._clock()
            self._until = ended + SHARE * (ended - began)
        return self._made
