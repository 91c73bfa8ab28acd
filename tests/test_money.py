"""What a run cost: per row and in sum, from all tries; unknown is unknown and never zero."""

import json
import math
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from conftest import Bench, Simulate
from hypothesis import given
from hypothesis import strategies as st
from jobs import parsed, refused_at
from listening import listening

from batchrunner.job.load import parse_job
from batchrunner.job.schema import ModelPrices
from batchrunner.job.sheet import parse_sheet
from batchrunner.records import HttpReply, Outcome, Request, Usage
from batchrunner.runner.money import cost_of, finder_of
from batchrunner.runner.outcome import answered, failed_after, read
from batchrunner.runner.purse import Purse
from batchrunner.store.database import Store
from batchrunner.store.rows import Entry

GOLDEN = Path(__file__).parent / "golden"
PRICES = "[prices]\nprompt = 2\ncached = 0.5\ncompletion = 10\n"
PRICE = ModelPrices(prompt=2.0, cached=0.5, completion=10.0)


def usage(prompt: int | None, completion: int | None, cached: int | None = None, reasoning: int | None = None) -> Usage:
    """So many tokens."""
    return Usage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached, reasoning_tokens=reasoning)


@pytest.mark.parametrize(
    ("used", "price", "cost"),
    [
        (usage(1_000_000, 0), PRICE, 2.0),
        (usage(0, 1_000_000), PRICE, 10.0),
        (usage(1_000_000, 0, cached=1_000_000), PRICE, 0.5),
        (usage(1_000_000, 100_000, cached=600_000), PRICE, 0.8 + 0.3 + 1.0),
        (usage(100, 100, cached=0), PRICE, 0.0012),
        (usage(100, 0, cached=500), PRICE, 0.00005),
        (usage(0, 1_000_000, reasoning=900_000), PRICE, 10.0),
        (usage(1_000_000, 0, cached=600_000), ModelPrices(prompt=2.0, completion=1.0), 2.0),
        (usage(10, 10), ModelPrices(prompt=0.0, completion=0.0), 0.0),
        (usage(None, 10), PRICE, None),
        (usage(10, None), PRICE, None),
        (usage(10, 10), None, None),
        (usage(10, 10), ModelPrices(prompt=2.0), None),
    ],
)
def test_a_token_is_paid_once_and_what_nobody_knows_is_unknown(
    used: Usage, price: ModelPrices | None, cost: float | None
) -> None:
    assert cost_of(used, price) == (None if cost is None else pytest.approx(cost, rel=1e-12))


def test_a_model_has_the_prices_of_its_own_table_and_else_those_of_all() -> None:
    price_of = finder_of(parsed(f'input = "a"\n{PRICES}[prices."acme/small"]\ncompletion = 0\n').prices)
    assert price_of("acme/small") == ModelPrices(prompt=2.0, cached=0.5, completion=0.0)
    assert price_of("acme/large") == PRICE


@pytest.mark.parametrize(
    "prices", ["", "[prices]\n", "[prices]\nprompt = 1", '[prices."a/b"]\nprompt = 1\ncompletion = 1']
)
def test_a_model_without_both_prices_has_none(prices: str) -> None:
    assert finder_of(parsed(f'input = "a"\n{prices}').prices)("acme/small") is None


def test_a_profile_has_prices_and_the_job_is_over_them_key_by_key() -> None:
    profiles = (
        "[gateways.acme.prices]\nprompt = 1\ncompletion = 2\n[gateways.acme.prices.tiny]\nprompt = 3\ncached = 1\n"
    )
    job = parse_job(
        b'input = "a"\ngateway = "acme"\n[prices]\ncompletion = 5\n[prices.tiny]\nprompt = 4\n',
        name="job.toml",
        profiles=parse_sheet(profiles.encode(), name="config.toml"),
    )
    assert job.prices.for_model("tiny") == ModelPrices(prompt=4.0, cached=1.0, completion=5.0)
    assert job.prices.for_model("other") == ModelPrices(prompt=1.0, completion=5.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[prices]\nprompt = -0.1", "prices.prompt = -0.1 is no price"),
        ("[prices]\ncached = nan", "prices.cached = nan is no price"),
        ("[prices]\ncompletion = inf", "prices.completion = inf is no price"),
        ('[prices]\nprompt = "0.60"', 'prices.prompt takes a number, not a text in quotes: "0.60"'),
        ("[prices]\nprompt = true", "prices.prompt takes a number, not true"),
        ("[prices]\noutput = 3", "[prices] has no key `output`"),
        ('[prices."acme/small"]\ncompletion = -1', 'prices."acme/small".completion = -1.0 is no price'),
        ('[prices."acme/small"]\ncompletions = 1', "did you mean `completion`?"),
        ("[prices.acme/small]\ncompletion = 1", '[prices."acme/small"]'),
        ('[prices." "]\ncompletion = 1', "is no model"),
    ],
)
def test_what_is_no_price_is_told_with_its_line(text: str, words: str) -> None:
    told, line = refused_at(text)
    assert words in told
    assert line in text.splitlines()


class Told:
    """A gateway whose answers stand in the prompts: JSON lists of {"content", "usage", "status"}, one for each time
    that the prompt comes, the last one for ever."""

    def __init__(self) -> None:
        self.base_url = ""
        self._came: Counter[str] = Counter()

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        prompt = body["messages"][-1]["content"]
        steps = json.loads(prompt)
        step = steps[min(self._came[prompt], len(steps) - 1)]
        self._came[prompt] += 1
        message = {"role": "assistant", "content": step.get("content", "7")}
        answer = {"choices": [{"message": message, "finish_reason": "stop"}], "model": "somebody/else"}
        return step.get("status", 200), answer | {"usage": step.get("usage")}


@pytest.fixture
def told() -> Iterator[Told]:
    """It listens until the test is over."""
    told = Told()
    with listening(told.answer) as told.base_url:
        yield told


def used(prompt: int, completion: int, *, cached: int = 0, reasoning: int = 0, **more: Any) -> dict[str, Any]:
    """A step whose usage is this."""
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    details = {
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }
    return {"usage": counts | details | more}


def job(bench: Bench, base_url: str, more: str = PRICES, model: str = "acme/small") -> str:
    """A job file over in.jsonl."""
    (bench.folder / "job.toml").write_text(
        f'input = "in.jsonl"\noutput = "out.jsonl"\n[gateway]\nbase_url = "{base_url}"\n'
        f'[request]\nmodel = "{model}"\n{more}'
    )
    return "job.toml"


def rows(bench: Bench, *steps: list[dict[str, Any]]) -> None:
    """An input whose rows are answered so."""
    bench.write("in.jsonl", *({"prompt": json.dumps(one)} for one in steps))


def costs(bench: Bench) -> list[float | None]:
    """The column `cost`."""
    return [row["cost"] for row in bench.output("out.jsonl")]


def status(bench: Bench, *more: str) -> str:
    """`batchrunner status`."""
    return bench.start("status", "out.jsonl", *more).communicate(timeout=60)[0]


def test_a_row_costs_what_all_its_tries_did(bench: Bench, told: Told) -> None:
    rows(
        bench,
        [used(1000, 100, cached=400, reasoning=90)],
        [{**used(100, 0), "content": ""}, {**used(100, 0), "content": ""}, used(100, 100)],
        [{"status": 429}, used(100, 100)],
        [{"status": 422}],
    )
    process = bench.run(job(bench, told.base_url), code=1)
    assert costs(bench) == [0.0024, 0.0016, 0.0012, None]
    summary = bench.summary("out.jsonl")
    assert summary["cost"] == pytest.approx(0.0052, rel=1e-12)
    assert (summary["tries"], summary["tries_without_cost"]) == (7, 0)
    assert summary["this_run"]["cost"] == summary["cost"]
    assert "tokens, cost 0.0052" in process.stdout
    assert "tokens (1,400 + 300), cost 0.0052" in status(bench)


def test_the_gateways_own_word_goes_before_prices(bench: Bench, told: Told) -> None:
    rows(
        bench,
        [used(100, 100, cost=0.25)],
        [used(100, 100, cost=0)],
        *([used(100, 100, cost=nonsense)] for nonsense in (-1, "1", True, None, 1e300, [])),
    )
    bench.run(job(bench, told.base_url))
    assert costs(bench) == [0.25, 0.0, *[0.0012] * 6]
    assert bench.summary("out.jsonl")["cost"] == pytest.approx(0.25 + 6 * 0.0012)


def test_an_unknown_price_is_unknown_and_the_sum_says_so(bench: Bench, told: Told) -> None:
    rows(bench, [used(100, 100)], [used(100, 100, cost=0.5)], [{"usage": None}], [{"status": 422}])
    process = bench.run(job(bench, told.base_url, more=""), code=1)
    assert costs(bench) == [None, 0.5, None, None]
    summary = bench.summary("out.jsonl")
    assert (summary["cost"], summary["tries_without_cost"]) == (0.5, 2)
    assert "cost 0.5 (unknown of 2 tries)" in process.stdout


def test_where_no_price_is_known_nothing_is_said_of_cost(bench: Bench, told: Told) -> None:
    rows(bench, [used(100, 100)], [{"status": 422}])
    process = bench.run(job(bench, told.base_url, more=""), code=1)
    summary = bench.summary("out.jsonl")
    assert (summary["cost"], summary["tries_without_cost"]) == (None, 1)
    assert "cost" not in process.stdout + status(bench)


def test_the_price_is_that_of_the_model_that_was_asked(bench: Bench, told: Told) -> None:
    rows(bench, [used(100, 100)])
    prices = '[prices."acme/small"]\nprompt = 1\ncompletion = 1\n[prices."somebody/else"]\nprompt = 9\ncompletion = 9\n'
    bench.run(job(bench, told.base_url, more=prices))
    assert (bench.output("out.jsonl")[0]["model"], costs(bench)) == ("somebody/else", [0.0002])
    (used_by_model,) = bench.summary("out.jsonl")["usage_by_model_and_day"]
    assert (used_by_model["model"], used_by_model["cost"]) == ("acme/small", 0.0002)


def test_costs_are_told_by_model_and_day_and_by_variant(bench: Bench, told: Told) -> None:
    rows(bench, [used(100, 100)], [used(200, 0)])
    prices = '[prices."acme/large"]\nprompt = 10\ncompletion = 10\n[sweep]\nmodel = ["acme/small", "acme/large"]\n'
    process = bench.run(job(bench, told.base_url, more=PRICES + prices), "--progress", "log")
    summary = bench.summary("out.jsonl")
    assert [(one["model"], one["cost"]) for one in summary["variants"]] == [
        ("acme/small", 0.0016),
        ("acme/large", 0.004),
    ]
    by_model = {one["model"]: one for one in summary["usage_by_model_and_day"]}
    assert {name: (one["tries"], one["prompt_tokens"], one["cost"]) for name, one in by_model.items()} == {
        "acme/small": (2, 300, 0.0016),
        "acme/large": (2, 300, 0.004),
    }
    (day,) = summary["usage_by_day"].values()
    assert (day["cost"], day["tries_without_cost"]) == (0.0056, 0)
    assert [line.split()[-3] for line in process.stdout.splitlines() if "model=acme" in line] == ["0.0016", "0.004"]
    assert "acme/large: 2 tries, 400 tokens (300 + 100), cost 0.004" in status(bench)


def test_a_stream_that_breaks_costs_what_it_had_told_of(bench: Bench, simulate: Simulate) -> None:
    bench.write("in.jsonl", {"prompt": "[[cutx1]] a"}, {"prompt": "b"})
    gateway = simulate("--completion-tokens", "30", "--completion-spread", "0")
    bench.run(job(bench, gateway.base_url, more="stream = true\n" + PRICES))
    first, second = bench.output("out.jsonl")
    assert first["attempts"] == 2
    for row in (first, second):
        tokens = row["usage"]
        cost = (2 * tokens["prompt_tokens"] + 10 * tokens["completion_tokens"]) / 1e6
        assert row["cost"] == pytest.approx(cost, rel=1e-9)
    assert first["cost"] > second["cost"]
    assert bench.summary("out.jsonl")["cost"] == pytest.approx(first["cost"] + second["cost"], rel=1e-9)


def test_what_a_broken_connection_cost_is_unknown(bench: Bench, simulate: Simulate) -> None:
    bench.write("in.jsonl", {"prompt": "a"}, {"prompt": "[[resetx1]] b"}, {"prompt": "[[429x1]] c"})
    bench.run(job(bench, simulate().base_url, more=f"{PRICES}[limits]\nconcurrency = 1\n"))
    summary = bench.summary("out.jsonl")
    assert (summary["tries"], summary["tries_without_cost"]) == (5, 1)
    assert summary["cost"] == pytest.approx(sum(costs(bench)), rel=1e-9)


def test_what_was_recorded_keeps_its_cost_when_prices_change(bench: Bench, told: Told) -> None:
    rows(bench, *([used(100, 100)] for _ in range(4)))
    bench.run(job(bench, told.base_url), "--limit", "2")
    bench.run(job(bench, told.base_url, more="[prices]\nprompt = 0\ncompletion = 100\n"))
    assert costs(bench) == [0.0012, 0.0012, 0.01, 0.01]
    summary = bench.summary("out.jsonl")
    assert (summary["cost"], summary["this_run"]["cost"]) == (0.0224, 0.02)


def test_rejected_answers_of_an_earlier_run_are_in_a_rows_cost(bench: Bench, told: Told) -> None:
    rows(bench, [{**used(100, 0), "content": ""}], [used(100, 100)])
    bench.run(job(bench, told.base_url), "--attempts", "2", code=1)
    assert costs(bench) == [0.0004, 0.0012]
    bench.start("retry", "out.jsonl").communicate(timeout=60)
    assert costs(bench) == [0.0008, 0.0012]
    assert bench.summary("out.jsonl")["cost"] == 0.002


def test_parquet_has_the_cost_and_python_too(bench: Bench, told: Told) -> None:
    rows(bench, [used(100, 100)], [{"status": 422}])
    bench.run(job(bench, told.base_url), "-o", "out.parquet", code=1)
    code = """if True:
        import batchrunner, pyarrow.parquet as pq
        result = batchrunner.run("job.toml", output="other.jsonl")
        print(result.summary.cost, pq.read_table("out.parquet")["cost"].to_pylist())
    """
    assert bench.python("-c", code).stdout.splitlines()[-1] == "0.0012 [0.0012, None]"


TOKENS = st.integers(0, 10**7)
REPLIES = st.fixed_dictionaries(
    {"prompt_tokens": TOKENS, "completion_tokens": TOKENS},
    optional={"cost": st.floats(0, 10), "prompt_tokens_details": st.builds(lambda n: {"cached_tokens": n}, TOKENS)},
)
UNITS = st.lists(st.lists(st.one_of(REPLIES, st.sampled_from([429, 500, 422])), min_size=1, max_size=5), max_size=6)


@given(
    units=UNITS,
    price=st.one_of(st.none(), st.builds(ModelPrices, prompt=st.floats(0, 50), completion=st.floats(0, 50))),
)
def test_the_rows_cost_what_the_tries_do_however_often_the_run_is_begun_anew(
    units: list[list[Any]], price: ModelPrices | None
) -> None:
    """Of each unit all tries but the last are rejected; half of the last ones are answers."""
    with TemporaryDirectory() as folder, closing(Store(Path(folder))) as store:
        outcomes = [outcome for number, tries in enumerate(units) if (outcome := ask(store, number, tries, price))]
        sums = store.totals(len(units)).sums
        assert math.fsum(one.cost or 0.0 for one in outcomes) == pytest.approx(sums.costs, rel=1e-9, abs=1e-300)
        without = sum(
            1 if isinstance(one, int) else price is None and "cost" not in one
            for tries in units
            for one in tries
            if one not in (429, 422)
        )
        assert sums.tries_without_cost == without


def ask(store: Store, number: int, tries: list[Any], price: ModelPrices | None) -> Outcome:
    """Ask for a unit as if a run had been begun anew before each of its tries."""
    request = Request(number=number, id=str(number), model="m", body=b"{}", prompt_chars=1)
    *rejected, last = (read(http_reply(one), sent_at=1e9, latency_s=1.0, price=price) for one in tries)
    for came in rejected:
        store.commit([Entry(came.as_try(request))])
    purse = Purse(price_of=lambda _: price, paid=store.paid_for_pending())
    outcome = (answered if last.failure is None else failed_after)(request, last, len(tries))
    paid = purse.close(number, outcome)
    if paid is not None:
        outcome = msgspec.structs.replace(outcome, usage=paid.usage, cost=paid.cost)
    store.commit([Entry(last.as_try(request), outcome)])
    return outcome


def http_reply(step: dict[str, Any] | int) -> HttpReply:
    """An answer with this usage, or a refusal with this status."""
    if isinstance(step, int):
        return HttpReply(status=step, headers={}, body=b"")
    answer = {"choices": [{"message": {"content": "x"}}], "usage": step}
    return HttpReply(status=200, headers={}, body=json.dumps(answer).encode())


def test_a_run_of_version_2_is_gone_on_with(bench: Bench) -> None:
    shutil.copytree(GOLDEN / "version-2", bench.folder, dirs_exist_ok=True)
    (bench.folder / "job.toml").write_text(f'input = "in.jsonl"\noutput = "in.results.jsonl"\n{PRICES}')
    bench.run("job.toml", "--simulate", code=1)
    rows = bench.output()
    assert [row["status"] for row in rows] == ["ok", "failed", "ok", "ok", "ok", "ok", "failed", "ok"]
    assert [row["cost"] is None for row in rows] == [True] * 7 + [False]
    summary = bench.summary()
    assert (summary["tries"], summary["tries_without_cost"], summary["cost"]) == (11, 10, rows[7]["cost"])
    assert [one["model"] for one in summary["usage_by_model_and_day"]] == [None, "simulated/model"]
    with closing(sqlite3.connect(bench.folder / "in.results.jsonl.run" / "run.sqlite")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (4,)
