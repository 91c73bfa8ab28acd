"""The run store: SQLite, one writer, durable at each commit. Output, summary and report are folds of it.

Other processes may read it at any time. Refused: a store of a newer version, and one whose file was taken away
while it was open.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from batchrunner.errors import StorageError
from batchrunner.records import Paid, Usage, money
from batchrunner.store.bitmap import Bitmap
from batchrunner.store.by_arm import VariantSums, sums_by_variant
from batchrunner.store.choosing import choose
from batchrunner.store.heeding import Heed, Heeding, heed_nobody
from batchrunner.store.private import refuse_link
from batchrunner.store.rows import Entry, ended_unit, try_row, unit_row
from batchrunner.store.schema import VERSION, bring_up
from batchrunner.store.spending import Spending, spending_in
from batchrunner.store.summing import (
    DayUsage,
    ModelUsage,
    Sums,
    summed,
    sums_by_day,
    usage_by_day,
    usage_by_model_and_day,
)

FILE = "run.sqlite"
_BUSY_SECONDS = 60.0  # another connection of this run may be writing
_FIRST_FAILURE = (
    "SELECT 'row ' || (number / ?) || ': ' || message FROM units WHERE ok = 0 AND number < ? ORDER BY number LIMIT 1"
)
_ENDED = "SELECT number FROM units WHERE number >= ? AND number < ? ORDER BY number"
_COUNT = "SELECT count(*), total(ok) FROM units WHERE number >= ? AND number < ?"
_BODIES = "SELECT number, outcome FROM bodies WHERE number >= ? AND number < ? ORDER BY number LIMIT ?"
_ROWS_AT_ONCE = 512
_ROWS_A_STATEMENT = 64
_NO_END = 2**63 - 1


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over a store. `failures` counts failed tries by kind, `failed_units` failed units by kind;
    `first_failure` says why the first of these failed; `finish_reasons` counts answers that were taken."""

    ok: int
    failed: int
    sums: Sums
    by_day: dict[str, DayUsage]
    by_model_and_day: list[ModelUsage]
    failures: dict[str, int]
    failed_units: dict[str, int]
    first_failure: str | None
    finish_reasons: dict[str, int]


class Store:
    """The file `run.sqlite` in a run folder. Used by one thread at a time."""

    def __init__(self, folder: Path, *, heed: Heed = heed_nobody) -> None:
        """Open or create; StorageError where that fails or the store is of a newer version. What `heed` raises ends
        long statements."""
        self._path = folder / FILE
        self._heeding = Heeding(heed)
        try:
            refuse_link(self._path)
            with suppress(FileExistsError):
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL, 0o600))
            self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS)
        except (OSError, sqlite3.Error) as error:
            raise self._storage_error(error) from error
        try:
            self._set_up()
        except BaseException:
            self._db.close()
            raise

    def _set_up(self) -> None:
        self._heeding.over(self._db)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            version = bring_up(self._db)
            self._file = _identity(self._path)
        except (OSError, sqlite3.Error) as error:
            raise self._storage_error(error) from error
        if version > VERSION:
            raise StorageError(
                f"{self._path} was written by a newer batchrunner; use that one, or start anew with "
                "--resume never (the old run folder is set aside)."
            )

    def fact(self, name: str) -> str | None:
        """What the run remembers under this name."""
        rows = self._all("SELECT value FROM facts WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def remember(self, name: str, value: str) -> None:
        """Remember it durably."""
        self._all("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def facts(self, prefix: str) -> dict[str, str]:
        """What the run remembers under names that begin so, by name."""
        return dict(self._all("SELECT name, value FROM facts WHERE substr(name, 1, ?) = ?", (len(prefix), prefix)))

    def forget(self, name: str) -> None:
        """Remember it no longer."""
        self._all("DELETE FROM facts WHERE name = ?", (name,))

    def ended(self, first: int = 0, end: int = _NO_END) -> Iterator[int]:
        """The numbers, from `first` to below `end`, of the units that have ended, in order."""
        with self._reading():
            for row in self._db.execute(_ENDED, (first, end)):
                yield row[0]

    def digests(self) -> Iterator[tuple[int, bytes | None]]:
        """Number and digest of all units that have ended, in order; None where an older version recorded none."""
        with self._reading():
            for row in self._db.execute("SELECT number, digest FROM units ORDER BY number"):  # noqa: UP028 - see below
                yield row  # `yield from` asks the cursor to close, be it after the connection

    def commit(self, entries: Sequence[Entry]) -> None:
        """Record tries, and the outcomes that some of them brought, in one durable commit."""
        tries = [try_row(entry.tried) for entry in entries if entry.tried is not None]
        ended = [(ended_unit(one, one.outcome), one.outcome, one.digest) for one in entries if one.outcome is not None]
        with self._writing():
            self._insert("tries", tries)
            self._insert("units", [unit_row(*one) for one in ended])
            self._insert("bodies", [(number, outcome.as_row()) for number, outcome, _ in ended])

    def reopen(self, numbers: Iterable[int]) -> None:
        """Make units pending again; their tries stay."""
        with self._writing():
            for number in numbers:
                self._db.execute("DELETE FROM main.units WHERE number = ?", (number,))
                self._db.execute("DELETE FROM main.bodies WHERE number = ?", (number,))

    def paid_for_pending(self) -> dict[int, Paid]:
        """What was used and paid by rejected answers to units that have not ended, by number."""
        names = Usage.__struct_fields__
        rows = self._all(
            f"SELECT number, sum(cost), {', '.join(f'sum({name})' for name in names)} FROM tries "  # noqa: S608
            "WHERE (total_tokens NOT NULL OR cost > 0) AND number NOT IN (SELECT number FROM units) GROUP BY number"
        )
        return {
            number: Paid(usage=Usage(**dict(zip(names, sums, strict=True))), cost=None if cost is None else money(cost))
            for number, cost, *sums in rows
        }

    def spending(self) -> list[Spending]:
        """What all tries took of a budget, by model."""
        return list(spending_in(self._all))

    def holds_answers(self) -> bool:
        """Whether any unit has been answered."""
        return bool(self._all("SELECT 1 FROM main.units WHERE ok = 1 LIMIT 1"))

    def reopen_all(self) -> None:
        """Make every unit pending again; the tries stay."""
        with self._writing():
            self._db.execute("DELETE FROM main.units")
            self._db.execute("DELETE FROM main.bodies")

    def bodies(self, first: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Number and output row of the units from `first` to below `end` whose bodies are here, in order.

        Read in pieces, so that the log of a store at work (the WAL) is not kept from being taken over meanwhile.
        """
        while rows := self._all(_BODIES, (first, end, _ROWS_AT_ONCE)):
            yield from rows
            first = rows[-1][0] + 1

    def failed(self, total: int) -> Iterator[int]:
        """The numbers of the failed units below `total`, in order."""
        with self._reading():
            for row in self._db.execute("SELECT number FROM units WHERE ok = 0 AND number < ? ORDER BY 1", (total,)):
                yield row[0]

    def totals(self, total: int, arms: int = 1) -> Totals:
        """Count the units below `total`, so many `arms` of each row, and sum all tries."""
        ended, ok = self.count(0, total)
        last = self._all("SELECT coalesce(max(rowid), 0) FROM tries")[0][0]
        tries = list(sums_by_day(lambda sql, *values: self._all(sql, values), last))
        return Totals(
            ok=ok,
            failed=ended - ok,
            sums=summed(tries),
            by_day=usage_by_day(tries),
            by_model_and_day=usage_by_model_and_day(tries),
            failures=self._counts("SELECT kind, count(*) FROM tries WHERE kind NOT NULL GROUP BY 1"),
            failed_units=self._counts(
                "SELECT kind, count(*) FROM units WHERE ok = 0 AND number < ? GROUP BY 1", (total,)
            ),
            first_failure=next((words for (words,) in self._all(_FIRST_FAILURE, (arms, total))), None),
            finish_reasons=self._counts(
                "SELECT finish_reason, count(*) FROM tries WHERE finish_reason NOT NULL AND kind IS NULL GROUP BY 1"
            ),
        )

    def by_variant(self, total: int, *, variants: int, samples: int) -> list[VariantSums]:
        """How the units below `total` went, by variant of the sweep."""
        return list(sums_by_variant(self._all, total, variants=variants, samples=samples))

    def count(self, first: int, end: int) -> tuple[int, int]:
        """How many units from `first` to below `end` have ended, and how many of them were answered."""
        ended, ok = self._all(_COUNT, (first, end))[0]
        return ended, int(ok)

    def choose(self, chosen: Bitmap, arms: int = 1) -> None:
        """From here on nothing is told of other units, save whether any was answered."""
        with self._reading():
            choose(self._db, chosen, arms)

    def close(self) -> None:
        """Close the file; everything committed stays."""
        self._db.close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._storage_error(error) from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One durable transaction, or none of it."""
        self._check_in_place()
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise self._storage_error(error) from error
            raise

    def _insert(self, table: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Many rows in a statement: at each step of one the interpreter's lock is given up and fought for."""
        for first in range(0, len(rows), _ROWS_A_STATEMENT):
            some = rows[first : first + _ROWS_A_STATEMENT]
            values = ", ".join([f"({', '.join('?' * len(some[0]))})"] * len(some))
            self._db.execute(f"INSERT INTO main.{table} VALUES {values}", list(chain.from_iterable(some)))  # noqa: S608

    def _check_in_place(self) -> None:
        """What is written to a file that was removed is gone, though SQLite would not notice."""
        try:
            in_place = _identity(self._path) == self._file
        except OSError:
            in_place = False
        if not in_place:
            raise StorageError(
                f"The run store {self._path} was taken away while it was in use; put it back, if you can."
            )

    def _counts(self, sql: str, values: tuple[object, ...] = ()) -> dict[str, int]:
        return {str(name): int(count) for name, count in self._all(sql, values)}

    def _all(self, sql: str, values: tuple[object, ...] | Mapping[str, object] = ()) -> list[Any]:
        with self._reading():
            return self._db.execute(sql, values).fetchall()

    def _storage_error(self, error: Exception) -> BaseException:
        if (raised := self._heeding.raised) is not None:
            return raised
        advice = "make room and run the same command again" if "full" in str(error) else "see to it, then run again"
        return StorageError(f"The run store {self._path} can't be used: {error}; {advice}.")


def peek(folder: Path, name: str) -> str | None:
    """A fact of the store in this folder, read beside whoever works in it; None where there is none to be had."""
    try:
        with closing(sqlite3.connect(f"{(folder / FILE).absolute().as_uri()}?mode=ro", uri=True)) as db:
            found = db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    except (OSError, sqlite3.Error):
        return None
    return None if found is None else str(found[0])


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
