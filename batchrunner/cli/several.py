"""Several jobs at the same time: each as it would run alone, whatever becomes of the others.

They share limits as processes do, each with a seat of its own at this machine's book. With --simulate each has a
simulated gateway of its own. Refused: what can be meant for one job only, and two jobs with one output.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec

from batchrunner.cli.carrying import Task, collect_garbage_seldom, said, task_of
from batchrunner.cli.exits import code_of_several, tell_error
from batchrunner.cli.log import Log
from batchrunner.cli.telling import Manner, tell
from batchrunner.cli.terminal import say
from batchrunner.cli.watching import Show, Style, watching
from batchrunner.errors import StorageError, UsageError
from batchrunner.job.schema import STANDARD_INPUT, Job
from batchrunner.report.safe import safe_text
from batchrunner.report.summary import Summary
from batchrunner.runner.conducting import Watch
from batchrunner.runner.session import run_job
from batchrunner.runner.settings import Settings
from batchrunner.runner.signals import Signals
from batchrunner.runner.simulated import gateway_of
from batchrunner.runner.summing import kept_summary

_OF_ONE_JOB = {"output": "--output", "run_dir": "--run-dir"}


class End(msgspec.Struct, kw_only=True):
    """How one of the jobs ended, as `--json` tells it: with a summary, or with an error that kept it from one."""

    job: str
    exit_code: int
    error: str | None = None
    summary: Summary | None = None


class Together(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints."""

    exit_code: int
    jobs: list[End]


class Ends(dict[str, End]):
    """How the jobs ended, by name."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def by(self, error: BaseException, name: str) -> None:
        """This one ended with an error, which is told."""
        code = tell_error(error, self._log, job=name)
        self[name] = End(job=name, exit_code=code, error=str(error) or type(error).__name__)


def carry_out_all(chosen: dict[str, Any], arguments: Mapping[str, list[str]]) -> int:
    """Run the jobs of these parameters of `run` to their ends; the exit code. `arguments` are those of each job."""
    with said(chosen) as (log, manner, style):
        try:
            return _carry_out_all(chosen, arguments, log, manner, style)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - told in the manner that was asked for
            return tell_error(error, log)


def _carry_out_all(
    chosen: dict[str, Any], arguments: Mapping[str, list[str]], log: Log, manner: Manner, style: Style
) -> int:
    check_options(chosen)
    ends = Ends(log)
    tasks = _tasks(chosen, arguments, ends)
    check_outputs({name: task.job for name, task in tasks.items()})
    with ExitStack() as stack:
        asked = _asked(tasks, stack, ends, simulate=chosen["simulate"])
        collect_garbage_seldom()
        with watching(style, log) as show:
            anyio.run(_run_all, tasks, asked, show, ends)
    together = Together(
        exit_code=code_of_several(end.exit_code for end in ends.values()), jobs=[ends[name] for name in arguments]
    )
    if manner.as_json and not say(msgspec.json.encode(together).decode()):
        raise StorageError("The summary can't be written to stdout; each stands beside its output.")
    for end in together.jobs:
        if end.summary is not None:
            tell(end.summary, tasks[end.job].settings, log, manner, job=end.job)
        elif not manner.quiet:
            say(f"{safe_text(end.job)}: exit code {end.exit_code}, see above", err=manner.as_json)
    return together.exit_code


def check_options(chosen: dict[str, Any]) -> None:
    """UsageError for what can't be meant for several jobs."""
    said = [option for name, option in _OF_ONE_JOB.items() if chosen[name] is not None]
    if said:
        raise UsageError(f"{said[0]} is for one job, not for {len(chosen['jobs'])}: say it in the job files.")
    if STANDARD_INPUT in chosen["jobs"]:
        raise UsageError("Standard input is for a run of its own: name files, or run - alone.")
    jobs = [Path(name).absolute() for name in chosen["jobs"]]
    twice = next((path for place, path in enumerate(jobs) if path in jobs[:place]), None)
    if twice is not None:
        raise UsageError(f"{twice} is named twice: name each job once.")


def _tasks(chosen: dict[str, Any], arguments: Mapping[str, list[str]], ends: Ends) -> dict[str, Task]:
    """The jobs that can be run, by name; the others have ended with that."""
    tasks: dict[str, Task] = {}
    for name, own in arguments.items():
        try:
            tasks[name] = _task(name, chosen, own)
        except Exception as error:  # noqa: BLE001 - told, and it is this job's alone
            ends.by(error, name)
    return tasks


def _task(name: str, chosen: dict[str, Any], arguments: list[str]) -> Task:
    task = task_of(name, chosen, arguments)
    check_not_stdout(task.settings)
    return task


def check_not_stdout(settings: Settings) -> None:
    """UsageError where one of several jobs would write to standard output."""
    if settings.to_stdout:
        raise UsageError("Standard output is for a run of its own: name an output, or run this job alone.")


def check_outputs(jobs: Mapping[str, Job]) -> None:
    """UsageError where two jobs would write the same."""
    seen: dict[Path, str] = {}
    for name, job in jobs.items():
        output = job.output_path.resolve()
        if output in seen:
            raise UsageError(f"{seen[output]} and {name} have the same output, {job.output_path}: name another.")
        seen[output] = name


def _asked(tasks: Mapping[str, Task], stack: ExitStack, ends: Ends, *, simulate: bool) -> dict[str, Job]:
    """The jobs with their gateways."""
    asked: dict[str, Job] = {}
    for name, task in tasks.items():
        try:
            asked[name] = stack.enter_context(gateway_of(task.job, simulate=simulate))
        except Exception as error:  # noqa: BLE001 - as above
            ends.by(error, name)
    return asked


async def _run_all(tasks: Mapping[str, Task], asked: Mapping[str, Job], show: Show, ends: Ends) -> None:
    signals = Signals()
    async with anyio.create_task_group() as listening:
        listening.start_soon(signals.listen)
        async with anyio.create_task_group() as running:
            for name, job in asked.items():
                running.start_soon(_run_one, name, tasks[name], job, partial(show, name), signals, ends)
        listening.cancel_scope.cancel()


async def _run_one(name: str, task: Task, asked: Job, watch: Watch, signals: Signals, ends: Ends) -> None:
    """One job to its end, which is told when it comes early: by an error."""
    try:
        result = await run_job(asked, task.settings, key=task.key, watch=watch, signals=signals)
        summary = kept_summary(task.job, result)
        ends[name] = End(job=name, exit_code=summary.exit_code, summary=summary)
    except Exception as error:  # noqa: BLE001 - as above
        ends.by(error, name)
