"""Standard input as an input: it is read once, into a file that can be read again.

It is spooled beside the run folder, for the copy of an earlier run in there stays what it is until the job has been
compared with it; then the new one takes its place (`keep`). JSON Lines, which gzip or zstd may have packed, and Parquet
are told by their first bytes. What a killed process left behind is removed by the next one.
"""

import fcntl
import glob
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, BufferedWriter
from pathlib import Path

from batchrunner.errors import InputError, StorageError
from batchrunner.sink.atomic import reason, sync_folder

_CHUNK_BYTES = 1024 * 1024
_TOLD_BY = 4  # bytes tell the format
_NAME = "stdin"
_FLAGS = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_WRONLY
_SUFFIXES = {b"\x1f\x8b": ".jsonl.gz", b"\x28\xb5\x2f\xfd": ".jsonl.zst", b"PAR1": ".parquet"}


@contextmanager
def spooled(
    run_dir: Path,
    stream: BufferedReader | None,
    *,
    anew: bool,
    told: Callable[[int], object],
    beside: Path | None = None,
) -> Iterator[Path]:
    """The file that holds what came from `stream`; where nothing came, the copy in the run folder. `told` hears how
    many bytes have come.

    `anew`: that folder is about to be set aside, so its copy is copied; `beside`: it is made beside this folder and not
    beside that one. InputError where there is nothing at all.
    """
    told(0)
    place = beside or run_dir
    first = _first_of(stream)
    copy = next(iter(sorted(run_dir.glob(f"{_NAME}.*"))), None)
    if first and stream is not None:
        suffix = next((suffix for magic, suffix in _SUFFIXES.items() if first.startswith(magic)), ".jsonl")
        with _spool(place, first, stream, suffix, told) as path:
            yield path
    elif copy is None:
        raise InputError("Nothing came from standard input: pipe rows into it, or name a file.")
    elif anew:
        with copy.open("rb") as rows, _spool(place, b"", rows, copy.name.removeprefix(_NAME), told) as path:
            yield path
    else:
        yield copy


def keep(path: Path, run_dir: Path) -> Path:
    """Move what was spooled into the run folder, in the place of what was there; where it is now."""
    kept = run_dir / path.name[path.name.rindex(_NAME) :]
    if path == kept:
        return kept
    try:
        path.replace(kept)
        for other in run_dir.glob(f"{_NAME}.*"):
            if other != kept:
                other.unlink()
        sync_folder(run_dir)
    except OSError as error:
        raise StorageError(f"Standard input can't be kept in {run_dir}: {reason(error)}") from error
    return kept


def _first_of(stream: BufferedReader | None) -> bytes:
    first = b""
    try:
        while stream is not None and len(first) < _TOLD_BY and (chunk := stream.read1(_CHUNK_BYTES)):
            first += chunk
    except OSError as error:
        raise InputError(f"Standard input can't be read: {error.strerror}.") from error
    return first


@contextmanager
def _spool(
    run_dir: Path, first: bytes, stream: BufferedReader, suffix: str, told: Callable[[int], object]
) -> Iterator[Path]:
    """A file of these bytes, locked for as long as it is wanted, so that nobody takes it for a leftover."""
    path = run_dir.with_name(f".{run_dir.name}.{secrets.token_hex(4)}.{_NAME}{suffix}")
    try:
        run_dir.parent.mkdir(parents=True, exist_ok=True)
        _remove_left(run_dir)
        file = os.fdopen(os.open(path, _FLAGS, 0o600), "wb")
    except OSError as error:
        raise StorageError(f"Standard input can't be kept in {path.parent}: {reason(error)}") from error
    with file:
        try:
            _fill(file, first, stream, told)
            yield path
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _fill(file: BufferedWriter, first: bytes, stream: BufferedReader, told: Callable[[int], object]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(first)
        while chunk := stream.read1(_CHUNK_BYTES):  # what is there: to wait for more in one call would miss signals
            file.write(chunk)
            told(file.tell())
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"Standard input can't be kept in {file.name}: {reason(error)}") from error


def _remove_left(run_dir: Path) -> None:
    """Remove what nobody holds a lock on any more."""
    for left in run_dir.parent.glob(f".{glob.escape(run_dir.name)}.*.{_NAME}.*"):
        with suppress(OSError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()
