"""Job files on the disk: paths relative to them, and files that can't be read."""

import os
from pathlib import Path

import pytest
from conftest import Bench

from batchrunner.errors import InputError, UsageError
from batchrunner.job.load import load_job
from batchrunner.job.sheet import LARGEST_FILE


def test_paths_in_a_job_file_are_relative_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "jobs"
    folder.mkdir()
    (folder / "job.toml").write_text('input = "data/in.jsonl"\noutput = "../out.jsonl"\n')
    monkeypatch.chdir(tmp_path)
    job = load_job(Path("jobs/job.toml"))
    assert job.input == "jobs/data/in.jsonl"
    assert job.output_path.resolve() == tmp_path / "out.jsonl"


def test_without_an_output_the_answers_go_beside_the_input(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text('input = "data/in.jsonl"\n')
    assert load_job(tmp_path / "job.toml").output_path == tmp_path / "data" / "in.results.jsonl"


def test_absolute_paths_stay(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text('input = "/data/in.jsonl"\noutput = "/data/out.jsonl"\n')
    job = load_job(tmp_path / "job.toml")
    assert (job.input, job.output) == ("/data/in.jsonl", "/data/out.jsonl")


@pytest.mark.parametrize("name", ["nothing.toml", "folder.toml"])
def test_a_job_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(InputError, match=name):
        load_job(tmp_path / name)


def test_a_job_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_bytes(b'input = "a"\n#' + b"x" * LARGEST_FILE)
    with pytest.raises(UsageError, match="is it the right file"):
        load_job(tmp_path / "job.toml")
    os.truncate(tmp_path / "job.toml", LARGEST_FILE)
    assert load_job(tmp_path / "job.toml").input == str(tmp_path / "a")


def test_an_endless_job_file_is_refused_without_reading_it_all() -> None:
    with pytest.raises(UsageError, match="is it the right file"):
        load_job(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ("data/*.jsonl", "jobs/data/*.jsonl"),
        ("data/", "jobs/data/"),
        ("./in.jsonl", "jobs/in.jsonl"),
        ("-", "-"),
        ("s3://bucket/in.parquet", "s3://bucket/in.parquet"),
        ("hf://datasets/org/name", "hf://datasets/org/name"),
    ],
)
def test_folders_and_globs_are_relative_and_what_is_no_path_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, path: str
) -> None:
    (tmp_path / "jobs").mkdir()
    monkeypatch.chdir(tmp_path)
    Path("jobs/job.toml").write_text(f'input = "{said}"\noutput = "{said}"\n')
    job = load_job(Path("jobs/job.toml"))
    assert (job.input, job.output) == (path, path)


def test_a_job_that_names_a_profile_is_found_by_its_other_commands(bench: Bench) -> None:
    config = bench.write("config.toml", "[gateways.acme]")
    bench.environment["BATCHRUNNER_CONFIG"] = str(config)
    bench.prompts(2)
    bench.write("job.toml", 'input = "in.jsonl"', 'gateway = "acme"')
    bench.run("job.toml", "--simulate")
    process = bench.start("status", "job.toml")
    assert "2 of 2 answered" in process.communicate(timeout=30)[0]
    config.unlink()
    assert 'job.toml:2: gateway = "acme" is no profile in' in bench.run("job.toml", "--simulate", code=78).stderr
