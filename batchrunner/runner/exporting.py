"""A run's rows as another file, read beside whoever works on the run: one snapshot, in order."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from batchrunner.errors import StorageError, UsageError
from batchrunner.folder.about import About, about_known_run
from batchrunner.folder.columns import columns_in
from batchrunner.folder.published import outcomes
from batchrunner.folder.writing import Rows, write_file
from batchrunner.job.schema import STANDARD_OUTPUT
from batchrunner.runner.course import Course
from batchrunner.sink import OutputFormat, prepare_output, standard_output, write_lines
from batchrunner.sink.atomic import BUFFER_BYTES, reason
from batchrunner.sink.columns import Columns
from batchrunner.sink.openai_batch import check_batch_output, errors_beside
from batchrunner.source import takes_in
from batchrunner.store.reading import Reader, read_store


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows were written and how many units are pending. `written` is None where pending ones forbade it."""

    written: int | None
    pending: int
    output: str


def export_run(
    run_dir: Path,
    path: Path,
    course: Course,
    *,
    partial: bool,
    overwrite: bool,
    output_format: OutputFormat = "native",
) -> Exported:
    """Write the rows of the units that have ended to `path` (`-`: standard output); without `partial` only if all have.
    `course` hears how far it is.

    UsageError for a path that can't be written to; StorageError where reading or writing fails.
    """
    target = _Target(path=path, overwrite=overwrite, output_format=output_format)
    with course.doing("reading the run"):
        if not target.is_stdout:
            return read_store(
                run_dir, lambda store: _export(store, run_dir, target, course, partial=partial), heed=course.heed
            )
        return _printed(run_dir, target, course, partial=partial)


class _Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where the rows go, and how."""

    path: Path
    overwrite: bool
    output_format: OutputFormat

    @property
    def is_stdout(self) -> bool:
        return str(self.path) == STANDARD_OUTPUT


def _printed(run_dir: Path, target: _Target, course: Course, *, partial: bool) -> Exported:
    """By way of a file: a run that begins meanwhile makes us read anew, and what was printed can't be taken back."""
    with _spool() as spool:
        exported = read_store(
            run_dir,
            lambda store: _export(store, run_dir, target, course, partial=partial, spool=spool),
            heed=course.heed,
        )
        spool.seek(0)
        with standard_output() as stdout:
            shutil.copyfileobj(spool, stdout, BUFFER_BYTES)
    return exported


@contextmanager
def _spool() -> Iterator[BinaryIO]:
    try:
        with tempfile.TemporaryFile() as file:
            yield file
    except OSError as error:
        raise StorageError(f"The rows can't be kept in {tempfile.gettempdir()}: {reason(error)}.") from error


def _export(
    store: Reader, run_dir: Path, target: _Target, course: Course, *, partial: bool, spool: BinaryIO | None = None
) -> Exported:
    about = about_known_run(store.fact)
    _check(target, about)
    if about.sample is not None:
        store.choose(about.sample.chosen(about.rows), about.arms)
    units = store.units(about.total)
    ended = units.ok + sum(units.failed.values())
    pending = about.units - ended
    if pending and not partial:
        return Exported(written=None, pending=pending, output=about.output)
    with course.doing("writing the rows", ended):
        _write(
            target,
            columns_in(store.fact),
            lambda: course.counted(outcomes(store, run_dir, about.total)),
            spool,
        )
    return Exported(written=ended, pending=pending, output=about.output)


def _write(target: _Target, columns: Columns, rows: Rows, spool: BinaryIO | None) -> None:
    if spool is not None:
        spool.seek(0)
        spool.truncate()
        write_lines(spool, rows(), as_batch=target.output_format == "openai-batch")
        return
    prepare_output(target.path)
    write_file(target.path, rows, columns=columns, output_format=target.output_format, replace=target.overwrite)


def _check(target: _Target, about: About) -> None:
    if target.output_format == "openai-batch":
        if about.arms > 1:
            raise UsageError("--output-format openai-batch has one line a row: it knows no variants and no samples.")
        check_batch_output(target.path)
    if target.is_stdout:
        return
    _check_path(target.path, about, overwrite=target.overwrite)
    if target.output_format == "openai-batch":
        _check_path(errors_beside(target.path), about, overwrite=target.overwrite)


def _check_path(path: Path, about: About, *, overwrite: bool) -> None:
    if _are_the_same(path, Path(about.output)):
        raise UsageError(f"{path} is the run's own output: name another --output.")
    if takes_in(about.input, path):
        raise UsageError(f"{path} is the run's input, or part of it: name another --output.")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists already; name another --output, or say --overwrite.")


def _are_the_same(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()
