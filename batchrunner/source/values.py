"""Values of Parquet as Python values a template and a JSON body can hold: text, numbers, booleans, lists, objects.

Timestamps, dates and times become ISO text, decimals and other exact types plain text, bytes text where they are
UTF-8. Refuses bytes that are not (UnicodeDecodeError) and types without a plain form (TypeError). NaN stays a float.
"""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa


def plain_type(kind: pa.DataType) -> bool:
    """Whether every value of this type is plain as pyarrow gives it."""
    checks = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(check(kind) for check in (*checks, *texts))


def plain_columns(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with dictionaries decoded and nanoseconds cut to microseconds, the finest that Python tells."""
    columns = [_plain_column(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def plain(value: Any) -> Any:
    """One value and all in it, made plain. TypeError and ValueError where it has no plain form."""
    match value:
        case None | str() | int() | float():
            return value
        case bytes():
            return value.decode()
        case datetime() | date() | time():
            return value.isoformat()
        case Decimal() | UUID() | timedelta():
            return format(value, "f") if isinstance(value, Decimal) else str(value)
        case dict():
            return {name: plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return _plain_list(value)
        case _:
            raise TypeError(f"values of type {type(value).__name__} can't be used")


def _plain_list(values: Sequence[Any]) -> list[Any]:
    return [plain(value) for value in values]


def _plain_column(column: Any) -> Any:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return column
