"""What the command line shows: a bar on a terminal, plain lines elsewhere, nothing that a gateway can paint with."""

import os
import pty
import re
import select
import subprocess
import sys
from itertools import pairwise

import click
import pytest
from conftest import BATCHRUNNER, Bench, Simulate, wait_until
from hypothesis import given
from hypothesis import strategies as st

from batchrunner import __version__
from batchrunner.cli.carrying import on_daily_limit
from batchrunner.cli.types import Amount, Parameter, Seconds
from batchrunner.cli.watching import style_for
from batchrunner.job.schema import Job, RunTable
from batchrunner.report.safe import safe_text


@given(st.text())
def test_no_text_reaches_the_terminal_with_control_or_direction_characters(text: str) -> None:
    shown = safe_text(text)
    assert len(shown) <= 200
    assert all(sign == "\t" or sign.isprintable() or ord(sign) >= 0xA0 for sign in shown)
    assert not set(shown) & set("\x1b\x07\r\n\u202e\u2066\u2028")
    shown.encode()


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Amount(), "1M", 1_000_000),
        (Amount(), "1.5k", 1500),
        (Amount(), "1_000", 1000),
        (Seconds(), "90", 90.0),
        (Seconds(), "15m", 900.0),
        (Seconds(), "2h", 7200.0),
        (Parameter(), "temperature=0", ("temperature", 0)),
        (Parameter(), 'stop=["a=b"]', ("stop", ["a=b"])),
    ],
)
def test_values_are_written_as_people_write_them(kind: click.ParamType, text: str, value: object) -> None:
    assert kind.convert(text, None, None) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [(Amount(), "0"), (Amount(), "-5"), (Amount(), "1.5"), (Seconds(), "soon"), (Seconds(), "-1"), (Parameter(), "a")],
)
def test_values_that_are_none_are_refused(kind: click.ParamType, text: str) -> None:
    with pytest.raises(click.BadParameter):
        kind.convert(text, None, None)


def test_without_a_terminal_there_are_lines_and_quiet_means_quiet() -> None:
    assert style_for("none", quiet=False) == "none"
    assert style_for("bar", quiet=True) == "none"
    assert style_for("bar", quiet=False) == "bar"
    assert style_for("log", quiet=False) == "log"


def test_on_a_terminal_a_bar_shows_units_rate_tokens_and_what_is_in_flight(bench: Bench) -> None:
    bench.prompts(20)
    terminal, other_end = pty.openpty()
    command = [*BATCHRUNNER, "run", "in.jsonl", "--simulate", "--rps", "10"]
    environment = bench.environment | {"COLUMNS": "140", "TERM": "xterm"}
    process = subprocess.Popen(command, cwd=bench.folder, env=environment, stdout=other_end, stderr=other_end)
    os.close(other_end)
    shown = ""
    while process.poll() is None or select.select([terminal], [], [], 0)[0]:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                shown += os.read(terminal, 65536).decode(errors="replace")
            except OSError:
                break
    assert process.wait() == 0
    os.close(terminal)
    counts = [int(number) for number in re.findall(r"(\d+) of 20 ·", shown)]
    assert counts == sorted(counts)
    assert len(set(counts)) > 3
    assert counts[-1] == 20
    assert re.search(r"\d+\.\d/s · [\d,]+ tok/s · \d+ in flight · 0 x 429 · 0 failed · ETA", shown)


def test_elsewhere_there_is_no_escape_code(bench: Bench) -> None:
    bench.prompts(5)
    told = bench.run("in.jsonl", "--simulate", "--progress", "log")
    assert "\x1b" not in told.stdout + told.stderr
    assert told.stdout.splitlines()[0].startswith("5 of 5 answered")


def test_quiet_says_nothing(bench: Bench) -> None:
    bench.prompts(5)
    told = bench.run("in.jsonl", "--simulate", "-q")
    assert told.stdout + told.stderr == ""


def test_the_summary_for_people_tells_this_run_from_all_runs(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--completion-tokens", "10", "--completion-spread", "0")
    bench.write("in.jsonl", {"prompt": "a [[429x1]]"}, {"prompt": "b"}, {"prompt": "c"})
    command = ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--progress", "log")
    first = bench.run(*command, "--limit", "1").stdout.splitlines()[0]
    assert re.fullmatch(r"1 of 1 answered; 2 tries in \d+\.\d s, 1 x 429, \d+ tokens", first)
    second = bench.run(*command).stdout.splitlines()[0]
    tokens = bench.summary()["usage"]["total_tokens"]
    assert re.fullmatch(
        rf"3 of 3 answered; in all runs 4 tries, 1 x 429, {tokens} tokens; in this run 2 tries in \d+\.\d s", second
    )
    assert "in all runs 4 tries, 1 x 429" in bench.run(*command).stdout


@pytest.mark.parametrize(("arguments", "code"), [(("show",), 0), (("show", "--json"), 0), (("reset", "/"), 1)])
@pytest.mark.parametrize("folder", ["new/deep", "."])
def test_asking_for_a_book_that_is_not_there_makes_none(
    bench: Bench, arguments: tuple[str, ...], code: int, folder: str
) -> None:
    process = bench.start("limits", *arguments, "--state-dir", folder)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == code, stderr
    assert ("nothing was used yet" in stdout) == (arguments == ("show",))
    assert list(bench.folder.iterdir()) == []


def test_a_book_that_cannot_be_reached_is_told_and_not_taken_for_an_empty_one(bench: Bench) -> None:
    bench.prompts(1)
    process = bench.start("limits", "show", "--state-dir", "in.jsonl")
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 74
    assert "can't be used" in stderr


def test_the_version_is_told_without_loading_the_heavy_parts() -> None:
    code = "import sys; from batchrunner.cli import main; main(['--version'], standalone_mode=False); "
    code += "print({'aiohttp', 'httpx', 'pyarrow', 'rich', 'jinja2'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == [f"batchrunner, version {__version__}", "set()"]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--daily-reset", "noon"), 78, "limits.daily_reset: 'noon' is no daily reset: write a time and a zone"),
        (("--daily-reset", "00:00 Berlin"), 78, "did you mean 'Europe/Berlin'?"),
        (("--concurrency", "9", "--max-concurrency", "8"), 78, "concurrency = 9 is more than max_concurrency = 8"),
        (("--max-concurrency", "auto"), 2, "'auto' is no amount"),
        (("--token-accounting", "both"), 2, "--token-accounting"),
        (("--on-daily-limit", "stop"), 2, "--on-daily-limit"),
        (("--rpd", "0"), 2, "'0' is no amount"),
        (("--tpd", "lots"), 2, "'lots' is no amount"),
    ],
)
def test_a_wrong_limit_is_told_before_anything_is_sent(
    bench: Bench, options: tuple[str, ...], code: int, words: str
) -> None:
    bench.prompts(1)
    assert words in bench.run("in.jsonl", "--simulate", *options, code=code).stderr
    assert [path.name for path in bench.folder.iterdir()] == ["in.jsonl"]


def test_every_limit_is_taken_from_the_command_line(bench: Bench) -> None:
    bench.prompts(3)
    limits = ["--rps", "50", "--rpm", "3k", "--tps", "1M", "--tpm", "2M", "--rpd", "10k", "--tpd", "50M"]
    days = ["--daily-reset", "00:00 UTC", "--token-accounting", "upfront", "--on-daily-limit", "park", "--now"]
    told = bench.run("in.jsonl", "--simulate", *limits, *days, "--max-concurrency", "4")
    assert told.stdout.splitlines()[0].startswith("3 of 3 answered")


def test_a_spent_day_is_waited_for_where_somebody_watches_and_parked_elsewhere() -> None:
    code = "from batchrunner.cli.carrying import on_daily_limit; from batchrunner.job.schema import Job; "
    command = [sys.executable, "-c", code + "print(on_daily_limit(Job(input='a.jsonl')))"]
    terminal, other_end = pty.openpty()
    told = [
        subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, text=True, check=True).stdout.strip()
        for stderr in (other_end, subprocess.DEVNULL)
    ]
    os.close(other_end)
    os.close(terminal)
    assert told == ["wait", "park"]


@pytest.mark.parametrize("said", ["wait", "park"])
def test_what_a_job_says_of_a_spent_day_is_done(said: str) -> None:
    assert on_daily_limit(Job(input="a.jsonl", run=RunTable(on_daily_limit=said))) == said


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the child in /proc")
def test_a_simulated_gateway_has_the_limits_of_the_job(bench: Bench) -> None:
    bench.prompts(50)
    bench.write("job.toml", 'input = "in.jsonl"', "[limits]", "requests_per_day = 1000", 'token_accounting = "upfront"')
    process = bench.start("run", "job.toml", "--simulate", "--rps", "5", "--tpd", "1M")
    wait_until(lambda: bool(_children(process.pid)))
    (started,) = _children(process.pid)
    wait_until(lambda: "simulate" in _command(started))
    said = dict(pairwise(_command(started)))
    process.kill()
    process.communicate()
    assert (said["--rps"], said["--rpd"], said["--tpd"]) == ("5", "1000", "1000000")
    assert said["--token-accounting"] == "upfront"


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the child in /proc")
def test_a_simulated_gateway_goes_with_the_run_that_started_it(bench: Bench) -> None:
    bench.prompts(50)
    process = bench.start("run", "in.jsonl", "--simulate", "--rps", "5")
    wait_until(lambda: bool(_children(process.pid)))
    started = _children(process.pid)
    process.kill()
    process.communicate()
    wait_until(lambda: not any(_alive(pid) for pid in started), seconds=10)


def _children(pid: int) -> list[int]:
    return [int(child) for child in _read(f"/proc/{pid}/task/{pid}/children").split()]


def _command(pid: int) -> list[str]:
    return _read(f"/proc/{pid}/cmdline").split("\0")


def _alive(pid: int) -> bool:
    try:
        return _read(f"/proc/{pid}/stat").split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _read(path: str) -> str:
    with open(path) as file:  # noqa: PTH123 - a file of the kernel's
        return file.read()


def test_more_in_flight_than_there_may_be_open_files_is_refused_and_the_soft_limit_is_raised(bench: Bench) -> None:
    bench.prompts(3)
    limited = "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (64, 400)); from batchrunner.cli import main; main()"
    begin = ("-c", limited, "run", "in.jsonl", "--simulate", "--concurrency")
    refused = bench.python(*begin, 1000, code=78)
    assert "1000 requests in flight" in refused.stderr
    assert "400" in refused.stderr
    bench.python(*begin, 250)
