"""What people and scripts are told of a run that has ended."""

import shlex
from collections.abc import Iterator

import msgspec

from batchrunner.cli.log import Level, Log
from batchrunner.cli.terminal import say
from batchrunner.folder.ending import End
from batchrunner.report.safe import safe_text
from batchrunner.report.summary import Summary, line, lines_of_lanes, lines_of_variants
from batchrunner.runner.session import Result
from batchrunner.runner.settings import Settings


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """How the end of a run is told. `brief`: in one line when all is well, as nobody is there to read more; `quiet`: in
    one line, and only when it is not."""

    quiet: bool
    brief: bool
    as_json: bool


def tell(summary: Summary, settings: Settings, log: Log, manner: Manner, *, job: str = "") -> None:
    """What people want to know of a run that has ended, as far as anyone can read it. `job`: of several."""
    well = not (summary.units.pending or summary.units.failed)
    words, silent = _words_in_short(summary, settings), manner.quiet and well
    level = Level.RECORD if silent or not (manner.quiet or log.as_json) else Level.ERROR
    log.tell(level, "end", words, job, exit_code=summary.exit_code, resume_at=summary.resume_at)
    if manner.quiet or (log.as_json and manner.as_json) or (manner.brief and well and manner.as_json):
        return
    named = safe_text(job)
    if manner.brief and well:
        say(f"{named}: {words}" if job else words, err=settings.to_stdout)
        return
    say(
        "\n".join([f"{named}:"] * bool(job) + list(_lines(summary, settings))), err=manner.as_json or settings.to_stdout
    )


def _words_in_short(summary: Summary, settings: Settings) -> str:
    if not summary.units.pending:
        return f"{line(summary)}; {_where(summary, settings)}"
    back = f"; come back at {summary.resume_at}" if summary.resume_at else ""
    return f"{line(summary)}; stopped: {summary.message}{back}; {_going_on(summary, settings)}"


def _lines(summary: Summary, settings: Settings) -> Iterator[str]:
    yield line(summary)
    yield from (safe_text(words, 600) for words in (*lines_of_lanes(summary), *lines_of_variants(summary)))
    if summary.first_failure is not None:
        yield f"first failure: {safe_text(summary.first_failure, 600)}"
    if not summary.units.pending:
        yield _where(summary, settings)
        return
    yield f"stopped: {safe_text(summary.message, 600)}"
    if summary.resume_at:
        yield f"come back at {summary.resume_at}"
    if summary.units.pending < summary.units.total:
        what_is_there = shlex.join(["batchrunner", "export", str(settings.run_dir), "--partial", "-o"])
        yield f"take what is there with: {what_is_there} PATH"
    yield _going_on(summary, settings)


def _where(summary: Summary, settings: Settings) -> str:
    where = f"on stdout; the run is in {settings.run_dir}" if settings.to_stdout else f"in {summary.output}"
    return f"answers {where}" + ("" if summary.this_run.units else " (nothing was left to ask)")


def _going_on(summary: Summary, settings: Settings) -> str:
    larger = "with a larger budget, " if summary.ending == End.SPENT else ""
    kept = f" (the run is in {settings.run_dir})" if settings.to_stdout else ""
    return f"{larger}go on with: {shlex.join(['batchrunner', *settings.arguments])}{kept}"


def words_of_retry(result: Result) -> str:
    """How many failed units were asked again, or which there are."""
    if result.reopened:
        return f"failed units asked again: {result.reopened:,}"
    failed = ", ".join(f"{kind} {count}" for kind, count in sorted(result.totals.failed_units.items()))
    return f"no failed unit matches (failed are: {failed or 'none'})"
