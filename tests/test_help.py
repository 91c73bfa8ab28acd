"""The help of every command: a manual with examples first and true defaults, quick to come; and shell completion."""

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from conftest import BATCHRUNNER

from batchrunner.cli import main
from batchrunner.cli.manual import HEADINGS
from batchrunner.cli.run import run
from batchrunner.folder.publishing import PART_ROWS
from batchrunner.job.schema import BASE_URL, KEY_VARIABLES, Gateway, LimitsTable, Retry
from batchrunner.job.words import OPTIONS_ONLY

COMMANDS = ["run", "plan", "status", "report", "view", "export", "retry", "probe", "init", "simulate"]
COMMANDS += ["limits show", "limits reset"]
HEAVY = {"aiohttp", "httpx", "pyarrow", "pygal", "jinja2", "tenacity", "redis", "ray"}
BATCHRUNNER_SCRIPT = Path(sys.executable).parent / "batchrunner"
ON_PATH = os.environ | {"PATH": f"{BATCHRUNNER_SCRIPT.parent}:{os.environ['PATH']}"}
DEFAULTS = {
    "--part-rows": PART_ROWS,
    "--base-url": BASE_URL,
    "--api-key-env": ", then ".join(KEY_VARIABLES),
    "--auth-scheme": Gateway().auth_scheme,
    "--daily-reset": LimitsTable().daily_reset,
    "--token-accounting": LimitsTable().token_accounting,
    "--concurrency": LimitsTable().concurrency,
    "--attempts": Retry().attempts,
    "--timeout": round(Retry().timeout),
}


def helped(*command: str) -> str:
    """The help of a command, wide enough for no line to break."""
    environment = os.environ | {"COLUMNS": "200"}
    return subprocess.run(
        [*BATCHRUNNER, *command, "--help"], capture_output=True, text=True, check=True, env=environment
    ).stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_explained_before_its_options(command: str) -> None:
    text = helped(*command.split())
    headings = [line for line in text.splitlines() if re.fullmatch(r"\S.*:", line)]
    assert text.startswith(f"Usage: batchrunner {command} ")
    assert all(text.index("-h, --help") > text.index(f"{heading}\n") for heading in headings)
    if not command.startswith("limits"):
        assert text.index("Examples:") < text.index(f"{headings[0]}\n")


def test_every_option_of_run_stands_under_its_heading() -> None:
    text = helped("run")
    for heading, options in HEADINGS.items():
        section = text.partition(f"\n{heading}:\n")[2].partition("\n\n")[0]
        named = {name for parameter in run.params for name in parameter.opts if name in options}
        assert {name for name in named if not re.search(rf"{name}\b", section)} == set()
    assert re.findall(r"^[A-Z].*(?=:$)", text, re.MULTILINE)[: len(HEADINGS)] == list(HEADINGS)


@pytest.mark.parametrize("option", DEFAULTS)
def test_the_default_that_is_told_is_the_one_that_holds(option: str) -> None:
    (parameter,) = [one for one in run.params if option in one.opts]
    assert isinstance(parameter, click.Option)
    assert f"[{DEFAULTS[option]}]" in str(parameter.help)


def test_the_default_of_the_command_line_is_told_as_well() -> None:
    for parameter in run.params:
        if isinstance(parameter, click.Option) and isinstance(parameter.default, str):
            assert re.search(rf"\[{re.escape(parameter.default)}[\] ]", str(parameter.help)), parameter.name


def test_what_a_job_file_calls_an_option_is_one() -> None:
    options = {name.removeprefix("--").replace("-", "_") for parameter in run.params for name in parameter.opts}
    assert options >= OPTIONS_ONLY


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_nothing_that_only_work_needs(command: str) -> None:
    arguments = [*command.split(), "--help"]
    code = f"import sys; from batchrunner.cli import main; main({arguments}, standalone_mode=False); "
    code += f"print('loaded:', {HEAVY} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "loaded: set()"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_there_for_the_usual_shells(shell: str) -> None:
    assert "_BATCHRUNNER_COMPLETE" in completed({"_BATCHRUNNER_COMPLETE": f"{shell}_source"})


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("batchrunner st", ["plain,status"]),
        ("batchrunner run --on-dr", ["plain,--on-drift"]),
        ("batchrunner run --on-drift k", ["plain,keep"]),
        ("batchrunner limits s", ["plain,show"]),
    ],
)
def test_commands_options_and_choices_complete(words: str, found: list[str]) -> None:
    place = str(len(words.split()) - 1)
    told = completed({"_BATCHRUNNER_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": place})
    assert told.splitlines() == found


def command_of(words: str) -> click.Command:
    """The command of this name."""
    command: click.Command = main
    for word in words.split():
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None
        command = found
    return command


def examples_of(command: str) -> list[str]:
    """The command lines that its help shows."""
    lines = str(command_of(command).epilog).splitlines()
    return [line.partition("   (")[0].strip() for line in lines if line.startswith("  ") and "batchrunner " in line]


@pytest.mark.parametrize("example", [line for command in COMMANDS for line in examples_of(command)])
def test_every_example_is_a_command_line_that_is_understood(example: str) -> None:
    words = shlex.split(example.rpartition("| batchrunner ")[2].removeprefix("batchrunner ").partition(" | ")[0])
    depth = 2 if words[0] == "limits" else 1
    context = command_of(" ".join(words[:depth])).make_context("batchrunner", words[depth:])
    assert context.args == []


@pytest.mark.parametrize("command", [*COMMANDS, "limits", ""])
def test_help_fits_a_terminal_of_80_columns(command: str) -> None:
    told = subprocess.run(
        [*BATCHRUNNER, *command.split(), "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "80"},
    ).stdout
    assert [line for line in told.splitlines() if len(line) > 80] == []
    assert not re.search("[<>]=", told)


COMPLETED = [
    ("run --on-dr", ["--on-drift"]),
    ("run --on-drift k", ["keep"]),
    ("pro", ["probe"]),
    ("probe --sch", ["--schema"]),
]


@pytest.mark.parametrize(("words", "found"), COMPLETED)
def test_a_real_bash_completes(words: str, found: list[str]) -> None:
    typed = " ".join(map(shlex.quote, ["batchrunner", *words.split()]))
    script = 'eval "$(_BATCHRUNNER_COMPLETE=bash_source batchrunner)"\n'
    script += f"COMP_WORDS=({typed}); COMP_CWORD={len(words.split())}\n"
    script += '_batchrunner_completion batchrunner; printf "%s\\n" "${COMPREPLY[@]}"\n'
    told = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=True, env=ON_PATH)
    assert told.stdout.splitlines() == found


@pytest.mark.parametrize(("words", "found"), COMPLETED)
def test_a_real_fish_completes(words: str, found: list[str]) -> None:
    script = f"_BATCHRUNNER_COMPLETE=fish_source batchrunner | source; complete -C 'batchrunner {words}'"
    command = [installed("fish"), "--no-config", "-c", script]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=ON_PATH)
    assert [line.partition("\t")[0] for line in told.stdout.splitlines()] == found


def test_a_real_zsh_completes() -> None:
    ours, theirs = pty.openpty()
    typed = "PS1=; autoload -U compinit; compinit -D -u; "
    typed += 'eval "$(_BATCHRUNNER_COMPLETE=zsh_source batchrunner)"; echo rea""dy\n'
    command = [installed("zsh"), "-f", "-i"]
    ends = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with subprocess.Popen(command, env=ON_PATH | {"TERM": "dumb"}, start_new_session=True, **ends) as shell:
        os.close(theirs)
        os.write(ours, typed.encode())
        read_until(ours, "ready\r\n")
        for words, (found,) in COMPLETED:
            os.write(ours, f"batchrunner {words}\t".encode())
            read_until(ours, f"{words.rpartition(' ')[0]} {found} ".lstrip())
            os.write(ours, b"\x15")  # Ctrl-U
        shell.kill()
    os.close(ours)


def installed(shell: str) -> str:
    """Where it is; CI installs it."""
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"apt-get install {shell}")
    return found


def read_until(terminal: int, words: str) -> None:
    """Until this was written there."""
    text, end = "", time.monotonic() + 40
    while words not in text:
        assert time.monotonic() < end, text
        if select.select([terminal], [], [], 0.2)[0]:
            text += os.read(terminal, 65536).decode(errors="replace")


@pytest.mark.parametrize("words", ["batchrunner run qu", "batchrunner run -o an", "batchrunner probe jo"])
def test_files_complete(words: str) -> None:
    place = str(len(words.split()) - 1)
    told = completed({"_BATCHRUNNER_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": place})
    assert told.splitlines() == [f"file,{words.rsplit(maxsplit=1)[-1]}"]


def completed(said: dict[str, str]) -> str:
    """What the command tells a shell."""
    return subprocess.run(
        [BATCHRUNNER_SCRIPT], capture_output=True, text=True, check=True, env=os.environ | said
    ).stdout


def test_every_command_of_the_list_is_there() -> None:
    context = click.Context(main)
    assert {command.split()[0] for command in COMMANDS} == set(main.list_commands(context))
