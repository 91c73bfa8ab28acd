"""The run store as an output in parts needs it: what has ended by part, and bodies that leave or come back."""

from collections.abc import Iterable

from batchrunner.store.database import Store

_PUT_BACK = (
    "INSERT OR IGNORE INTO bodies SELECT :number, :body WHERE EXISTS (SELECT 1 FROM units WHERE number = :number)"
)
_BETWEEN = "number >= ? AND number < ?"


class PartedStore(Store):
    """A connection of its own to a run store, beside the one that records. Used by one thread at a time."""

    def ended_by_part(self, part_rows: int, total: int) -> dict[int, int]:
        """How many of the units below `total` have ended, by part; parts without any are left out."""
        rows = self._all("SELECT number / ?, count(*) FROM units WHERE number < ? GROUP BY 1", (part_rows, total))
        return dict(rows)

    def holds_body(self, first: int, end: int) -> bool:
        """Whether the body of any unit from `first` to below `end` is here."""
        return bool(self._all(f"SELECT 1 FROM bodies WHERE {_BETWEEN} LIMIT 1", (first, end)))  # noqa: S608

    def holds_all_bodies(self, first: int, end: int) -> bool:
        """Whether the body of every unit from `first` to below `end` that has ended is here."""
        bodies: int = self._all(f"SELECT count(*) FROM bodies WHERE {_BETWEEN}", (first, end))[0][0]  # noqa: S608
        return bodies == self.count(first, end)[0]

    def put_back(self, rows: Iterable[tuple[int, bytes]]) -> None:
        """Keep the bodies of these units, in one commit: of those that have ended, and where none newer is here."""
        with self._writing():
            self._db.executemany(_PUT_BACK, ({"number": number, "body": body} for number, body in rows))

    def let_go(self, first: int, end: int) -> None:
        """Delete the bodies of the units from `first` to below `end`; their pages are used again."""
        with self._writing():
            self._db.execute(f"DELETE FROM bodies WHERE {_BETWEEN}", (first, end))  # noqa: S608 - a constant
