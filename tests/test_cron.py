"""The README's crontab and systemd units, run as they run them: no terminal, no environment, another folder."""

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import KEY, Bench, Gateway, Simulate

README = (Path(__file__).parents[1] / "README.md").read_text()
SECTION = README.split("### Cron and systemd")[1].split("\n### ")[0]
PROGRAM = Path(sys.executable).parent / "batchrunner"


def placed(text: str, bench: Bench) -> str:
    """The sample as somebody would fit it to this machine."""
    return text.replace("/opt/batchrunner/bin/batchrunner", str(PROGRAM)).replace("/srv/nightly", str(bench.folder))


def nightly(bench: Bench, gateway: Gateway, *limits: str) -> None:
    """The job that the samples name, and its key."""
    bench.prompts(12)
    lines = ('input = "in.jsonl"', 'output = "out.jsonl"', "[gateway]", f'base_url = "{gateway.base_url}"')
    bench.write("nightly.toml", *lines, "[request]", 'model = "m/m"', "[limits]", *limits)
    (bench.folder / "key").write_text(f"{KEY}\n")
    (bench.folder / "key").chmod(0o600)


def bare(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What cron does with a line: a shell, hardly an environment, nothing on standard input, pipes."""
    return subprocess.run(
        ["/bin/sh", "-c", line],
        cwd="/",
        env={"PATH": "/usr/bin:/bin"} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,
    )


def cron_line(bench: Bench) -> str:
    """The command of the crontab in the README."""
    (line,) = re.findall(r"```crontab\n(.*)\n```", SECTION)
    assert "%" not in line  # cron's newline
    return placed(line.split(maxsplit=5)[5], bench)


def test_a_night_that_went_well_is_one_line_of_mail(bench: Bench, simulate: Simulate) -> None:
    nightly(bench, simulate())
    done = bare(cron_line(bench))
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"12 of 12 answered; .*; answers in {bench.folder}/out.jsonl\n", done.stdout)


def test_a_quota_that_is_gone_says_when_to_come_back_and_is_not_asked_before(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--rpd", "10", "--latency", "0.02")
    nightly(bench, gateway, "requests_per_day = 10")
    parked = bare(cron_line(bench))
    assert (parked.returncode, parked.stderr) == (75, "")
    assert "come back at" in parked.stdout
    assert parked.stdout.splitlines()[-1].startswith("go on with: batchrunner run ")
    again = bare(cron_line(bench))
    assert (again.returncode, gateway.ledger()["arrivals"]) == (75, 10)
    assert KEY not in (bench.folder / "log").read_text()


@pytest.mark.parametrize("home", ["/proc/nowhere", "/nowhere", ""])
def test_a_home_that_cannot_be_written_is_told_with_what_to_say_instead(
    bench: Bench, simulate: Simulate, home: str
) -> None:
    nightly(bench, simulate())
    if home:
        line = re.sub("--state-dir [^ ]+", "", cron_line(bench))
        told = bare(line, HOME="/proc/nowhere")
        assert told.returncode == 74
        assert "--state-dir" in told.stderr
        assert "Traceback" not in told.stderr
    assert bare(cron_line(bench), **({"HOME": home} if home else {})).returncode == 0


@pytest.mark.parametrize("locale", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}])
def test_no_locale_is_no_trouble(bench: Bench, simulate: Simulate, locale: dict[str, str]) -> None:
    nightly(bench, simulate())
    lines = (bench.folder / "nightly.toml").read_text().replace('"out.jsonl"', '"höhe.jsonl"')
    (bench.folder / "nightly.toml").write_text(lines)
    told = bare(cron_line(bench), **locale)
    assert told.returncode == 0, told.stderr
    assert "12 of 12 answered" in told.stdout


def test_the_units_of_systemd_run(bench: Bench, simulate: Simulate) -> None:
    nightly(bench, simulate())
    service, timer = (configparser.ConfigParser(interpolation=None, strict=True) for _ in range(2))
    for parser, text in zip((service, timer), re.findall(r"```ini\n(.*?)```", SECTION, re.DOTALL), strict=True):
        parser.optionxform = str
        parser.read_string(placed(text, bench))
    name, _, value = service["Service"]["Environment"].partition("=")
    told = bare(f"exec {service['Service']['ExecStart']}", **{name: value})
    assert told.returncode == 0, told.stderr
    assert (bench.folder / "state" / "book.sqlite").exists()
    assert "OnCalendar" in timer["Timer"]


def test_lines_come_where_they_are_kept(bench: Bench, simulate: Simulate) -> None:
    nightly(bench, simulate("--fault", "5xx=0.5"))
    assert bare(f"{cron_line(bench)} --attempts 20 > {bench.folder}/kept 2>&1").returncode == 0
    kept = (bench.folder / "kept").read_text()
    assert "server_error x " in kept
    reader, writer = os.pipe()
    status = os.fstat(writer)
    journal = f"JOURNAL_STREAM={status.st_dev}:{status.st_ino}"
    line = f"{journal} {cron_line(bench)} --attempts 20 --resume never --on-drift keep"
    subprocess.run(["/bin/sh", "-c", line], stdin=subprocess.DEVNULL, stdout=writer, stderr=writer, check=True)
    os.close(writer)
    with os.fdopen(reader) as lines:
        assert "server_error x " in lines.read()
