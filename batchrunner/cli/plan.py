"""batchrunner plan: what a run would do, take and cost, before it does anything."""

import sys
from typing import Any

import click

from batchrunner.cli.exits import errors_as_exit_codes
from batchrunner.cli.manual import HEADINGS, Manual
from batchrunner.cli.options import run_options

EXAMPLES = """\b
Examples:
  batchrunner plan in.jsonl -m acme/small --rpm 3000 --param max_tokens=512
  batchrunner plan nightly.toml
  batchrunner plan nightly.toml weekly.toml      (at the same time)
  batchrunner plan nightly.toml --json | jq .ends_at.likely
  batchrunner plan nightly.toml -q && batchrunner run nightly.toml
\b
No key is needed. What a run would be refused for before it sends
anything (65, 78) plan is refused for, too.
"""


@click.command(cls=Manual, epilog=EXAMPLES, headings=HEADINGS, context_settings={"max_content_width": 110})
@run_options
def plan(**chosen: Any) -> None:
    """Say what `run` with the same arguments would do: rows to ask and to skip, rows that would fail, tokens, time to
    finish with every daily reset, what binds. Nothing is sent or written; --json prints it as one object."""
    with errors_as_exit_codes():
        from batchrunner.cli.foretelling import foretell  # noqa: PLC0415 - heavy, and --help needs none of it

        foretell(chosen)
    sys.exit(0)
