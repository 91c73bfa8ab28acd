"""Whole runs over inputs as users have them: folders, globs, CSV, packed files, standard input, samples."""

import gzip
import json
import subprocess
from collections.abc import Callable

import pytest
from conftest import BATCHRUNNER, Bench, Gateway, Simulate, wait_until

OVER = ("-m", "m/m", "--base-url")
Piped = Callable[..., str]


@pytest.fixture
def gateway(simulate: Simulate) -> Gateway:
    """A simulator."""
    return simulate()


@pytest.fixture
def piped(bench: Bench, gateway: Gateway) -> Piped:
    """`batchrunner run -` with these bytes on standard input, to out.jsonl; what was told."""

    def run(content: bytes, *arguments: str, code: int = 0) -> str:
        found = subprocess.run(
            [*BATCHRUNNER, "run", "-", *OVER, gateway.base_url, "-o", "out.jsonl", *arguments],
            input=content,
            cwd=bench.folder,
            env=bench.environment,
            capture_output=True,
            check=False,
        )
        assert found.returncode == code, found.stderr.decode()
        return (found.stdout + found.stderr).decode()

    return run


def responses(bench: Bench, name: str) -> list[str]:
    return [(row["response"] or "failed").removeprefix("Simulated answer to: ") for row in bench.output(name)]


def test_a_folder_of_packed_and_plain_lines_is_one_job(bench: Bench, gateway: Gateway) -> None:
    (bench.folder / "data").mkdir()
    (bench.folder / "data/a.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "one"}\nbroken\n'))
    bench.write("data/b.ndjson", {"prompt": "two", "id": "b"})
    bench.run("data", *OVER, gateway.base_url, code=1)
    rows = bench.output("data.results.jsonl")
    assert responses(bench, "data.results.jsonl") == ["one", "failed", "two"]
    assert [(row["row"], row["id"]) for row in rows] == [(0, "0"), (1, "1"), (2, "b")]
    assert rows[1]["error"]["message"].startswith("a.jsonl.gz, line 2: ")
    bench.write("data/c.jsonl", {"prompt": "three"})
    bench.run("data/", *OVER, gateway.base_url, code=1)
    assert gateway.ledger()["arrivals"] == 3
    bench.write("data/a0.jsonl", {"prompt": "put in between"})
    assert "not the same input" in bench.run("data", *OVER, gateway.base_url, code=65).stderr


def test_a_glob_in_a_job_file_is_relative_to_it_and_csv_fills_a_template(bench: Bench, gateway: Gateway) -> None:
    (bench.folder / "jobs/in").mkdir(parents=True)
    (bench.folder / "jobs/in/1.csv").write_bytes(b'\xef\xbb\xbfid,q\r\na,"x, ""y"""\r\n')
    (bench.folder / "jobs/in/2.csv").write_bytes(b"q,id\nz\n")
    (bench.folder / "jobs/job.toml").write_text(
        f'input = "in/*.csv"\noutput = "out.jsonl"\n[gateway]\nbase_url = "{gateway.base_url}"\n'
        '[request]\nmodel = "m/m"\nprompt = "Solve {{ q }}"\n'
    )
    bench.run("jobs/job.toml", code=1)
    assert responses(bench, "jobs/out.jsonl") == ['Solve x, "y"', "failed"]
    assert bench.output("jobs/out.jsonl")[1]["error"]["message"].startswith("2.csv, line 2: 1 values")


def test_a_packed_file_that_was_cut_off_is_refused_before_anything_is_sent(bench: Bench, gateway: Gateway) -> None:
    content = gzip.compress(b"".join(b'{"prompt": "%d"}\n' % number for number in range(9999)))
    (bench.folder / "in.jsonl.gz").write_bytes(content[:-9])
    assert "damaged or cut off" in bench.run("in.jsonl.gz", *OVER, gateway.base_url, code=65).stderr
    assert gateway.ledger()["arrivals"] == 0
    (bench.folder / "in.jsonl.gz").write_bytes(content)
    bench.run("in.jsonl.gz", *OVER, gateway.base_url, "--limit", "2")
    assert responses(bench, "in.results.jsonl") == ["0", "1"]


def test_an_output_that_the_input_would_take_in_is_refused(bench: Bench) -> None:
    (bench.folder / "data").mkdir()
    bench.write("data/a.jsonl", {"prompt": "one"})
    for place, output in (("data", "data/out.jsonl"), ("data/*.jsonl", "data/out.jsonl"), ("**/*.jsonl", "parts/")):
        told = bench.run(place, "-m", "m/m", "--simulate", "-o", output, code=78).stderr
        assert "part of the input" in told


def test_beside_a_glob_there_is_no_place_for_an_output(bench: Bench) -> None:
    bench.write("a.jsonl", {"prompt": "one"})
    for place in ("*.jsonl", "-", "."):
        assert "name the output with --output" in bench.run(place, "-m", "m/m", "--simulate", code=78).stderr


def test_a_folder_without_data_and_an_empty_file_are_told_apart(bench: Bench) -> None:
    (bench.folder / "data").mkdir()
    assert "has no data" in bench.run("data", "-m", "m/m", "--simulate", code=65).stderr
    bench.write("in.jsonl")
    bench.run("in.jsonl", "-m", "m/m", "--simulate")
    assert bench.output() == []


def test_a_file_that_comes_while_the_run_goes_on_is_seen_by_the_next_run(bench: Bench, simulate: Simulate) -> None:
    slow = simulate("--latency", "1")
    (bench.folder / "data").mkdir()
    bench.write("data/b.jsonl", *({"prompt": str(number)} for number in range(4)))
    job = ("data", *OVER, slow.base_url, "--concurrency", "1")
    process = bench.start("run", *job)
    wait_until(lambda: slow.ledger()["arrivals"] > 0)
    bench.write("data/a.jsonl", {"prompt": "another"})
    _, told = process.communicate(timeout=100)
    assert process.returncode == 0, told
    assert len(bench.output("data.results.jsonl")) == 4
    assert "4 changed" in bench.run(*job, code=65).stderr


def test_standard_input_is_kept_for_the_run_that_goes_on(bench: Bench, gateway: Gateway, piped: Piped) -> None:
    piped(b'{"prompt": "one"}\n{"prompt": "two"}\n', "--limit", "1")
    piped(b"")
    assert responses(bench, "out.jsonl") == ["one", "two"]
    assert gateway.ledger()["arrivals"] == 2
    assert (bench.folder / "out.jsonl.run/stdin.jsonl").read_bytes().count(b"\n") == 2
    assert not list(bench.folder.glob(".*"))


def test_other_rows_on_standard_input_are_drift_and_the_copy_stays(
    bench: Bench, gateway: Gateway, piped: Piped
) -> None:
    piped(b'{"prompt": "one"}\n')
    assert "1 changed" in piped(b'{"prompt": "eins"}\n', code=65)
    assert b"one" in (bench.folder / "out.jsonl.run/stdin.jsonl").read_bytes()
    piped(gzip.compress(b'{"prompt": "one"}\n{"prompt": "two"}\n'))
    assert responses(bench, "out.jsonl") == ["one", "two"]
    assert [path.name for path in bench.folder.glob("out.jsonl.run/stdin*")] == ["stdin.jsonl.gz"]
    piped(b"", "--resume", "never")
    assert gateway.ledger()["arrivals"] == 4
    assert not list(bench.folder.glob(".*"))


def test_nothing_on_standard_input_is_no_input(piped: Piped) -> None:
    assert "Nothing came from standard input" in piped(b"", code=65)


def test_failed_rows_of_standard_input_are_asked_again_from_the_copy(bench: Bench, piped: Piped) -> None:
    piped(b'{"prompt": "one"}\nbroken\n', code=1)
    process = bench.start("retry", "out.jsonl", stdin=subprocess.DEVNULL)
    told, _ = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "asked again: 1" in told


def test_a_sample_is_asked_and_a_larger_one_goes_on(bench: Bench, gateway: Gateway) -> None:
    bench.prompts(40)
    job = ("in.jsonl", *OVER, gateway.base_url)
    bench.run(*job, "--sample", "5", "--seed", "3")
    first = [row["row"] for row in bench.output()]
    assert (len(first), first) == (5, sorted(first))
    assert bench.summary()["units"] == {"total": 5, "ok": 5, "failed": 0, "pending": 0}
    bench.run(*job, "--sample", "12", "--seed", "3")
    assert set(first) < {row["row"] for row in bench.output()}
    assert (len(bench.output()), gateway.ledger()["arrivals"]) == (12, 12)
    status = bench.start("status", "in.jsonl", "--json")
    assert json.loads(status.communicate(timeout=100)[0])["units"]["total"] == 12
    bench.start("export", "in.jsonl", "-o", "x.jsonl").communicate(timeout=100)
    assert bench.output("x.jsonl") == bench.output()


def test_another_seed_leaves_what_it_does_not_choose_out_and_asks_nothing_twice(bench: Bench, gateway: Gateway) -> None:
    bench.prompts(40)
    job = ("in.jsonl", *OVER, gateway.base_url)
    bench.run(*job, "--sample", "10", "--seed", "1")
    first = {row["row"] for row in bench.output()}
    bench.run(*job, "--sample", "10", "--seed", "2")
    second = {row["row"] for row in bench.output()}
    assert first != second
    assert gateway.ledger()["arrivals"] == len(first | second)
    bench.run(*job, "--sample", "10", "--seed", "1")
    assert {row["row"] for row in bench.output()} == first
    bench.run(*job)
    assert len(bench.output()) == 40
    assert gateway.ledger()["servings"]["once"] == 40


def test_a_sample_has_its_bounds(bench: Bench) -> None:
    bench.prompts(3)
    job = ("in.jsonl", "-m", "m/m", "--simulate")
    assert "say --sample" in bench.run(*job, "--seed", "1", code=78).stderr
    assert "one file" in bench.run(*job, "--sample", "1", "-o", "parts/", code=78).stderr
    bench.run(*job, "--sample", "9", "--limit", "2")
    assert [row["row"] for row in bench.output()] == [0, 1]
