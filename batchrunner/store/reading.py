"""The run store, read beside whoever works in it: one consistent snapshot, nothing migrated, no file created.

SQLite's readers of a WAL need no lock that a writer waits for. But a reader that comes when nobody has the store open
would have to create the files of a WAL; so it reads the file as it stands then, and anew if a run begins meanwhile.
Refused: stores of another version, but older ones where who reads takes them.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from batchrunner.errors import StorageError
from batchrunner.store.bitmap import Bitmap
from batchrunner.store.choosing import choose
from batchrunner.store.database import FILE
from batchrunner.store.heeding import Heed, Heeding, heed_nobody
from batchrunner.store.older import show_as_now
from batchrunner.store.recent import Recent, recent_in
from batchrunner.store.schema import VERSION
from batchrunner.store.spending import Spending, spending_in
from batchrunner.store.summing import Tries, sums_by_day

_BUSY_SECONDS = 10.0  # the WAL of a killed run is put in order by the first who reads it
_ROWS_AT_ONCE = 512
_ENDED = "SELECT number FROM units WHERE number >= ? AND number < ? ORDER BY 1"
_BODIES = "SELECT number, outcome FROM bodies WHERE number >= ? AND number < ? ORDER BY 1"
_ANSWERED = (
    "SELECT number, prompt_tokens, completion_tokens, sent_at, latency_s FROM tries "
    "WHERE kind IS NULL AND prompt_tokens NOT NULL AND completion_tokens NOT NULL ORDER BY rowid DESC LIMIT ?"
)
_EACH_TRY = (
    "SELECT number, sent_at, latency_s, first_token_s, kind, status, substr(message, 1, ?), "
    "prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, model, cost FROM tries "
    "WHERE rowid > ? ORDER BY rowid"
)
_FAILED = (
    "SELECT number, kind, substr(coalesce(message, ''), 1, ?) FROM units WHERE number < ? AND ok = 0 ORDER BY number"
)
_BY_ARM = "SELECT number % ?, count(*), total(ok) FROM units WHERE number < ? GROUP BY 1"
_LONGEST_MESSAGE = 1000

_Found = TypeVar("_Found")


class Units(NamedTuple):
    """How units ended: how many were answered, and how many failed, by kind."""

    ok: int
    failed: dict[str, int]


class TryRow(NamedTuple):
    """A try as it was recorded; None is not known. `model`: the one that was asked. Instants are Unix time."""

    number: int
    sent_at: float
    latency_s: float
    first_token_s: float | None
    kind: str | None
    status: int | None
    message: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    model: str | None
    cost: float | None


class Answered(NamedTuple):
    """An answered try: the number of its unit, what it used, when it was sent (Unix time) and how long it took."""

    number: int
    prompt_tokens: int
    completion_tokens: int
    sent_at: float
    latency_s: float


class Reader:
    """A snapshot of the store in a run folder. `read_store` hands it out."""

    def __init__(self, folder: Path, *, takes_older: bool = False, heed: Heed = heed_nobody) -> None:
        self._heed, self._heeding = heed, Heeding(heed)
        self._path = folder / FILE
        self._takes_older = takes_older
        self._wal = folder / f"{FILE}-wal"
        self._stamp = None if self._wal.exists() else _stamp(self._path)
        mode = "mode=ro" if self._stamp is None else "immutable=1"
        uri = f"{self._path.absolute().as_uri()}?{mode}"
        try:
            self._db = sqlite3.connect(
                uri, uri=True, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise self._trouble(error) from error
        try:
            self._heeding.over(self._db)
            self._rows("BEGIN")
            self._check_version()
        except BaseException:
            self.close()
            raise

    def fact(self, name: str) -> str | None:
        """What the run remembers under this name."""
        return next((str(value) for (value,) in self._rows("SELECT value FROM facts WHERE name = ?", name)), None)

    def choose(self, chosen: Bitmap, arms: int = 1) -> None:
        """From here on nothing is told of other units."""
        try:
            choose(self._db, chosen, arms)
        except sqlite3.Error as error:
            raise self._trouble(error) from error

    def units(self, total: int) -> Units:
        """How the units below `total` ended."""
        ((ok,),) = self._rows("SELECT total(ok) FROM units WHERE number < ?", total)
        failed = self._rows("SELECT kind, count(*) FROM units WHERE number < ? AND ok = 0 GROUP BY 1", total)
        return Units(ok=int(ok), failed={str(kind): count for kind, count in failed})

    def pending_of(self, numbers: Iterable[int]) -> int:
        """How many of these units have not ended."""
        return sum(not self._rows("SELECT 1 FROM units WHERE number = ?", number) for number in numbers)

    def facts(self, prefix: str) -> dict[str, str]:
        """What the run remembers under names that begin so, by name."""
        return dict(self._rows("SELECT name, value FROM facts WHERE substr(name, 1, ?) = ?", len(prefix), prefix))

    def ended(self, first: int, end: int) -> Iterator[int]:
        """The numbers, from `first` to below `end`, of the units that have ended, in order."""
        return (row[0] for row in self._read(_ENDED, first, end))

    def bodies(self, first: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Number and output row of the units from `first` to below `end` whose bodies are here, in order."""
        return self._read(_BODIES, first, end)

    def tries(self) -> Iterator[Tries]:
        """Every try, in several sums a day. Each is told of to who is heeded."""
        return sums_by_day(self._rows, self.last_try(), self._heed)

    def each_try(self, after: int = 0) -> Iterator[TryRow]:
        """Every try behind the `after` first ones, in the order of their recording: plain tuples, as a million of them
        would take a second longer with names. Each is told of to who is heeded."""
        return self._read(_EACH_TRY, _LONGEST_MESSAGE, after, told=self._heed)

    def failed_units(self, total: int) -> Iterator[tuple[int, str, str]]:
        """Number, kind and message, cut to 1,000 characters, of the failed units below `total`, in order."""
        return self._read(_FAILED, _LONGEST_MESSAGE, total)

    def units_by_arm(self, total: int, arms: int) -> dict[int, tuple[int, int]]:
        """How many units below `total` ended, and how many of them were answered, by their arm."""
        return {arm: (ended, int(ok)) for arm, ended, ok in self._rows(_BY_ARM, arms, total)}

    def failed_tries(self) -> dict[str, int]:
        """How many tries failed, by kind."""
        rows = self._rows("SELECT kind, count(*) FROM tries WHERE kind NOT NULL GROUP BY 1")
        return {str(kind): count for kind, count in rows}

    def recent(self, since: float) -> Recent:
        """What ended since then (Unix time)."""
        return recent_in(self._rows, self.last_try(), since)

    def digests(self, number: Callable[[int], int] = int) -> Iterator[tuple[int, bytes | None]]:
        """Number, as `number` makes it of the one in the store, and digest of all units that ended, in order."""
        self._db.create_function("renumbered", 1, number, deterministic=True)
        return self._read("SELECT renumbered(number), digest FROM units ORDER BY 1")

    def holds_answers(self) -> bool:
        """Whether any unit was answered."""
        return bool(self._rows("SELECT 1 FROM units WHERE ok = 1 LIMIT 1"))

    def answered(self, most: int) -> list[Answered]:
        """The tries answered last, so many at most, in order."""
        return [Answered(*row) for row in reversed(self._rows(_ANSWERED, most))]

    def spending(self) -> Iterator[Spending]:
        """What all tries took of a budget, by model."""
        return spending_in(self._rows)

    def select(self, sql: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[Any]:
        """What a query of this room answers, whole."""
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._trouble(error) from error

    def define(self, name: str, holds: Callable[[int], bool]) -> None:
        """From here on queries may ask whether this holds of a number."""
        self._db.create_function(name, 1, holds, deterministic=True)

    def check(self) -> None:
        """OvertakenError where what was read may be of two minds."""
        if self._stamp is not None and (self._wal.exists() or _stamp(self._path) != self._stamp):
            raise OvertakenError

    def close(self) -> None:
        """Let the snapshot go."""
        self._db.close()

    def last_try(self) -> int:
        """How many tries there are."""
        ((last,),) = self._rows("SELECT coalesce(max(rowid), 0) FROM tries")
        return int(last)

    def _check_version(self) -> None:
        ((found,),) = self._rows("PRAGMA user_version")
        if found > VERSION:
            raise StorageError(f"{self._path} was written by a newer batchrunner; use that one.")
        if found < VERSION and self._takes_older:
            show_as_now(self._db, found)
        elif found < VERSION:
            raise StorageError(
                f"{self._path} is of an older batchrunner, or just being made; run the same command again, "
                "which brings it up to date."
            )

    def _read(self, sql: str, *values: object, told: Heed = heed_nobody) -> Iterator[Any]:
        """Rows in order, few at a time."""
        try:
            rows = self._db.execute(sql, values)
            while batch := rows.fetchmany(_ROWS_AT_ONCE):
                yield from batch
                told(len(batch))
        except sqlite3.Error as error:
            raise self._trouble(error) from error
        self.check()

    def _rows(self, sql: str, *values: object) -> list[Any]:
        return self.select(sql, values)

    def _trouble(self, error: sqlite3.Error) -> BaseException:
        """A file that changes under a reader who takes it for settled may look damaged."""
        if (raised := self._heeding.raised) is not None:
            return raised
        try:
            self.check()
        except OvertakenError as overtaken:
            return overtaken
        return StorageError(f"The run store {self._path} can't be read: {error}.")


class OvertakenError(Exception):
    """A run began to write while its store was read as a file that nobody has open."""


def read_store(
    folder: Path, fold: Callable[[Reader], _Found], *, takes_older: bool = False, heed: Heed = heed_nobody
) -> _Found:
    """What `fold` makes of a snapshot of the store in this folder; it is asked anew where a run overtakes it.
    `takes_older`: one of an older version is read as it would be after its run had brought it up to date; `heed`: is
    told of the tries that were read, and ends the reading by what it raises, in the middle of a long statement, too.

    StorageError where the store can't be read.
    """
    while True:
        try:
            reader = Reader(folder, takes_older=takes_older, heed=heed)
            try:
                found = fold(reader)
                reader.check()
            finally:
                reader.close()
        except OvertakenError:
            continue
        return found


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise StorageError(f"The run store {path} can't be read: {error.strerror}.") from error
    return status.st_ino, status.st_size, status.st_mtime_ns
