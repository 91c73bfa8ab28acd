"""Rows of a run store as one file, of any format."""

from collections.abc import Callable, Iterator
from pathlib import Path

from batchrunner.folder.columns import of_a_table
from batchrunner.sink import OutputFormat, write_output
from batchrunner.sink.columns import Columns
from batchrunner.sink.formats import PARQUET, suffix_in
from batchrunner.sink.openai_batch import write_batch

Rows = Callable[[], Iterator[bytes]]


def write_file(path: Path, rows: Rows, *, columns: Columns, output_format: OutputFormat, replace: bool) -> None:
    """Write rows, which can be read more than once, to a file."""
    if output_format == "openai-batch":
        write_batch(path, rows(), replace=replace)
        return
    if suffix_in(path.name) == PARQUET:
        columns = of_a_table(columns, rows)
    write_output(path, rows(), replace=replace, columns=columns)
