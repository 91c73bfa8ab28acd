"""What a run shows while it goes on: bars that fit their terminal, lines elsewhere, a log that ends no run."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from conftest import BATCHRUNNER, Bench, Simulate, wait_until
from hypothesis import given
from hypothesis import strategies as st
from terminals import Terminal, columns_of, screen_of

from batchrunner.cli.screen import cut, width
from batchrunner.report.safe import safe_json
from batchrunner.store.lock import RunLock


def command(gateway: object, *more: object) -> tuple[object, ...]:
    """The run of these tests."""
    return ("run", "in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, *more)  # type: ignore[attr-defined]


@given(st.text(), st.integers(min_value=2, max_value=60))
def test_a_line_that_is_cut_fits(text: str, columns: int) -> None:
    assert width(cut(text, columns)) <= columns


@given(st.text())
def test_json_without_signs_that_paint_says_the_same(text: str) -> None:
    safe = safe_json(json.dumps({"message": text}, ensure_ascii=False))
    assert json.loads(safe) == {"message": text}
    assert not set(safe) & set("\x1b\x07\r\n\x9b\u202e\u2066\u2028")


def test_a_bar_fits_a_narrow_terminal_and_one_that_is_resized(bench: Bench, simulate: Simulate) -> None:
    bench.prompts(120)
    terminal = Terminal(bench, *command(simulate("--latency", "0.3"), "--rps", 30), columns=100)
    terminal.until(lambda raw: " of 120" in raw)
    terminal.resize(40)
    before = len(terminal.until(lambda raw: "ETA 0:0" in raw))
    terminal.until(lambda raw: raw.count("\r", before) > 4)
    narrow = terminal.raw[before:]
    assert terminal.to_its_end() == 0
    drawn = [line for line in re.split(r"\x1b\[\d*[AK]|[\r\n]+", narrow) if line]
    assert max(map(columns_of, drawn)) < 40
    screen = [line for line in screen_of(terminal.raw) if line]
    assert screen[-3].startswith("120 of 120 answered")
    assert sum("120 of 120 ·" in line or line.endswith("120 of 120") for line in screen) == 1


def test_the_first_signal_drains_and_says_so_and_the_second_ends_it(bench: Bench, simulate: Simulate) -> None:
    bench.prompts(100)
    terminal = Terminal(bench, *command(simulate("--latency", "30"), "--concurrency", 5), columns=120)
    terminal.until(lambda raw: "5 in flight" in raw)
    terminal.type("\x03")
    terminal.until(lambda raw: "stopping (SIGINT came): what is in flight has" in raw)
    terminal.type("\x03")
    assert terminal.to_its_end() == 130
    assert "Traceback" not in terminal.raw
    last = [line for line in screen_of(terminal.raw) if line][-1]
    assert last.startswith("go on with: batchrunner run in.jsonl")


def test_the_last_units_say_what_they_wait_for(bench: Bench, simulate: Simulate) -> None:
    prompts = ["[[hangx1]]", "b [[5xxx3]]", *map(str, range(40))]
    bench.write("in.jsonl", *({"prompt": prompt} for prompt in prompts))
    terminal = Terminal(bench, *command(simulate("--latency", "0.05"), "--timeout", 5), columns=120)
    assert terminal.to_its_end() == 0
    assert re.search(r"\d left: 1 in flight \(longest [1-9] s\)", terminal.raw)
    assert re.search(r"1 waits to be asked again in \d s", terminal.raw)


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_that_wants_no_codes_gets_none(bench: Bench, name: str, value: str) -> None:
    bench.prompts(20)
    terminal = Terminal(bench, "run", "in.jsonl", "--simulate", "--rps", 10, columns=100, **{name: value})
    assert terminal.to_its_end() == 0
    assert "\x1b" not in terminal.raw
    assert ("ETA" in terminal.raw) == (name == "NO_COLOR")
    assert "20 of 20 answered" in terminal.raw


def test_a_bar_that_was_asked_for_is_no_code_in_a_file(bench: Bench) -> None:
    bench.prompts(5)
    told = bench.run("in.jsonl", "--simulate", "--progress", "bar")
    assert "\x1b" not in told.stdout + told.stderr


def test_where_nobody_looks_a_run_is_one_line_and_where_lines_are_kept_they_come(bench: Bench) -> None:
    bench.prompts(5)
    told = bench.run("in.jsonl", "--simulate", stdin=subprocess.DEVNULL)
    assert re.fullmatch(r"5 of 5 answered; .*; answers in in.results.jsonl\n", told.stdout)
    assert told.stderr == ""
    with (bench.folder / "kept").open("w") as kept:
        process = bench.start("run", "in.jsonl", "--simulate", "-o", "other.jsonl", "-v", stdin=subprocess.DEVNULL)
        assert len(process.communicate()[0].splitlines()) == 1
        again = subprocess.run(
            [*BATCHRUNNER, "run", "in.jsonl", "--simulate"], cwd=bench.folder, env=bench.environment, check=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=kept, text=True,
        )  # fmt: skip
    assert "answers in in.results.jsonl (nothing was left to ask)" in again.stdout.splitlines()


def test_errors_of_a_class_are_told_with_their_number_and_each_try_with_v(bench: Bench, simulate: Simulate) -> None:
    bench.write("in.jsonl", *({"prompt": f"{n} [[5xxx1]]"} for n in range(30)))
    job = ("--concurrency", 4, "--progress", "log")
    told = bench.run(*command(simulate("--latency", "0.1"), *job, "-o", "a.jsonl")[1:])
    counts = [int(count) for count in re.findall(r"server_error x (\d+), the last: row \d+: 5\d\d: ", told.stderr)]
    assert sum(counts) == 30
    assert len(counts) <= 2
    assert "server_error: row" not in told.stderr
    told = bench.run(*command(simulate(), *job, "-v", "-o", "b.jsonl")[1:])
    assert len(re.findall(r"\d\d server_error: row \d+: 5\d\d: ", told.stderr)) == 30


def test_the_log_is_whole_private_and_appended_to_while_stderr_keeps_silent(bench: Bench, simulate: Simulate) -> None:
    bench.write("in.jsonl", *({"prompt": f"{n} [[5xxx1]]"} for n in range(5)))
    gateway, log = simulate(), bench.folder / "log"
    for _ in range(2):
        told = bench.run(*command(gateway, "-q", "--log-file", "log", "--log-format", "json")[1:])
        assert told.stdout + told.stderr == ""
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    events = [line["event"] for line in lines]
    assert events.count("begin") == events.count("end") == 2
    assert events.count("try") == 5
    assert {"at", "event", "message"} <= set.intersection(*(set(line) for line in lines))
    (progress,) = [line for line in lines if line["event"] == "progress"]
    assert (progress["done"], progress["total"], progress["lanes"][0]["lane"]) == (5, 5, "m/m")
    assert [line["exit_code"] for line in lines if line["event"] == "end"] == [0, 0]


@pytest.mark.parametrize("path", ["/dev/full", "nowhere/log", "in.jsonl/log"])
def test_a_log_that_takes_nothing_ends_no_run(bench: Bench, path: str) -> None:
    bench.prompts(3)
    told = bench.run("in.jsonl", "--simulate", "--log-file", path)
    assert told.stderr.count("can't be written") == 1
    assert told.stdout.startswith("3 of 3 answered")


class _Hostile(BaseHTTPRequestHandler):
    """A gateway whose errors paint, hide and begin lines of their own."""

    def do_POST(self) -> None:
        """Answer so."""
        self.rfile.read(int(self.headers["Content-Length"]))
        words = "\x1b]0;owned\x07\x9b2J \u202egnp.exe\u2028\n12:00:00 forged: line"
        answer = json.dumps({"error": {"message": words}}, ensure_ascii=False).encode()
        self.send_response(422)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_a_gateway_says_paints_nothing_and_forges_no_line(bench: Bench, log_format: str) -> None:
    bench.prompts(3)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hostile) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        at = f"http://127.0.0.1:{server.server_port}/v1"
        shown = ("-v", "--log-file", "log", "--log-format", log_format, "--progress", "log")
        told = bench.run("in.jsonl", "-m", "m", "--base-url", at, *shown, code=1)
        server.shutdown()
    for text in (told.stdout, told.stderr, (bench.folder / "log").read_text()):
        assert "owned" in text
        assert not set(text) & set("\x1b\x07\r\x9b\u202e\u2028")
        assert not re.search("^12:00:00 forged", text, re.MULTILINE)


def test_quiet_says_in_one_line_why_a_run_parked_and_how_to_go_on(bench: Bench, simulate: Simulate) -> None:
    bench.prompts(15)
    told = bench.run(*command(simulate("--rpd", "5", "--latency", "0.02"), "--rpd", 5, "-q")[1:], code=75)
    assert told.stdout == ""
    assert re.fullmatch(
        r"batchrunner: 5 of 15 answered; .*; stopped: parked: .*; come back at .*; go on with: batchrunner run .*\n",
        told.stderr,
    )


def test_a_lock_is_waited_for_as_long_as_is_said(bench: Bench, simulate: Simulate) -> None:
    gateway, run_dir = simulate(), bench.folder / "in.results.jsonl.run"
    bench.prompts(3)
    run_dir.mkdir()
    held = RunLock(run_dir)
    for options in ((), ("--wait-lock", 0.3)):
        told = bench.run(*command(gateway, *options)[1:], code=75).stderr
        assert f"process {os.getpid()} on " in told
        assert "Go on with: batchrunner run in.jsonl" in told
    waits = bench.start(*command(gateway, "--wait-lock", 60, "--log-file", "log"))
    wait_until(lambda: "waiting for another run of this output" in _log(bench))
    held.release()
    stdout, stderr = waits.communicate(timeout=60)
    assert waits.returncode == 0, stderr
    assert stdout.startswith("3 of 3 answered")


@pytest.mark.parametrize(("number", "code", "word"), [(signal.SIGINT, 130, "SIGINT"), (signal.SIGTERM, 143, "SIGTERM")])
def test_a_signal_outside_the_loop_ends_a_run_in_order(bench: Bench, number: int, code: int, word: str) -> None:
    bench.prompts(2)
    (bench.folder / "in.results.jsonl.run").mkdir()
    held = RunLock(bench.folder / "in.results.jsonl.run")
    waiting = bench.start("run", "in.jsonl", "--simulate", "--wait-lock", 60, "--log-file", "log")
    wait_until(lambda: "waiting for another run of this output" in _log(bench))
    waiting.send_signal(number)
    _, stderr = waiting.communicate(timeout=20)
    assert waiting.returncode == code
    assert stderr.startswith(f"batchrunner: {word} came while waiting for another run of this output. Go on with: ")
    held.release()


def _log(bench: Bench) -> str:
    log = bench.folder / "log"
    return log.read_text() if log.exists() else ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_standard_input_is_kept_leaves_nothing_behind(bench: Bench, number: int, code: int) -> None:
    process = bench.start("run", "-", "-m", "m/m", "--simulate", "-o", "out.jsonl", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write('{"prompt": "a"}\n' * 100_000)
    process.stdin.flush()
    wait_until(lambda: any(path.stat().st_size for path in bench.folder.glob(".*.stdin.jsonl")))
    process.send_signal(number)
    process.wait(timeout=20)
    assert process.returncode == code
    with suppress(BrokenPipeError):
        assert process.communicate()[1].startswith("batchrunner: stopped. Go on with: batchrunner run - ")
    assert list(bench.folder.iterdir()) == []


def test_status_tells_lanes_while_a_run_goes_on_and_what_bound_it_afterwards(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.2")
    bench.prompts(500)
    process = bench.start(*command(gateway, "--rps", 10))
    wait_until((bench.folder / "in.results.jsonl.run" / "live.json").exists)
    lane = re.compile(r"^m/m: \d+ of [\d,]+ in flight; requests/second at \d+ % now; ", re.MULTILINE)
    wait_until(lambda: lane.search(_status(bench)) is not None)
    live = json.loads(_status(bench, "--json"))["live"]
    assert (live["process"], live["total"], live["lanes"][0]["lane"]) == (process.pid, 500, "m/m")
    process.kill()
    process.communicate()
    assert re.search("^m/m: bound by requests/second", _status(bench), re.MULTILINE)
    (bench.folder / "in.results.jsonl.run" / "live.json").write_text("{")
    assert "cut off" in _status(bench)


def _status(bench: Bench, *options: str) -> str:
    process = bench.start("status", "in.results.jsonl", *options)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    return stdout


def test_a_stopped_export_leaves_nothing_behind(bench: Bench) -> None:
    bench.write("make.py", _MANY)
    bench.python("make.py")
    before = set(bench.folder.iterdir())
    process = bench.start("export", "out.jsonl", "-o", "copy.parquet", "--partial")
    wait_until(lambda: any(bench.folder.glob(".copy.parquet.*.tmp")))
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (143, "batchrunner: SIGTERM came while writing the rows.\n")
    assert set(Path(bench.folder).iterdir()) == before


_MANY = """
from pathlib import Path
from batchrunner.records import Outcome
from batchrunner.folder.about import About, remember_about
from batchrunner.store.database import Store
from batchrunner.store.rows import Entry
Path("out.jsonl.run").mkdir()
store = Store(Path("out.jsonl.run"))
text = "x" * 1500
store.commit([Entry(outcome=Outcome(id=str(n), row=n, status="ok", response=text)) for n in range(60_000)])
names = {"arguments": ("run",), "folder": ".", "input": "in.jsonl", "output": "out.jsonl"}
about = About(**names, total=70_000, began_at=0, started_at=0)
remember_about(about, store.remember)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the open store in /proc")
@pytest.mark.parametrize("command", ["status", "report"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_long_look_at_a_run_is_ended_in_order(bench: Bench, command: str, number: int, code: int) -> None:
    bench.write("make.py", _MANY_TRIES)
    bench.python("make.py")
    before = set(bench.folder.iterdir())
    process = bench.start(command, "out.jsonl")
    wait_until(lambda: any("run.sqlite" in name for name in _open_files(process.pid)))
    process.send_signal(number)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == code
    assert re.fullmatch(r"batchrunner: SIG\w+ came while (reading the run|nothing had begun)\.\n", stderr)
    assert set(bench.folder.iterdir()) == before


def _open_files(process: int) -> list[str]:
    """What it has open, as far as it still has while one looks."""
    names = []
    with suppress(FileNotFoundError):
        for one in Path(f"/proc/{process}/fd").iterdir():
            with suppress(FileNotFoundError):
                names.append(str(one.readlink()))
    return names


_MANY_TRIES = """
import sqlite3
from pathlib import Path
from batchrunner.folder.about import About, remember_about
from batchrunner.store.database import Store
Path("out.jsonl.run").mkdir()
store = Store(Path("out.jsonl.run"))
names = {"arguments": ("run",), "folder": ".", "input": "in.jsonl", "output": "out.jsonl"}
remember_about(About(**names, total=70_000, began_at=0, started_at=0), store.remember)
store.close()
db = sqlite3.connect("out.jsonl.run/run.sqlite")
numbers = "WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < 400000) "
db.execute(numbers + "INSERT INTO tries (number, sent_at, latency_s, prompt_tokens) SELECT n, n / 100.0, 1, 7 FROM c")
db.commit()
"""
