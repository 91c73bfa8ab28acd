"""The help of a command, as a manual has it: what it does, examples, then its options under headings."""

import re
from typing import Any

import click

_REST = "More"
_RANGE = re.compile(r" *\[[0-9x]+(?:[<>]=?[0-9x]+)+\]|; [0-9x]+(?:[<>]=?[0-9x]+)+(?=\])")  # click's own: [x>=0]

# The headings of `run`, in their order. An option that stands under none of them comes last.
HEADINGS: dict[str, tuple[str, ...]] = {
    "Input and output": (
        *("--output", "--output-format", "--raw", "--keep", "--part-rows", "--overwrite"),
        *("--limit", "--sample", "--seed", "--files"),
    ),
    "Gateway": (
        *("--base-url", "--api-key-env", "--api-key-file", "--auth-scheme", "--allow-insecure-http", "--ca-bundle"),
        "--simulate",
    ),
    "What is asked": ("--model", "--prompt", "--prompt-file", "--system", "--param", "--stream"),
    "Limits": (
        *("--rps", "--rpm", "--rpd", "--tps", "--tpm", "--tpd", "--daily-reset", "--token-accounting"),
        *("--concurrency", "--max-concurrency", "--on-daily-limit", "--now", "--shared"),
    ),
    "Tries, and when to stop": (
        *("--attempts", "--timeout", "--max-outage", "--max-failed", "--grace", "--until", "--max-duration"),
        *("--budget-cost", "--budget-tokens"),
    ),
    "Where requests are sent from": ("--engine", "--workers", "--ray-address"),
    "Going on": ("--resume", "--on-drift", "--wait-lock", "--run-dir", "--state-dir"),
    "What is shown": ("--progress", "--quiet", "--verbose", "--json", "--log-format", "--log-file", "--help"),
}


class ManualGroup(click.Group):
    """A group of commands whose examples stand before them."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        self.format_epilog(ctx, formatter)
        self.format_options(ctx, formatter)


class Manual(click.Command):
    """A command whose examples stand before its options. `headings`: options by heading, for those with many."""

    def __init__(self, *args: Any, headings: dict[str, tuple[str, ...]] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.headings = headings or {}

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        self.format_epilog(ctx, formatter)
        self.format_options(ctx, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {heading: [] for heading in self.headings}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                words = (record[0], _RANGE.sub("", record[1]).rstrip())
                sections.setdefault(self._heading(parameter), []).append(words)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)

    def _heading(self, parameter: click.Parameter) -> str:
        if not self.headings:
            return "Options"
        return next((name for name, options in self.headings.items() if {*options} & {*parameter.opts}), _REST)
