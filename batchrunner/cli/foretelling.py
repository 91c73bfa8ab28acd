"""Carries out what `plan` was told."""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

import msgspec

from batchrunner.cli.attending import attended
from batchrunner.cli.carrying import asked_of, collect_garbage_seldom
from batchrunner.cli.several import check_not_stdout, check_options, check_outputs
from batchrunner.cli.terminal import say
from batchrunner.cli.watching import counting
from batchrunner.errors import NoKeyError, StorageError
from batchrunner.job.load import with_options
from batchrunner.job.schema import STANDARD_INPUT, Job
from batchrunner.plan.planning import Asked, survey
from batchrunner.plan.plans import plans_of
from batchrunner.report.plan import Plan, lines_of
from batchrunner.report.safe import safe_text
from batchrunner.runner.deadline import NEVER, deadline_of
from batchrunner.runner.keys import secrets_of
from batchrunner.runner.settings import Settings
from batchrunner.runner.spooling import spooled


class Plans(msgspec.Struct, frozen=True, kw_only=True):
    """What --json prints where there are several jobs."""

    jobs: list[Plan]


def foretell(chosen: dict[str, Any]) -> None:
    """Print the plan of these parameters of `run`."""
    names = chosen["jobs"]
    if len(names) > 1:
        check_options(chosen)
    collect_garbage_seldom()
    now = time.time()
    with ExitStack() as stack:
        asked = [stack.enter_context(_asked(name, chosen, now)) for name in names]
        check_outputs({one.name: one.job for one in asked})
        found = attended(lambda course: [survey(one, course) for one in asked], quiet=chosen["quiet"])
        plans = plans_of(found, now=now)
    if chosen["quiet"]:
        return
    if chosen["as_json"]:
        text = msgspec.json.encode(plans[0] if len(plans) == 1 else Plans(jobs=plans)).decode()
    else:
        text = "\n".join(safe_text(line, 600) for plan in plans for line in lines_of(plan))
    if not say(text):
        raise StorageError("The plan can't be written to stdout.")


@contextmanager
def _asked(name: str, chosen: dict[str, Any], now: float) -> Iterator[Asked]:
    """The job of this name, while its input can be read."""
    job, settings = asked_of(name, chosen)
    if len(chosen["jobs"]) > 1:
        check_not_stdout(settings)
    left = deadline_of(job.run).seconds_left(now, time.monotonic())
    with _readable(job, settings, quiet=chosen["quiet"]) as readable:
        account = job.gateway.account or _key(job, chosen)
        until = None if left == NEVER else now + left
        yield Asked(name=name, job=readable, settings=settings, account=account, until=until)


@contextmanager
def _readable(job: Job, settings: Settings, *, quiet: bool) -> Iterator[Job]:
    """Standard input goes into a folder of its own, which is removed at once."""
    if job.input != STANDARD_INPUT:
        yield job
        return
    has_stdin = sys.stdin is not None and not sys.stdin.isatty()
    stdin = cast("BufferedReader", sys.stdin.buffer) if has_stdin else None
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="batchrunner-"))
        with counting("reading standard input", "none" if quiet else "bar") as told:
            spool = spooled(settings.run_dir, stdin, anew=False, told=told, beside=Path(folder) / "run")
            path = stack.enter_context(spool)
        yield with_options(job, {"": {"input": str(path)}})


def _key(job: Job, chosen: dict[str, Any]) -> str | None:
    """The key, by whose hash the book knows the lane; None where there is none."""
    try:
        return secrets_of(job.gateway, chosen["api_key_file"], simulate=chosen["simulate"])[0].reveal()
    except NoKeyError:
        return None
