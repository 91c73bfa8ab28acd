"""batchrunner view: a run in the browser."""

import os
import signal
import sys
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click
from anyio import to_thread

from batchrunner.cli.exits import errors_as_exit_codes
from batchrunner.cli.manual import Manual
from batchrunner.cli.run import run
from batchrunner.cli.terminal import say
from batchrunner.errors import BatchrunnerError, UsageError

if TYPE_CHECKING:
    from batchrunner.folder.about import About
    from batchrunner.job.schema import Job

EXAMPLES = """\b
Examples:
  batchrunner view questions.results.jsonl
  batchrunner view nightly.toml --port 8787 --no-browser
  ssh -L 8787:127.0.0.1:8787 there   (its address opens here, too)
"""


@click.command(cls=Manual, epilog=EXAMPLES, context_settings={"max_content_width": 110})
@click.argument("of", metavar="RUN", type=click.Path(path_type=Path, readable=False))
@click.option("--port", type=click.IntRange(0, 65_535), default=0, metavar="N", help="Where to listen [any free port]")
@click.option("--no-browser", is_flag=True, help="Print the address, open nothing.")
def view(of: Path, *, port: int, no_browser: bool) -> None:
    """Show RUN in the browser until Ctrl-C: its page, live while it goes on, and its rows, to search and look at.

    RUN is the output's path, the run folder or the job file. The address works on this machine alone, and only with the
    token in it. Nothing is sent, and the run is not disturbed.
    """
    from batchrunner.folder.about import about_known_run  # noqa: PLC0415 - heavy, and --help needs none of it
    from batchrunner.folder.finding import find_run  # noqa: PLC0415 - likewise
    from batchrunner.store.reading import read_store  # noqa: PLC0415 - likewise

    with errors_as_exit_codes():
        run_dir = find_run(of)
        about = read_store(run_dir, lambda store: about_known_run(store.fact))
        with suppress(OSError):  # the job's relative paths are meant from there
            os.chdir(about.folder)
        anyio.run(_serve, run_dir, Path(about.output).name, port, not no_browser and _has_display())


async def _serve(run_dir: Path, name: str, port: int, browser: bool) -> None:  # noqa: FBT001 - anyio.run has no names
    """Until SIGINT or SIGTERM."""
    from batchrunner.viewer.server import HOST, serve  # noqa: PLC0415 - aiohttp is slow to import

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        try:
            async with serve(run_dir, _job_of, name=name, port=port) as addresses:
                say(addresses.lasting)
                say("Ctrl-C ends it.", err=True)
                if browser:
                    await to_thread.run_sync(webbrowser.open, addresses.once)
                async for _ in signals:
                    break
        except OSError as error:
            raise UsageError(
                f"Nothing can listen at {HOST}:{port}: {error.strerror}; name another --port, or leave it out."
            ) from error


def _job_of(about: "About") -> tuple["Job | None", str, str]:
    """The job of a run's command, as its files say now."""
    from batchrunner.cli.carrying import job_of  # noqa: PLC0415 - heavy

    if about.arguments[:1] != ("run",):
        return None, "", "This run was begun by a program: what that made of the row is not known here."
    try:
        chosen = run.make_context("run", list(about.arguments[1:])).params
        simulate = chosen["simulate"]
        (named,) = chosen["jobs"]
        job = job_of(named, chosen, simulate=simulate)
    except (BatchrunnerError, click.ClickException, ValueError) as error:
        words = error.message if isinstance(error, click.ClickException) else str(error)
        return None, "", f"The job can't be read any more: {words}"
    return job, "simulated" if simulate else job.gateway.base_url, ""


def _has_display() -> bool:
    """Whether a browser would come up where somebody sees it."""
    if "SSH_CONNECTION" in os.environ or not sys.stdout.isatty():
        return False
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
