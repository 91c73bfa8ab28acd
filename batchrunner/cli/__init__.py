"""The command line. Commands are loaded when they are used, so that `--version` and `--help` are quick."""

import importlib
import resource
from typing import Any

import click

from batchrunner import __version__

_INTERRUPTED = 130
_COMMANDS = {
    "run": "Take a file of prompts to a file of answers.",
    "plan": "What a run would do, take and cost; nothing is sent.",
    "status": "How a run stands, while it goes on and after it.",
    "report": "A run as one page, with plots.",
    "view": "A run in the browser: its page, live, and its rows.",
    "export": "A run's rows as another file, also of an unfinished run.",
    "retry": "Ask failed units again.",
    "probe": "What a gateway says of limits, errors and usage.",
    "limits": "Show or reset this machine's book of what was used.",
    "init": "Write a commented job file.",
    "simulate": "Run the simulated gateway alone.",
}


class _LateGroup(click.Group):
    """A group whose commands stand in modules of their own name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's own signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - likewise
        if cmd_name not in _COMMANDS:
            return None
        try:
            command: click.Command = getattr(importlib.import_module(f"batchrunner.cli.{cmd_name}"), cmd_name)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(_INTERRUPTED) from None
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - likewise
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LateGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="batchrunner")
def main(**_: Any) -> None:
    """A file of prompts becomes a file of answers through a rate-limited, OpenAI-compatible gateway.

    As fast as its limits allow and never faster; whatever happens on the way, run the same command again.
    """
    _leave_no_core()


def _leave_no_core() -> None:
    """A process that dies leaves no file of its memory, in which the key is."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
