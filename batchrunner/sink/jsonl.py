"""JSON Lines out, and back in: one outcome a line, each line ended by a newline.

The gateway's own JSON (tool calls) may be laid out over several lines; outside of texts a newline is mere white space
in JSON, and inside of them it can't stand, so it becomes a space.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from batchrunner.errors import StorageError


def write_jsonl(file: BinaryIO, outcomes: Iterable[bytes]) -> None:
    """Write the lines in order."""
    for outcome in outcomes:
        file.write(_one_line(outcome))
        file.write(b"\n")


def read_jsonl(path: Path) -> Iterator[bytes]:
    """The lines of a file that write_jsonl wrote. StorageError where it can't be read."""
    try:
        with path.open("rb") as file:
            for line in file:
                yield line.removesuffix(b"\n")
    except OSError as error:
        raise StorageError(f"{path} can't be read back: {error.strerror}") from error


def _one_line(outcome: bytes) -> bytes:
    return outcome.replace(b"\n", b" ").replace(b"\r", b" ")
