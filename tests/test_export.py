"""`export`: a run's rows in another file and format, of a finished run and beside one that goes on."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from conftest import Bench, Gateway, Simulate, wait_until


def export(bench: Bench, *arguments: object, code: int = 0) -> str:
    """`batchrunner export ARGUMENTS` to its end, which must be this exit code; what it says."""
    process = bench.start("export", *arguments)
    stdout, stderr = process.communicate(timeout=100)
    assert process.returncode == code, stdout + stderr
    return stdout + stderr


def job(gateway: Gateway, *options: str) -> tuple[str, ...]:
    """The job of these tests."""
    return ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, *options)


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row of Parquet as its JSON has it."""
    moment = row["finished_at"]
    text = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return row | {"finished_at": text}


def test_a_jsonl_run_as_parquet_has_the_same_rows(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", *({"prompt": f"{n} {'[[status:422]]' if n == 5 else ''}"} for n in range(20)))
    bench.run(*job(gateway), code=1)
    assert "20 rows in answers.parquet" in export(bench, "in.results.jsonl", "-o", "answers.parquet")
    assert [plain(row) for row in pq.read_table(bench.folder / "answers.parquet").to_pylist()] == bench.output()


def test_the_run_is_named_by_its_output_its_folder_or_its_job_file(bench: Bench) -> None:
    bench.prompts(2)
    (bench.folder / "job.toml").write_text('input = "in.jsonl"\noutput = "out/answers.jsonl"\n')
    bench.run("job.toml", "--simulate")
    for number, run in enumerate(("job.toml", "out/answers.jsonl", "out/answers.jsonl.run", "out/answers.jsonl.run/")):
        export(bench, run, "-o", f"{number}.jsonl")
        assert (bench.folder / f"{number}.jsonl").read_text() == (bench.folder / "out/answers.jsonl").read_text()


def test_what_has_ended_is_exported_again_and_again_while_the_run_goes_on(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.05")
    bench.prompts(800)
    process = bench.start("run", *job(gateway, "--concurrency", "8"))
    counts = []
    wait_until((bench.folder / "in.results.jsonl.run" / "run.sqlite").exists)
    wait_until(lambda: gateway.ledger()["paid"] > 0)
    while process.poll() is None:
        export(bench, "in.results.jsonl", "-o", "so-far.jsonl", "--partial", "--overwrite")
        rows = bench.output("so-far.jsonl")
        assert [row["row"] for row in rows] == sorted({row["row"] for row in rows})
        counts.append(len(rows))
    told = process.communicate()
    assert process.returncode == 0, told
    assert counts == sorted(counts)
    assert len(set(counts)) > 1
    assert gateway.ledger()["arrivals"] == 800
    assert len(bench.output()) == 800


def test_an_unfinished_run_is_exported_with_partial_only(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.1")
    bench.prompts(60)
    process = bench.start("run", *job(gateway, "--concurrency", "4"))
    wait_until(lambda: gateway.ledger()["paid"] > 10)
    process.kill()
    process.communicate()
    told = export(bench, "in.results.jsonl", "-o", "x.jsonl", code=75)
    assert "units of" in told
    assert "--partial" in told
    assert not (bench.folder / "x.jsonl").exists()
    export(bench, "in.results.jsonl", "-o", "x.jsonl", "--partial")
    assert 0 < len(bench.output("x.jsonl")) < 60
    bench.run(*job(gateway))


def test_a_run_that_is_stopped_names_the_command_that_takes_what_is_there(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.1")
    bench.prompts(60)
    process = bench.start("run", *job(gateway, "--concurrency", "4"))
    wait_until(lambda: gateway.ledger()["paid"] > 10)
    process.send_signal(signal.SIGTERM)
    stdout, _ = process.communicate()
    (line,) = [line for line in stdout.splitlines() if line.startswith("take what is there with: batchrunner export ")]
    arguments = line.split("batchrunner export ")[1].replace("PATH", "there.jsonl").split()
    export(bench, *arguments)
    assert len(bench.output("there.jsonl")) == bench.summary()["units"]["ok"]


def test_no_file_that_stands_there_is_replaced_unasked(bench: Bench) -> None:
    bench.prompts(2)
    bench.run("in.jsonl", "--simulate")
    (bench.folder / "x.jsonl").write_text("precious")
    assert "--overwrite" in export(bench, "in.results.jsonl", "-o", "x.jsonl", code=78)
    assert (bench.folder / "x.jsonl").read_text() == "precious"
    export(bench, "in.results.jsonl", "-o", "x.jsonl", "--overwrite")
    assert len(bench.output("x.jsonl")) == 2


def test_the_runs_own_output_and_input_are_never_the_target(bench: Bench) -> None:
    bench.prompts(2)
    bench.run("in.jsonl", "--simulate")
    (bench.folder / "link.jsonl").symlink_to("in.results.jsonl")
    for path, what in (("in.results.jsonl", "own output"), ("link.jsonl", "own output"), ("in.jsonl", "input")):
        assert what in export(bench, "in.results.jsonl", "-o", path, "--overwrite", code=78)
    (bench.folder / "in.results.jsonl").unlink()
    assert "own output" in export(bench, "in.results.jsonl.run", "-o", "in.results.jsonl", code=78)
    assert len((bench.folder / "in.jsonl").read_text().splitlines()) == 2


def test_wrong_names_and_missing_runs_are_explained(bench: Bench) -> None:
    bench.prompts(1)
    bench.run("in.jsonl", "--simulate")
    assert ".jsonl.zst or .parquet" in export(bench, "in.results.jsonl", "-o", "x.csv", code=78)
    assert "Did you mean in.results.jsonl?" in export(bench, "in.result.jsonl", "-o", "x.jsonl", code=65)
    assert "There is no run of /" in export(bench, "/", "-o", "x.jsonl", code=65)


def test_reading_leaves_the_run_folder_as_it_was(bench: Bench) -> None:
    bench.prompts(3)
    bench.run("in.jsonl", "--simulate")
    folder = bench.folder / "in.results.jsonl.run"

    def content() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    before = content()
    export(bench, "in.results.jsonl", "-o", "x.jsonl")
    bench.start("status", "in.results.jsonl").communicate()
    assert content() == before


def test_stores_of_other_versions_are_told(bench: Bench) -> None:
    golden = Path(__file__).parent / "golden" / "version-1"
    shutil.copytree(golden, bench.folder, dirs_exist_ok=True)
    before = (bench.folder / "in.results.jsonl.run" / "run.sqlite").read_bytes()
    assert "older batchrunner" in export(bench, "in.results.jsonl", "-o", "x.jsonl", code=74)
    assert (bench.folder / "in.results.jsonl.run" / "run.sqlite").read_bytes() == before
    assert json.dumps(sorted(path.name for path in bench.folder.iterdir())) == '["in.jsonl", "in.results.jsonl.run"]'
