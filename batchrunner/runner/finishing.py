"""The output of a run that has ended, in one file or on standard output: a fold of its store."""

from collections.abc import Iterator
from pathlib import Path

from batchrunner.errors import UsageError
from batchrunner.folder.columns import columns_in
from batchrunner.folder.published import outcomes
from batchrunner.folder.writing import write_file
from batchrunner.job.schema import Job
from batchrunner.report.summary import is_summary, summary_beside
from batchrunner.runner.course import Course
from batchrunner.runner.going_on import RunFolder
from batchrunner.runner.settings import Settings
from batchrunner.sink import OutputFormat, standard_output, write_lines
from batchrunner.sink.atomic import remove_file
from batchrunner.sink.openai_batch import check_batch_output, errors_beside
from batchrunner.source import takes_in

_BATCH: OutputFormat = "openai-batch"


def check_format(job: Job, settings: Settings) -> None:
    """UsageError where the output can't be of this format."""
    if settings.output_format == "native":
        return
    if settings.output_format != _BATCH:
        raise UsageError(f"output_format = {settings.output_format!r} is neither native nor {_BATCH}.")
    if job.output_is_folder:
        raise UsageError("--output-format openai-batch makes an output in one file: name one, without / at its end.")
    if job.sweep:
        raise UsageError("--output-format openai-batch has one line a row: it knows no variants and no samples.")
    check_batch_output(job.output_path)
    beside = errors_beside(job.output_path)
    if takes_in(job.input, beside):
        raise UsageError(f"{beside} would be part of the input: name another --output.")


def check_beside(output: Path, settings: Settings, *, may_overwrite: bool) -> None:
    """UsageError where the file of failures, or the summary, would be written over what batchrunner did not make."""
    errors, summary = errors_beside(output), summary_beside(output)
    in_the_way = [errors] * (settings.output_format == _BATCH and not settings.to_stdout and errors.exists())
    in_the_way += [] if _may_be_summary(summary) else [summary]
    if in_the_way and not may_overwrite:
        raise UsageError(f"{in_the_way[0]} exists and is not of this run; name another --output, or say --overwrite.")


def write_run(folder: RunFolder, total: int, settings: Settings, words: str, course: Course) -> None:
    """Write the output, unless it stands there as it was written; on standard output always. `words` tell it from
    another with as many rows; `course` hears how far it is."""

    def rows() -> Iterator[bytes]:
        return course.counted(outcomes(folder.store, folder.path, total))

    if settings.to_stdout:
        with standard_output() as file:
            write_lines(file, rows(), as_batch=settings.output_format == _BATCH)
        return
    ended, ok = folder.store.count(0, total)
    is_batch = settings.output_format == _BATCH
    content = f"{ok} ok {ended - ok} failed{words}{f' {_BATCH}' if is_batch else ''}"
    beside = errors_beside(folder.output)
    if folder.is_published(content) and (ended == ok or not is_batch or beside.exists()):
        return
    if not is_batch and folder.published.endswith(_BATCH):
        remove_file(beside)
    with folder.publishing(content):
        write_file(
            folder.output,
            rows,
            columns=columns_in(folder.store.fact),
            output_format=settings.output_format,
            replace=folder.may_overwrite,
        )


def _may_be_summary(path: Path) -> bool:
    """Whether a summary may be written there: over nothing, or an earlier one."""
    try:
        return is_summary(path.read_bytes())
    except OSError:
        return not path.exists()
