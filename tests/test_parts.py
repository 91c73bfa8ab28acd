"""An output in parts: published in order while the run goes on, true to its manifest, whole whatever is killed."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import Bench, Gateway, Simulate, wait_until

from batchrunner.folder.published import outcomes
from batchrunner.runner.publisher import Waiting
from batchrunner.store.database import Store
from batchrunner.store.reading import read_store

FOLDERS = ["out", "out.parquet"]


def job(gateway: Gateway, *options: str, output: str = "out/", rows: int = 20) -> tuple[str, ...]:
    """A job whose output is in parts of so many rows."""
    return ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "-o", output, "--part-rows", str(rows), *options)


def manifest(folder: Path) -> dict[str, Any]:
    """What the folder says of itself."""
    return json.loads((folder / "_manifest.json").read_text())


def rows_in(path: Path) -> list[dict[str, Any]]:
    """The rows of one part."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text().splitlines()]


def published(folder: Path) -> list[dict[str, Any]]:
    """The rows of all parts that the manifest names, each part held against what is said of it."""
    rows: list[dict[str, Any]] = []
    for part in manifest(folder)["parts"]:
        path = folder / part["name"]
        own = rows_in(path)
        assert path.stat().st_size == part["bytes"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == part["sha256"]
        assert [row["row"] for row in own] == list(range(part["first_row"], part["first_row"] + part["units"]))
        assert sum(row["status"] == "ok" for row in own) == part["ok"] == part["units"] - part["failed"]
        rows += own
    return rows


def whole(folder: Path, total: int) -> list[dict[str, Any]]:
    """The rows of an output that is complete; nothing else is in its folder."""
    rows = published(folder)
    assert [row["row"] for row in rows] == list(range(total))
    told = manifest(folder)
    assert told["complete"]
    assert told["total_units"] == total
    assert {path.name for path in folder.iterdir()} == {"_manifest.json", *(part["name"] for part in told["parts"])}
    return rows


def recorded(folder: Path, total: int) -> list[dict[str, Any]]:
    """All outcomes, from parts and store together."""
    run_dir = folder.with_name(folder.name + ".run")
    return read_store(run_dir, lambda store: [json.loads(row) for row in outcomes(store, run_dir, total)])


def state_of(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file in a folder: its inode, its time of change and its content."""
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(folder.iterdir())
    }


@pytest.mark.parametrize("name", FOLDERS)
def test_parts_hold_every_row_in_order_and_a_finished_run_changes_nothing(
    bench: Bench, simulate: Simulate, name: str
) -> None:
    gateway = simulate("--latency", "0.01", "--latency-spread", "1")
    bench.write("in.jsonl", *({"prompt": f"Question {n}?"} for n in range(49)), "no json")
    command = job(gateway, "--max-failed", "none", output=f"{name}/")
    bench.run(*command, code=1)
    folder = bench.folder / name
    rows = whole(folder, 50)
    assert [(part["ok"], part["failed"]) for part in manifest(folder)["parts"]] == [(20, 0), (20, 0), (9, 1)]
    assert all(f"Question {row['row']}?" in row["response"] for row in rows[:49])
    before = state_of(folder)
    bench.run(*command, code=1)
    assert state_of(folder) == before
    assert gateway.ledger()["arrivals"] == 49
    assert bench.summary(name)["units"] == {"total": 50, "ok": 49, "failed": 1, "pending": 0}
    assert [row["row"] for row in recorded(folder, 50)] == list(range(50))


def test_a_folder_of_parquet_parts_is_read_as_one_table(bench: Bench) -> None:
    bench.prompts(50)
    bench.run("in.jsonl", "--simulate", "-o", "out.parquet/", "--part-rows", "20")
    assert pq.read_table(bench.folder / "out.parquet")["row"].to_pylist() == list(range(50))


def test_parts_appear_while_the_run_goes_on_and_their_bodies_leave_the_store(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.05")
    bench.write("in.jsonl", *({"prompt": f"Question {n}?" + " [[hang]]" * (n == 70)} for n in range(100)))
    process = bench.start("run", *job(gateway))
    folder = bench.folder / "out"
    wait_until(lambda: (folder / "_manifest.json").exists() and len(manifest(folder)["parts"]) == 3)
    wait_until(lambda: gateway.ledger()["paid"] >= 99)
    assert not manifest(folder)["complete"]
    assert [row["row"] for row in published(folder)] == list(range(60))
    assert not (folder / "part-00004.jsonl").exists()
    wait_until(lambda: [row["row"] for row in recorded(folder, 100)] == [*range(70), *range(71, 100)])
    store = Store(bench.folder / "out.run")
    wait_until(lambda: [number for number, _ in store.bodies(0, 100)] == [*range(60, 70), *range(71, 100)])
    store.close()
    process.kill()
    process.communicate()


KILLED_AT = """
import os, signal, sys
from batchrunner.cli import main
from batchrunner.folder.publishing import PartedOutput

step, times = sys.argv.pop(1), int(sys.argv.pop(1))
original = getattr(PartedOutput, step)

def step_or_death(*arguments, **options):
    global times
    times -= 1
    if times == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)

setattr(PartedOutput, step, step_or_death)
main()
"""
STEPS = ["_part", "_keep", "_write_manifest", "_let_go"]  # sealed, in its place, recorded, named: what comes next


def killed_at(bench: Bench, step: str, times: int, command: tuple[str, ...]) -> None:
    """Run, and die by SIGKILL where this step of publishing would be taken for so many times."""
    process = subprocess.run(
        [sys.executable, "-c", KILLED_AT, step, str(times), "run", *command],
        cwd=bench.folder,
        env=bench.environment,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("step", STEPS)
def test_killed_between_any_two_steps_of_publishing_the_next_run_puts_it_right(
    bench: Bench, simulate: Simulate, step: str, times: int
) -> None:
    gateway = simulate()
    bench.prompts(50)
    killed_at(bench, step, times, job(gateway))
    folder = bench.folder / "out"
    if (folder / "_manifest.json").exists():
        before = published(folder)
        assert before == recorded(folder, len(before))
    paid, in_doubt = gateway.ledger()["paid"], 50 - len(recorded(folder, 50))
    bench.run(*job(gateway))
    whole(folder, 50)
    assert gateway.ledger()["paid"] <= paid + in_doubt
    assert recorded(folder, 50) == published(folder)


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize(
    ("step", "times"), [("_part", 1), ("_keep", 1), ("_write_manifest", 2), ("_write_manifest", 3), ("_let_go", 1)]
)
def test_killed_while_a_part_is_replaced_the_next_run_puts_it_right(
    bench: Bench, simulate: Simulate, step: str, times: int, name: str
) -> None:
    gateway = simulate()
    bench.prompts(50)
    command = job(gateway, output=f"{name}/")
    bench.run(*command)
    folder = bench.folder / name
    before = whole(folder, 50)
    reopen(bench, name, 3, 45)
    bench.prompts(55)
    killed_at(bench, step, times, command)
    published(folder)
    bench.run(*command)
    after = whole(folder, 55)
    assert [row["row"] for row in before if row not in after] == [3, 45]
    assert gateway.ledger()["servings"]["prompts"] == 55
    assert gateway.ledger()["paid"] <= 57 + bench.summary(name)["in_doubt"]


def reopen(bench: Bench, name: str, *numbers: int) -> None:
    """Make units pending again."""
    store = Store(bench.folder / f"{name}.run")
    store.reopen(numbers)
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_kills_at_any_moment_leave_every_row_once_and_in_order(bench: Bench, simulate: Simulate, seed: int) -> None:
    gateway = simulate("--latency", "0.005", "--latency-spread", "1")
    chance = random.Random(seed)
    filling = "x" * 3000
    bench.write("in.jsonl", *({"prompt": f"Question {n}? {filling}"} for n in range(1500)))
    name = FOLDERS[seed % 2]
    folder = bench.folder / name
    command = job(gateway, "--concurrency", "8", output=f"{name}/")
    for kill in range(1, 15):
        killed_around_publishing(bench.start("run", *command), folder, partial(paid_for, gateway, 90 * kill), chance)
    bench.run(*command)
    rows = whole(folder, 1500)
    assert all(f"Question {row['row']}? " in row["response"] for row in rows)
    servings = gateway.ledger()["servings"]
    assert servings["prompts"] == 1500
    assert servings["extra_paid_without_fault"] <= bench.summary(name)["in_doubt"]


def paid_for(gateway: Gateway, count: int) -> bool:
    """Whether so many answers were paid for."""
    return gateway.ledger()["paid"] >= count


def killed_around_publishing(
    process: subprocess.Popen[str], folder: Path, late_enough: Callable[[], bool], chance: random.Random
) -> None:
    """Kill where, as a rule, a part is just being written or was named this instant; what is published is true."""
    wait_until(lambda: process.poll() is not None or (late_enough() and is_publishing(folder, chance)))
    time.sleep(chance.random() * 0.03)
    process.kill()
    process.communicate()
    if (folder / "_manifest.json").exists():
        published(folder)


def is_publishing(folder: Path, chance: random.Random) -> bool:
    """Whether a part is just being written, or the manifest was; now and then at any other moment."""
    with suppress(OSError):
        if any(path.name.startswith(".part-") for path in folder.iterdir()):
            return True
        return time.time() - (folder / "_manifest.json").stat().st_mtime < 0.02 or chance.random() < 0.05
    return chance.random() < 0.05


@pytest.mark.parametrize("name", FOLDERS)
def test_units_that_are_asked_again_replace_their_rows_in_their_parts_only(
    bench: Bench, simulate: Simulate, name: str
) -> None:
    gateway = simulate()
    bench.prompts(70)
    command = job(gateway, output=f"{name}/")
    bench.run(*command)
    folder = bench.folder / name
    before, files = whole(folder, 70), state_of(folder)
    reopen(bench, name, 3, 5, 65)
    assert [row["row"] for row in recorded(folder, 70)] == [n for n in range(70) if n not in (3, 5, 65)]
    bench.run(*command)
    after = whole(folder, 70)
    assert [row["row"] for row in before if row not in after] == [3, 5, 65]
    assert gateway.ledger()["arrivals"] == 73
    changed = [path for path, state in state_of(folder).items() if state != files[path]]
    assert [path.partition(".")[0] for path in changed] == ["_manifest", "part-00000", "part-00003"]


def test_a_part_stays_as_it_is_until_the_units_asked_again_have_ended(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.1")
    bench.prompts(50)
    bench.run(*job(gateway))
    folder = bench.folder / "out"
    before = published(folder)
    reopen(bench, "out", *range(10, 30))
    process = bench.start("run", *job(gateway, "--rps", "15"))
    wait_until(lambda: gateway.ledger()["paid"] > 52)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    assert published(folder) == before
    assert not manifest(folder)["complete"]
    bench.run(*job(gateway))
    whole(folder, 50)
    assert gateway.ledger()["arrivals"] == 70


def test_a_reader_of_the_manifest_never_sees_a_part_that_is_not_as_it_says(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(600)
    bench.run(*job(gateway))
    folder = bench.folder / "out"
    reopen(bench, "out", *range(0, 600, 20))
    process = bench.start("run", *job(gateway, "--rps", "60"))
    looks = 0
    while process.poll() is None:
        told = (folder / "_manifest.json").read_bytes()
        for part in json.loads(told)["parts"]:
            true = hashlib.sha256((folder / part["name"]).read_bytes()).hexdigest() == part["sha256"]
            assert true or (folder / "_manifest.json").read_bytes() != told
        looks += 1
    process.communicate()
    assert process.returncode == 0
    assert looks > 20
    whole(folder, 600)


def test_rows_that_were_appended_fill_the_short_last_part(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(50)
    bench.run(*job(gateway))
    first = whole(bench.folder / "out", 50)
    bench.prompts(75)
    bench.run(*job(gateway))
    assert whole(bench.folder / "out", 75)[:50] == first
    assert gateway.ledger()["arrivals"] == 75
    assert bench.summary("out")["units"]["ok"] == 75


@pytest.mark.parametrize("name", FOLDERS)
def test_a_smaller_limit_takes_rows_out_of_the_parts_and_loses_none(
    bench: Bench, simulate: Simulate, name: str
) -> None:
    gateway = simulate()
    bench.prompts(70)
    folder = bench.folder / name
    bench.run(*job(gateway, "--limit", "10", output=f"{name}/"))
    bench.run(*job(gateway, output=f"{name}/"))
    everything = whole(folder, 70)
    bench.run(*job(gateway, "--limit", "30", output=f"{name}/"))
    assert whole(folder, 30) == everything[:30]
    bench.run(*job(gateway, output=f"{name}/"))
    assert whole(folder, 70) == everything
    assert gateway.ledger()["arrivals"] == 70


def test_a_changed_row_is_asked_again_and_put_into_its_part(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(50)
    bench.run(*job(gateway))
    rows = [{"prompt": f"Question {n}?" if n != 21 else "Another?"} for n in range(50)]
    bench.write("in.jsonl", *rows)
    bench.run(*job(gateway), code=65)
    bench.run(*job(gateway, "--on-drift", "rerun-changed"))
    assert "Another?" in whole(bench.folder / "out", 50)[21]["response"]
    assert gateway.ledger()["arrivals"] == 51


def test_one_file_may_be_made_of_a_run_whose_answers_are_in_parts(bench: Bench) -> None:
    bench.prompts(50)
    bench.run("in.jsonl", "--simulate", "-o", "out.parquet/", "--part-rows", "20")
    bench.run("in.jsonl", "--simulate", "-o", "all.jsonl", "--run-dir", "out.parquet.run")
    assert bench.output("all.jsonl") == recorded(bench.folder / "out.parquet", 50)
    assert bench.summary("all.jsonl")["this_run"]["tries"] == 0


def test_parts_and_their_run_can_be_moved_together(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(50)
    bench.run(*job(gateway))
    for suffix in ("", ".run"):
        (bench.folder / f"out{suffix}").rename(bench.folder / f"moved{suffix}")
    (bench.folder / "moved" / "_manifest.json").unlink()
    bench.prompts(55)
    bench.run(*job(gateway, output="moved"))
    whole(bench.folder / "moved", 55)
    assert gateway.ledger()["arrivals"] == 55


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes().replace(b"ok", b"no"))]
)
def test_a_part_that_was_taken_away_or_changed_stops_the_run_before_anything_is_sent(
    bench: Bench, simulate: Simulate, damage: Any
) -> None:
    gateway = simulate()
    bench.prompts(50)
    bench.run(*job(gateway))
    part = bench.folder / "out" / "part-00001.jsonl"
    content = part.read_bytes()
    damage(part)
    bench.prompts(55)
    told = bench.run(*job(gateway), code=74)
    assert "part-00001.jsonl was taken away or changed" in told.stderr
    assert gateway.ledger()["arrivals"] == 50
    part.write_bytes(content)
    bench.run(*job(gateway))
    whole(bench.folder / "out", 55)


def test_a_folder_with_other_peoples_files_is_refused_and_nothing_of_theirs_is_deleted(bench: Bench) -> None:
    bench.prompts(30)
    folder = bench.folder / "out"
    folder.mkdir()
    for name in ("notes.txt", "part-00000.jsonl", "part-00007.jsonl"):
        (folder / name).write_text("precious")
    told = bench.run("in.jsonl", "--simulate", "-o", "out", code=78)
    assert "--overwrite" in told.stderr
    assert {path.read_text() for path in folder.iterdir()} == {"precious"}
    assert sorted(path.name for path in bench.folder.iterdir()) == ["in.jsonl", "out"]
    bench.run("in.jsonl", "--simulate", "-o", "out", "--overwrite", "--part-rows", "20")
    assert [row["row"] for row in published(folder)] == list(range(30))
    assert (folder / "notes.txt").read_text() == (folder / "part-00007.jsonl").read_text() == "precious"


def test_files_that_others_put_into_the_folder_meanwhile_are_not_touched(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(50)
    bench.run(*job(gateway))
    folder = bench.folder / "out"
    for name in ("notes.txt", "part-00003.jsonl"):
        (folder / name).write_text("precious")
    bench.prompts(60)
    bench.run(*job(gateway))
    bench.prompts(80)
    for _ in range(2):
        told = bench.run(*job(gateway), code=74)
        assert "part-00003.jsonl exists already and was not made by this run" in told.stderr
    assert (folder / "notes.txt").read_text() == (folder / "part-00003.jsonl").read_text() == "precious"
    (folder / "part-00003.jsonl").unlink()
    bench.run(*job(gateway))
    assert [row["row"] for row in published(folder)] == list(range(80))
    assert gateway.ledger()["arrivals"] == 80


def test_a_new_start_sets_the_parts_aside_with_their_run(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(50)
    bench.run(*job(gateway))
    before = state_of(bench.folder / "out")
    bench.run(*job(gateway, "--resume", "never"))
    assert state_of(bench.folder / "out.1") == before
    assert (bench.folder / "out.run.1" / "run.sqlite").exists()
    whole(bench.folder / "out", 50)
    assert gateway.ledger()["arrivals"] == 100


def test_parts_of_units_that_all_failed_alike_are_not_called_complete(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", *({"prompt": f"{number} [[status:422]]"} for number in range(50)))
    bench.run(*job(gateway, "--concurrency", "1"), code=69)
    assert not manifest(bench.folder / "out")["complete"]
    assert recorded(bench.folder / "out", 50) == []
    bench.prompts(50)
    bench.run(*job(gateway))
    assert {row["status"] for row in whole(bench.folder / "out", 50)} == {"ok"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-o", "in.jsonl/"), "is a file"),
        (("-o", "./"), "has no name"),
        (("-o", "out.jsonl", "--part-rows", "20"), "/ at its end"),
    ],
)
def test_what_can_be_no_folder_of_parts_is_refused(bench: Bench, arguments: tuple[str, ...], words: str) -> None:
    bench.prompts(1)
    assert words in bench.run("in.jsonl", "--simulate", *arguments, code=78).stderr
    assert [path.name for path in bench.folder.iterdir()] == ["in.jsonl"]


def test_the_size_of_parts_is_chosen_once(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(50)
    bench.run(*job(gateway))
    told = bench.run(*job(gateway), "--part-rows", "30", code=78)
    assert "has parts of 20 rows" in told.stderr
    bench.prompts(55)
    bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "-o", "out")
    whole(bench.folder / "out", 55)


def test_a_job_file_may_name_a_folder(bench: Bench) -> None:
    bench.prompts(5)
    (bench.folder / "job.toml").write_text('input = "in.jsonl"\noutput = "answers/"\n')
    bench.run("job.toml", "--simulate")
    whole(bench.folder / "answers", 5)


def test_an_input_without_rows_makes_a_folder_without_parts(bench: Bench) -> None:
    bench.write("in.jsonl")
    bench.run("in.jsonl", "--simulate", "-o", "out/")
    assert whole(bench.folder / "out", 0) == []


def test_the_store_does_not_grow_with_what_passes_through_it(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    filling = "x" * 20_000
    bench.write("in.jsonl", *({"prompt": f"Question {n}? {filling}"} for n in range(2000)))
    process = bench.start("run", *job(gateway, "--rps", "250", rows=100))
    largest: dict[str, int] = {}
    while process.poll() is None:
        for name in ("run.sqlite", "run.sqlite-wal"):
            with suppress(OSError):
                size = (bench.folder / "out.run" / name).stat().st_size
                largest[name] = max(largest.get(name, 0), size)
        time.sleep(0.02)
    process.communicate()
    assert process.returncode == 0
    assert sum(len(row["response"]) for row in whole(bench.folder / "out", 2000)) > 40e6
    assert largest["run.sqlite"] < 16e6
    assert largest["run.sqlite-wal"] < 16e6


FULL_DISK = """
set -e
mount -t tmpfs -o size="$SIZE" none "$DISK"
code=0; "$@" > first.txt 2>&1 || code=$?
echo "$code"; cat first.txt; ls -A "$DISK/out"
mount -o remount,size=200m "$DISK"
"$@" > second.txt 2>&1 || cat second.txt
cp -r "$DISK/out" "$DISK/out.summary.json" "$OUT"
"""


@pytest.mark.parametrize(
    ("part_rows", "size", "reason"),
    [
        ("800", "44m", "16 are the least to go on"),
        ("1200", "55m", "part-00000.jsonl can't be written: the disk is full"),
    ],
)
def test_a_disk_too_full_for_a_part_stops_sending_and_loses_nothing(
    bench: Bench, simulate: Simulate, part_rows: str, size: str, reason: str
) -> None:
    gateway = simulate("--latency", "0.05")
    bench.write("in.jsonl", *({"prompt": f"Question {n}? {'x' * 25_000}"} for n in range(1200)))
    disk = bench.folder / "disk"
    disk.mkdir()
    command = ["in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--concurrency", "8", "--part-rows", part_rows]
    run = [sys.executable, "-m", "batchrunner", "run", *command, "-o", "disk/out/", "--state-dir", "state"]
    told = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", FULL_DISK, "sh", *run],
        cwd=bench.folder,
        env=bench.environment | {"DISK": str(disk), "SIZE": size, "OUT": str(bench.folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    code, *words = told.stdout.splitlines()
    assert code == "74", told.stdout + told.stderr
    assert reason in " ".join(words)
    assert "make room and run the same command again" in " ".join(words)
    assert words[-1] == "_manifest.json"
    whole(bench.folder / "out", 1200)
    assert gateway.ledger()["servings"]["once"] == 1200
    assert json.loads((bench.folder / "out.summary.json").read_text())["in_doubt"] == 0


@pytest.mark.slow
def test_a_quarter_of_a_million_rows_make_three_parts_of_the_usual_size(bench: Bench) -> None:
    rows = (
        json.dumps({"question": n}) if n % 1000 else json.dumps({"prompt": f"Question {n}?"}) for n in range(250_000)
    )
    bench.write("in.jsonl", *rows)
    bench.run("in.jsonl", "--simulate", "-o", "out/", "--max-failed", "none", code=1)
    whole(bench.folder / "out", 250_000)
    parts = manifest(bench.folder / "out")["parts"]
    assert [(part["units"], part["ok"]) for part in parts] == [(100_000, 100), (100_000, 100), (50_000, 50)]


def test_a_part_is_ready_when_all_its_units_and_all_parts_before_it_are_done() -> None:
    waiting = Waiting(10, {0: 2, 1: 1, 4: 1})
    waiting.take([45, 19])
    assert waiting.first_ready is None
    waiting.take([3])
    assert waiting.first_ready is None
    waiting.take([7])
    for expected in (0, 1, 4):
        assert waiting.first_ready == expected
        waiting.drop_first()
    assert waiting.first_ready is None


def test_a_second_signal_ends_the_run_at_once_and_drops_the_part_that_is_written(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate("--latency", "0.01")
    bench.write(
        "in.jsonl", *({"prompt": f"Question {n}? {'x' * 20_000}" + " [[hang]]" * (n == 1500)} for n in range(1501))
    )
    process = bench.start("run", *job(gateway, output="out.parquet/", rows=1500))
    folder = bench.folder / "out.parquet"
    wait_until(lambda: folder.exists() and any(path.name.startswith(".part-") for path in folder.iterdir()))
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert [path.name for path in folder.iterdir()] == ["_manifest.json"]


@pytest.mark.parametrize("name", FOLDERS)
def test_failed_rows_of_published_parts_are_asked_again_and_exported(
    bench: Bench, simulate: Simulate, name: str
) -> None:
    gateway = simulate()
    bench.write("in.jsonl", *({"prompt": f"{n}" + (" [[5xxx2]]" if n in (3, 30) else "")} for n in range(45)))
    bench.run(*job(gateway, "--attempts", "1", "--max-failed", "none", output=f"{name}/"), code=1)
    folder = bench.folder / name
    assert [row["row"] for row in whole(folder, 45) if row["status"] == "failed"] == [3, 30]
    assert code_of(bench.start("retry", name, "--where", "row=30")) == 1
    for _ in range(2):
        code = code_of(bench.start("retry", name))
    assert code == 0
    assert {row["status"] for row in whole(folder, 45)} == {"ok"}
    assert gateway.ledger()["servings"]["once"] == 45
    assert code_of(bench.start("export", name, "-o", "all.jsonl")) == 0
    exported = [(row["id"], row["response"], row["usage"]) for row in bench.output("all.jsonl")]
    assert exported == [(row["id"], row["response"], row["usage"]) for row in whole(folder, 45)]


def code_of(process: subprocess.Popen[str]) -> int:
    """The exit code of a process, when it has ended."""
    process.communicate(timeout=60)
    return process.returncode
