"""What people and scripts are told of a run that has ended."""

import shlex
from datetime import UTC, datetime

from batchrunner.cli.exits import CODE_OF_END
from batchrunner.cli.terminal import safe_text, say
from batchrunner.job.schema import Job
from batchrunner.report.summary import Summary, Units, line, lines_of_lanes, lines_of_variants, usage_of
from batchrunner.runner.session import Result, Settings


def summary_of(job: Job, result: Result) -> Summary:
    """The run as its summary."""
    ending, totals = result.ending, result.totals
    return Summary(
        output=str(job.output_path),
        ending=ending.end.value,
        message=ending.message,
        exit_code=CODE_OF_END[ending.end],
        resume_at=None if ending.resume_at is None else datetime.fromtimestamp(ending.resume_at, UTC).isoformat(),
        units=Units(
            total=result.total, ok=totals.ok, failed=totals.failed, pending=result.total - totals.ok - totals.failed
        ),
        failed_by_kind=totals.failed_units,
        first_failure=totals.first_failure,
        finish_reasons=totals.finish_reasons,
        tries=totals.tries,
        failed_tries_by_kind=totals.failures,
        in_doubt=result.in_doubt,
        usage=usage_of(totals),
        usage_by_day=result.usage_by_day,
        this_run=result.this_run,
        variants=result.variants,
    )


def tell(summary: Summary, settings: Settings, *, err: bool) -> None:
    """What people want to know of a run that has ended, as far as anyone can read it."""
    lines = [line(summary), *(safe_text(words, 600) for words in lines_of_lanes(summary))]
    lines += [safe_text(words, 600) for words in lines_of_variants(summary)]
    if summary.first_failure is not None:
        lines.append(f"first failure: {safe_text(summary.first_failure, 600)}")
    if summary.units.pending == 0:
        lines.append(f"answers in {summary.output}" + ("" if summary.this_run.units else " (nothing was left to ask)"))
    else:
        lines.append(f"stopped: {safe_text(summary.message, 600)}")
        lines += [f"come back at {summary.resume_at}"] if summary.resume_at else []
        if summary.units.pending < summary.units.total:
            what_is_there = shlex.join(["batchrunner", "export", str(settings.run_dir), "--partial", "-o"])
            lines.append(f"take what is there with: {what_is_there} PATH")
        lines.append(f"go on with: {shlex.join(['batchrunner', *settings.arguments])}")
    say("\n".join(lines), err=err)


def words_of_retry(result: Result) -> str:
    """How many failed units were asked again, or which there are."""
    if result.reopened:
        return f"failed units asked again: {result.reopened:,}"
    failed = ", ".join(f"{kind} {count}" for kind, count in sorted(result.totals.failed_units.items()))
    return f"no failed unit matches (failed are: {failed or 'none'})"
