"""`run --simulate`: the simulated gateway as a process beside the run, with the job's limits, gone when it goes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from batchrunner.errors import StorageError
from batchrunner.job.load import with_options
from batchrunner.job.schema import Job, LimitsTable
from batchrunner.job.words import SHORT_NAMES

SIMULATED_MODEL = "simulated/model"
LATENCY_SECONDS = "0.3"
LATENCY_SPREAD = "0.3"


@contextmanager
def gateway_of(job: Job, *, simulate: bool) -> Iterator[Job]:
    """The job, to be asked of its gateway, or of a simulated one while the block lasts."""
    with simulated_gateway(job.limits) if simulate else nullcontext(job.gateway.base_url) as base_url:
        yield with_options(job, {"gateway": {"base_url": base_url}})


@contextmanager
def simulated_gateway(limits: LimitsTable) -> Iterator[str]:
    """Start it; the value is its base URL. A hard kill of this process takes it along.

    Every model has the common limits, and days end at 00:00 UTC: more the simulator does not know.
    """
    command = [sys.executable, "-m", "batchrunner", "simulate", "--port", "0", "--until-stdin-closes"]
    command += ["--latency", LATENCY_SECONDS, "--latency-spread", LATENCY_SPREAD, "--auth-scheme", "any"]
    for option, name in SHORT_NAMES.items():
        amount = getattr(limits, name)
        if amount is not None:
            command += [f"--{option}", str(amount)]
    if limits.token_accounting == "upfront":
        command += ["--token-accounting", "upfront"]
    with subprocess.Popen(  # noqa: S603 - our own command, no shell
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdin is not None  # noqa: S101 - asked for above
        assert process.stdout is not None  # noqa: S101 - asked for above
        line = process.stdout.readline()
        if not line.startswith("listening on "):
            raise StorageError("The simulated gateway did not start; see what `batchrunner simulate` says.")
        try:
            yield line.removeprefix("listening on ").strip()
        finally:
            process.stdin.close()
