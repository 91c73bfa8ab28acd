"""What the rows of a run have beside the native columns: remembered in its store, so that whoever reads it later knows.

The types of kept columns are those of a table that is the input; else they are found in the values, when a table is
written. Parts of a table, which are published before all rows have ended, need them before: then the input is read for
them, once. Where what a run is gone on with has other columns or types, parts that are there are published anew.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from batchrunner.chat.flat import flat_fields
from batchrunner.chat.request import RequestSettings
from batchrunner.folder.published import folder_of, layout_in, outcomes, published_in
from batchrunner.folder.publishing import take_parts_back
from batchrunner.job.schema import Job
from batchrunner.records import Row
from batchrunner.sink.columns import NATIVE, Columns, Kinds, joined, kinds_in
from batchrunner.sink.formats import PARQUET
from batchrunner.source import Keep, Source
from batchrunner.store.database import Store

_FACT = "columns"
_NO_END = 2**63 - 1
SomeKeep = list[str] | Literal["all"]


def keep_of(job: Job) -> Keep | None:
    """Which columns of the input the output has, too."""
    return Keep(None if job.keep == "all" else job.keep) if job.keep else None


def columns_of(job: Job, arms: Sequence[RequestSettings], kinds: Kinds | None, *, bodies_speak: bool) -> Columns:
    """What rows of this job have beside the native columns; `kinds`: of what is kept of the input."""
    return Columns(
        raw=arms[0].keeps_raw,
        parsed=_parsed_fields(job, arms, bodies_speak=bodies_speak),
        keeps=bool(job.keep),
        kept=kinds,
    )


def kinds_in_input(job: Job, source: Source, *, found_before: Kinds | None) -> Kinds | None:
    """The kinds of kept columns, where they are told by a table that is the input, or needed before the rows end."""
    schema = source.schema() if job.keep else None
    if schema is not None:
        from batchrunner.sink.arrow import kinds_of_schema  # noqa: PLC0415 - pyarrow takes 0.25 s and 40 MB

        return kinds_of_schema(schema, None if job.keep == "all" else job.keep)
    if not job.keep or not job.output_is_folder or job.output_path.suffix.lower() != PARQUET:
        return None
    return found_before or kinds_in(_kept(source.rows(lambda _: False, None)))


def columns_in(fact: Callable[[str], str | None]) -> Columns:
    """What is remembered; nothing is, of a run of an older batchrunner."""
    known = fact(_FACT)
    return NATIVE if known is None else msgspec.json.decode(known, type=Columns)


def settle_columns(store: Store, run_dir: Path, folder: Path | None, now: Columns) -> Columns:
    """Remember the columns of all rows that this run and those before it record; `folder`: of its output in parts."""
    columns = now if next(store.ended(), None) is None else _of_both(columns_in(store.fact), now)
    layout = layout_in(store)
    if columns.keeps and columns.kept is None and now.kept is not None:
        columns = msgspec.structs.replace(columns, kept=joined(kinds_in(outcomes(store, run_dir, _NO_END)), now.kept))
    if columns != columns_in(store.fact):
        if layout is not None and layout.suffix == PARQUET and published_in(store):
            take_parts_back(run_dir, folder or folder_of(run_dir, layout))
        store.remember(_FACT, msgspec.json.encode(columns).decode())
    return columns


def of_a_table(columns: Columns, rows: Callable[[], Iterator[bytes]]) -> Columns:
    """The columns with the kinds that are not known yet, found in the rows."""
    if not columns.keeps or columns.kept is not None:
        return columns
    return msgspec.structs.replace(columns, kept=kinds_in(rows()))


def _parsed_fields(job: Job, arms: Sequence[RequestSettings], *, bodies_speak: bool) -> dict[str, str]:
    """The fields of all answers' JSON, with their types; none where rows may have others."""
    if bodies_speak or "response_format" in job.request.row_params:
        return {}
    first, *others = [flat_fields(arm.params.get("response_format")) for arm in arms]
    return first if all(one == first for one in others) else {}


def _of_both(before: Columns, now: Columns) -> Columns:
    known = [one.kept for one in (before, now) if one.keeps]
    kept: Kinds | None = {}
    for kinds in known:
        kept = None if kept is None or kinds is None else joined(kept, kinds)
    return Columns(
        raw=before.raw or now.raw,
        parsed=now.parsed if now.parsed == before.parsed else {},
        keeps=before.keeps or now.keeps,
        kept=kept if known else None,
    )


def _kept(batches: Iterator[list[Row]]) -> Iterator[bytes]:
    return (bytes(row.kept) for batch in batches for row in batch if isinstance(row.kept, msgspec.Raw))
