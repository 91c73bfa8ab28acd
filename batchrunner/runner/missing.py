"""Whether the input has the columns that the job speaks of: a name that is misspelt fails every row, or does nothing.

UsageError where it can be known before anything is sent; words of warning where it may be.
"""

import difflib
from collections.abc import Iterable, Iterator, Sequence

from batchrunner.errors import UsageError
from batchrunner.records import Row
from batchrunner.source import Source
from batchrunner.source.template import Template, missing_columns


def check_template(template: Template, rows: Sequence[Row]) -> None:
    """UsageError where none of the first rows has a column that the template needs."""
    missing = sorted(missing_columns(template, rows))
    if missing:
        place = f"{template.place}: " if template.place else ""
        words = f"The template needs the column {missing[0]!r}, which the input does not have"
        raise UsageError(f"{place}{words}; {_advice(missing[0], _names_in(rows))}")


def warnings_of_row_params(names: Iterable[str], source: Source, rows: Sequence[Row]) -> Iterator[str]:
    """What is to be told of parameters that none of the first rows sets; later rows may.

    UsageError where the format tells all columns, and there is none of this name.
    """
    seen = _names_in(rows)
    missing = [name for name in names if name not in seen]
    header = source.header() if missing else None
    for name in missing:
        words = f"which request.row_params names; {_advice(name, seen)}"
        if header is None and rows:
            yield f"none of the first {len(rows):,} rows has a column {name!r}, {words}"
        elif header is not None and name not in header:
            raise UsageError(f"The input has no column {name!r}, {words}")


def check_keep(names: Sequence[str], rows: Sequence[Row]) -> None:
    """UsageError where a column that is to be kept is in none of the first rows."""
    known = _names_in(rows) if names != "all" else []
    missing = next((name for name in names if name not in known), None) if known else None
    if missing is not None:
        raise UsageError(f"keep names the column {missing!r}, which the input does not have; {_advice(missing, known)}")


def _names_in(rows: Iterable[Row]) -> list[str]:
    return sorted({name for row in rows for name in row.columns})


def _advice(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"its columns are: {', '.join(known) or 'none'}."
