"""Room on the disk: sending stops while there is still some, so that what is in flight can be recorded."""

import os
from pathlib import Path

from batchrunner.errors import StorageError

LEAST_FREE_BYTES = 16 * 2**20


def check_room(*folders: Path) -> None:
    """StorageError where less than the least is free on the file system of a folder."""
    words = no_room(*folders)
    if words is not None:
        raise StorageError(words)


def no_room(*folders: Path) -> str | None:
    """Why sending should stop, in words for people; None while there is room."""
    return next((words for words in map(_no_room, folders) if words is not None), None)


def _no_room(folder: Path) -> str | None:
    try:
        status = os.statvfs(folder)
    except OSError:
        return None  # the next commit will say what is wrong
    free = status.f_bavail * status.f_frsize
    if free >= LEAST_FREE_BYTES:
        return None
    return (
        f"only {free / 2**20:.1f} MB are free where {folder} is, {LEAST_FREE_BYTES // 2**20} are the least to go on; "
        "make room and run the same command again"
    )
