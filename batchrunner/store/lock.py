"""One run at a time in a run folder: a lock that the kernel releases at death, with the holder's name in it."""

import contextlib
import fcntl
import os
import socket
import time
from pathlib import Path

from batchrunner.errors import LockedError, StorageError

_ASKED = 10  # times, so that who only looks whether the lock is held, for a moment, keeps nobody out
_ASKED_EVERY_SECONDS = 0.01


class RunLock:
    """Held from creation to `release`. LockedError says who holds it instead."""

    def __init__(self, folder: Path) -> None:
        path = folder / "lock"
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"The run folder {folder} can't be used: {error.strerror}.") from error
        try:
            _take(self._fd)
        except BlockingIOError:
            holder = _name_in(self._fd)
            os.close(self._fd)
            raise locked_by(holder) from None
        except OSError as error:
            os.close(self._fd)
            raise StorageError(f"The run folder {folder} can't be locked: {error.strerror}.") from error
        started = time.strftime("%Y-%m-%d %H:%M:%S %z")
        with contextlib.suppress(OSError):  # a full disk: the lock holds without the holder's name
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"process {os.getpid()} on {socket.gethostname()} since {started}".encode(), 0)

    def release(self) -> None:
        """Let others in."""
        with contextlib.suppress(OSError):
            os.close(self._fd)


def locked_by(holder: str) -> LockedError:
    """Why a run can't begin."""
    return LockedError(
        f"This output is being worked on by {holder}. Run the same command again when it has ended, or let it wait: "
        "--wait-lock SECONDS."
    )


def holder_of(folder: Path) -> str | None:
    """Who works in this run folder now, as the lock names him; None where nobody does.

    A shared lock that is tried, and let go at once: `flock` has no way to ask only. Several may look at once, and a
    run that begins at that moment asks again a moment later.
    """
    try:
        descriptor = os.open(folder / "lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _name_in(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def _take(descriptor: int) -> None:
    for _ in range(_ASKED - 1):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_ASKED_EVERY_SECONDS)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _name_in(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another run"
