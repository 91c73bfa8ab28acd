"""Which run folder is meant by RUN: the output's path, the run folder itself, the job file or the data file."""

import difflib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from batchrunner.errors import InputError, UsageError
from batchrunner.job.load import load_job
from batchrunner.job.schema import Job
from batchrunner.store.database import FILE
from batchrunner.store.lock import holder_of


def find_run(run: Path) -> Path:
    """The absolute path of the run folder. InputError where there is none."""
    places = list(_places(run.absolute()))
    found = next((place for place in places if (place / FILE).exists()), None)
    if found is None:
        raise InputError(_told(run, places))
    return found


def run_folder_of(output: Path) -> Path:
    """Where the run folder of this output is when nobody says."""
    return output.parent / (output.name + ".run")


def _places(run: Path) -> Iterator[Path]:
    yield run
    if not run.name:
        return
    yield run_folder_of(run)
    with suppress(UsageError):  # an input beside which nothing is
        if run.suffix == ".toml" and run.is_file():
            yield run_folder_of(load_job(run).output_path)
        yield run_folder_of(Job(input=str(run)).output_path)


def _told(run: Path, places: list[Path]) -> str:
    holder = next(filter(None, map(holder_of, places)), None)
    if holder is not None:
        return f"The run of {run} is just beginning ({holder}): ask again in a moment."
    known = [path.name for path in run.absolute().parent.glob("*.run")]
    near = difflib.get_close_matches(run_folder_of(run.absolute()).name if run.name else "", known, n=1)
    hint = f" Did you mean {near[0].removesuffix('.run')}?" if near else ""
    return (
        f"There is no run of {run}: name its output, its run folder (that of --run-dir, if one was given) or its job "
        f"file.{hint}"
    )
