"""The run store when the job has other arms than before: its units get other numbers, all of them or none.

The tables are written anew within one transaction, so that whoever is killed in its middle leaves the old numbers.
"""

from collections.abc import Callable, Iterator, Mapping

from batchrunner.store.database import Store
from batchrunner.store.schema import BODIES, UNITS

Renumber = Callable[[int], int]
Relabel = Callable[[int, bytes], bytes]

_DIGESTS = "SELECT renumbered(number), digest FROM units ORDER BY 1"
_STEPS = (
    "ALTER TABLE units RENAME TO units_before",
    "ALTER TABLE bodies RENAME TO bodies_before",
    UNITS,
    BODIES,
    "INSERT INTO units SELECT renumbered(number), ok, digest, kind, message FROM units_before",
    "INSERT INTO bodies SELECT renumbered(number), relabelled(number, outcome) FROM bodies_before",
    "UPDATE tries SET number = renumbered(number)",
    "DROP TABLE units_before",
    "DROP TABLE bodies_before",
)


class RenumberedStore(Store):
    """A connection of its own to a run store, with the numbers that its units are to get and the output rows that
    these are to have. Used by one thread at a time, while nobody else writes."""

    def renumber_by(self, number: Renumber, row: Relabel) -> None:
        """Say what becomes of a unit's number, and of its output row (which is told by the old number)."""
        self._db.create_function("renumbered", 1, number, deterministic=True)
        self._db.create_function("relabelled", 2, row)

    def digests_to_be(self) -> Iterator[tuple[int, bytes | None]]:
        """New number and digest of all units that have ended, in order of these."""
        with self._reading():
            for row in self._db.execute(_DIGESTS):  # noqa: UP028 - as in Store.digests
                yield row

    def renumber(self, facts: Mapping[str, str]) -> None:
        """Do it, and remember these facts, in one durable transaction."""
        with self._writing():
            for step in _STEPS:
                self._db.execute(step)
            self._db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", facts.items())
