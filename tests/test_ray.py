"""`--engine ray`: the same promises, with the requests sent from other processes. One cluster for most tests, as
starting one takes long; those that look at the cluster itself, or kill it, have one of the run's own."""

import os
import signal
import stat
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rays
from conftest import KEY, Bench, Gateway, Simulate, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
OWN = ("--engine", "ray", "--workers", "2")


@pytest.fixture
def shared(bench: Bench) -> tuple[str, ...]:
    """The options for the shared cluster, whose workers have the key in their environment."""
    address = rays.shared_address(KEY)
    bench.environment |= rays.environment_of(rays.shared_folder())
    return (*OWN, "--ray-address", address)


def asking(gateway: Gateway, *options: str) -> tuple[str, ...]:
    return ("in.jsonl", "-m", "org/model", "--base-url", gateway.base_url, *options)


def start(bench: Bench, *arguments: str) -> "subprocess.Popen[str]":
    return bench.start("run", *arguments, start_new_session=True)


def finished(process: "subprocess.Popen[str]", code: int = 0) -> str:
    """What a run said on stderr that ended with this exit code."""
    stdout, stderr = process.communicate(timeout=200)
    assert process.returncode == code, stdout + stderr
    return stderr


def responses(bench: Bench) -> list[Any]:
    return [row["response"] for row in bench.output()]


def answers(count: int) -> list[str]:
    return [f"Simulated answer to: Question {number}?" for number in range(count)]


def test_workers_answer_every_row_in_order_and_within_the_limits(
    bench: Bench, simulate: Simulate, shared: tuple[str, ...]
) -> None:
    gateway = simulate("--rps", "50", "--latency", "0.2", "--latency-spread", "0.5", "--fault", "5xx=0.03")
    bench.prompts(250)
    assert finished(start(bench, *asking(gateway, "--rps", "50", "-q"), *shared)) == ""
    ledger = gateway.ledger()
    assert responses(bench) == answers(250)
    assert ledger["servings"]["once"] == 250
    assert ledger["limits"][0]["worst"] <= 50
    assert "429" not in ledger["outcomes"]
    assert ledger["max_in_flight"] > 4
    assert 250 / bench.summary()["this_run"]["lanes"][0]["seconds"] > 0.8 * 50 / 1.15


def test_refusals_and_streams_are_what_they_are_here(bench: Bench, simulate: Simulate, shared: tuple[str, ...]) -> None:
    gateway = simulate("--rps", "20", "--latency", "0.1", "--fault", "truncated=0.05", "--headers", "retry-after")
    bench.prompts(100)
    finished(start(bench, *asking(gateway, "--param", "stream=true", "--concurrency", "12"), *shared))
    assert responses(bench) == answers(100)
    assert all(row["first_token_s"] is not None for row in bench.output())
    failed = bench.summary()["failed_tries_by_kind"]
    assert failed["rate_limited"] > 0
    assert failed.keys() & {"truncated", "reset"}


def test_files_and_hooks_stay_with_the_driver(bench: Bench, simulate: Simulate, shared: tuple[str, ...]) -> None:
    gateway = simulate()
    image = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": "cat.png"}}]
    bench.write("in.jsonl", *({"messages": [{"role": "user", "content": image}]} for _ in range(3)))
    (bench.folder / "cat.png").write_bytes(bytes(300_000))
    options = {"base_url": gateway.base_url, "model": "org/model", "files": ".", "ray_address": shared[-1]}
    code = (
        "import batchrunner\n"
        "seen = []\n"
        f"options = {options!r}\n"
        "accept = lambda answer: seen.append(answer) or True\n"
        "done = batchrunner.run('in.jsonl', engine='ray', accept=accept, **options)\n"
        "again = batchrunner.run('in.jsonl', engine='ray', **options)\n"
        "print(done.summary.units.ok, len(seen), again.summary.exit_code)\n"
    )
    (bench.folder / "program.py").write_text(code)
    assert bench.python("program.py").stdout == "3 3 0\n"
    assert gateway.ledger()["admitted"] == 3


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_what_is_in_flight_finish(
    bench: Bench, simulate: Simulate, shared: tuple[str, ...], sign: signal.Signals, code: int
) -> None:
    gateway = simulate("--latency", "1")
    bench.prompts(200)
    process = start(bench, *asking(gateway, "--rps", "20"), *shared)
    wait_until(lambda: gateway.ledger()["arrivals"] >= 25)
    os.killpg(process.pid, sign)
    told = finished(process, code)
    ledger = gateway.ledger()
    assert ledger["client_left"] == 0
    assert bench.summary()["units"]["ok"] == ledger["admitted"] < 200
    assert "stack" not in told.lower()
    assert "*** " not in told


def test_a_worker_that_is_killed_is_replaced_and_its_rows_are_asked_again(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.5", "--latency-spread", "0.3")
    bench.prompts(400)
    process = start(bench, *asking(gateway, "--rps", "40"), *OWN)
    try:
        wait_until(lambda: gateway.ledger()["arrivals"] >= 40, 120)
        folder = _private_folder(process.pid)
        _listens_on_loopback_only(process.pid)
        before = rays.workers_of(process.pid)
        assert len(before) == 2
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: len(set(rays.workers_of(process.pid)) - set(before)) == 1, 60)
        _holds_no_key(folder)
        finished(process)
    finally:
        process.kill()
    assert responses(bench) == answers(400)
    summary, servings = bench.summary(), gateway.ledger()["servings"]
    lost = summary["failed_tries_by_kind"]["worker_lost"]
    assert 0 < servings["extra_paid"] <= lost == summary["in_doubt"] <= 40
    assert not folder.exists()
    assert KEY not in bench.folder.joinpath("in.results.jsonl.summary.json").read_text()


def test_a_driver_that_is_killed_leaves_nobody_sending_and_is_gone_on_from(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "2")
    bench.prompts(150)
    process = start(bench, *asking(gateway, "--rps", "40"), *OWN)
    wait_until(lambda: gateway.ledger()["arrivals"] >= 60, 120)
    workers = rays.workers_of(process.pid)
    assert len(workers) == 2
    process.kill()
    killed_at = time.monotonic()
    process.communicate()
    wait_until(lambda: not _alive(workers), 10)
    assert gateway.ledger()["last_arrival"] <= killed_at + 2.0  # the simulator's clock is this machine's
    finished(start(bench, *asking(gateway, "--rps", "40")))
    assert responses(bench) == answers(150)
    ledger = gateway.ledger()
    assert ledger["servings"]["extra_paid"] <= bench.summary()["in_doubt"] <= 100
    assert ledger["limits"] == []


def test_a_key_that_workers_can_t_read_is_refused_before_anything_is_sent(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(1)
    os.mkfifo(bench.folder / "pipe")
    with (
        subprocess.Popen(["sh", "-c", f"exec printf {KEY} > pipe"], cwd=bench.folder),
    ):
        told = bench.run(*asking(gateway, "--api-key-file", "pipe"), *OWN, code=78).stderr
    assert "the workers read the key themselves" in told
    assert "--api-key-env" in told
    assert gateway.ledger()["arrivals"] == 0


def test_workers_without_the_key_are_told_of_with_the_remedy(
    bench: Bench, simulate: Simulate, shared: tuple[str, ...]
) -> None:
    gateway = simulate()
    bench.prompts(1)
    own = replace(bench, environment=bench.environment | {"OTHER_KEY": KEY})
    told = own.run(*asking(gateway, "--api-key-env", "OTHER_KEY"), *shared, code=77).stderr
    assert "A worker of Ray can't begin: There is no API key" in told
    assert KEY not in told


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--engine", "ray", "--ray-address", "127.0.0.1:1"), "there is no Ray at 127.0.0.1:1"),
        (("--engine", "ray", "--ray-address", "ray://127.0.0.1:1"), "run this on a node"),
        (("--ray-address", "127.0.0.1:1"), "say that, too"),
    ],
)
def test_what_can_t_be_is_told(bench: Bench, options: tuple[str, ...], words: str) -> None:
    bench.prompts(1)
    told = bench.run("in.jsonl", "-m", "org/model", "--base-url", "http://127.0.0.1:9/v1", *options, code=78).stderr
    assert words in told


def test_without_the_extra_it_is_told_how_to_get_it(bench: Bench) -> None:
    bench.prompts(1)
    code = "import importlib.util as util\nfrom batchrunner.cli import main\nfind = util.find_spec\n"
    code += "util.find_spec = lambda name, *others: None if name == 'ray' else find(name, *others)\nmain()\n"
    (bench.folder / "without.py").write_text(code)
    told = bench.python("without.py", "run", "in.jsonl", "-m", "org/model", *OWN, code=78).stderr
    assert "pip install 'batchrunner[ray]'" in told


def _alive(processes: list[int]) -> set[int]:
    """Those that live."""
    return set(processes) & {pid for pid, name in rays.names().items() if name}


def _private_folder(driver: int) -> Path:
    """The folder of the driver's own cluster, which nobody else can look into."""
    (folder,) = Path("/tmp").glob(f"br-ray-{driver}-*")  # noqa: S108 - looked at
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    return folder


def _listens_on_loopback_only(driver: int) -> None:
    family = [driver, *(pid for pid in rays.names() if driver in rays.ancestors(pid))]
    places = {place for pid in family for place in rays.listening(pid)}
    assert len(places) >= 5
    assert {address for address, _ in places} <= {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1


def _holds_no_key(folder: Path) -> None:
    """Neither the files of the cluster nor any process's arguments have the key."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
    assert [name for name in rays.names().values() if KEY in name] == []
