"""The run store: SQLite, one writer, durable at each commit. Output, summary and report are folds of it.

`units` holds how each unit ended, as the JSON of its output row; `tries` holds every request that was sent,
a narrow row each; `facts` holds what the run is about. Refused: a store of a newer version.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from batchrunner.errors import StorageError
from batchrunner.records import Outcome, Try, Usage

VERSION = 1

_SCHEMA = """
CREATE TABLE facts(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE units(number INTEGER PRIMARY KEY, ok INTEGER NOT NULL, outcome BLOB NOT NULL);
CREATE INDEX ended ON units(ok);
CREATE TABLE tries(
    number INTEGER NOT NULL, sent_at REAL NOT NULL, latency_s REAL NOT NULL,
    kind TEXT, status INTEGER, message TEXT,
    prompt_tokens INTEGER, completion_tokens INTEGER, total_tokens INTEGER,
    cached_tokens INTEGER, reasoning_tokens INTEGER, finish_reason TEXT
);
"""
_ADD_UNIT = "INSERT INTO units VALUES (?, ?, ?)"
_ADD_TRY = "INSERT INTO tries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_FAILED_UNITS = """
SELECT json_extract(CAST(outcome AS TEXT), '$.error.kind'), count(*)
FROM units WHERE ok = 0 AND number < ? GROUP BY 1
"""
_FIRST_FAILURE = """
SELECT 'row ' || number || ': ' || json_extract(CAST(outcome AS TEXT), '$.error.message')
FROM units WHERE ok = 0 AND number < ? ORDER BY number LIMIT 1
"""
_ROWS_AT_ONCE = 512


_NO_USAGE = Usage()

Entry = tuple[Try | None, Outcome | None]


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over a store. `failures` counts failed tries by kind, `failed_units` failed units by kind;
    `first_failure` says why the first of these failed."""

    ok: int
    failed: int
    tries: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    failures: dict[str, int]
    failed_units: dict[str, int]
    first_failure: str | None
    finish_reasons: dict[str, int]


class DayUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent on one UTC day."""

    tries: int
    prompt_tokens: int
    completion_tokens: int


class Store:
    """The file `run.sqlite` in a run folder. Used by one thread at a time."""

    def __init__(self, folder: Path) -> None:
        """Open or create; StorageError where that fails or the store is of a newer version."""
        self._path = folder / "run.sqlite"
        try:
            with suppress(FileExistsError):
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL, 0o600))
            self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            version: int = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={VERSION}; COMMIT;")
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

    def ended(self) -> Iterator[int]:
        """The numbers of all units that have ended, in no order."""
        with self._reading():
            for row in self._db.execute("SELECT number FROM units INDEXED BY ended"):
                yield row[0]

    def commit(self, entries: Sequence[Entry]) -> None:
        """Record tries, and the outcomes that some of them brought, in one durable commit."""
        encode = msgspec.json.encode
        tries = [_try_row(one) for one, _ in entries if one is not None]
        units = [(end.row, end.status == "ok", encode(end)) for _, end in entries if end is not None]
        with self._writing():
            self._db.executemany(_ADD_TRY, tries)
            self._db.executemany(_ADD_UNIT, units)

    def reopen(self, numbers: Iterable[int]) -> None:
        """Make units pending again; their tries stay."""
        with self._writing():
            self._db.executemany("DELETE FROM units WHERE number = ?", [(number,) for number in numbers])

    def holds_answers(self) -> bool:
        """Whether any unit has been answered."""
        return bool(self._all("SELECT 1 FROM units WHERE ok = 1 LIMIT 1"))

    def reopen_all(self) -> None:
        """Make every unit pending again; the tries stay."""
        self._all("DELETE FROM units")

    def outcomes(self, total: int) -> Iterator[bytes]:
        """The output rows, as JSON, of the units below `total`, in order."""
        with self._reading():
            rows = self._db.execute("SELECT outcome FROM units WHERE number < ? ORDER BY number", (total,))
            while batch := rows.fetchmany(_ROWS_AT_ONCE):
                for row in batch:
                    yield row[0]

    def totals(self, total: int) -> Totals:
        """Count the units below `total` and sum all tries."""
        counts = self._counts("SELECT ok, count(*) FROM units WHERE number < ? GROUP BY 1", (total,))
        sums = self._all(
            "SELECT count(*), total(prompt_tokens), total(completion_tokens), total(cached_tokens), "
            "total(reasoning_tokens) FROM tries"
        )[0]
        return Totals(
            ok=counts.get("1", 0),
            failed=counts.get("0", 0),
            tries=sums[0],
            prompt_tokens=int(sums[1]),
            completion_tokens=int(sums[2]),
            cached_tokens=int(sums[3]),
            reasoning_tokens=int(sums[4]),
            failures=self._counts("SELECT kind, count(*) FROM tries WHERE kind NOT NULL GROUP BY 1"),
            failed_units=self._counts(_FAILED_UNITS, (total,)),
            first_failure=next((words for (words,) in self._all(_FIRST_FAILURE, (total,))), None),
            finish_reasons=self._counts(
                "SELECT finish_reason, count(*) FROM tries WHERE finish_reason NOT NULL GROUP BY 1"
            ),
        )

    def usage_by_day(self) -> dict[str, DayUsage]:
        """Tries and tokens by the UTC day on which they were sent."""
        rows = self._all(
            "SELECT date(sent_at, 'unixepoch'), count(*), total(prompt_tokens), total(completion_tokens) "
            "FROM tries GROUP BY 1 ORDER BY 1"
        )
        return {
            day: DayUsage(tries=tries, prompt_tokens=int(prompt), completion_tokens=int(completion))
            for day, tries, prompt, completion in rows
        }

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

    def _counts(self, sql: str, values: tuple[object, ...] = ()) -> dict[str, int]:
        return {str(name): int(count) for name, count in self._all(sql, values)}

    def _all(self, sql: str, values: tuple[object, ...] = ()) -> list[Any]:
        with self._reading():
            return self._db.execute(sql, values).fetchall()

    def _storage_error(self, error: Exception) -> StorageError:
        advice = "make room and run the same command again" if "full" in str(error) else "see to it, then run again"
        return StorageError(f"The run store {self._path} can't be used: {error}; {advice}.")


def _try_row(one: Try) -> tuple[object, ...]:
    failure = one.failure
    usage = one.usage or _NO_USAGE
    return (
        one.number,
        one.sent_at,
        one.latency_s,
        failure and failure.kind,
        failure and failure.status,
        failure and failure.message,
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens,
        usage.cached_tokens,
        usage.reasoning_tokens,
        one.finish_reason,
    )
