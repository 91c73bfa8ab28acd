"""A run's rows as another file, read beside whoever works on the run: one snapshot, in order."""

from pathlib import Path

import msgspec

from batchrunner.errors import UsageError
from batchrunner.runner.about import About, about_known_run
from batchrunner.runner.course import Course
from batchrunner.runner.published import outcomes
from batchrunner.sink import prepare_output, write_output
from batchrunner.source import takes_in
from batchrunner.store.reading import Reader, read_store


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows were written and how many units are pending. `written` is None where pending ones forbade it."""

    written: int | None
    pending: int
    output: str


def export_run(run_dir: Path, path: Path, course: Course, *, partial: bool, overwrite: bool) -> Exported:
    """Write the rows of the units that have ended to `path`; without `partial` only if all have. `course` hears how far
    it is.

    UsageError for a path that can't be written to; StorageError where reading or writing fails.
    """
    with course.doing("reading the run"):
        return read_store(
            run_dir, lambda store: _export(store, run_dir, path, course, partial=partial, overwrite=overwrite)
        )


def _export(store: Reader, run_dir: Path, path: Path, course: Course, *, partial: bool, overwrite: bool) -> Exported:
    about = about_known_run(store.fact)
    _check_path(path, about, overwrite=overwrite)
    if about.sample is not None:
        store.choose(about.sample.chosen(about.rows), about.arms)
    units = store.units(about.total)
    ended = units.ok + sum(units.failed.values())
    pending = about.units - ended
    if pending and not partial:
        return Exported(written=None, pending=pending, output=about.output)
    prepare_output(path)
    with course.doing("writing the rows", ended):
        write_output(path, course.counted(outcomes(store, run_dir, about.total)), replace=overwrite)
    return Exported(written=ended, pending=pending, output=about.output)


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
