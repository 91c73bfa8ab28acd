"""Files that appear whole or not at all: a temporary name beside the target, fsync, then one rename or link.

Refuses to overwrite where that was not asked for, also a file that appears meanwhile. A symbolic link is replaced,
not followed. What a killed run left behind is removed at the next write of the same target: temporary files are
locked while they are written, so one without a lock has no writer. Every OSError becomes a StorageError that says
what to do.
"""

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from batchrunner.errors import StorageError

BUFFER_BYTES = 1024 * 1024
_ADVICE = {
    errno.ENOSPC: "the disk is full; make room and run the same command again",
    errno.EDQUOT: "the disk quota is used up; make room and run the same command again",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "no permission; check the rights of the folder",
    errno.ENOENT: "the folder doesn't exist; create it",
    errno.ENOTDIR: "a part of the path is no folder",
    errno.EEXIST: "a part of the path is no folder",
    errno.EFBIG: "the file would be larger than the file system or ulimit allows",
}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


@contextmanager
def whole_file(path: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when the block ends well and vanishes when it doesn't."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        _remove_stale(path)
        with _created(temporary) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            _publish(temporary, path, replace=replace)
        sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"{path} can't be written: {reason(error)}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def prepare_folder(path: Path) -> None:
    """Make the folder that `path` will stand in, and try to create a file there: permission bits don't tell all."""
    probe = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _created(probe):
            probe.unlink(missing_ok=True)  # another run may have taken it for a leftover
    except OSError as error:
        raise StorageError(f"{path} can't be written: {reason(error)}") from error


def make_folder(path: Path) -> None:
    """Make a folder in one that is there, to stay there whatever happens to the power."""
    try:
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"{path} can't be made: {reason(error)}") from error


def remove_file(path: Path) -> None:
    """Remove a file, if it is there."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path} can't be removed: {reason(error)}") from error


def reason(error: OSError) -> str:
    """What went wrong, in plain words."""
    return _ADVICE.get(error.errno or 0) or error.strerror or type(error).__name__


@contextmanager
def _created(temporary: Path) -> Iterator[BinaryIO]:
    flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_WRONLY
    descriptor = os.open(temporary, flags, 0o666)  # the umask takes its share, as with any file
    with os.fdopen(descriptor, "wb", buffering=BUFFER_BYTES) as file:
        with suppress(OSError):  # a file system without locks: then nothing there is ever taken for stale
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file


def _publish(temporary: Path, path: Path, *, replace: bool) -> None:
    if replace:
        temporary.replace(path)
        return
    try:
        path.hardlink_to(temporary)
    except FileExistsError as error:
        raise StorageError(f"{path} exists already and was not made by this run; --overwrite replaces it") from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        raise StorageError(f"{path}: this file system knows no hard links; use --overwrite") from error


def sync_folder(folder: Path) -> None:
    """Force to the disk which names stand in a folder. OSError where that fails."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # file systems whose folders need no fsync
            raise
    finally:
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    ours = re.compile(rf"\.{re.escape(path.name)}\.\d+\.[0-9a-f]{{8}}\.tmp")
    with os.scandir(path.parent) as entries:
        found = [Path(entry.path) for entry in entries if ours.fullmatch(entry.name)]
    for leftover in found:
        with suppress(OSError):
            _remove_unlocked(leftover)


def _remove_unlocked(leftover: Path) -> None:
    descriptor = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        leftover.unlink()
    finally:
        os.close(descriptor)
