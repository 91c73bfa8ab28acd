"""Budgets are never overshot, whatever is in flight; what stopped for one goes on with a larger one."""

import sqlite3
from contextlib import closing
from typing import Any

import pytest
from conftest import Bench, Gateway, Simulate, wait_until
from hypothesis import given
from hypothesis import strategies as st
from jobs import refused_at

from batchrunner.job.schema import ModelPrices, RunTable
from batchrunner.records import Request
from batchrunner.runner.budget import Amount, Budget, gate_of, worst_of
from batchrunner.runner.outcome import most_prompt_tokens
from batchrunner.store.spending import Spending

PRICES = "[prices]\nprompt = 2\ncached = 0.5\ncompletion = 10\n"
MAX_TOKENS = "params = { max_tokens = 60 }\n"
AMOUNTS = st.builds(Amount, st.integers(0, 1000), st.integers(0, 1000))


@given(most=AMOUNTS, tries=st.lists(st.tuples(AMOUNTS, st.floats(0, 1)), max_size=40), in_flight=st.integers(1, 5))
def test_what_was_let_out_never_passes_the_budget(
    most: Amount, tries: list[tuple[Amount, float]], in_flight: int
) -> None:
    budget, out = Budget(most=most), list[tuple[Amount, float]]()
    for worst, share in tries:
        while out and (len(out) >= in_flight or not budget.fits(worst)):
            settle(budget, *out.pop(0))
        if budget.fits(worst):
            budget.take(worst)
            out.append((worst, share))
        at_most = budget.spent.plus(budget.at_worst)
        assert at_most.tokens <= most.tokens + 1e-6
        assert at_most.cost <= most.cost * (1 + 1e-6)
    for one in out:
        settle(budget, *one)
    assert (budget.in_flight, budget.at_worst) == (0, Amount())


def settle(budget: Budget, worst: Amount, share: float) -> None:
    """A try took this share of its worst."""
    budget.settle(worst, Amount(worst.tokens * share, worst.cost * share))


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ("budget_cost = 0", "run.budget_cost = 0.0 is no amount above 0"),
        ("budget_cost = -1.5", "run.budget_cost = -1.5 is no amount above 0"),
        ("budget_cost = nan", "run.budget_cost = nan is no amount above 0"),
        ('budget_cost = "25"', "run.budget_cost takes a number"),
        ("budget_tokens = 0", "run.budget_tokens = 0 is not a number from 1"),
        ("budget_tokens = 1.5", "run.budget_tokens takes a whole number"),
    ],
)
def test_what_is_no_budget_is_told_with_its_line(run: str, words: str) -> None:
    told, line = refused_at(f"[run]\n{run}")
    assert words in told
    assert line == run


def test_tries_of_earlier_runs_count_as_known_as_they_would_cost_now_or_at_their_worst() -> None:
    price = ModelPrices(prompt=2.0, completion=10.0)
    spending = Spending("m", 100.0, 0.5, 1e6, 0.0, 1e5, 1e6, 2e5)
    gate = gate_of(RunTable(budget_cost=100.0), [spending], lambda _: price)
    assert gate.budget.spent.cost == pytest.approx(0.5 + 2 + 1 + 2 + 2)
    assert gate.budget.spent.tokens == 100 + 1.2e6


def test_a_prompt_counts_with_a_token_for_each_byte_and_at_the_dearer_price() -> None:
    request = Request(number=0, id="0", model="m", body=b"x" * 90, prompt_chars=50, max_tokens=10)
    assert most_prompt_tokens(request) == 90
    assert worst_of(90, 10, ModelPrices(prompt=1.0, cached=3.0, completion=1.0)) == Amount(100, 280 / 1e6)


def job(bench: Bench, gateway: Gateway, run: str, more: str = PRICES, request: str = MAX_TOKENS) -> str:
    """A job file over in.jsonl with this [run]."""
    (bench.folder / "job.toml").write_text(
        f'input = "in.jsonl"\noutput = "out.jsonl"\n[gateway]\nbase_url = "{gateway.base_url}"\n'
        f'[request]\nmodel = "acme/small"\n{request}[run]\n{run}\n{more}'
    )
    return "job.toml"


def paid(gateway: Gateway) -> tuple[int, float]:
    """Tokens that the gateway was paid for, and what they cost, by its ledger."""
    entries = [entry for entry in gateway.entries() if entry["paid"]]
    prompt, completion = (sum(entry[f"{name}_tokens"] for entry in entries) for name in ("prompt", "completion"))
    return prompt + completion, (2 * prompt + 10 * completion) / 1e6


@pytest.mark.parametrize("budget", ["budget_cost = 0.02", "budget_tokens = 2500"])
@pytest.mark.parametrize("faults", [(), ("--fault", "reset=0.1", "--fault", "5xx=0.1", "--fault", "empty=0.1")])
def test_a_budget_is_used_and_never_overshot_and_a_larger_one_goes_on(
    bench: Bench, simulate: Simulate, budget: str, faults: tuple[str, ...]
) -> None:
    gateway = simulate("--latency", "0.05", "--latency-spread", "0.5", *faults)
    # All of one length: where one fits, every one does.
    bench.write("in.jsonl", *({"prompt": f"Question {number:03}?"} for number in range(120)))
    process = bench.run(job(bench, gateway, budget), "--concurrency", "16", code=75)
    summary = bench.summary("out.jsonl")
    assert summary["ending"] == "the budget is used up"
    assert summary["units"]["failed"] == 0
    name, most = budget.replace("_", "-").split(" = ")
    assert f"of --{name} {float(most):,.6g} are" in summary["message"]
    assert process.stdout.splitlines()[-1].startswith("with a larger budget, go on with: batchrunner run job.toml")
    tokens, cost = paid(gateway)
    spent = cost if "cost" in budget else tokens
    assert spent <= float(most)
    assert faults or spent >= 0.85 * float(most)
    arrivals = gateway.ledger()["arrivals"]
    bench.run("job.toml", code=75)
    assert gateway.ledger()["arrivals"] == arrivals
    bench.run("job.toml", f"--{name}", "1M") if "tokens" in budget else bench.run("job.toml", f"--{name}", "100")
    assert [row["status"] for row in bench.output("out.jsonl")] == ["ok"] * 120


def test_a_budget_that_is_enough_is_in_nobodys_way(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.02")
    bench.prompts(60)
    bench.run(job(bench, gateway, "budget_cost = 10\nbudget_tokens = 1_000_000"))
    assert gateway.ledger()["paid"] == 60


def test_two_models_share_a_budget(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.05")
    bench.prompts(60)
    sweep = '[sweep]\nmodel = ["acme/a", "acme/b"]\n'
    bench.run(job(bench, gateway, "budget_tokens = 2000", more=sweep), code=75)
    assert 1000 < paid(gateway)[0] <= 2000
    assert {entry["model"] for entry in gateway.entries()} == {"acme/a", "acme/b"}


def test_tries_of_which_nobody_knows_the_usage_count_at_their_worst_also_in_the_next_run(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate()
    bench.write("in.jsonl", *({"prompt": f"{number} [[reset]]"} for number in range(40)))
    more = "[limits]\nconcurrency = 4\n[retry]\nattempts = 1\n"
    bench.run(job(bench, gateway, "budget_tokens = 900", more=more), "--max-failed", "none", code=75)
    assert 0 < gateway.ledger()["arrivals"] < 10
    with closing(sqlite3.connect(bench.folder / "out.jsonl.run" / "run.sqlite")) as db:
        ((most,),) = db.execute("SELECT total(most_prompt_tokens + most_completion_tokens) FROM tries")
    assert 500 < most <= 900
    arrivals = gateway.ledger()["arrivals"]
    bench.run("job.toml", "--max-failed", "none", code=75)
    assert gateway.ledger()["arrivals"] == arrivals


def test_what_was_in_flight_at_a_hard_kill_counts_at_its_worst(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.3")
    bench.prompts(200)
    budget = 6000
    for enough in (15, 35):
        process = bench.start("run", job(bench, gateway, f"budget_tokens = {budget}"), "--concurrency", "8")
        wait_until(lambda enough=enough: gateway.ledger()["paid"] > enough)
        process.kill()
        process.communicate()
    bench.run("job.toml", "--concurrency", "8", code=75)
    assert bench.summary("out.jsonl")["in_doubt"] > 0
    assert 0.5 * budget < paid(gateway)[0] <= budget


@pytest.mark.parametrize(
    ("run", "request_table", "more", "rows", "words"),
    [
        ("budget_cost = 5", "", PRICES, [{"prompt": "a"}], "needs max_tokens: say --param max_tokens=512"),
        ("budget_tokens = 500", "", "", [{"prompt": "a"}], "needs max_tokens"),
        ("budget_cost = 5", MAX_TOKENS, "", [{"prompt": "a"}], "needs the prices of acme/small"),
        ("budget_cost = 5", MAX_TOKENS, "[prices]\nprompt = 1\n", [{"prompt": "a"}], "`prompt` and `completion`"),
        (
            "budget_cost = 5",
            MAX_TOKENS,
            PRICES.replace("[prices]", "[prices.other]"),
            [{"body": {"model": "x/y", "messages": [{"role": "user", "content": "a"}], "max_tokens": 5}}],
            "needs the prices of x/y",
        ),
    ],
)
def test_what_a_budget_lacks_is_told_before_anything_is_sent(
    bench: Bench, simulate: Simulate, run: str, request_table: str, more: str, rows: list[Any], words: str
) -> None:
    gateway = simulate()
    bench.write("in.jsonl", *rows)
    assert words in bench.run(job(bench, gateway, run, more, request_table), code=78).stderr
    assert gateway.ledger()["arrivals"] == 0


def test_a_budget_of_tokens_needs_no_prices_and_rows_may_have_their_own_max_tokens(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate()
    rows = [{"prompt": f"{number}", "max_tokens": 9} for number in range(150)]
    bench.write("in.jsonl", *rows, {"prompt": "no max_tokens here"})
    request = 'row_params = ["max_tokens"]\n'
    bench.run(job(bench, gateway, "budget_tokens = 100_000", "", request), code=1)
    assert [row["status"] for row in bench.output("out.jsonl")] == ["ok"] * 150 + ["failed"]
    assert "needs max_tokens" in bench.output("out.jsonl")[-1]["error"]["message"]


def test_python_says_budgets_by_the_same_names(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(30)
    job(bench, gateway, "")
    code = """if True:
        import batchrunner
        print(batchrunner.run("job.toml", budget_tokens=500).summary.exit_code)
        print(batchrunner.run("job.toml", budget_tokens=50_000, max_duration="1h").summary.exit_code)
    """
    assert bench.python("-c", code).stdout.split() == ["75", "0"]
