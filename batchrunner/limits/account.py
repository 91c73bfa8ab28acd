"""This machine's book: what the processes of this user do on each lane, and what was used on each day.

One SQLite file in the state folder. Processes that share a lane meet in it several times a second: each one writes
what it holds of the limits and until when, reads what the others wrote, and takes its part (see sharing). What it
wrote last binds it, and outlives it by one window, so that limits hold over kills and restarts. Daily counts stay for
four hundred days; limits that were found, and the news that a day's quota is gone, for good.

The key is never in the book, only a salted hash. Instants are those of the monotonic clock, stamped with the boot they
belong to; instants of days are Unix time. Refused: a book that can't be read. An empty start would be a second helping
of the limits.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from batchrunner.errors import StorageError
from batchrunner.limits.book import Entry, LaneInBook, Meeting
from batchrunner.limits.page import Page, boot_id, decode_member, name_in, page_in

VERSION = 1
_PATIENCE_SECONDS = 10.0
_FORGET_SECONDS = 120.0
_KEEP_DAYS = 400

_SCHEMA = """
CREATE TABLE IF NOT EXISTS salt(id INTEGER PRIMARY KEY CHECK (id = 1), salt BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS lane(
    name TEXT PRIMARY KEY, found BLOB NOT NULL, found_at REAL NOT NULL, gone_until REAL NOT NULL, seen_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS member(
    lane TEXT NOT NULL, id TEXT NOT NULL, boot TEXT NOT NULL, pid INTEGER NOT NULL, until REAL NOT NULL,
    state BLOB NOT NULL, PRIMARY KEY (lane, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS day(
    lane TEXT NOT NULL, day TEXT NOT NULL, requests REAL NOT NULL, tokens REAL NOT NULL, PRIMARY KEY (lane, day)
) WITHOUT ROWID;
"""
_PUT_MEMBER = "INSERT OR REPLACE INTO member VALUES (?, ?, ?, ?, ?, ?)"
_ADD_DAY = """
INSERT INTO day VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (lane, day) DO UPDATE SET requests = max(0, requests + ?3), tokens = max(0, tokens + ?4)
"""
_FORGET_DAYS = """
DELETE FROM day WHERE lane = ?1 AND day NOT IN (SELECT day FROM day WHERE lane = ?1 ORDER BY day DESC LIMIT ?2)
"""


class Book:
    """The SQLite file `book.sqlite` in the state folder. Safe to call from one thread at a time."""

    is_far = False

    def __init__(self, state_dir: Path) -> None:
        """Open or create; StorageError where that fails."""
        self.path = state_dir / "book.sqlite"
        if self.path.is_symlink():
            raise self._storage_error(FileExistsError("a link, which is not followed"))
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL, 0o600))
            self._db = sqlite3.connect(
                self.path, timeout=_PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise self._storage_error(error) from error
        try:
            self._set_up()
        except (OSError, sqlite3.Error) as error:
            self._db.close()
            raise self._storage_error(error) from error
        except BaseException:
            self._db.close()
            raise
        self._boot = boot_id()

    def _set_up(self) -> None:
        _turn_to_wal(self._db)
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._check_version()
        self._db.executescript(_SCHEMA)
        self._db.execute("INSERT OR IGNORE INTO salt VALUES (1, ?)", (os.urandom(16),))
        self._salt: bytes = self._db.execute("SELECT salt FROM salt").fetchone()[0]
        self._inode = self.path.stat().st_ino

    def lane_name(self, base_url: str, account: str, model: str) -> str:
        """The book's name for a lane; the account (a key, mostly) enters as a salted hash."""
        return name_in(self._salt, base_url, account, model)

    def page(self, lane: str) -> Page:
        """What stands in the book of this lane."""
        with self._as_storage_error():
            return self._page(lane, "")

    @contextmanager
    def meeting(self, lane: str, member_id: str) -> Iterator["Meeting"]:
        """The lane's page, to be read and written with nobody between."""
        self._check_place()
        with self._as_storage_error(), self._transaction():
            self._bury(lane)
            meeting = Meeting(self._page(lane, member_id))
            yield meeting
            if meeting.entry is not None:
                self._write(lane, member_id, meeting.entry)

    def lanes(self) -> list[LaneInBook]:
        """Every lane, the one used last first."""
        with self._as_storage_error():
            rows = self._db.execute("SELECT name, seen_at FROM lane ORDER BY seen_at DESC").fetchall()
            return [
                LaneInBook(name=name, page=self._page(name, ""), processes=self._processes(name), seen_at=seen_at)
                for name, seen_at in rows
            ]

    def forget(self, lane: str) -> None:
        """Strike a lane out: its counts of days, its found limits, its news of quota."""
        with self._as_storage_error(), self._transaction():
            self._db.execute("DELETE FROM lane WHERE name = ?", (lane,))
            self._db.execute("DELETE FROM day WHERE lane = ?", (lane,))
            self._db.execute("DELETE FROM member WHERE lane = ?", (lane,))

    def close(self) -> None:
        """Close the file; what was written stays."""
        self._db.close()

    def _page(self, lane: str, but: str) -> Page:
        return page_in(self._db, lane, self._boot, but)

    def _write(self, lane: str, member_id: str, entry: Entry) -> None:
        member, now = entry.member, time.time()
        self._db.execute("INSERT OR IGNORE INTO lane VALUES (?, '[]', 0, 0, ?)", (lane, now))
        self._db.execute("UPDATE lane SET seen_at = ? WHERE name = ?", (now, lane))
        state = msgspec.json.encode(member)
        self._db.execute(_PUT_MEMBER, (lane, member_id, self._boot, os.getpid(), member.until, state))
        for day in entry.discard:
            self._db.execute("DELETE FROM day WHERE lane = ? AND day = ?", (lane, day))
        for day, spent in entry.spent.items():
            self._db.execute(_ADD_DAY, (lane, day, spent.requests, spent.tokens))
        if entry.found is not None:
            found = msgspec.json.encode(entry.found)
            self._db.execute("UPDATE lane SET found = ?, found_at = ? WHERE name = ?", (found, entry.found_at, lane))
        if entry.gone_until is not None:
            self._db.execute("UPDATE lane SET gone_until = ? WHERE name = ?", (entry.gone_until, lane))

    def _bury(self, lane: str) -> None:
        """Of processes that write no more: what they had on lease from their day is spent; forget them in time."""
        rows = self._db.execute(
            "SELECT id, state, boot = ?1, until FROM member WHERE lane = ?2 AND (until < ?3 OR boot != ?1)",
            (self._boot, lane, time.monotonic()),
        ).fetchall()
        for member_id, state, of_this_boot, until in rows:
            member = decode_member(state)
            if member.day_requests > 0 or member.day_tokens > 0:
                self._db.execute(_ADD_DAY, (lane, member.day, member.day_requests, member.day_tokens))
                settled = msgspec.json.encode(msgspec.structs.replace(member, day_requests=0.0, day_tokens=0.0))
                self._db.execute("UPDATE member SET state = ? WHERE lane = ? AND id = ?", (settled, lane, member_id))
            if not of_this_boot or until + _FORGET_SECONDS < time.monotonic():
                self._db.execute("DELETE FROM member WHERE lane = ? AND id = ?", (lane, member_id))
        self._db.execute(_FORGET_DAYS, (lane, _KEEP_DAYS))

    def _processes(self, lane: str) -> list[int]:
        rows = self._db.execute(
            "SELECT pid FROM member WHERE lane = ? AND boot = ? AND until >= ?", (lane, self._boot, time.monotonic())
        )
        return [pid for (pid,) in rows.fetchall()]

    def _check_place(self) -> None:
        """A book that was removed while it is open would be written for nobody to read."""
        try:
            here = self.path.stat().st_ino == self._inode
        except OSError:
            here = False
        if not here:
            raise self._storage_error(FileNotFoundError("it was removed or replaced while it was in use"))

    def _check_version(self) -> None:
        version: int = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise sqlite3.DatabaseError("it was written by a newer batchrunner")
        self._db.execute(f"PRAGMA user_version={VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _as_storage_error(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, msgspec.DecodeError) as error:
            raise self._storage_error(error) from error

    def _storage_error(self, error: Exception) -> StorageError:
        return StorageError(
            f"The book of this machine's limits, {self.path}, can't be used: {error}. "
            "Mend it, or name another folder with --state-dir (limits used so far are then unknown)."
        )


def _turn_to_wal(db: sqlite3.Connection) -> None:
    """Of two runs that open a new book at once, SQLite turns one away without waiting its time-out."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return
