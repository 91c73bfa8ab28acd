"""Rows in: an input becomes records.Row, whatever its format and wherever it is.

Refuses what can't be read several times (pipes), unknown suffixes, inputs of two formats or without any data, and files
that are not of the format they name.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from batchrunner.errors import InputError
from batchrunner.source.counted import CountedFile, Told
from batchrunner.source.files import InputFile, is_glob, local_files, matches
from batchrunner.source.formats import Format, format_of, of_known_formats, one_format
from batchrunner.source.jsonl import JsonlReader
from batchrunner.source.keeping import Keep
from batchrunner.source.remote import is_remote, remote_files
from batchrunner.source.scan import Reader, Scan
from batchrunner.source.source import Source
from batchrunner.source.tabular import CsvReader

__all__ = ["Keep", "Scan", "Source", "files_of", "open_source", "takes_in"]


def open_source(place: str, told: Told | None = None, keep: Keep | None = None) -> Source:
    """The source for a file, glob, folder or URL; `told` hears of every read's bytes; `keep`: which columns the output
    has, too. UsageError for an unknown suffix, InputError where it can't be read."""
    format_ = one_format(files_of(place), place)

    def listing() -> Sequence[InputFile]:
        files = files_of(place)
        return files if told is None else [CountedFile(file, told) for file in files]

    unit = "row" if format_ == "Parquet" else "line"
    return Source(listing, _reader(format_), unit, keep, has_texts_only=format_ == "CSV")


def files_of(place: str) -> Sequence[InputFile]:
    """The files of an input, in order: those of known formats where it is a folder or glob."""
    files, alone = remote_files(place) if is_remote(place) else local_files(place)
    return files if alone else of_known_formats(files, place)


def takes_in(place: str, path: Path) -> bool:
    """Whether the file at `path`, there or yet to be made, is one of the input's at `place`."""
    if is_remote(place):
        return False
    with suppress(InputError):  # nothing is there: then nothing is told by its place alone
        if path.exists() and any(file.path.samefile(path) for file in local_files(place)[0]):
            return True
    folder = Path(place)
    inside = path.parent.resolve() == folder.resolve() if folder.is_dir() else is_glob(place) and matches(path, place)
    return inside and format_of(path.name) is not None


def _reader(format_: Format) -> Callable[[InputFile, str], Reader]:
    if format_ == "Parquet":
        from batchrunner.source.parquet import ParquetReader  # noqa: PLC0415 - pyarrow takes 0.25 s and 40 MB

        return ParquetReader
    return CsvReader if format_ == "CSV" else JsonlReader
