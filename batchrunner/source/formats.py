"""The formats of an input, told by its files' names: JSON Lines, CSV or Parquet; lines may be packed (gzip, zstd).

Refuses names without a known suffix, and an input of two formats.
"""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Literal

from batchrunner.errors import InputError, UsageError
from batchrunner.source.failed import shown
from batchrunner.source.files import InputFile

Format = Literal["JSON Lines", "CSV", "Parquet"]
Packing = Literal["", ".gz", ".zst"]
KNOWN = ".jsonl, .ndjson or .csv files, each also with .gz or .zst, or .parquet files"
_FORMATS: dict[str, Format] = {
    ".jsonl": "JSON Lines",
    ".ndjson": "JSON Lines",
    ".json": "JSON Lines",
    ".csv": "CSV",
    ".parquet": "Parquet",
}
_PACKINGS: tuple[Packing, ...] = (".gz", ".zst")


def packing_of(name: str) -> Packing:
    """How a file's bytes are packed, by its name."""
    return next((packing for packing in _PACKINGS if name.lower().endswith(packing)), "")


def unpacked_name(name: str) -> str:
    """The name without the suffix that tells the packing."""
    return name[: len(name) - len(packing_of(name))]


def format_of(name: str) -> Format | None:
    """The format of a file by its name; None for one that is no input."""
    found = _FORMATS.get(PurePath(unpacked_name(name)).suffix.lower())
    return None if found == "Parquet" and packing_of(name) else found


def one_format(files: Sequence[InputFile], place: str) -> Format:
    """The format of all these files. UsageError for a name without a known suffix; InputError where they are of two."""
    first = files[0]
    expected = format_of(first.name)
    if expected is None:
        raise UsageError(f"{shown(place)}: inputs are {KNOWN}, told by their suffix")
    for file in files:
        if (found := format_of(file.name)) != expected:
            raise InputError(
                f"{shown(place)} holds two formats: {shown(first.name)} is {expected}, {shown(file.name)} is {found}; "
                "name one of them with a glob"
            )
    return expected


def of_known_formats(files: Sequence[InputFile], place: str) -> list[InputFile]:
    """What is an input among the files of a folder or glob. InputError where none is.

    Passed over: unknown suffixes, `.json` (settings and summaries lie beside data) and names that begin with `.` or
    `_`, as Spark and Hive have it.
    """
    found = [file for file in files if _is_data(file.name)]
    if not found:
        raise InputError(f"{shown(place)} has no data: there are no {KNOWN} in it")
    return found


def _is_data(name: str) -> bool:
    last = PurePath(name).name
    return not last.startswith((".", "_")) and not last.lower().endswith(".json") and format_of(last) is not None
