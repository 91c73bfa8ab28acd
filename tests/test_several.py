"""Several jobs in one process: side by side within shared limits, none of them at the mercy of another."""

import json
import signal

import pytest
from conftest import Bench, Gateway, Simulate, wait_until

from batchrunner.cli.exits import code_of_several


def job(bench: Bench, gateway: Gateway, name: str, rows: int, *lines: str) -> None:
    """NAME.toml over so many rows, with an output of its own."""
    bench.write(f"{name}.jsonl", *({"prompt": f"{name} {number}?"} for number in range(rows)))
    text = f'input = "{name}.jsonl"\noutput = "{name}.out.jsonl"\n[gateway]\nbase_url = "{gateway.base_url}"\n'
    (bench.folder / f"{name}.toml").write_text(text + '[request]\nmodel = "m/m"\n' + "\n".join(lines))


def test_two_jobs_share_one_limit_and_work_at_the_same_time(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--rps", "20", "--latency", "0.05")
    for name in ("one", "two"):
        job(bench, gateway, name, 60, "[limits]", "requests_per_second = 20")
    told = bench.run("one.toml", "two.toml", "--progress", "log")
    assert gateway.ledger()["outcomes"] == {"ok": 120}
    for name in ("one", "two"):
        assert [row["response"] for row in bench.output(f"{name}.out.jsonl")] == [
            f"Simulated answer to: {name} {number}?" for number in range(60)
        ]
        assert f"{name}.toml:\n60 of 60 answered" in told.stdout
    finished = [{row["finished_at"] for row in bench.output(f"{name}.out.jsonl")} for name in ("one", "two")]
    assert min(finished[0]) < max(finished[1])
    assert min(finished[1]) < max(finished[0])


def test_a_job_that_fails_stops_no_other(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--model", "m/m")
    job(bench, gateway, "good", 10)
    job(bench, gateway, "refused", 5)
    (bench.folder / "refused.toml").write_text((bench.folder / "refused.toml").read_text().replace("m/m", "no/such"))
    job(bench, gateway, "inputless", 5)
    (bench.folder / "inputless.jsonl").unlink()
    told = bench.run("inputless.toml", "good.toml", "refused.toml", "--json", "--max-outage", "1", code=65)
    together = json.loads(told.stdout)
    assert together["exit_code"] == 65
    assert [one["job"] for one in together["jobs"]] == ["inputless.toml", "good.toml", "refused.toml"]
    assert [one["exit_code"] for one in together["jobs"]] == [65, 0, 77]
    assert "inputless.jsonl" in together["jobs"][0]["error"]
    assert together["jobs"][1]["summary"]["units"]["ok"] == 10
    assert "inputless.toml: " in told.stderr
    assert len(bench.output("good.out.jsonl")) == 10


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal_stops_all_jobs_and_the_same_command_goes_on(
    bench: Bench, simulate: Simulate, sign: signal.Signals, code: int
) -> None:
    gateway = simulate("--rps", "30", "--latency", "0.2")
    for name in ("one", "two"):
        job(bench, gateway, name, 100, "[limits]", "requests_per_second = 30")
    process = bench.start("run", "one.toml", "two.toml")
    wait_until(lambda: gateway.ledger()["paid"] > 30)
    process.send_signal(sign)
    stdout, stderr = process.communicate(timeout=100)
    assert process.returncode == code, stdout + stderr
    for name in ("one", "two"):
        summary = bench.summary(f"{name}.out.jsonl")
        assert (summary["exit_code"], summary["in_doubt"]) == (code, 0)
        assert 0 < summary["units"]["ok"] < 100
        assert f"go on with: batchrunner run {name}.toml" in stdout
    bench.run("one.toml", "two.toml")
    assert gateway.ledger()["outcomes"] == {"ok": 200}


def test_options_apply_to_all_jobs_and_each_can_be_gone_on_with_alone(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    job(bench, gateway, "one", 5)
    job(bench, gateway, "two", 5)
    bench.run("--limit", "3", "one.toml", "./two.toml", "-q")
    assert [len(bench.output(f"{name}.out.jsonl")) for name in ("one", "two")] == [3, 3]
    retried = bench.start("retry", "two.out.jsonl", "--json")
    assert json.loads(retried.communicate(timeout=100)[0])["units"]["total"] == 3
    bench.run("two.toml")
    assert [len(bench.output(f"{name}.out.jsonl")) for name in ("one", "two")] == [3, 5]
    assert gateway.ledger()["arrivals"] == 8


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("one.toml", "two.toml", "-o", "x.jsonl"), "--output is for one job, not for 2"),
        (("one.toml", "two.toml", "--run-dir", "x"), "--run-dir is for one job, not for 2"),
        (("one.toml", "./one.toml"), "is named twice"),
        (("one.toml", "same.toml"), "have the same output"),
    ],
)
def test_what_is_for_one_job_only_is_refused(
    bench: Bench, simulate: Simulate, arguments: tuple[str, ...], words: str
) -> None:
    gateway = simulate()
    job(bench, gateway, "one", 1)
    job(bench, gateway, "two", 1)
    (bench.folder / "same.toml").write_text((bench.folder / "one.toml").read_text())
    assert words in bench.run(*arguments, code=78).stderr
    assert gateway.ledger()["arrivals"] == 0


def test_each_job_has_a_simulated_gateway_of_its_own(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    job(bench, gateway, "one", 5)
    job(bench, gateway, "two", 5)
    bench.run("one.toml", "two.toml", "--simulate", "--progress", "bar")
    assert [len(bench.output(f"{name}.out.jsonl")) for name in ("one", "two")] == [5, 5]
    assert gateway.ledger()["arrivals"] == 0


@pytest.mark.parametrize(
    ("codes", "code"),
    [((0, 1), 1), ((1, 75), 75), ((75, 130, 143), 143), ((69, 77), 77), ((78, 65), 78), ((74, 70), 70)],
)
def test_the_exit_code_of_several_jobs_is_the_one_that_says_most(codes: tuple[int, ...], code: int) -> None:
    assert code_of_several(codes) == code
