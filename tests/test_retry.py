"""`retry` asks failed units again, all or those that match, and nothing else ever does."""

import signal
from pathlib import Path

import pytest
from conftest import KEY, Bench, Gateway, Simulate, wait_until

from batchrunner.errors import UsageError
from batchrunner.folder.retrying import matches, parse_condition

ROW = b'{"id":"a","status":"failed","error":{"kind":"timeout","status":503,"message":"no"},"usage":null,"model":"m/x"}'


def retry(bench: Bench, *arguments: object, code: int = 0) -> str:
    """`batchrunner retry ARGUMENTS` to its end, which must be this exit code; what it says."""
    process = bench.start("retry", *arguments)
    stdout, stderr = process.communicate(timeout=100)
    assert process.returncode == code, stdout + stderr
    return stdout + stderr


def prompts_with(bench: Bench, word: str, *numbers: int, count: int = 12) -> None:
    """An input in which these rows carry a word that aims a fault at them."""
    bench.write("in.jsonl", *({"prompt": f"Question {n}? {word if n in numbers else ''}"} for n in range(count)))


def failed(bench: Bench) -> list[int]:
    """The rows that failed, as the output says."""
    return [row["row"] for row in bench.output() if row["status"] == "failed"]


def job(gateway: Gateway, *options: str) -> tuple[str, ...]:
    """The job of these tests: one try for a row."""
    return ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--attempts", "1", *options)


def test_rows_that_timed_out_are_asked_again_and_nothing_else_is(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    prompts_with(bench, "[[hang]]", 3, 7)
    bench.run(*job(gateway, "--timeout", "2"), code=1)
    assert failed(bench) == [3, 7]
    bench.run(*job(gateway, "--timeout", "2"), code=1)
    assert gateway.ledger()["arrivals"] == 12
    assert "failed units asked again: 2" in retry(bench, "in.results.jsonl", code=1)
    assert failed(bench) == [3, 7]
    assert [row["row"] for row in bench.output()] == list(range(12))
    assert gateway.ledger()["arrivals"] == 14
    assert bench.summary()["failed_tries_by_kind"] == {"timeout": 4}


def test_tries_and_tokens_sum_over_a_retry(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    prompts_with(bench, "[[empty]]", 5)
    bench.run(*job(gateway), code=1)
    first = bench.summary()
    retry(bench, "in.results.jsonl", code=1)
    second = bench.summary()
    assert (first["tries"], second["tries"]) == (12, 13)
    assert second["failed_tries_by_kind"] == {"empty_answer": 2}
    assert second["usage"]["total_tokens"] > first["usage"]["total_tokens"]
    assert second["this_run"]["units"] == 1


def test_only_rows_that_match_are_asked_again_and_the_others_stay_failed(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    words = {2: "[[status:422]]", 4: "[[status:500]]", 6: "[[status:422]]"}
    bench.write("in.jsonl", *({"prompt": f"{n} {words.get(n, '')}"} for n in range(10)))
    bench.run(*job(gateway), code=1)
    before = bench.output()
    told = retry(bench, "in.results.jsonl", "--where", "error.status=422", "--where", "id!=6", code=1)
    assert "failed units asked again: 1" in told
    assert gateway.ledger()["arrivals"] == 11
    changed = [row["row"] for row, old in zip(bench.output(), before, strict=True) if row != old]
    assert changed == [2]


def test_a_row_that_fails_again_is_written_anew(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    prompts_with(bench, "[[status:422]]", 1)
    bench.run(*job(gateway), code=1)
    before = bench.output()
    retry(bench, "in.results.jsonl", code=1)
    assert failed(bench) == [1]
    assert bench.output()[1]["finished_at"] > before[1]["finished_at"]


def test_what_drifted_is_written_anew_though_as_many_end_alike(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    prompts_with(bench, "old", 1)
    bench.run(*job(gateway))
    prompts_with(bench, "new", 1)
    bench.run(*job(gateway, "--on-drift", "rerun-changed"))
    assert "new" in bench.output()[1]["response"]


def test_where_nothing_matches_nothing_is_sent_and_the_output_stands(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    prompts_with(bench, "[[status:422]]", 1)
    bench.run(*job(gateway), code=1)
    before = (bench.folder / "in.results.jsonl").stat()
    told = retry(bench, "in.results.jsonl", "--where", "error.kind=timeout", code=1)
    assert "no failed unit matches (failed are: rejected 1)" in told
    assert gateway.ledger()["arrivals"] == 12
    assert (bench.folder / "in.results.jsonl").stat().st_mtime_ns == before.st_mtime_ns


def test_a_run_without_failures_has_nothing_to_retry(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(3)
    bench.run(*job(gateway))
    assert "no failed unit matches (failed are: none)" in retry(bench, "in.results.jsonl")
    assert gateway.ledger()["arrivals"] == 3


def test_it_goes_on_from_any_folder_with_the_arguments_that_the_run_had(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    prompts_with(bench, "[[5xxx1]]", 1)
    (bench.folder / "job.toml").write_text('input = "in.jsonl"\noutput = "out.parquet"\n[retry]\nattempts = 1\n')
    bench.environment["BATCHRUNNER_BASE_URL"] = gateway.base_url
    bench.run("job.toml", "-m", "m/m", "--run-dir", "store", code=1)
    del bench.environment["BATCHRUNNER_BASE_URL"]
    elsewhere = Bench(bench.folder.parent, bench.environment)
    assert "answers in out.parquet" in retry(elsewhere, "work/store", "--progress", "none")
    assert gateway.ledger()["arrivals"] == 13


def test_a_run_that_was_moved_is_not_begun_anew(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    prompts_with(bench, "[[status:422]]", 1)
    bench.run(*job(gateway), code=1)
    (bench.folder / "in.results.jsonl.run").rename(bench.folder / "moved.run")
    assert "move it back" in retry(bench, "moved.run", code=65)
    assert gateway.ledger()["arrivals"] == 12


def test_pending_units_are_asked_too(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.1")
    prompts_with(bench, "[[5xxx1]]", 0, 1, count=60)
    process = bench.start("run", *job(gateway, "--concurrency", "4"))
    wait_until(lambda: gateway.ledger()["paid"] > 10)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    retry(bench, "in.results.jsonl")
    assert len(bench.output()) == 60
    assert failed(bench) == []


def test_a_retry_that_is_killed_is_gone_on_with_by_run_and_by_retry(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.1")
    prompts_with(bench, "[[5xxx1]]", *range(1, 40), count=40)
    bench.run(*job(gateway, "--concurrency", "3", "--max-failed", "none"), code=1)
    for paid in (8, 16):
        process = bench.start("retry", "in.results.jsonl", "--where", "error.kind=server_error")
        wait_until(lambda paid=paid: gateway.ledger()["paid"] >= paid)
        process.kill()
        process.communicate()
    bench.run(*job(gateway, "--concurrency", "3"))
    assert failed(bench) == []
    assert gateway.ledger()["paid"] <= 40 + bench.summary()["in_doubt"]


def test_a_run_that_is_worked_on_is_not_retried(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.3")
    prompts_with(bench, "[[status:422]]", 0, count=60)
    process = bench.start("run", *job(gateway, "--concurrency", "4"))
    wait_until(lambda: gateway.ledger()["paid"] > 4)
    assert f"process {process.pid}" in retry(bench, "in.results.jsonl", code=75)
    process.send_signal(signal.SIGINT)
    process.communicate()


def test_an_unknown_field_gets_the_nearest_name_before_anything_is_asked(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(1)
    bench.run(*job(gateway))
    assert "did you mean 'error.kind'?" in retry(bench, "in.results.jsonl", "--where", "error.knid=timeout", code=78)


def test_a_run_of_an_older_version_is_to_be_run_once_first(bench: Bench) -> None:
    golden = Path(__file__).parent / "golden" / "version-1" / "in.results.jsonl.run"
    assert "run the same command again" in retry(bench, golden, code=74)


def test_no_key_is_remembered(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(3)
    (bench.folder.parent / "key").write_text(KEY)
    bench.run(*job(gateway, "--api-key-file", "../key"))
    refused = bench.run("in.jsonl", "--simulate", "--api-key-env", KEY, "-o", "other.jsonl", code=78)
    assert KEY not in refused.stderr
    stored = b"".join(path.read_bytes() for path in bench.folder.rglob("*") if path.is_file())
    assert b"../key" in stored
    assert KEY.encode() not in stored


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ("error.kind=timeout", True),
        ("error.kind!=timeout", False),
        ("error.status=503", True),
        ("error.status=503.0", True),
        ("error.status!=500", True),
        ("model=m/x", True),
        ("id=b", False),
        ("usage.total_tokens=", True),
        ("usage.total_tokens!=null", False),
        ("error.message=no", True),
    ],
)
def test_conditions_compare_numbers_as_numbers_and_all_else_as_text(condition: str, met: bool) -> None:  # noqa: FBT001
    assert matches(ROW, [parse_condition(condition)]) is met


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind=timeout", "did you mean 'error.kind'?"),
        ("error=timeout", "'error.kind'"),
        ("stauts=failed", "did you mean 'status'?"),
        ("nothing", "error.kind=timeout, say"),
        ("=x", "error.kind=timeout, say"),
        ("zzzz=1", "known here: id, row"),
    ],
)
def test_conditions_that_mean_nothing_are_explained(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=r"--where") as caught:
        parse_condition(text)
    assert words in str(caught.value)
