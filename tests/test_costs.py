"""What a row costs, as counts that are the same on every machine: statements, bytes on the disk, tasks."""

import time
from pathlib import Path

import anyio
import pytest
from conftest import Bench, Simulate

from batchrunner.records import Outcome, Try, Usage
from batchrunner.runner.recording import Recorder
from batchrunner.store.database import Store
from batchrunner.store.marks import Marks
from batchrunner.store.rows import Entry
from tests.benchmarks import speed

COUNT_TASKS = """
import asyncio, atexit, sys
from batchrunner.cli import main
made = 0
make = asyncio.BaseEventLoop.create_task
def counting(*arguments, **options):
    global made
    made += 1
    return make(*arguments, **options)
asyncio.BaseEventLoop.create_task = counting
atexit.register(lambda: print("tasks", made))
main()
"""


def answers(count: int, first: int = 0) -> list[Entry]:
    """So many answers of 100 characters, as they are recorded."""
    usage = Usage(prompt_tokens=20, completion_tokens=30, total_tokens=50)
    return [
        Entry(
            Try(number=number, sent_at=1.8e9, latency_s=0.5, usage=usage, finish_reason="stop"),
            Outcome(id=str(number), row=number, status="ok", response="x" * 100, usage=usage, model="org/model"),
            b"12345678",
        )
        for number in range(first, first + count)
    ]


@pytest.mark.parametrize("entries", [1, 64, 1024])
def test_a_commit_takes_few_statements_however_much_it_holds(tmp_path: Path, entries: int) -> None:
    store, statements = Store(tmp_path), list[str]()
    store._db.set_trace_callback(statements.append)  # noqa: SLF001 - SQLite's own count
    store.commit(answers(entries))
    store.close()
    assert statements[0].startswith("BEGIN")
    assert statements[-1] == "COMMIT"
    assert len(statements) <= 2 + 3 * (1 + entries // 64)


def test_answers_that_come_one_by_one_share_a_commit(tmp_path: Path) -> None:
    store, marks, statements = Store(tmp_path), Marks(tmp_path / "marks"), list[str]()
    store._db.set_trace_callback(statements.append)  # noqa: SLF001 - SQLite's own count

    async def hand_over() -> None:
        recorder = Recorder(
            store, marks, waiting=64, no_room=lambda: None, broken=pytest.fail, committed=lambda _: None
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(recorder.run)
            for entry in answers(100):
                await recorder.record(entry, None)
                await anyio.sleep(0.001)
            recorder.close()

    began = time.monotonic()
    anyio.run(hand_over)
    hundredths = (time.monotonic() - began) / 0.01
    assert len(list(store.ended())) == 100
    assert 1 < statements.count("COMMIT") <= 100 / 16 + hundredths + 2
    store.close()
    marks.close()


def test_a_row_of_a_hundred_characters_takes_half_a_kilobyte_on_the_disk(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for first in range(0, 20_000, 100):
        store.commit(answers(100, first))
    store.close()
    on_disk = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert 250 < on_disk / 20_000 < 600


def test_tasks_are_those_of_the_requests_in_flight_not_of_the_rows(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    made = []
    for rows in (50, 400):
        bench.prompts(rows, f"{rows}.jsonl")
        options = ("-m", "org/model", "--base-url", gateway.base_url, "--concurrency", "4", "-q")
        process = bench.python("-c", COUNT_TASKS, "run", f"{rows}.jsonl", *options)
        made.append(int(process.stdout.split("tasks ")[1]))
    assert 4 < made[0] < 40
    assert abs(made[1] - made[0]) < 20


def test_the_table_of_the_speed_benchmark_has_every_client_and_scene(capsys: pytest.CaptureFixture[str]) -> None:
    speed.main(tuple(speed.Scene(rows=200, turns=1, latency=latency) for latency in (0.0, 0.1)))
    lines = capsys.readouterr().out.splitlines()
    measured = [line.split() for line in lines if line.startswith(" " * 36)]
    assert [client for client, *_ in measured] == [*speed.CLIENTS] * 2
    assert all(float(figure) > 0 for _, cpu, pace, *_ in measured for figure in (cpu, pace))
