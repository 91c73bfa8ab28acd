"""One run at a time in a run folder: a lock that the kernel releases at death, with the holder's name in it."""

import contextlib
import fcntl
import os
import socket
import time
from pathlib import Path

from batchrunner.errors import LockedError, StorageError


class RunLock:
    """Held from creation to `release`. LockedError says who holds it instead."""

    def __init__(self, folder: Path) -> None:
        path = folder / "lock"
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"The run folder {folder} can't be used: {error.strerror}.") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 200, 0).decode(errors="replace").strip() or "another run"
            os.close(self._fd)
            raise LockedError(f"This output is being worked on by {holder}. Wait for it to end.") from None
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
