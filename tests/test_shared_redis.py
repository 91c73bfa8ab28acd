"""Machines that share limits through Redis: real runs, each with a home of its own, judged by the gateway's ledger."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import BATCHRUNNER, Bench, Gateway, Simulate, wait_until
from redis_server import RedisServer, free_port

GUARD = 0.05
Entries = list[dict[str, Any]]
Run = subprocess.Popen[str]


def machine(bench: Bench, name: str, **environment: str) -> Bench:
    """Another machine: a home, a state folder and a working folder that no other has."""
    home = bench.folder / name
    work = home / "work"
    work.mkdir(parents=True)
    own = {"HOME": str(home), "XDG_STATE_HOME": str(home / "state"), **environment}
    kept = {key: value for key, value in bench.environment.items() if key != "BATCHRUNNER_STATE_DIR"}
    return Bench(work, kept | own)


def started(bench: Bench, gateway: Gateway, rows: int, *options: str, quiet: bool = True) -> Run:
    """A run on the key that all share."""
    bench.prompts(rows)
    how = ("-m", "org/model", "--base-url", gateway.base_url, *(("-q",) if quiet else ()))
    return bench.start("run", "in.jsonl", *how, *options)


def ended(*runs: Run, code: int = 0) -> None:
    for run in runs:
        stdout, stderr = run.communicate(timeout=100)
        assert run.returncode == code, stdout + stderr


def rate(entries: Entries, begin: float, end: float) -> float:
    """Arrivals per second between two instants."""
    return sum(begin <= entry["arrived"] < end for entry in entries) / (end - begin)


def assert_keeps_to_its_limits(gateway: Gateway) -> None:
    ledger = gateway.ledger()
    limit = ledger["limits"][0]
    assert ledger["outcomes"].get("429", 0) == 0, f"{ledger['outcomes']}, {limit}"
    assert limit["worst"] <= limit["limit"]


@pytest.mark.exact
@pytest.mark.slow
def test_two_machines_share_a_limit_and_one_whose_run_is_killed_leaves_it_to_the_other(
    bench: Bench, simulate: Simulate, redis_server: RedisServer
) -> None:
    gateway = simulate("--rps", "60", "--latency", "0.2")
    options = ("--rps", "60", "--shared", redis_server.url)
    first, second = (started(machine(bench, name), gateway, 700, *options) for name in ("a", "b"))
    wait_until(lambda: gateway.ledger()["paid"] >= 400)
    second.kill()
    second.communicate()
    killed_at = gateway.entries()[-1]["arrived"]
    ended(first)
    entries = gateway.entries()
    began, last = entries[0]["arrived"], entries[-1]["arrived"]
    assert_keeps_to_its_limits(gateway)
    assert rate(entries, began + 2, killed_at) >= 0.97 * 60 / (1 + GUARD)
    assert rate(entries, killed_at + 2, last) >= 0.97 * 60 / (1 + GUARD)
    assert rate(entries, killed_at + 2, last) < 61


@pytest.mark.exact
@pytest.mark.slow
def test_four_machines_use_a_limit_by_the_minute_together(
    bench: Bench, simulate: Simulate, redis_server: RedisServer
) -> None:
    gateway = simulate("--rpm", "1800", "--latency", "0.1")
    runs = [
        started(machine(bench, name), gateway, 1000, "--rpm", "1800", "--shared", redis_server.url) for name in "abcd"
    ]
    wait_until(lambda: gateway.ledger()["paid"] >= 150)
    time.sleep(10)
    for run in runs:
        run.terminate()
    ended(*runs, code=143)
    entries = gateway.entries()
    stopped = entries[-1]["arrived"] - 0.5
    assert_keeps_to_its_limits(gateway)
    assert 0.97 <= rate(entries, stopped - 8, stopped) / (1800 / (60 + GUARD)) <= 1.05


@pytest.mark.exact
@pytest.mark.slow
def test_while_redis_is_away_nothing_is_sent_and_afterwards_the_run_goes_on_inside_its_limits(
    bench: Bench, simulate: Simulate, redis_server: RedisServer
) -> None:
    gateway = simulate("--rps", "40", "--latency", "0.05")
    machines = [machine(bench, name) for name in "ab"]
    options = ("--rps", "40", "--shared", redis_server.url)
    runs = [started(one, gateway, 400, *options) for one in machines]
    wait_until(lambda: gateway.ledger()["paid"] >= 120)
    halted_at = time.time()
    redis_server.halt(4)
    halted_until = time.time()
    wait_until(lambda: gateway.ledger()["paid"] >= 300)
    redis_server.end()
    ended_at = time.time()
    wait_until(lambda: "nothing is sent" in told(machines[0]))
    assert f"redis://127.0.0.1:{redis_server.port}/0" in told(machines[0])
    time.sleep(2)
    redis_server.start()
    empty_from = time.time()
    ended(*runs)
    assert_keeps_to_its_limits(gateway)
    arrived = [entry["wall"] for entry in gateway.entries()]
    for begin, end in ((halted_at, halted_until), (ended_at, empty_from)):
        assert not [at for at in arrived if begin + 2.5 < at < end]
    assert len(arrived) == 800


def told(bench: Bench) -> str:
    """What `status` says while the run goes on."""
    return bench.call("status", "in.results.jsonl").stdout


@pytest.mark.exact
@pytest.mark.slow
def test_a_days_quota_is_one_for_all_machines(bench: Bench, simulate: Simulate, redis_server: RedisServer) -> None:
    gateway = simulate("--rpd", "100", "--latency", "0.02")
    options = ("--rpd", "100", "--rps", "100", "--on-daily-limit", "park", "--shared", redis_server.url)
    ended(started(machine(bench, "a"), gateway, 60, *options))
    ended(started(machine(bench, "b"), gateway, 60, *options), code=75)
    assert gateway.ledger()["outcomes"] == {"ok": 100}
    shown = json.loads(bench.call("limits", "show", "--json", "--shared", redis_server.url).stdout)
    assert [day["requests"] for day in shown["days"].values()] == [100]
    assert bench.call("limits", "reset", "/", "--shared", redis_server.url).stdout.startswith("forgotten: ")
    assert "nothing was used yet" in bench.call("limits", "show", "--shared", redis_server.url).stdout


def test_without_redis_a_run_does_not_begin(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(3)
    url = f"redis://:canary@127.0.0.1:{free_port()}/0"
    told = bench.run("in.jsonl", "-m", "org/model", "--base-url", gateway.base_url, "--shared", url, code=74).stderr
    assert url.replace(":canary@", "") in told
    assert "refused" in told
    assert gateway.ledger()["outcomes"] == {}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://redis.example", "TLS"),
        ("http://localhost", "rediss://"),
    ],
)
def test_a_place_that_will_not_do_is_told_before_anything_is_sent(bench: Bench, url: str, words: str) -> None:
    bench.prompts(3)
    assert words in bench.run("in.jsonl", "-m", "org/model", "--shared", url, code=78).stderr


def test_a_password_is_in_no_log_and_no_file_of_a_run(
    bench: Bench, simulate: Simulate, redis_server: RedisServer
) -> None:
    with redis_server.client() as client:
        client.config_set("requirepass", "pass-canary")
    gateway = simulate()
    bench.prompts(3)
    url = redis_server.url.replace("//", "//:pass-canary@")
    how = ("in.jsonl", "-m", "org/model", "--base-url", gateway.base_url, "-v", "--log-file", "log")
    told = bench.run(*how, "--shared", url)
    bench.environment["BATCHRUNNER_SHARED"] = url
    told_too = bench.run(*how, "--limit", "1", "-o", "second.jsonl", "--max-duration", "1h")
    assert bench.call("retry", "in.results.jsonl").returncode == 0  # the password of the place comes from there, too
    files = [path.read_bytes() for path in bench.folder.rglob("*") if path.is_file()]
    words = [one.encode() for done in (told, told_too) for one in (done.stdout, done.stderr)]
    assert not [one for one in files + words if b"pass-canary" in one]
    assert f"--shared {redis_server.url}".encode() in (bench.folder / "log").read_bytes()


def test_a_job_file_says_where_the_book_is_but_no_password(
    bench: Bench, simulate: Simulate, redis_server: RedisServer
) -> None:
    gateway = simulate()
    bench.prompts(3)
    job = 'input = "in.jsonl"\n[request]\nmodel = "org/model"\n[limits]\nshared = "{}"\n'
    (bench.folder / "job.toml").write_text(job.format(redis_server.url))
    bench.run("job.toml", "--base-url", gateway.base_url)
    assert "org/model" in bench.call("limits", "show", "--shared", redis_server.url).stdout
    assert not Path(bench.environment["BATCHRUNNER_STATE_DIR"]).exists()
    plan = bench.call("plan", "job.toml", "--base-url", gateway.base_url)
    assert "3" in plan.stdout
    (bench.folder / "job.toml").write_text(job.format("redis://:canary@localhost"))
    told = bench.run("job.toml", "--base-url", gateway.base_url, code=78).stderr
    assert "BATCHRUNNER_SHARED" in told
    assert "canary" not in told


def test_redis_over_tls_is_verified(bench: Bench, simulate: Simulate, certificate: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    folder.mkdir()
    key, port = f"{certificate}.key", free_port()
    tls = ("--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", key)
    gateway = simulate()
    bench.prompts(3)
    how = ("in.jsonl", "-m", "org/model", "--base-url", gateway.base_url, "--shared")
    url = f"rediss://:secret@127.0.0.1:{port}/0"
    with RedisServer(folder, (*tls, "--tls-auth-clients", "no", "--requirepass", "secret")):
        assert "certificate" in bench.run(*how, url, code=74).stderr
        bench.run(*how, f"{url}?ssl_ca_certs={certificate}")


@pytest.fixture
def two_hosts() -> Iterator[tuple[str, str]]:
    """Two network namespaces, joined by a cable; their names."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("only root makes network namespaces")
    names = (f"br{os.getpid()}a", f"br{os.getpid()}b")
    try:
        subprocess.run(["ip", "netns", "add", names[0]], check=True, capture_output=True)
    except subprocess.CalledProcessError:
        pytest.skip("no network namespaces here")
    try:
        subprocess.run(["ip", "netns", "add", names[1]], check=True)
        cable = ["ip", "link", "add", "cable", "netns", names[0], "type", "veth", "peer", "cable", "netns", names[1]]
        subprocess.run(cable, check=True)
        for number, name in enumerate(names, 1):
            inside = ["ip", "-n", name]
            subprocess.run([*inside, "addr", "add", f"192.0.2.{number}/24", "dev", "cable"], check=True)
            for link in ("cable", "lo"):
                subprocess.run([*inside, "link", "set", link, "up"], check=True)
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


def on(host: str, *command: str) -> list[str]:
    return ["ip", "netns", "exec", host, *command]


@dataclass
class GatewayOn(Gateway):
    """One that only its own host can ask."""

    host: str

    def _get(self, path: str) -> bytes:
        code = "import sys, urllib.request as r; sys.stdout.buffer.write(r.urlopen(sys.argv[1]).read())"
        url = self.base_url.removesuffix("/v1") + path
        return subprocess.run(on(self.host, sys.executable, "-c", code, url), check=True, capture_output=True).stdout


@pytest.mark.exact
@pytest.mark.slow
def test_two_hosts_keep_one_limit_together(bench: Bench, two_hosts: tuple[str, str], tmp_path: Path) -> None:
    here, there = two_hosts
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder, ("--protected-mode", "no"), host="192.0.2.1", before=tuple(on(here)))
    command = [*BATCHRUNNER, "simulate", "--port", "0", "--host", "192.0.2.1", "--until-stdin-closes"]
    simulated = on(here, *command, "--rps", "50", "--latency", "0.1")
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with server, subprocess.Popen(simulated, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        gateway = GatewayOn(process.stdout.readline().removeprefix("listening on ").strip(), here)
        runs = []
        for host in (here, there):
            one = machine(bench, host)
            one.prompts(400)
            how = ("-m", "org/model", "--base-url", gateway.base_url, "--rps", "50", "--allow-insecure-http", "-q")
            words = on(host, *BATCHRUNNER, "run", "in.jsonl", *how, "--shared", server.url)
            runs.append(subprocess.Popen(words, cwd=one.folder, env=one.environment, **pipes))
        ended(*runs)
        entries = gateway.entries()
        assert_keeps_to_its_limits(gateway)
        process.stdin.close()
    began = entries[0]["arrived"]
    assert len(entries) == 800
    assert rate(entries, began + 2, began + 12) >= 0.97 * 50 / (1 + GUARD)


def test_who_shares_nothing_waits_for_no_redis() -> None:
    code = "import sys, batchrunner.cli.carrying; print('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"


def test_a_redis_that_stays_away_ends_the_run_after_a_while(
    bench: Bench, simulate: Simulate, redis_server: RedisServer
) -> None:
    gateway = simulate("--rps", "40")
    run = started(bench, gateway, 400, "--rps", "40", "--shared", redis_server.url, "--max-outage", "1")
    wait_until(lambda: gateway.ledger()["paid"] >= 20)
    redis_server.end()
    stderr = run.communicate(timeout=30)[1]
    assert run.returncode == 74
    assert "out of reach" in stderr
    redis_server.start()
    sent = len(gateway.entries())
    ended(started(bench, gateway, 400, "--rps", "40", "--shared", redis_server.url))
    assert sent < 400 <= len(gateway.entries()) <= 405  # what was in flight then is in doubt
    assert_keeps_to_its_limits(gateway)
