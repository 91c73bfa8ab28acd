"""Long statements that can be stopped: SQLite asks now and then, in the middle of one, whether it is to go on."""

import sqlite3
from collections.abc import Callable

STEPS = 200_000  # of SQLite's virtual machine, some milliseconds

Heed = Callable[[int], object]
"""Told how much more has been done (0: nobody counts it); what it raises ends the work."""


def heed_nobody(more: int) -> None:
    """Nobody stops it."""


class Heeding:
    """Who heeds somebody. `raised`: what ended the last statement, which SQLite calls interrupted."""

    def __init__(self, heed: Heed) -> None:
        self.raised: BaseException | None = None
        self._heed = heed

    def over(self, db: sqlite3.Connection) -> sqlite3.Connection:
        """The connection, whose statements heed from here on."""
        if self._heed is not heed_nobody:
            db.set_progress_handler(self._is_to_stop, STEPS)
        return db

    def _is_to_stop(self) -> bool:
        try:
            self._heed(0)
        except BaseException as error:  # noqa: BLE001 - it is raised again once SQLite has given up
            self.raised = error
        return self.raised is not None
