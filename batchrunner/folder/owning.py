"""Whose output stands at a path, as its run folder remembers it, and whether a run may begin there. Read only."""

import os
from pathlib import Path
from typing import Literal

from batchrunner.errors import UsageError
from batchrunner.folder.published import Recorded, folder_of, layout_in, published_in
from batchrunner.store.database import FILE

Resume = Literal["auto", "never", "must"]
PUBLISHED = "published"
PUBLISHING = "begun"


def owns_output(store: Recorded, run_dir: Path, output: Path, *, in_parts: bool) -> bool:
    """Whether what stands at the output's path is of this run folder: written, or being written, by its runs."""
    if in_parts:
        return _owns_parts(store, run_dir, output)
    published = store.fact(PUBLISHED) or ""
    return bool(published) and (published == PUBLISHING or published.startswith(stamp_of(output)))


def check_begin(run_dir: Path, output: Path, *, resume: Resume, overwrite: bool) -> None:
    """UsageError where --resume must finds no earlier run, or where there is none and the output is somebody else's."""
    if (run_dir / FILE).exists():
        return
    if resume == "must":
        raise UsageError(f"There is no earlier run to resume in {run_dir}; leave out --resume must to begin one.")
    if not overwrite:
        check_absent(output)


def check_absent(output: Path) -> None:
    """UsageError where a file, or a folder with anything in it, stands there."""
    if output.is_dir() and not any(output.iterdir()):
        return
    if output.exists():
        raise UsageError(f"{output} exists and is not of this run; name another --output, or say --overwrite.")


def stamp_of(output: Path) -> str:
    """What tells a file from another one at the same path."""
    try:
        status = output.stat()
    except OSError:
        return "none"
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"


def _owns_parts(store: Recorded, run_dir: Path, output: Path) -> bool:
    layout = layout_in(store)
    if layout is None or folder_of(run_dir, layout) == Path(os.path.normpath(output.absolute())):
        return layout is not None
    moved = [output / one.part.name for one in published_in(store).values()]
    return bool(moved) and all(path.exists() for path in moved)
