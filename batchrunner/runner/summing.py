"""A run that has ended, as its summary."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from batchrunner.folder.ending import CODE_OF_END
from batchrunner.job.schema import STANDARD_OUTPUT, Job
from batchrunner.report.summary import Summary, Units, summary_beside, usage_of
from batchrunner.runner.session import Result
from batchrunner.sink import write_summary


def kept_summary(job: Job, result: Result) -> Summary:
    """The summary of a run that has ended, written beside its output."""
    summary = _summary_of(job, result)
    _write_beside(job.output_path, summary)
    return summary


def _summary_of(job: Job, result: Result) -> Summary:
    ending, totals = result.ending, result.totals
    return Summary(
        output=STANDARD_OUTPUT if result.to_stdout else str(job.output_path),
        ending=ending.end.value,
        message=ending.message,
        exit_code=CODE_OF_END[ending.end],
        resume_at=None if ending.resume_at is None else _instant(ending.resume_at),
        units=Units(
            total=result.total, ok=totals.ok, failed=totals.failed, pending=result.total - totals.ok - totals.failed
        ),
        failed_by_kind=totals.failed_units,
        first_failure=totals.first_failure,
        finish_reasons=totals.finish_reasons,
        tries=totals.sums.tries,
        failed_tries_by_kind=totals.failures,
        in_doubt=result.in_doubt,
        usage=usage_of(totals.sums),
        cost=totals.sums.cost,
        tries_without_cost=totals.sums.tries_without_cost,
        usage_by_day=totals.by_day,
        usage_by_model_and_day=totals.by_model_and_day,
        this_run=result.this_run,
        variants=result.variants,
    )


def _instant(at: float) -> str:
    """Without what clocks' sums leave behind the thousandths."""
    return datetime.fromtimestamp(round(at, 3), UTC).isoformat()


def _write_beside(output: Path, summary: Summary) -> None:
    content = msgspec.json.format(msgspec.json.encode(summary)) + b"\n"
    write_summary(summary_beside(output), content)
