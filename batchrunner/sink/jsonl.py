"""JSON Lines out, and back in: one outcome a line, each line ended by a newline.

The gateway's own JSON (tool calls) may be laid out over several lines; outside of texts a newline is mere white space
in JSON, and inside of them it can't stand, so it becomes a space.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from batchrunner.sink.packed import unpacked


def write_jsonl(file: BinaryIO, outcomes: Iterable[bytes]) -> None:
    """Write the lines in order."""
    for outcome in outcomes:
        file.write(_one_line(outcome))
        file.write(b"\n")


def read_jsonl(path: Path, suffix: str) -> Iterator[bytes]:
    """The lines of a file that write_jsonl wrote, packed as the suffix says. StorageError where it can't be read."""
    with unpacked(path, suffix) as file:
        for line in file:
            yield line.removesuffix(b"\n")


def _one_line(outcome: bytes) -> bytes:
    return outcome.replace(b"\n", b" ").replace(b"\r", b" ")
