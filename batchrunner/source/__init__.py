"""Rows in: an input file becomes records.Row, whatever its format.

Refuses what can't be read several times (folders, pipes), unknown suffixes, and files that are not of the format
they name.
"""

from pathlib import Path

from batchrunner.errors import InputError, UsageError
from batchrunner.source.failed import shown
from batchrunner.source.jsonl import JsonlSource
from batchrunner.source.scan import Scan, Source

__all__ = ["Scan", "Source", "open_source"]


def open_source(path: Path) -> Source:
    """The source for `path`, told by its suffix. UsageError for an unknown one, InputError where it can't be read."""
    suffix = path.suffix.lower()
    if suffix not in {".jsonl", ".ndjson", ".parquet"}:
        raise UsageError(f"{shown(str(path))}: inputs are .jsonl, .ndjson or .parquet files, told by their suffix")
    _check_readable(path)
    if suffix == ".parquet":
        from batchrunner.source.parquet import ParquetSource  # noqa: PLC0415 - pyarrow takes 0.25 s and 40 MB

        return ParquetSource(path)
    return JsonlSource(path)


def _check_readable(path: Path) -> None:
    name = shown(str(path))
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{name} is no regular file: the input is read more than once, so copy it into one")
        path.open("rb").close()
    except FileNotFoundError as error:
        raise InputError(f"{name} doesn't exist: check the path of the input") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{name} can't be read: {reason}; check its permissions") from error
