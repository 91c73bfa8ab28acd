"""batchrunner status: how a run stands."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from batchrunner.cli.exits import errors_as_exit_codes
from batchrunner.cli.manual import Manual
from batchrunner.cli.terminal import say
from batchrunner.errors import StorageError
from batchrunner.folder.finding import find_run
from batchrunner.folder.looking import CUT_OFF, Status, look_at, tries_in
from batchrunner.report.bounds import words_of
from batchrunner.report.live import Live, clock, lines_of_lanes
from batchrunner.report.safe import safe_text
from batchrunner.report.summary import words_of_cost
from batchrunner.store.summing import DayUsage, ModelUsage

if TYPE_CHECKING:
    from batchrunner.runner.course import Course

EXAMPLES = """\b
Examples:
  batchrunner status questions.results.jsonl
  batchrunner status nightly.toml --json
"""


@click.command(cls=Manual, epilog=EXAMPLES, context_settings={"max_content_width": 110})
@click.argument("of", metavar="RUN", type=click.Path(path_type=Path, readable=False))
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(of: Path, *, as_json: bool) -> None:
    """Say how RUN stands: units, rates and time to finish, tries, tokens by day, who works on it.

    RUN is the output's path, the run folder or the job file. Nothing is sent and the run is not disturbed.
    """
    with errors_as_exit_codes():
        from batchrunner.cli.attending import attended  # noqa: PLC0415 - heavy, and --help needs none of it

        found = attended(partial(_looked_at, find_run(of)))
        text = msgspec.json.encode(found).decode() if as_json else "\n".join(_lines(found))
        if not say(text):
            raise StorageError("The status can't be written to stdout.")


def _looked_at(run_dir: Path, course: "Course") -> Status:
    with course.doing("reading the run", tries_in(run_dir)):
        return look_at(run_dir, course.count)


def _lines(found: Status) -> Iterator[str]:
    """The most important first."""
    yield safe_text(f"{found.output}: {_state(found)}", 600)
    yield _units(found)
    if found.rates is not None:
        rates = f"{found.rates.units_per_s:.1f} units/s, {found.rates.tokens_per_s:,.0f} tokens/s"
        yield f"{rates}; ETA {clock(found.eta_s)}"
    if found.live is not None:
        yield from (safe_text(words, 600) for words in _live_lines(found.live, going_on=found.rates is not None))
    yield f"{found.tries:,} tries; failed ones: {_counts(found.failed_tries_by_kind) or 'none'}"
    several = len({used.model for used in found.usage_by_model_and_day}) > 1
    for day, used in found.usage_by_day.items():
        yield f"{day}: {_used(used)}"
        for one in found.usage_by_model_and_day:
            if several and one.day == day:
                yield safe_text(f"  {one.model or 'unknown model'}: {_used(one)}", 600)
    if len(found.usage_by_day) > 1 and (cost := words_of_cost(found.cost, found.tries_without_cost)):
        yield f"in all: {cost}"
    if found.in_doubt:
        yield f"{found.in_doubt:,} in doubt, in flight when a run was cut off"
    if found.resume_at:
        yield f"come back at {found.resume_at}"


def _live_lines(live: Live, *, going_on: bool) -> Iterator[str]:
    """What whoever works, or worked last, knows of the lanes. What bound them is worth telling afterwards, too."""
    if not going_on:
        told = [(lane.lane, words_of(lane.use)) for lane in live.lanes]
        yield from (f"{lane}: {words}" for lane, words in told if words)
        return
    yield from lines_of_lanes(live)
    yield from (words for words in (live.stopping, live.left) if words)


def _state(found: Status) -> str:
    if found.worked_on_by:
        return f"{found.state} ({found.worked_on_by})"
    if found.state == CUT_OFF:
        return f"{found.state}: run the same command again"
    return found.message or found.state


def _units(found: Status) -> str:
    units = found.units
    parts = [f"{units.ok:,} of {units.total:,} answered"]
    if units.failed:
        parts.append(f"{units.failed:,} failed ({_counts(found.failed_by_kind)})")
    if units.pending:
        parts.append(f"{units.pending:,} pending")
    if found.in_flight:
        parts.append(f"{found.in_flight:,} in flight")
    return "; ".join(parts)


def _used(used: DayUsage | ModelUsage) -> str:
    prompt, completion = used.prompt_tokens, used.completion_tokens
    words = f"{used.tries:,} tries, {prompt + completion:,} tokens ({prompt:,} + {completion:,})"
    cost = words_of_cost(used.cost, used.tries_without_cost)
    return f"{words}, {cost}" if cost else words


def _counts(by_kind: dict[str, int]) -> str:
    return ", ".join(f"{kind} {count:,}" for kind, count in sorted(by_kind.items()))
