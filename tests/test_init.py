"""`batchrunner init` writes a job file that explains every key, and that runs."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from conftest import Bench
from hypothesis import given
from hypothesis import strategies as st
from jobs import parsed

from batchrunner.cli.init import job_text
from batchrunner.job.schema import NO_KEYS, Job

TEXT = job_text(Path("job.toml"))
TABLES = {field.name: field.type for field in msgspec.structs.fields(Job)}
KEYS = sorted(
    {("", name) for name, kind in TABLES.items() if not (hasattr(kind, "__struct_fields__") or name in NO_KEYS)}
    | {
        (table, key)
        for table, kind in TABLES.items()
        for key in getattr(kind, "__struct_fields__", ())
        if key not in NO_KEYS
    }
)


def table(name: str) -> str:
    """The lines of a table."""
    return re.split(r"^\[.*\]\n", TEXT, flags=re.MULTILINE)[
        re.findall(r"^\[(.*)\]$", TEXT, re.MULTILINE).index(name) + 1
    ]


def start(bench: Bench, *arguments: str) -> tuple[int, str, str]:
    """`batchrunner init ARGUMENTS`: its code and its words."""
    process = bench.start("init", *arguments)
    stdout, stderr = process.communicate(timeout=30)
    return process.returncode, stdout, stderr


@pytest.mark.parametrize(("place", "key"), KEYS)
def test_every_key_of_a_job_is_in_it(place: str, key: str) -> None:
    free = key in ("prices", "sweep")  # tables whose keys are no fixed ones
    lines = (
        f"[{key}]\n" in TEXT if free else re.search(rf"^(# )?{key} = ", table(place) if place else TEXT, re.MULTILINE)
    )
    assert lines


def test_it_is_a_job_as_it_stands_and_with_every_key_taken() -> None:
    assert parsed(TEXT).request.model == "acme/llama-3-70b"
    taken = re.sub(r"^# (?=\S+ = )", "", TEXT, flags=re.MULTILINE)
    tables = tomllib.loads(taken)
    assert len(taken.splitlines()) == len(TEXT.splitlines())
    assert tables["limits"]["acme/small"] == {"requests_per_minute": 12_000}
    assert tables["retry"]["attempts"] == 6


def test_every_line_of_it_fits_on_a_screen() -> None:
    assert max(map(len, TEXT.splitlines())) <= 120


@pytest.mark.parametrize("name", ["job.toml", "my jobs/it's.toml"])
def test_its_own_commands_make_it_run(bench: Bench, name: str) -> None:
    (bench.folder / name).parent.mkdir(exist_ok=True)
    assert start(bench, *([] if name == "job.toml" else [name]))[0] == 0
    commands = re.findall(r"^#   (.+)$", (bench.folder / name).read_text(), re.MULTILINE)
    assert [line for line in commands if "--simulate" in line] != []
    path = f"{Path(sys.executable).parent}{os.pathsep}{bench.environment['PATH']}"
    for command in commands[:2]:
        subprocess.run(command, shell=True, check=True, cwd=bench.folder, env=bench.environment | {"PATH": path})  # noqa: S602
    assert [row["status"] for row in bench.output("try.jsonl")] == ["ok"]


def test_it_is_never_written_over_a_file(bench: Bench) -> None:
    (bench.folder / "job.toml").write_text("mine")
    code, _, stderr = start(bench)
    assert (code, "job.toml is there already" in stderr) == (78, True)
    assert (bench.folder / "job.toml").read_text() == "mine"


def test_a_dash_is_stdout(bench: Bench) -> None:
    assert start(bench, "-") == (0, TEXT, "")
    assert list(bench.folder.iterdir()) == []


@pytest.mark.parametrize(("name", "code"), [("job", 2), ("job.json", 2), ("no/job.toml", 74), ("a\nb.toml", 2)])
def test_a_name_that_is_none_is_refused(bench: Bench, name: str, code: int) -> None:
    assert start(bench, name)[0] == code
    assert list(bench.folder.iterdir()) == []


@given(st.text(st.characters(exclude_categories=("C", "Z")), min_size=1))
def test_no_name_gets_out_of_the_comments(name: str) -> None:
    assert parsed(job_text(Path(f"{name}.toml"))) == parsed(TEXT)
