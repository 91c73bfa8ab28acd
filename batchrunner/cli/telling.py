"""What people and scripts are told of a run that has ended."""

import shlex

from batchrunner.cli.terminal import say
from batchrunner.report.safe import safe_text
from batchrunner.report.summary import Summary, line, lines_of_lanes, lines_of_variants
from batchrunner.runner.ending import End
from batchrunner.runner.session import Result
from batchrunner.runner.settings import Settings


def tell(summary: Summary, settings: Settings, *, err: bool) -> None:
    """What people want to know of a run that has ended, as far as anyone can read it."""
    lines = [line(summary), *(safe_text(words, 600) for words in lines_of_lanes(summary))]
    lines += [safe_text(words, 600) for words in lines_of_variants(summary)]
    if summary.first_failure is not None:
        lines.append(f"first failure: {safe_text(summary.first_failure, 600)}")
    if summary.units.pending == 0:
        where = f"on stdout; the run is in {settings.run_dir}" if settings.to_stdout else f"in {summary.output}"
        lines.append(f"answers {where}" + ("" if summary.this_run.units else " (nothing was left to ask)"))
    else:
        lines.append(f"stopped: {safe_text(summary.message, 600)}")
        lines += [f"come back at {summary.resume_at}"] if summary.resume_at else []
        if summary.units.pending < summary.units.total:
            what_is_there = shlex.join(["batchrunner", "export", str(settings.run_dir), "--partial", "-o"])
            lines.append(f"take what is there with: {what_is_there} PATH")
        larger = "with a larger budget, " if summary.ending == End.SPENT else ""
        kept = f" (the run is in {settings.run_dir})" if settings.to_stdout else ""
        lines.append(f"{larger}go on with: {shlex.join(['batchrunner', *settings.arguments])}{kept}")
    say("\n".join(lines), err=err)


def words_of_retry(result: Result) -> str:
    """How many failed units were asked again, or which there are."""
    if result.reopened:
        return f"failed units asked again: {result.reopened:,}"
    failed = ", ".join(f"{kind} {count}" for kind, count in sorted(result.totals.failed_units.items()))
    return f"no failed unit matches (failed are: {failed or 'none'})"
