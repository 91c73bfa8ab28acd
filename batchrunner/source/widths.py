"""How many rows of a Parquet file may be decoded at once, so that memory is bounded whatever the file claims.

A small file can hold a huge one: 500 bytes decode to 8 GB where every row refers to one long text in a dictionary. So
before a row group is read, the longest text of each of its dictionaries is looked up: one dictionary at a time.
Refuses (InputError) rows so wide that not even one of them may be decoded.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchrunner.errors import InputError
from batchrunner.source.scan import BATCH_ROWS, MAX_VALUE_BYTES

DECODED_BYTES = MAX_VALUE_BYTES  # aimed at in one batch
MAX_ROW_BYTES = 8 * MAX_VALUE_BYTES
LEAST_VALUE_BYTES = 8  # what a value inside a list may take, however few bits it has in the file


def shared_texts(metadata: pq.FileMetaData) -> list[str]:
    """The columns whose texts may stand in a dictionary: those to read as dictionaries for `batch_rows`."""
    columns = (metadata.schema.column(index) for index in range(metadata.num_columns))
    return [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]


def batch_rows(shared: pq.ParquetFile, group: int, columns: list[str] | None) -> int:
    """Rows of this row group to decode at once. `shared` is the file with its texts read as dictionaries."""
    chunks = list(_chunks(shared.metadata.row_group(group), columns))
    rows = max(1, shared.metadata.row_group(group).num_rows)
    average = sum(max(chunk.total_uncompressed_size, chunk.num_values * LEAST_VALUE_BYTES) for chunk in chunks)
    width = average // rows + sum(_longest_shared(shared, group, chunk) for chunk in chunks)
    if width > MAX_ROW_BYTES:
        raise InputError(f"row group {group} of the Parquet file has rows of {width // 1024**2} MiB each: too large")
    return max(1, min(BATCH_ROWS, DECODED_BYTES // max(1, width)))


def _chunks(group: pq.RowGroupMetaData, columns: list[str] | None) -> Iterator[pq.ColumnChunkMetaData]:
    for index in range(group.num_columns):
        chunk = group.column(index)
        if columns is None or chunk.path_in_schema.split(".")[0] in columns:
            yield chunk


def _longest_shared(shared: pq.ParquetFile, group: int, chunk: pq.ColumnChunkMetaData) -> int:
    """Bytes of the longest text in the chunk's dictionary; 0 where it has none or can't matter."""
    harmless = chunk.total_uncompressed_size * BATCH_ROWS <= DECODED_BYTES
    if harmless or chunk.physical_type != "BYTE_ARRAY" or not chunk.has_dictionary_page:
        return 0
    path = chunk.path_in_schema
    first = next(shared.iter_batches(1, row_groups=[group], columns=[path], use_threads=False), None)
    if first is None:
        return 0
    return max((_longest(found) for found in _dictionaries(first.column(0))), default=0)


def _dictionaries(array: Any) -> Iterator[Any]:
    """Every dictionary in an array, however deep."""
    if pa.types.is_dictionary(array.type):
        yield array.dictionary
    elif pa.types.is_struct(array.type):
        for index in range(array.type.num_fields):
            yield from _dictionaries(array.field(index))
    elif pa.types.is_map(array.type):
        yield from _dictionaries(array.keys)
        yield from _dictionaries(array.items)
    elif hasattr(array, "values"):
        yield from _dictionaries(array.values)


def _longest(texts: Any) -> int:
    longest: int | None = pc.max(pc.binary_length(texts)).as_py()
    return longest or 0
