"""The sample jobs: each runs as it is against the simulated gateway, and does what its comments say."""

import json
import re
import shutil
import tomllib
from pathlib import Path

import jsonschema_rs
import pyarrow.parquet as pq
import pytest
from conftest import Bench

from batchrunner.job.load import load_job
from batchrunner.job.sweep import arms_of

FOLDER = Path(__file__).parents[1] / "sample_jobs"
JOBS = sorted(path.name for path in FOLDER.glob("*.toml"))
NIGHTLY = ("sample_jobs/nightly.toml", "--simulate")


@pytest.fixture
def samples(bench: Bench) -> Path:
    """A copy of the sample jobs, as they stand in a fresh clone."""
    shutil.copytree(FOLDER, bench.folder / "sample_jobs", ignore=shutil.ignore_patterns("out"))
    return bench.folder / "sample_jobs"


@pytest.mark.parametrize("name", JOBS)
def test_every_sample_job_is_answered_whole_by_a_simulated_gateway(bench: Bench, samples: Path, name: str) -> None:
    bench.run(f"sample_jobs/{name}", "--simulate")
    job = load_job(samples / name)
    units = len(Path(job.input).read_text().splitlines()) * len(arms_of(job.request, job.sweep))
    summary = bench.summary(str(job.output_path.relative_to(bench.folder)))
    assert summary["units"] == {"total": units, "ok": units, "failed": 0, "pending": 0}
    assert "rate_limited" not in summary["failed_tries_by_kind"]
    assert job.output_path.exists()


def test_the_nightly_job_parks_at_the_end_of_its_quota_and_goes_on_later(bench: Bench, samples: Path) -> None:
    job = load_job(samples / "nightly.toml")
    assert job.limits.requests_per_day is not None
    assert job.limits.tokens_per_day is not None
    told = bench.run(*NIGHTLY, "--rpd", "20", code=75)
    assert "come back at" in told.stdout
    assert "go on with: batchrunner run sample_jobs/nightly.toml" in told.stdout
    assert bench.summary("sample_jobs/out/nightly.parquet")["units"]["ok"] == 20
    shutil.rmtree(samples / "out" / "nightly.parquet.run" / "simulated")  # the book of that day: it is another one now
    bench.run(*NIGHTLY)
    rows = pq.read_table(samples / "out" / "nightly.parquet").to_pylist()
    assert [row["status"] for row in rows] == ["ok"] * len(rows)
    assert bench.summary("sample_jobs/out/nightly.parquet")["tries"] == len(rows)


def test_the_extraction_has_answers_that_fit_its_schema(bench: Bench, samples: Path) -> None:
    bench.run("sample_jobs/extraction.toml", "--simulate")
    rows = bench.output("sample_jobs/out/extraction.jsonl")
    schema = load_job(samples / "extraction.toml").request.response_format["json_schema"]["schema"]
    validator = jsonschema_rs.validator_for(schema)
    assert rows
    assert [fault for row in rows for fault in validator.iter_errors(row["parsed"])] == []
    assert {type(row["parsed"]["rating"]) for row in rows} == {int}


def test_the_tools_are_called(bench: Bench, samples: Path) -> None:
    assert load_job(samples / "tools.toml").request.tool_choice == "required"
    bench.run("sample_jobs/tools.toml", "--simulate")
    rows = {row["id"]: row for row in bench.output("sample_jobs/out/tools.jsonl")}
    called = {row_id: row["tool_calls"][0]["function"] for row_id, row in rows.items()}
    assert {row["finish_reason"] for row in rows.values()} == {"tool_calls"}
    assert {row_id: function["name"] for row_id, function in called.items()} == {
        **dict.fromkeys(("e1", "e2", "e3", "e4", "e5"), "find_book"),  # the simulator takes the first it may
        "e6": "opening_hours",
    }
    assert json.loads(called["e1"]["arguments"]).keys() == {"title"}
    assert "day" in json.loads(called["e6"]["arguments"])


def test_the_openai_batch_file_is_asked_as_it_is(bench: Bench, samples: Path) -> None:
    bench.run("sample_jobs/openai_batch.toml", "--simulate")
    lines = [json.loads(line) for line in (samples / "openai_batch.jsonl").read_text().splitlines()]
    rows = bench.output("sample_jobs/out/openai_batch.jsonl")
    assert [(row["id"], row["model"]) for row in rows] == [(line["custom_id"], line["body"]["model"]) for line in lines]
    assert all(row["response"] and row["first_token_s"] is not None for row in rows)
    assert [row["parsed"] is not None for row in rows] == ["response_format" in line["body"] for line in lines]


@pytest.mark.parametrize("name", JOBS)
def test_the_commands_in_the_comments_have_options_that_there_are(bench: Bench, samples: Path, name: str) -> None:
    text = (samples / name).read_text()
    helped = bench.run("--help").stdout
    for line in re.findall(r"^#.*\bbatchrunner (run .*)", text, re.MULTILINE):
        assert {option for option in re.findall(r"(?<= )--?[a-z-]+", line) if option not in helped} == set()
    assert tomllib.loads(text)["input"] in {path.name for path in samples.iterdir()}
