"""What a power cut would find, which no kill can show: the order in which a run forces its output to the disk.

The real command line runs in a process in which the standard library's calls are noted as they are made.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Bench

NOTING = """
import json, os, runpy, sys
notes = open(sys.argv.pop(1), "a", buffering=1)
fsync = os.fsync
def note(*words):
    notes.write(json.dumps(words) + "\\n")
def noted_fsync(file):
    descriptor = file if isinstance(file, int) else file.fileno()
    path, size = os.readlink(f"/proc/self/fd/{descriptor}"), os.fstat(descriptor).st_size
    fsync(descriptor)
    note("fsync", path, size)
def hear(event, arguments):
    if event in ("os.link", "os.rename", "os.remove"):
        note(event.removeprefix("os."), *(os.path.abspath(os.fsdecode(path)) for path in arguments[:2] if path != -1))
os.fsync = os.fdatasync = noted_fsync
sys.addaudithook(hear)
runpy.run_module("batchrunner", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
@pytest.mark.parametrize("replacing", [False, True])
def test_an_output_is_on_the_disk_before_it_has_its_name_and_its_name_before_the_run_has_ended(
    bench: Bench, name: str, *, replacing: bool
) -> None:
    bench.prompts(20)
    if replacing:
        (bench.folder / name).write_text("of somebody else")
    notes = _notes_of_a_run(bench, "-o", name, *(["--overwrite"] if replacing else []))
    output = bench.folder / name
    temporary, size = next((one[1], one[2]) for one in notes if one[0] == "fsync" and _is_temporary(one[1], output))
    assert size == output.stat().st_size
    order = [one[:3] if one[0] != "fsync" else one[:2] for one in notes]
    named = order.index(["rename" if replacing else "link", temporary, str(output)])
    assert order.index(["fsync", temporary]) < named
    assert order[named + 1] == ["fsync", str(bench.folder)]


def test_a_run_folder_and_its_store_are_on_the_disk_before_anything_is_recorded(bench: Bench) -> None:
    bench.prompts(3)
    synced = [one[1] for one in _notes_of_a_run(bench) if one[0] == "fsync"]
    folder = bench.folder / "in.results.jsonl.run"
    assert synced.index(str(bench.folder)) < synced.index(str(folder))


def test_a_summary_is_forced_to_the_disk_with_its_name(bench: Bench) -> None:
    bench.prompts(3)
    notes = _notes_of_a_run(bench)
    summary = bench.folder / "in.results.jsonl.summary.json"
    (named,) = (place for place, one in enumerate(notes) if one[0] == "rename" and one[2] == str(summary))
    assert notes[named][1] in [one[1] for one in notes[:named] if one[0] == "fsync"]
    assert str(bench.folder) in [one[1] for one in notes[named:] if one[0] == "fsync"]


def test_the_temporary_name_is_given_up_only_when_the_new_one_is_on_the_disk(bench: Bench) -> None:
    bench.prompts(3)
    notes = _notes_of_a_run(bench)
    output = bench.folder / "in.results.jsonl"
    temporary, named = next((one[1], place) for place, one in enumerate(notes) if one[0] == "link")
    assert _is_temporary(temporary, output)
    synced = next(place for place, one in enumerate(notes) if place > named and one[:2] == ["fsync", str(bench.folder)])
    assert notes.index(["remove", temporary]) > synced


def _notes_of_a_run(bench: Bench, *options: str) -> list[list[str | int]]:
    """Calls of a run to its end, in order: fsync PATH SIZE, link FROM TO, rename FROM TO, remove PATH."""
    notes = bench.folder.parent / "notes"
    command = [sys.executable, "-c", NOTING, str(notes), "run", "in.jsonl", "--simulate", "-q", *options]
    subprocess.run(command, cwd=bench.folder, env=bench.environment, check=True, timeout=60)
    return [json.loads(line) for line in notes.read_text().splitlines()]


def _is_temporary(path: str, output: Path) -> bool:
    return path.startswith(str(output.with_name(f".{output.name}."))) and path.endswith(".tmp")
