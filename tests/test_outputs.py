"""Where answers go: packed files, standard output; and the gateway's bodies among them."""

import gzip
import json
import subprocess
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import BATCHRUNNER, KEY, Bench, Gateway, Simulate

MODEL = ("-m", "acme/small")


@pytest.fixture
def gateway(simulate: Simulate) -> Gateway:
    """A gateway without latency."""
    return simulate()


def unzstd(content: bytes) -> bytes:
    """As zstd has it; see also test_readers."""
    return pa.CompressedInputStream(pa.BufferReader(content), "zstd").read()


def rows_in(text: str | bytes) -> list[dict[str, Any]]:
    """JSON lines."""
    return [json.loads(line) for line in text.splitlines()]


def test_a_packed_output_holds_the_same_rows(bench: Bench, gateway: Gateway) -> None:
    bench.prompts(20)
    bench.run("in.jsonl", *MODEL, "--base-url", gateway.base_url)
    for name, unpack in {"out.jsonl.gz": gzip.decompress, "out.jsonl.zst": unzstd}.items():
        bench.run("in.jsonl", *MODEL, "--base-url", gateway.base_url, "-o", name)
        rows = rows_in(unpack((bench.folder / name).read_bytes()))
        assert [(row["row"], row["status"]) for row in rows] == [(n, "ok") for n in range(20)]
        bench.call("export", "in.jsonl", "-o", f"x-{name}")
        assert rows_in(unpack((bench.folder / f"x-{name}").read_bytes())) == bench.output()
        bench.call("export", name, "-o", f"same-{name}")
        assert (bench.folder / f"same-{name}").read_bytes() == (bench.folder / name).read_bytes()
        assert (bench.folder / f"{name}.summary.json").exists()


def test_answers_go_to_stdout_and_all_words_to_stderr(bench: Bench, gateway: Gateway) -> None:
    bench.write("in.jsonl", {"prompt": "1"}, {"prompt": "2 [[status:422]]"})
    job = ("in.jsonl", *MODEL, "--base-url", gateway.base_url)
    done = bench.run(*job, "-o", "-", code=1)
    assert [row["status"] for row in rows_in(done.stdout)] == ["ok", "failed"]
    assert "1 of 2 answered" in done.stderr
    assert "answers on stdout; the run is in in.results.jsonl.run" in done.stderr
    assert not (bench.folder / "in.results.jsonl").exists()
    assert bench.summary()["output"] == "-"
    assert bench.run(*job, "-o", "-", code=1).stdout == done.stdout
    bench.run(*job, code=1)
    assert (bench.folder / "in.results.jsonl").read_text() == done.stdout
    assert gateway.ledger()["arrivals"] == 2
    exported = bench.call("export", "in.jsonl", "-o", "-")
    assert (exported.stdout, exported.stderr) == (done.stdout, "2 rows on stdout\n")


def test_a_file_that_stands_where_the_default_output_would_be_is_not_touched(bench: Bench, gateway: Gateway) -> None:
    bench.prompts(1)
    (bench.folder / "in.results.jsonl").write_text("mine")
    bench.run("in.jsonl", *MODEL, "--base-url", gateway.base_url, "-o", "-")
    assert (bench.folder / "in.results.jsonl").read_text() == "mine"
    bench.run("in.jsonl", *MODEL, "--base-url", gateway.base_url, code=78)
    assert (bench.folder / "in.results.jsonl").read_text() == "mine"


def test_a_pipe_in_and_a_pipe_out_need_a_place_for_the_run(bench: Bench, gateway: Gateway) -> None:
    command = [*BATCHRUNNER, "run", "-", *MODEL, "--base-url", gateway.base_url, "-o", "-"]
    options = {"capture_output": True, "text": True, "cwd": bench.folder, "env": bench.environment}
    told = subprocess.run(command, check=False, input='{"prompt": "a"}\n', **options)
    assert (told.returncode, told.stdout) == (78, "")
    assert "--run-dir" in told.stderr
    done = subprocess.run([*command, "--run-dir", "kept.run"], check=False, input='{"prompt": "a"}\n', **options)
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in rows_in(done.stdout)] == ["ok"]
    assert sorted(path.name for path in bench.folder.iterdir()) == ["kept.jsonl.summary.json", "kept.run"]
    again = subprocess.run([*command, "--run-dir", "kept.run"], check=False, input="", **options)
    assert again.stdout == done.stdout
    assert gateway.ledger()["arrivals"] == 1


def test_a_job_file_may_name_stdout_but_not_beside_other_jobs_or_a_summary_there(bench: Bench) -> None:
    bench.prompts(1)
    (bench.folder / "a.toml").write_text('input = "in.jsonl"\noutput = "-"\n')
    (bench.folder / "b.toml").write_text('input = "in.jsonl"\noutput = "b.jsonl"\n')
    assert len(rows_in(bench.run("a.toml", "--simulate").stdout)) == 1
    assert "both want stdout" in bench.run("a.toml", "--simulate", "--json", code=78).stderr
    several = bench.run("a.toml", "b.toml", "--simulate", code=78)
    assert "run of its own" in several.stderr
    assert len(bench.output("b.jsonl")) == 1
    told = bench.python("-c", "import batchrunner; batchrunner.run('a.toml', simulate=True)", code=1).stderr
    assert "Standard output is for the command line" in told


def test_a_reader_who_leaves_costs_no_answer(bench: Bench, gateway: Gateway) -> None:
    bench.prompts(400)
    job = ("in.jsonl", *MODEL, "--base-url", gateway.base_url)
    process = bench.start("run", *job, "-o", "-")
    process.stdout.close()
    with process.stderr as stderr:
        told = stderr.read()
    assert process.wait(timeout=100) == 74
    assert "standard output can't be written" in told
    assert "Traceback" not in told
    assert len(rows_in(bench.run(*job, "-o", "-").stdout)) == 400
    assert gateway.ledger()["arrivals"] == 400


def test_an_unfinished_run_writes_nothing_to_stdout_and_says_where_it_is(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--rpd", "3")
    bench.prompts(5)
    done = bench.run("in.jsonl", *MODEL, "--base-url", gateway.base_url, "--rpd", "3", "-o", "-", code=75)
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith("go on with: batchrunner run in.jsonl")
    assert " -o - " in last
    assert last.endswith(" (the run is in in.results.jsonl.run)")


def test_the_body_of_the_last_reply_is_kept_as_it_came(bench: Bench, gateway: Gateway) -> None:
    faults = ("", "[[status:422]]", "[[html]]", "[[reset]]", "[[empty]]")
    bench.write("in.jsonl", *({"prompt": f"{n} {words}"} for n, words in enumerate(faults)), "{no json")
    job = ("in.jsonl", *MODEL, "--base-url", gateway.base_url, "--attempts", "1", "--raw")
    bench.run(*job, code=1)
    whole, refused, page, broken, empty, unread = bench.output()
    assert whole["raw"]["choices"][0]["message"]["content"] == whole["response"]
    assert "422" in str(refused["raw"]["error"])
    assert isinstance(page["raw"], str)
    assert "<" in page["raw"]
    assert (broken["raw"], unread["raw"]) == (None, None)
    assert empty["raw"]["object"] == "chat.completion"
    bench.call("export", "in.jsonl", "-o", "out.parquet")
    bodies = pq.read_table(bench.folder / "out.parquet")["raw"].to_pylist()
    assert [body and json.loads(body) for body in bodies] == [row["raw"] for row in bench.output()]


def test_the_body_of_a_stream_is_the_completion_put_together(bench: Bench, gateway: Gateway) -> None:
    bench.write("in.jsonl", {"prompt": "a"}, {"prompt": "b [[cut]]"}, {"prompt": "c [[error_inside]]"})
    options = ("--raw", "--param", "stream=true", "--attempts", "1")
    bench.run("in.jsonl", *MODEL, "--base-url", gateway.base_url, *options, code=1)
    whole, cut, error = bench.output()
    assert whole["raw"]["choices"][0]["message"]["content"] == whole["response"]
    assert cut["raw"]["choices"][0]["message"]["content"]
    assert error["raw"] is not None


def test_a_key_that_the_gateway_echoes_is_in_no_body(bench: Bench, gateway: Gateway) -> None:
    bench.write("in.jsonl", {"prompt": f"Say {KEY}"}, {"prompt": f"[[status:422]] {KEY}"})
    bench.run("in.jsonl", *MODEL, "--base-url", gateway.base_url, "--raw", code=1)
    assert KEY not in (bench.folder / "in.results.jsonl").read_text()


def test_a_table_has_answers_of_a_flat_schema_as_fields(bench: Bench, gateway: Gateway) -> None:
    bench.write("in.jsonl", {"prompt": "a"}, {"prompt": "b [[status:422]]"})
    (bench.folder / "job.toml").write_text(
        'input = "in.jsonl"\noutput = "out.parquet"\n[request]\nmodel = "m/m"\n'
        '[request.response_format]\ntype = "json_schema"\n[request.response_format.json_schema]\nname = "s"\n'
        'schema = { type = "object", properties = { answer = { type = "integer" }, '
        'steps = { type = "array", items = { type = "string" } } }, required = ["answer", "steps"] }\n'
    )
    bench.run("job.toml", "--base-url", gateway.base_url, code=1)
    table = pq.read_table(bench.folder / "out.parquet")
    assert str(table.schema.field("parsed").type) == "struct<answer: int64, steps: list<element: string>>"
    first, second = table["parsed"].to_pylist()
    assert first == json.loads(table["response"][0].as_py())
    assert second is None
    bench.call("export", "job.toml", "-o", "x.parquet")
    assert pq.read_table(bench.folder / "x.parquet").equals(table)
    bench.run("job.toml", "--base-url", gateway.base_url, "-o", "parts.parquet/", code=1)
    bench.call("export", "parts.parquet", "-o", "x.jsonl")
    assert [row["parsed"] for row in bench.output("x.jsonl")] == [first, None]
