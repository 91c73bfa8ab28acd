"""batchrunner from Python, in this very process: real sockets and files, inside and outside of event loops."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from conftest import KEY, Bench, Gateway, Simulate, wait_until

import batchrunner
from batchrunner import Answer, Finished, Outcome, Runner
from batchrunner.api import Options
from batchrunner.cli.run import run as run_command
from batchrunner.errors import InputError, LockedError, NoKeyError, UsageError
from batchrunner.job.schema import Job, RequestTable


@pytest.fixture(autouse=True)
def _environment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in the bench's folder, with its key and state folder."""
    monkeypatch.chdir(bench.folder)
    for name in ("BATCHRUNNER_BASE_URL", "BASETEN_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("BATCHRUNNER_API_KEY", "BATCHRUNNER_STATE_DIR"):
        monkeypatch.setenv(name, bench.environment[name])


def times_paid(gateway: Gateway) -> Counter[str]:
    """How often each prompt was paid for."""
    return Counter(entry["prompt"] for entry in gateway.entries() if entry["paid"])


async def outcomes_of(runner: Runner) -> list[Outcome]:
    return [outcome async for outcome in runner]


def script(bench: Bench, code: str) -> subprocess.Popen[str]:
    """A Python program of its own."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=bench.folder, env=bench.environment, text=True, **streams)


# run


def test_a_job_runs_to_its_end_and_tells_how_it_went(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(20)
    finished = batchrunner.run("in.jsonl", model="m/m", base_url=gateway.base_url, limit=15)
    assert finished.output == Path("in.results.jsonl")
    assert [row["response"] for row in bench.output()] == [f"Simulated answer to: Question {n}?" for n in range(15)]
    assert (finished.summary.units.ok, finished.summary.exit_code) == (15, 0)
    assert finished.summary.usage == bench.summary()["usage"]
    assert batchrunner.run("in.jsonl", model="m/m", base_url=gateway.base_url).summary.this_run.units == 5


def test_the_same_job_may_be_a_file_a_mapping_or_a_record(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(2)
    job = {
        "input": "in.jsonl",
        "output": "out.jsonl",
        "request": {"model": "m/m"},
        "limits": {"m/m": {"concurrency": 1}},
    }
    (bench.folder / "job.toml").write_text(
        'input = "in.jsonl"\noutput = "out.jsonl"\n[request]\nmodel = "m/m"\n[limits."m/m"]\nconcurrency = 1\n'
    )
    record = Job(input="in.jsonl", output="out.jsonl", request=RequestTable(model="m/m"))
    for asked in (job, Path("job.toml"), "job.toml", record, job | {"input": Path("in.jsonl")}):
        assert batchrunner.run(asked, base_url=gateway.base_url).summary.units.ok == 2
    assert job["limits"] == {"m/m": {"concurrency": 1}}
    assert gateway.ledger()["paid"] == 2  # it was the same job all the time


def test_it_runs_where_an_event_loop_is_running(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(5)

    async def in_a_notebook() -> Finished:
        return batchrunner.run("in.jsonl", model="m/m", base_url=gateway.base_url)

    assert asyncio.run(in_a_notebook()).summary.units.ok == 5


def test_signals_stay_those_of_the_program(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.2")
    bench.prompts(2)
    seen = set()

    def accept(_: Answer) -> bool:
        seen.add((signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)))
        return True

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    batchrunner.run("in.jsonl", model="m/m", base_url=gateway.base_url, accept=accept)
    assert seen == {before}


def test_ctrl_c_records_what_is_in_flight_and_the_same_call_goes_on(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.5")
    bench.prompts(200)
    code = f"""
        import batchrunner
        try:
            batchrunner.run("in.jsonl", model="m/m", base_url={gateway.base_url!r}, concurrency=10)
        except KeyboardInterrupt as error:
            print(error)
    """
    process = script(bench, code)
    wait_until(lambda: gateway.ledger()["admitted"] >= 20)
    process.send_signal(signal.SIGINT)
    told, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints) == (0, "")
    assert "units are pending" in told
    batchrunner.run("in.jsonl", model="m/m", base_url=gateway.base_url, limit=60)
    assert bench.summary()["in_doubt"] == 0
    assert set(times_paid(gateway).values()) == {1}


def test_a_second_ctrl_c_does_not_wait(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", *({"prompt": f"{number} [[hang]]"} for number in range(4)))
    code = f'import batchrunner; batchrunner.run("in.jsonl", model="m/m", base_url={gateway.base_url!r}, grace=300.0)'
    process = script(bench, code)
    wait_until(lambda: gateway.ledger()["admitted"] == 4)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=1)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=60)[1]


def test_a_simulated_run_needs_no_key(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BATCHRUNNER_API_KEY")
    bench.prompts(3)
    assert batchrunner.run("in.jsonl", simulate=True).summary.units.ok == 3


def test_the_gateway_may_be_named_by_the_environment(
    bench: Bench, simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = simulate()
    bench.prompts(3)
    monkeypatch.setenv("BATCHRUNNER_BASE_URL", gateway.base_url)
    assert batchrunner.run("in.jsonl", model="m/m", params={"stream": True}).summary.units.ok == 3
    assert bench.output()[0]["first_token_s"] is not None


def test_what_stops_a_run_is_raised_as_it_is(bench: Bench, simulate: Simulate, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = simulate()
    bench.prompts(3)
    (bench.folder / "empty").mkdir()
    common: Options = {"model": "m/m", "base_url": gateway.base_url}
    for error, job, options in (
        (InputError, "no.jsonl", common),
        (InputError, "empty", common),
        (UsageError, ".", common),
        (UsageError, "-", common),
        (UsageError, "in.jsonl", common | {"seed": 3}),
        (
            UsageError,
            {"input": "in.jsonl", "request": {"messages": [{"role": "user", "content": "hi"}]}},
            common | {"request": dict},
        ),
        (UsageError, {"input": "in.jsonl", "sweep": {"prompt": ["a", "b"]}}, common | {"request": dict}),
        (UsageError, "in.jsonl", {"base_url": gateway.base_url}),
        (UsageError, "in.jsonl", common | {"rpms": 3}),
        (UsageError, "in.jsonl", common | {"attempts": 0}),
        (UsageError, "in.jsonl", common | {"max_failed": 1.5}),
        (UsageError, {"input": "in.jsonl", "imput": 1}, common),
        (UsageError, "in.jsonl", common | {"prompt": "{{ prompt }}", "request": dict}),
    ):
        with pytest.raises(error) as caught:
            batchrunner.run(job, **options)
        assert KEY not in str(caught.value)
    monkeypatch.delenv("BATCHRUNNER_API_KEY")
    with pytest.raises(NoKeyError):
        batchrunner.run("in.jsonl", **common)
    assert gateway.ledger()["arrivals"] == 0


def test_a_run_that_ends_early_is_no_exception(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--rpd", "3")
    bench.prompts(6)
    finished = batchrunner.run("in.jsonl", model="m/m", base_url=gateway.base_url, rpd=3)
    assert (finished.summary.exit_code, finished.summary.units.pending) == (75, 3)
    assert finished.summary.resume_at is not None


BELONG_TO_THE_COMMAND_LINE = {"jobs", "param", "progress", "quiet", "json", "_m", "_o", "_q"}
BELONG_TO_THE_COMMAND_LINE |= {"verbose", "_v", "log_file", "log_format"}


def test_options_have_the_names_of_the_command_line() -> None:
    names = {option.removeprefix("--").replace("-", "_") for one in run_command.params for option in one.opts}
    assert Options.__annotations__.keys() - names == {"params", "request", "accept"}
    assert names - Options.__annotations__.keys() == BELONG_TO_THE_COMMAND_LINE


def test_what_the_command_line_knows_of_jobs_is_known_here_too(
    bench: Bench, simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = simulate()
    bench.write("in.csv", "question", *(f"{number}?" for number in range(9)))
    bench.write("prompt.txt", "Solve: {{ question }}")
    bench.write("config.toml", "[gateways.acme]", f'base_url = "{gateway.base_url}"')
    monkeypatch.setenv("BATCHRUNNER_CONFIG", "config.toml")
    monkeypatch.setenv("PROXY_TOKEN", "t0")
    job = {
        "input": Path("in.csv"),
        "output": "out.jsonl",
        "gateway": "acme",
        "request": {"messages": [{"role": "user", "content": "not {{ this }}"}]},
        "sweep": {"model": ["m/a", "m/b"], "temperature": [0, 1], "samples": 2},
    }
    finished = batchrunner.run(job, prompt_file="prompt.txt", model="m/m", sample=4, seed=1)
    rows = bench.output("out.jsonl")
    assert (finished.summary.units.ok, len({row["id"] for row in rows}), len(finished.summary.variants)) == (16, 4, 2)
    assert {(row["model"], row["variant"], row["sample"]) for row in rows} == {
        ("m/m", f"temperature={value}", sample) for value in (0, 1) for sample in (0, 1)
    }
    assert all(row["response"].startswith("Simulated answer to: Solve: ") for row in rows)
    job["gateway"] = {"base_url": gateway.base_url, "headers": {"X-Proxy": {"env": "NOBODY_SET_THIS"}}}
    with pytest.raises(NoKeyError, match="X-Proxy"):
        batchrunner.run(job)


def test_failed_rows_are_asked_again_only_when_that_is_said(bench: Bench, simulate: Simulate) -> None:
    options = {"model": "m/m", "base_url": simulate().base_url, "attempts": 1}
    bench.write("in.jsonl", {"prompt": "a [[5xxx1]]"}, {"prompt": "b [[status:422]]"}, {"prompt": "c"})
    with pytest.raises(InputError, match="no run of"):
        batchrunner.retry("in.jsonl", **options)
    assert batchrunner.run("in.jsonl", **options).summary.exit_code == 1
    assert batchrunner.run("in.jsonl", **options).summary.this_run.tries == 0
    with pytest.raises(UsageError, match="did you mean 'error"):
        batchrunner.retry("in.jsonl", where="eror.kind=rejected", **options)
    retried = batchrunner.retry("in.jsonl", where="error.kind=server_error", **options).summary
    assert (retried.this_run.tries, retried.units.ok, retried.units.failed) == (1, 2, 1)
    assert batchrunner.retry("in.jsonl", **options).summary.this_run.tries == 1


# Runner


def test_a_runner_tells_how_far_it_is(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", *({"prompt": f"{number} {'[[status:422]]' * (number % 2)}"} for number in range(10)))

    async def go(**options: Any) -> tuple[list[batchrunner.Progress | None], batchrunner.Progress | None]:
        async with Runner("in.jsonl", model="m/m", base_url=gateway.base_url, **options) as runner:
            before = runner.progress
            seen = [runner.progress async for _ in runner]
        return [before, *seen], runner.progress

    asyncio.run(go(limit=4))
    (before, *seen), after = asyncio.run(go())
    assert before is None
    assert len(seen) == 6
    assert after is not None
    assert (after.total, after.ended, after.failed, after.in_flight, after.tries) == (10, 10, 3, 0, 6)
    assert all(one is not None and 4 < one.ended <= after.ended and one.tries <= 6 for one in seen)


def test_outcomes_come_as_they_are_recorded(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.1")
    bench.prompts(30)

    async def go() -> tuple[list[Outcome], Finished | None]:
        async with Runner("in.jsonl", model="m/m", base_url=gateway.base_url) as runner:
            outcomes = await outcomes_of(runner)
            assert await outcomes_of(runner) == []
        return outcomes, runner.finished

    outcomes, finished = asyncio.run(go())
    assert sorted(outcome.row for outcome in outcomes) == list(range(30))
    assert {outcome.response for outcome in outcomes} == {row["response"] for row in bench.output()}
    assert finished is not None
    assert finished.summary.units.ok == 30


def test_leaving_early_stops_cleanly_and_the_next_goes_on(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.3")
    bench.prompts(60)

    async def leave_after(count: int) -> Finished | None:
        async with Runner("in.jsonl", model="m/m", base_url=gateway.base_url, concurrency=5) as runner:
            async for _ in runner:
                count -= 1
                if not count:
                    break
        return runner.finished

    finished = asyncio.run(leave_after(7))
    assert finished is not None
    assert (finished.summary.exit_code, finished.summary.ending) == (130, "the program that ran it stopped it")
    assert 7 <= finished.summary.units.ok <= 30
    finished = asyncio.run(leave_after(-1))
    assert finished is not None
    assert (finished.summary.units.ok, finished.summary.in_doubt) == (60, 0)
    assert set(times_paid(gateway).values()) == {1}


@pytest.mark.parametrize("how", ["anyio", "asyncio", "error"])
def test_whoever_is_cancelled_or_fails_leaves_in_order(bench: Bench, simulate: Simulate, how: str) -> None:
    gateway = simulate("--latency", "0.4")
    bench.prompts(100)

    async def go_through() -> None:
        async with Runner("in.jsonl", model="m/m", base_url=gateway.base_url, concurrency=5) as runner:
            async for _ in runner:
                if how == "error":
                    raise ZeroDivisionError

    async def go() -> None:
        if how == "anyio":
            with anyio.move_on_after(1.0):
                await go_through()
        elif how == "asyncio":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(go_through(), 1.0)
        else:
            with pytest.raises(ZeroDivisionError):
                await go_through()

    asyncio.run(go())
    assert bench.summary()["units"]["pending"] > 0
    batchrunner.run("in.jsonl", model="m/m", base_url=gateway.base_url, concurrency=100)
    assert bench.summary()["in_doubt"] == 0
    assert set(times_paid(gateway).values()) == {1}


def test_finish_passes_over_the_outcomes(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(20)

    async def go() -> Finished:
        async with Runner("in.jsonl", model="m/m", base_url=gateway.base_url) as runner:
            return await runner.finish()

    assert asyncio.run(go()).summary.units.ok == 20


@pytest.mark.slow
def test_whoever_is_slow_slows_down_the_run(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(6000)

    async def go() -> int:
        async with Runner("in.jsonl", model="m/m", base_url=gateway.base_url, concurrency=4) as runner:
            await runner.__anext__()
            await asyncio.sleep(6)
            return gateway.ledger()["arrivals"]

    assert asyncio.run(go()) < 1500


def test_what_stops_a_run_is_raised_to_whoever_goes_through_it(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "1")
    bench.prompts(3)

    async def go(*, iterate: bool) -> None:
        options: Options = {"model": "m/m", "base_url": gateway.base_url, "output": f"{iterate}.jsonl"}
        async with Runner("in.jsonl", **options) as first:
            await anyio.sleep(0.5)
            async with Runner("in.jsonl", **options) as second:
                if iterate:
                    await outcomes_of(second)
                else:
                    await anyio.sleep(0.3)
        raise AssertionError(first.finished)

    for iterate in (True, False):
        with pytest.raises(LockedError):
            asyncio.run(go(iterate=iterate))


# request and accept


def test_a_function_makes_the_requests(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write(
        "in.jsonl", *({"kind": kind, "question": "Why?"} for kind in ("messages", "body", "model", "none", "x"))
    )

    def request(row: Mapping[str, Any]) -> Any:
        messages = [{"role": "user", "content": f"{row['kind']}: {row['question']}"}]
        match row["kind"]:
            case "messages":
                return messages
            case "body":
                return {"messages": messages, "max_tokens": 3}
            case "model":
                return {"model": "m/other", "messages": messages}
            case "none":
                return None
        raise ValueError("no such kind")

    finished = batchrunner.run("in.jsonl", model="m/m", base_url=gateway.base_url, request=request, max_failed=None)
    rows = bench.output()
    assert finished.summary.units.failed == 2
    assert [row["model"] for row in rows[:3]] == ["m/m", "m/m", "m/other"]
    assert [row["finish_reason"] for row in rows[:3]] == ["stop", "length", "stop"]
    assert rows[0]["response"] == "Simulated answer to: messages: Why?"
    assert [row["error"]["message"] for row in rows[3:]] == [
        "request made nothing of the row",
        "request raised ValueError: no such kind",
    ]


def test_answers_to_what_another_function_asked_are_not_mixed(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(10)

    def ask(words: str, **options: Any) -> Finished:
        def request(row: Mapping[str, Any]) -> list[dict[str, str]]:
            return [{"role": "user", "content": f"{words} {row['prompt']}"}]

        return batchrunner.run("in.jsonl", model="m/m", base_url=gateway.base_url, request=request, **options)

    ask("Say", limit=5)
    assert ask("Say").summary.this_run.units == 5
    with pytest.raises(InputError, match="function that makes the requests"):
        ask("Tell")
    assert ask("Tell", on_drift="rerun-changed").summary.this_run.units == 10


def test_an_answer_that_is_not_accepted_is_asked_for_again(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", *({"prompt": f"Question {n}?", "good": n % 3 != 1} for n in range(9)))
    seen: Counter[str] = Counter()

    def accept(answer: Answer) -> bool | str:
        seen[answer.id] += 1
        assert answer.text == f"Simulated answer to: {answer.row['prompt']}"
        assert answer.reply.finish_reason == "stop"
        return (answer.row["good"] or seen[answer.id] == 3) or "not good"

    finished = batchrunner.run("in.jsonl", model="m/m", base_url=gateway.base_url, accept=accept)
    rows = bench.output()
    assert finished.summary.units.ok == 9
    assert [row["attempts"] for row in rows] == [1, 3, 1] * 3
    assert finished.summary.failed_tries_by_kind == {"invalid_answer": 6}
    assert finished.summary.usage["total_tokens"] == sum(row["usage"]["total_tokens"] for row in rows)
    assert gateway.ledger()["completion_tokens"] == sum(row["usage"]["completion_tokens"] for row in rows)


def test_an_answer_is_judged_once_its_json_is_as_asked(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", {"prompt": "[[invalidx1]]"})
    judged: list[Any] = []

    def accept(answer: Answer) -> bool:
        judged.append(json.loads(bytes(answer.reply.parsed or b"")))
        return len(judged) == 2

    job = {"input": "in.jsonl", "request": {"response_format": {"type": "json_object"}}, "retry": {"tell_errors": True}}
    batchrunner.run(job, model="m/m", base_url=gateway.base_url, accept=accept)
    (row,) = bench.output()
    assert (row["status"], row["attempts"], len(judged)) == ("ok", 3, 2)


@pytest.mark.parametrize("arms", [1, 2])
def test_each_arm_of_a_sweep_asks_what_the_function_made(bench: Bench, simulate: Simulate, arms: int) -> None:
    gateway = simulate()
    bench.prompts(3)
    made: list[str] = []

    def request(row: Mapping[str, Any]) -> Any:
        made.append(row["prompt"])
        return [{"role": "user", "content": f"{row['prompt']}?"}]

    job = {"input": "in.jsonl", "sweep": {"model": ["m/a", "m/b"][:arms]}}
    for _ in range(2):
        batchrunner.run(job, base_url=gateway.base_url, request=request)
    assert [row["variant"] for row in bench.output()] == ["model=m/a", "model=m/b"][:arms] * 3
    assert gateway.ledger()["arrivals"] == 3 * arms


@pytest.mark.parametrize(("invalid_answers", "tries"), [(2, 3), (0, 1)])
def test_answers_are_not_asked_for_again_for_ever(
    bench: Bench, simulate: Simulate, invalid_answers: int, tries: int
) -> None:
    gateway = simulate()
    bench.prompts(2)
    job = {"input": "in.jsonl", "request": {"model": "m/m"}, "retry": {"invalid_answers": invalid_answers}}
    for verdict, words in (("too short", "too short"), (False, "accept said no")):
        finished = batchrunner.run(
            job, base_url=gateway.base_url, accept=lambda _, said=verdict: said, resume="never", max_failed=None
        )
        assert (finished.summary.exit_code, finished.summary.failed_by_kind) == (1, {"invalid_answer": 2})
        assert [(row["error"]["message"], row["attempts"]) for row in bench.output()] == [(words, tries)] * 2


def test_a_judge_that_fails_costs_no_further_try(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(3)
    batchrunner.run("in.jsonl", model="m/m", base_url=gateway.base_url, accept=lambda answer: answer.nothing)
    assert [row["attempts"] for row in bench.output()] == [1] * 3
    assert "accept raised AttributeError" in bench.output()[0]["error"]["message"]


# What it takes


def test_the_package_is_quick_to_import() -> None:
    code = "import batchrunner, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"anyio", "aiohttp", "msgspec", "click", "pyarrow", "httpx", "batchrunner.api"} & set(loaded) == set()


def test_the_package_has_types_and_nothing_but_what_it_names() -> None:
    assert (Path(batchrunner.__file__).parent / "py.typed").exists()
    assert {name for name in batchrunner.__all__ if not hasattr(batchrunner, name)} == set()
    assert dir(batchrunner) == sorted(batchrunner.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        batchrunner.nothing  # noqa: B018


def test_the_example_of_the_readme_runs(bench: Bench, simulate: Simulate, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    section = readme.split("### From Python\n")[1].split("\n### ")[0]
    (code,) = [block.split("```")[0] for block in section.split("```python\n")[1:]]
    gateway = simulate()
    monkeypatch.setenv("BATCHRUNNER_BASE_URL", gateway.base_url)
    bench.write("questions.jsonl", *({"question": f"{n} + 1?", "answer": str(n)} for n in range(5)))
    (bench.folder / "nightly.toml").write_text(
        'input = "questions.jsonl"\noutput = "n.jsonl"\n[request]\nmodel = "m/m"'
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=bench.folder, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "5 answers in questions.results.jsonl"
    assert len(done.stdout.splitlines()) == 6
    assert [json.loads(line)["status"] for line in (bench.folder / "n.jsonl").read_text().splitlines()] == ["ok"] * 5
