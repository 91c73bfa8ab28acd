"""This machine's book: until when a lane's limits may have been used, over all runs that share a state folder.

A run extends its lease ahead of its admissions, a fraction of a second at a time, and admits nothing beyond
it. So the next run, after an end of any kind, knows an instant after which nothing was admitted: it starts
with empty buckets there, and the two runs together stay within every window. The key itself is never in the
book, only a salted hash. Instants are those of the monotonic clock and count within one boot of the machine.

Refused: a book that can't be read. An empty start would be a second helping of the limits.
"""

import hashlib
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from batchrunner.errors import StorageError

LEASE_SECONDS = 0.6
EXTEND_EVERY_SECONDS = 0.2
_PATIENCE_SECONDS = 10.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS salt(id INTEGER PRIMARY KEY CHECK (id = 1), salt BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS lanes(
    lane TEXT PRIMARY KEY, boot TEXT NOT NULL, leased_until REAL NOT NULL, pid INTEGER NOT NULL
) WITHOUT ROWID;
"""


class Book:
    """The SQLite file `book.sqlite` in the state folder. Safe to call from one thread at a time."""

    def __init__(self, state_dir: Path) -> None:
        """Open or create; StorageError where that fails."""
        path = state_dir / "book.sqlite"
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
            self._db = sqlite3.connect(path, timeout=_PATIENCE_SECONDS, isolation_level=None, check_same_thread=False)
            _turn_to_wal(self._db)
            self._db.execute("PRAGMA synchronous=OFF")  # must outlive a process, not a boot: see `_boot`
            self._db.executescript(_SCHEMA)
            self._db.execute("INSERT OR IGNORE INTO salt VALUES (1, ?)", (os.urandom(16),))
            self._salt: bytes = self._db.execute("SELECT salt FROM salt").fetchone()[0]
        except (OSError, sqlite3.Error) as error:
            raise StorageError(
                f"The book of this machine's limits, {path}, can't be used: {error}. "
                "Mend it, or name another folder with --state-dir (limits used so far are then unknown)."
            ) from error
        self._boot = _boot_id()

    def lane_name(self, base_url: str, account: str, model: str) -> str:
        """The book's name for a lane; the account (a key, mostly) enters as a salted hash."""
        digest = hashlib.blake2b(account.encode(), key=self._salt, digest_size=12).hexdigest()
        return f"{base_url} {digest} {model}"

    def leased_until(self, lane: str) -> float:
        """The instant after which no run on this boot has admitted anything; minus infinity if none has."""
        row = self._run("SELECT leased_until FROM lanes WHERE lane = ? AND boot = ?", (lane, self._boot))
        return float(row[0]) if row else float("-inf")

    def extend(self, lane: str, until: float) -> None:
        """From now on this run may admit up to `until` (monotonic seconds)."""
        self._run(
            "INSERT INTO lanes VALUES (?1, ?2, ?3, ?4) ON CONFLICT (lane) DO UPDATE SET pid = ?4, boot = ?2, "
            "leased_until = iif(boot = ?2, max(leased_until, ?3), ?3)",
            (lane, self._boot, until, os.getpid()),
        )

    def end(self, lane: str, now: float) -> None:
        """This run admits nothing more from `now` on: whoever comes next need not wait for its lease to end."""
        self._run(
            "UPDATE lanes SET leased_until = ? WHERE lane = ? AND boot = ? AND pid = ?",
            (now, lane, self._boot, os.getpid()),
        )

    def close(self) -> None:
        """Close the file; what was written stays."""
        self._db.close()

    def _run(self, sql: str, values: tuple[object, ...]) -> tuple[float] | None:
        try:
            row: tuple[float] | None = self._db.execute(sql, values).fetchone()
        except sqlite3.Error as error:
            raise StorageError(f"The book of this machine's limits can't be used: {error}.") from error
        return row


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


def _boot_id() -> str:
    """A name for the time since this machine was started."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        if sys.platform == "darwin":
            command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
        return f"started about {round((time.time() - time.monotonic()) / 60)}"
