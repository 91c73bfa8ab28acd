"""batchrunner init: a job file to begin with, every key of it explained."""

import shlex
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from batchrunner.cli.exits import errors_as_exit_codes
from batchrunner.cli.manual import Manual
from batchrunner.cli.terminal import say
from batchrunner.errors import StorageError, UsageError
from batchrunner.job.schema import BASE_URL, NO_KEYS, Job
from batchrunner.report.safe import safe_text

EXAMPLES = """\b
Examples:
  batchrunner init                 (job.toml)
  batchrunner init nightly.toml
  batchrunner init - | less
"""

_TOP = """\
# A job of batchrunner. To see it run, without a key and without cost:
#   [ -e {data} ] || echo '{{"prompt": "Why do cats purr?"}}' > {data}
#   batchrunner run {job} --simulate -o try.jsonl
# Then name your own file at `input`, the model at `model`, set BATCHRUNNER_API_KEY in the environment, and:
#   batchrunner run {job}
# Keys behind a # stand there with their defaults, or with an example: take the # away to use them.
# Options of the command line are over this file. Paths are relative to it. No secrets in it.
"""

# Table by table: the line of a key, and what it means. A key that this version does not have is left out.
_KEYS: dict[str, dict[str, tuple[str, str]]] = {
    "": {
        "input": ('input = "questions.jsonl"', "*.jsonl or *.parquet; a row has prompt or messages, or any columns"),
        "output": (
            '# output = "out/answers.parquet"',
            "*.jsonl[.gz|.zst], *.parquet, DIR/ or -; default: beside the input",
        ),
        "keep": ('# keep = ["question", "answer"]', 'columns of the input that the output has too; "all": every one'),
    },
    "gateway": {
        "base_url": (f'base_url = "{BASE_URL}"', "where to ask: the part before /chat/completions"),
        "api_key_env": ('# api_key_env = "BASETEN_API_KEY"', "the variable with the key, if not BATCHRUNNER_API_KEY"),
        "auth_scheme": ('# auth_scheme = "Api-Key"', 'or "Bearer"'),
        "account": ('# account = ""', "a name under which several keys share one quota; default: the key's own"),
        "headers": ('# headers = { X-Org = "acme" }', 'a secret one: { X-Proxy-Token = { env = "PROXY_TOKEN" } }'),
    },
    "request": {
        "model": ('model = "acme/llama-3-70b"', "org/model, as the gateway calls it"),
        "system": ('# system = "You are a careful tutor."', "the system message"),
        "prompt": ('# prompt = "Solve: {{ question }}"', "a Jinja2 template over the row's columns"),
        "messages": ('# messages = [{ role = "user", content = "{{ question }}" }]', "or a conversation of templates"),
        "params": ("params = { max_tokens = 512 }", "sent as they are: temperature, top_p, stop, seed, ..."),
        "stream": ("# stream = false", "whether answers come piece by piece"),
        "tools": ("# tools = []", "functions that the model may call"),
        "tool_choice": ('# tool_choice = "auto"', "which of them it is to call"),
        "response_format": ('# response_format = { type = "json_object" }', "every answer is checked against it"),
        "row_params": ('# row_params = ["max_tokens"]', "parameters that a row may set, by a column of the name"),
        "files": ('# files = "images/"', "the folder of the local files that messages may name"),
    },
    "limits": {
        "requests_per_second": ("# requests_per_second = 50", "limits of the account; none: found from the answers"),
        "requests_per_minute": ("# requests_per_minute = 3000", "of several, each holds"),
        "requests_per_day": ("# requests_per_day = 100_000", "in a day that ends at daily_reset"),
        "tokens_per_second": ("# tokens_per_second = 20_000", "prompt and completion together"),
        "tokens_per_minute": ("# tokens_per_minute = 1_000_000", ""),
        "tokens_per_day": ("# tokens_per_day = 50_000_000", ""),
        "daily_reset": ('# daily_reset = "00:00 UTC"', 'a time and a zone: "00:00 America/Los_Angeles"'),
        "token_accounting": ('# token_accounting = "settled"', 'what was used, or "upfront": prompt + max_tokens'),
        "scope": ('# scope = "model"', 'each model has these limits, or "account": all together'),
        "concurrency": ('# concurrency = "auto"', "requests in flight, or a number"),
        "max_concurrency": ("# max_concurrency = 256", "what auto may reach"),
        "shared": (
            '# shared = "rediss://redis.example:6379/0"',
            "where several machines share them",
        ),
        "models": ('# "acme/small" = { requests_per_minute = 12_000 }', "what differs for one model"),
    },
    "retry": {
        "attempts": ("# attempts = 6", "tries for a row"),
        "timeout": ("# timeout = 1200", "seconds for one try"),
        "invalid_answers": ("# invalid_answers = 2", "further tries when an answer is not what was asked for"),
        "tell_errors": ("# tell_errors = false", "whether they are told what was wrong with it"),
        "fail_on": ('# fail_on = ["length"]', "finish reasons that count as failure"),
    },
    "run": {
        "until": ('# until = "06:00"', "stop sending then; the same command goes on later"),
        "max_duration": ('# max_duration = "8h"', "or after this time"),
        "on_daily_limit": (
            '# on_daily_limit = "park"',
            'end with exit code 75, or "wait"; default: wait on a terminal',
        ),
        "budget_cost": ("# budget_cost = 25.0", "stop before it costs more; needs prices and max_tokens"),
        "budget_tokens": ("# budget_tokens = 1_000_000", "stop before it takes more tokens; needs max_tokens"),
    },
    "prices": {
        "prompt": ("# prompt = 0.60", "what a million tokens cost; without, costs are as the gateway tells them"),
        "cached": ("# cached = 0.06", "prompt tokens that the gateway had in its cache"),
        "completion": ("# completion = 2.40", "reasoning is part of it"),
        "models": ('# "acme/small" = { completion = 0.40 }', "what differs for one model"),
    },
    "sweep": {
        "model": ('# model = ["acme/a", "acme/b"]', "every combination of these lists is a variant of each row"),
        "temperature": ("# temperature = [0, 0.7]", "any parameter may be varied"),
        "samples": ("# samples = 4", "answers for each row and variant"),
    },
}
_FREE = frozenset(("sweep",))  # tables that may have keys beside those of their record


def job_text(path: Path) -> str:
    """A commented job file with every key that this version has; its comments call it by this path."""
    tables = {field.name: field.type for field in msgspec.structs.fields(Job)}
    job, data = (shlex.quote(str(name)) for name in (path, path.parent / "questions.jsonl"))
    parts = [_TOP.format(job=job, data=data)]
    for table, keys in _KEYS.items():
        known = set(tables) if table == "" else _known(table, tables)
        lines = [_line(*keys[key]) for key in keys if key in known]
        if lines:
            parts.append("\n".join([f"[{table}]", *lines] if table else lines) + "\n")
    return "\n".join(parts)


def _known(table: str, tables: dict[str, Any]) -> set[str]:
    if table not in tables:
        return set()
    fields = set(getattr(tables[table], "__struct_fields__", ()))
    return fields | set(_KEYS[table]) if table in _FREE else fields - (NO_KEYS - {"models"})


def _line(written: str, meaning: str) -> str:
    return f"{written:<45} # {meaning}" if meaning else written


@click.command(cls=Manual, epilog=EXAMPLES, context_settings={"max_content_width": 110})
@click.argument("name", default="job.toml")
def init(name: str) -> None:
    """Write a commented job file to NAME (job.toml), or to stdout where NAME is -. Never over a file that is there."""
    with errors_as_exit_codes():
        if name == "-":
            sys.stdout.write(job_text(Path("job.toml")))
            return
        path = Path(name)
        if path.suffix != ".toml" or not name.isprintable():
            raise click.BadParameter(f"{safe_text(name)} is no name of a job file: write NAME.toml", param_hint="NAME")
        _write(path)
        say(f"{safe_text(name)} is written; its first lines say how to go on")


def _write(path: Path) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(job_text(path))
    except FileExistsError as error:
        raise UsageError(f"{path} is there already: name another, as in batchrunner init NAME.toml.") from error
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} can't be written: {getattr(error, 'strerror', error)}.") from error
