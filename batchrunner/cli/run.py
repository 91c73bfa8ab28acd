"""batchrunner run: a file of prompts becomes a file of answers."""

import sys
from typing import Any

import click

from batchrunner.cli.exits import errors_as_exit_codes
from batchrunner.cli.manual import HEADINGS, Manual
from batchrunner.cli.options import run_options
from batchrunner.cli.remembering import arguments_of_one, arguments_to_remember

EXAMPLES = """\b
Examples:
  batchrunner run questions.jsonl -m acme/llama-3-70b --rpm 3000 --tpm 1M
  batchrunner run a.parquet -m acme/small --prompt "Solve: {{ question }}"
  batchrunner run nightly.toml --json
  batchrunner run nightly.toml weekly.toml    (at the same time)
  batchrunner run million.jsonl -m acme/small -o answers.parquet/    (parts)
  batchrunner run "data/**/*.gz" -m acme/small -o out.jsonl --sample 100
  zcat logs.jsonl.gz | batchrunner run - -m acme/small -o out.jsonl
  batchrunner run questions.jsonl --simulate --rps 50

Run the same command again to go on where it stopped; a finished job sends nothing.
"""


@click.command(cls=Manual, epilog=EXAMPLES, headings=HEADINGS, context_settings={"max_content_width": 110})
@run_options
def run(**chosen: Any) -> None:
    """Ask for every row of JOB: a job file (*.toml), a data file (*.jsonl, *.csv, also .gz or .zst, *.parquet), a glob
    in quotes, a folder, a URL (s3://, gs://, hf://), or - for standard input. Several jobs run at the same time."""
    with errors_as_exit_codes():
        arguments = arguments_to_remember(click.get_current_context())
        jobs = chosen["jobs"]
        if len(jobs) == 1:
            from batchrunner.cli.carrying import carry_out  # noqa: PLC0415 - heavy, and --help needs none of it

            sys.exit(carry_out(chosen, arguments))
        from batchrunner.cli.several import carry_out_all  # noqa: PLC0415 - as above

        sys.exit(carry_out_all(chosen, {job: arguments_of_one(job, jobs, arguments) for job in jobs}))
