"""This machine's book, looked at beside whoever writes in it: no file is made or changed, nobody waits.

As store/reading does with a run store: where nobody has the book open it is read as a file that stays as it is.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from batchrunner.errors import StorageError
from batchrunner.limits.page import ALL_MODELS, Page, boot_id, name_in, page_in

FILE = "book.sqlite"


class Glance:
    """The book as it stands. `glance_at` hands it out."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._boot = boot_id()
        self._salt: bytes = db.execute("SELECT salt FROM salt").fetchone()[0]

    def page(self, base_url: str, account: str | None, model: str) -> Page | None:
        """The page of a lane, None where there is none. Without `account` that of the lane used last which may be
        it."""
        if account is not None:
            return self._page(name_in(self._salt, base_url, account, model))
        names = self._db.execute("SELECT name FROM lane ORDER BY seen_at DESC").fetchall()
        like = (
            name for (name,) in names if name.startswith(f"{base_url} ") and name.endswith(f" {model or ALL_MODELS}")
        )
        return next((self._page(name) for name in like), None)

    def _page(self, lane: str) -> Page | None:
        known = self._db.execute("SELECT 1 FROM lane WHERE name = ?", (lane,)).fetchone()
        return None if known is None else page_in(self._db, lane, self._boot)


@contextmanager
def glance_at(state_dir: Path) -> Iterator[Glance | None]:
    """The book in this state folder, None where there is none. StorageError where it can't be read."""
    path = state_dir / FILE
    try:
        path.stat()
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise _unreadable(path, error) from error
    mode = "mode=ro" if path.with_name(f"{FILE}-wal").exists() else "immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None)) as db:
            yield Glance(db)
    except (sqlite3.Error, msgspec.DecodeError, TypeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> StorageError:
    return StorageError(
        f"The book of this machine's limits, {path}, can't be read: {error}; mend it, or see --state-dir."
    )
