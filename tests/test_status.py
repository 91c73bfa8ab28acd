"""`status` reads a run while it is written: counts that add up, rates, who works on it, and how it ended."""

import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import BATCHRUNNER, Bench, Gateway, Simulate, wait_until

from batchrunner.errors import LockedError, StorageError
from batchrunner.records import Outcome, Try, Usage
from batchrunner.store.database import Store
from batchrunner.store.lock import RunLock, holder_of
from batchrunner.store.reading import Reader, read_store
from batchrunner.store.recent import Recent
from batchrunner.store.rows import Entry
from batchrunner.store.summing import Sums

MIDNIGHT = 1_795_478_400.0  # 2026-11-24 00:00 UTC


def status(bench: Bench, run: object = "in.results.jsonl") -> dict[str, Any] | None:
    """`batchrunner status RUN --json`; None where there is no run yet."""
    process = bench.start("status", run, "--json")
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode in (0, 65), stdout + stderr
    return None if process.returncode else json.loads(stdout)


def job(gateway: Gateway, *options: str) -> tuple[str, ...]:
    """The job of these tests."""
    return ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, *options)


def test_status_is_read_again_and_again_while_the_run_goes_on(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.2")
    bench.write("in.jsonl", *({"prompt": f"{n} {'[[status:422]]' if n == 2 else ''}"} for n in range(120)))
    process = bench.start("run", *job(gateway, "--concurrency", "4"))
    seen = []
    while process.poll() is None:
        found = status(bench)
        if found is not None and found["worked_on_by"]:
            seen.append(found)
    told = process.communicate()
    assert process.returncode == 1, told
    ended = [one["units"]["ok"] + one["units"]["failed"] for one in seen]
    assert ended == sorted(ended)
    assert len(set(ended)) > 2
    for one in seen:
        assert sum(one["units"][name] for name in ("ok", "failed", "pending")) == one["units"]["total"] == 120
        assert one["worked_on_by"].startswith(f"process {process.pid} on ")
        assert one["state"] == "running"
        assert one["in_doubt"] == 0
    asked = [one for one in seen if one["units"]["ok"] > 20 and one["units"]["pending"] > 20]
    assert asked
    for one in asked:
        assert 1 < one["rates"]["units_per_s"] < 30
        assert one["rates"]["tokens_per_s"] > one["rates"]["units_per_s"]
        assert one["eta_s"] == pytest.approx(one["units"]["pending"] / one["rates"]["units_per_s"])
        assert one["in_flight"] > 0
    assert gateway.ledger()["arrivals"] == 120


def test_the_status_of_a_finished_run_is_its_summary(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", *({"prompt": f"{n} {'[[status:500]]' if n == 2 else ''}"} for n in range(20)))
    bench.run(*job(gateway, "--attempts", "2"), code=1)
    found, summary = status(bench), bench.summary()
    same = ("units", "failed_by_kind", "tries", "failed_tries_by_kind", "in_doubt", "usage", "usage_by_day")
    same += ("cost", "tries_without_cost", "usage_by_model_and_day")
    assert {name: found[name] for name in same} == {name: summary[name] for name in same}
    assert found["state"] == summary["ending"]
    assert (found["worked_on_by"], found["rates"], found["eta_s"], found["in_flight"]) == (None, None, None, 0)
    told = bench.start("status", "in.jsonl").communicate()[0]
    assert "19 of 20 answered; 1 failed (server_error 1)" in told


def test_a_parked_run_says_when_to_come_back(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--rpd", "10", "--headers", "retry-after", "--latency", "0.01")
    bench.prompts(30)
    bench.run(*job(gateway), code=75)
    found, summary = status(bench), bench.summary()
    assert found["message"] == summary["message"]
    assert found["resume_at"][:19] == summary["resume_at"][:19]
    assert "come back at" in bench.start("status", "in.results.jsonl").communicate()[0]


def test_a_run_that_was_killed_is_cut_off_and_says_what_is_in_doubt(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.3")
    bench.prompts(60)
    process = bench.start("run", *job(gateway, "--concurrency", "6"))
    wait_until(lambda: gateway.ledger()["paid"] > 6)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    found = status(bench)
    assert (found["state"], found["worked_on_by"]) == ("cut off", None)
    assert 0 < found["in_doubt"] <= 12
    bench.run(*job(gateway))
    assert bench.summary()["in_doubt"] == found["in_doubt"]
    assert status(bench)["state"] == "every unit answered"


def test_no_run_is_65_with_a_hint(bench: Bench) -> None:
    process = bench.start("status", "nothing.jsonl")
    assert "name its output" in process.communicate()[1]
    assert process.returncode == 65
    assert list(bench.folder.iterdir()) == []


def test_a_store_of_a_newer_version_is_told(bench: Bench) -> None:
    bench.prompts(1)
    bench.run("in.jsonl", "--simulate")
    with sqlite3.connect(bench.folder / "in.results.jsonl.run" / "run.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    process = bench.start("status", "in.results.jsonl")
    assert "newer batchrunner" in process.communicate()[1]
    assert process.returncode == 74


def test_who_looks_whether_a_run_is_worked_on_keeps_no_run_out(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    over = multiprocessing.Event()
    lookers = [multiprocessing.Process(target=_look_until, args=(tmp_path, over)) for _ in range(2)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(500):
            RunLock(tmp_path).release()
    finally:
        over.set()
        for looker in lookers:
            looker.join()


def _look_until(folder: Path, over: Any) -> None:
    while not over.is_set():
        holder_of(folder)


def test_the_holder_of_a_lock_is_named_while_he_holds_it(tmp_path: Path) -> None:
    assert holder_of(tmp_path) is None
    lock = RunLock(tmp_path)
    assert holder_of(tmp_path).startswith(f"process {os.getpid()} on ")
    with pytest.raises(LockedError):
        RunLock(tmp_path)
    lock.release()
    assert holder_of(tmp_path) is None


def tried(number: int, sent_at: float, *, latency_s: float = 1.0) -> Try:
    """An answered try of seven tokens."""
    usage = Usage(prompt_tokens=3, completion_tokens=4, total_tokens=7, cached_tokens=1)
    return Try(number=number, sent_at=sent_at, latency_s=latency_s, usage=usage)


def store_of(folder: Path, tries: list[Try]) -> Store:
    """A store in which each of these tries answered its unit."""
    store = Store(folder)
    store.commit([Entry(one, Outcome(id=str(one.number), row=one.number, status="ok")) for one in tries])
    return store


def test_tries_on_both_sides_of_midnight_are_summed_by_day(tmp_path: Path) -> None:
    store_of(tmp_path, [tried(n, MIDNIGHT + (n - 30_000) / 10) for n in range(50_000)]).close()
    days: dict[int, list[Sums]] = {}
    for one in read_store(tmp_path, lambda reader: list(reader.tries())):
        days.setdefault(one.day, []).append(one.sums)
    counts = {
        day: (sum(one.tries for one in some), sum(one.prompt_tokens for one in some)) for day, some in days.items()
    }
    first = int(MIDNIGHT) // 86_400 - 1
    assert counts == {first: (30_000, 90_000), first + 1: (20_000, 60_000)}


def test_rates_count_what_ended_since_an_instant_only(tmp_path: Path) -> None:
    store_of(tmp_path, [tried(n, MIDNIGHT + n) for n in range(1000)]).close()
    for since, count in ((MIDNIGHT + 991, 10), (MIDNIGHT, 1000), (MIDNIGHT + 5000, 0)):
        recent = read_store(tmp_path, lambda reader, since=since: reader.recent(since))
        assert recent == Recent(tries=count, units=count, tokens=7 * count)


def test_a_reader_sees_one_moment_and_no_writer_waits_for_it(tmp_path: Path) -> None:
    store = store_of(tmp_path, [tried(n, MIDNIGHT) for n in range(2000)])
    reader = Reader(tmp_path)
    rows = reader.bodies(0, 5000)
    next(rows)
    begun = threading.Thread(target=store.commit, args=([Entry(tried(3000, MIDNIGHT), _answered(3000))],))
    begun.start()
    begun.join(timeout=5)
    assert not begun.is_alive()
    assert 1 + sum(1 for _ in rows) == 2000
    assert reader.units(5000).ok == 2000
    reader.close()
    assert read_store(tmp_path, lambda one: one.units(5000)).ok == 2001
    store.close()


def test_a_reader_that_a_run_overtakes_reads_anew(tmp_path: Path) -> None:
    store_of(tmp_path, [tried(n, MIDNIGHT) for n in range(100)]).close()
    readings = []

    def read_slowly(reader: Reader) -> int:
        """A run comes and goes in the middle of the first reading."""
        readings.append(reader)
        if len(readings) == 1:
            store_of(tmp_path, [tried(100, MIDNIGHT)]).close()
        return sum(1 for _ in reader.bodies(0, 1000))

    assert read_store(tmp_path, read_slowly) == 101
    assert len(readings) == 2


def test_a_damaged_store_is_told(tmp_path: Path) -> None:
    (tmp_path / "run.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(StorageError, match=r"can't be read"):
        read_store(tmp_path, lambda reader: reader.fact("about"))


def test_a_pipe_that_closes_is_no_traceback(bench: Bench) -> None:
    bench.prompts(1)
    bench.run("in.jsonl", "--simulate")
    with Path("/dev/full").open("w") as full:
        told = subprocess.run(
            [*BATCHRUNNER, "status", "in.results.jsonl", "--json"],
            cwd=bench.folder,
            env=bench.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert told.returncode == 74
    assert "Traceback" not in told.stderr


def _answered(number: int) -> Outcome:
    return Outcome(id=str(number), row=number, status="ok")
