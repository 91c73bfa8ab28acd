"""Opens a run folder for the one run that works in it: locked, and an earlier run set aside where that is wanted."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batchrunner.errors import StorageError
from batchrunner.runner.folder import RunFolder
from batchrunner.runner.owning import Resume, check_absent, check_begin
from batchrunner.sink.atomic import sync_folder
from batchrunner.store.lock import RunLock


@contextmanager
def open_run_folder(
    path: Path, *, output: Path, in_parts: bool, resume: Resume, overwrite: bool
) -> Iterator[RunFolder]:
    """Lock and open a run folder. LockedError where another run holds it.

    UsageError where --resume must finds no earlier run, or the output is a file that batchrunner did not write, or
    a folder (`in_parts`) with anything in it.
    """
    check_begin(path, output, resume=resume, overwrite=overwrite)
    locks = [_lock(path)]
    try:
        folder = RunFolder(path, output=output, in_parts=in_parts)
        ours = folder.owns_output
        if resume == "never" and folder.has_begun:
            folder.close()
            _set_aside(*([output] if in_parts and ours else []), path)
            locks.append(_lock(path))
            folder = RunFolder(path, output=output, in_parts=in_parts)
            if ours and not in_parts:
                folder.inherit_output()
        try:
            folder.may_overwrite = ours or overwrite
            if not folder.may_overwrite:
                check_absent(output)
            yield folder
        finally:
            folder.close()
    finally:
        for lock in locks:
            lock.release()


def _lock(path: Path) -> RunLock:
    try:
        if not path.exists():
            path.mkdir(mode=0o700, parents=True)
            sync_folder(path.parent)
    except FileExistsError:
        pass  # another run was quicker
    except OSError as error:
        raise StorageError(f"The run folder {path} can't be made: {error.strerror}; see --run-dir.") from error
    return RunLock(path)


def _set_aside(*paths: Path) -> None:
    """Rename the run folder, and before it the parts that hold its answers, to the first free `NAME.1`, `NAME.2`."""
    number = 1
    while any(_aside(path, number).exists() for path in paths):
        number += 1
    for path in paths:
        try:
            path.rename(_aside(path, number))
        except FileNotFoundError:  # no part has been published yet
            continue
        except OSError as error:
            raise StorageError(f"The run folder {path} can't be set aside: {error.strerror}.") from error


def _aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
