"""An earlier run and a job that changed since: what just runs, what stops, and what is asked again."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import Bench, Gateway, Simulate

GOLDEN = Path(__file__).parent / "golden"


def asked(gateway: Gateway) -> int:
    """How many requests the gateway has seen."""
    return gateway.ledger()["arrivals"]


def questions(bench: Bench, *texts: str) -> None:
    """An input of these questions."""
    bench.write("in.jsonl", *({"id": f"q{number}", "question": text} for number, text in enumerate(texts)))


@pytest.fixture
def gateway(simulate: Simulate) -> Gateway:
    """A simulator."""
    return simulate()


@pytest.fixture
def job(bench: Bench, gateway: Gateway) -> tuple[str, ...]:
    """The arguments of a job that has been run once over three questions."""
    arguments = ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--prompt", "Solve: {{ question }}")
    questions(bench, "one", "two", "three")
    bench.run(*arguments)
    assert asked(gateway) == 3
    return arguments


def test_rows_that_were_appended_just_run(bench: Bench, gateway: Gateway, job: tuple[str, ...]) -> None:
    questions(bench, "one", "two", "three", "four", "five")
    bench.run(*job)
    assert asked(gateway) == 5
    assert [row["id"] for row in bench.output()] == ["q0", "q1", "q2", "q3", "q4"]


def test_a_row_that_changed_stops_the_run_with_a_report_of_what_differs(
    bench: Bench, gateway: Gateway, job: tuple[str, ...]
) -> None:
    before = (bench.folder / "in.results.jsonl").read_bytes()
    questions(bench, "one", "zwei", "three", "four")
    told = bench.run(*job, code=65).stderr
    assert "not the same input" in told
    assert '1 changed (the first: id "q1"), 1 new, 0 gone' in told
    assert "--on-drift rerun-changed" in told
    assert asked(gateway) == 3
    assert (bench.folder / "in.results.jsonl").read_bytes() == before


def test_only_what_changed_is_asked_again(bench: Bench, gateway: Gateway, job: tuple[str, ...]) -> None:
    questions(bench, "one", "zwei", "three", "four")
    bench.run(*job, "--on-drift", "rerun-changed")
    assert asked(gateway) == 5
    assert [row["response"] for row in bench.output()] == [
        f"Simulated answer to: Solve: {text}" for text in ("one", "zwei", "three", "four")
    ]
    bench.run(*job)
    assert asked(gateway) == 5


def test_answers_to_what_changed_may_be_kept(bench: Bench, gateway: Gateway, job: tuple[str, ...]) -> None:
    questions(bench, "one", "zwei", "three")
    bench.run(*job, "--on-drift", "keep")
    assert asked(gateway) == 3
    assert bench.output()[1]["response"] == "Simulated answer to: Solve: two"
    bench.run(*job)
    assert asked(gateway) == 3


def test_rows_that_are_gone_stop_the_run_and_cost_nothing_when_they_come_back(
    bench: Bench, gateway: Gateway, job: tuple[str, ...]
) -> None:
    questions(bench, "one", "two")
    assert "0 changed, 0 new, 1 gone" in bench.run(*job, code=65).stderr
    bench.run(*job, "--on-drift", "keep")
    assert len(bench.output()) == 2
    questions(bench, "one", "two", "three")
    bench.run(*job)
    assert asked(gateway) == 3
    assert len(bench.output()) == 3


def test_the_same_rows_in_another_writing_are_no_drift(bench: Bench, gateway: Gateway, job: tuple[str, ...]) -> None:
    rows = [json.dumps({"question": text, "extra": 1, "id": f"q{n}"}) for n, text in enumerate(("one", "two", "three"))]
    bench.write("in.jsonl", "", *rows)
    bench.run(*job)
    assert asked(gateway) == 3


def test_an_id_that_changed_is_drift_as_the_output_would_bear_the_old_one(bench: Bench, job: tuple[str, ...]) -> None:
    bench.write("in.jsonl", *({"id": f"x{n}", "question": text} for n, text in enumerate(("one", "two", "three"))))
    assert '3 changed (the first: id "x0")' in bench.run(*job, code=65).stderr


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("--prompt", "Answer: {{ question }}"), "prompt"),
        (("--system", "Be brief."), "system"),
        (("--param", "max_tokens=9"), "params"),
        (("-m", "m/other"), "model"),
    ],
)
def test_a_request_that_changed_is_told_by_its_field(
    bench: Bench, gateway: Gateway, job: tuple[str, ...], arguments: tuple[str, ...], field: str
) -> None:
    told = bench.run(*job, *arguments, code=65).stderr
    assert f"not the same {field}" in told
    assert "3 changed" in told
    assert asked(gateway) == 3


def test_a_template_that_renders_the_same_is_no_drift(bench: Bench, gateway: Gateway, job: tuple[str, ...]) -> None:
    bench.run(*job, "--prompt", "Solve: {{   question   }}")
    assert asked(gateway) == 3


def test_limits_time_outs_and_the_key_are_no_drift(bench: Bench, gateway: Gateway, job: tuple[str, ...]) -> None:
    bench.environment["BATCHRUNNER_API_KEY"] = "sk_another"
    bench.run(*job, "--rpm", "600", "--timeout", "30", "--attempts", "2")
    assert asked(gateway) == 3


def test_a_run_of_version_1_is_gone_on_with(bench: Bench) -> None:
    shutil.copytree(GOLDEN / "version-1", bench.folder, dirs_exist_ok=True)
    bench.run("in.jsonl", "-m", "acme/small", "--simulate", "--param", "max_tokens=20", code=1)
    summary = bench.summary()
    assert [row["status"] for row in bench.output()] == [*("ok", "ok", "failed", "failed"), *["ok"] * 8]
    assert bench.output()[3]["error"]["kind"] == "rejected"
    assert (summary["this_run"]["units"], summary["in_doubt"]) == (6, 1)
    assert summary["failed_by_kind"] == {"invalid_row": 1, "rejected": 1}
    assert summary["first_failure"].startswith("row 2: ")
    assert summary["failed_tries_by_kind"] == {"server_error": 1, "rejected": 1}


def test_drift_from_a_version_that_kept_no_digests_counts_every_row_as_changed(bench: Bench) -> None:
    shutil.copytree(GOLDEN / "version-1", bench.folder, dirs_exist_ok=True)
    told = bench.run("in.jsonl", "-m", "acme/small", "--simulate", code=65).stderr
    assert "6 changed" in told
    assert "6 new, 0 gone" in told
