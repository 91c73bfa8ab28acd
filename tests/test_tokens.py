"""Limits of tokens against gateways that count them at admission, at completion and up front: kept, used, settled."""

import json
import time

import pytest
from conftest import Bench, Gateway, Simulate, wait_until
from ways import UPFRONT, Way, counted, in_every_way, where_use_is_counted

LIMIT = 2000
IN_FLIGHT = 8
ALIKE = ("--completion-tokens", "20", "--completion-spread", "0")
TOKENS = 27  # of one prompt of Bench.prompts and its answer, all alike
COUNT_ONLY = "--no-enforce"  # so that nothing but the client keeps the limit


def command(gateway: Gateway, way: Way, *limits: str) -> tuple[str, ...]:
    """A run with few requests in flight, each asking for 50 tokens at most."""
    asked = ("in.jsonl", "-m", "org/model", "--base-url", gateway.base_url, "--param", "max_tokens=50")
    return (*asked, "--concurrency", str(IN_FLIGHT), *limits, *way.client)


def in_book(bench: Bench) -> int:
    """Tokens of all days and lanes, as this machine's book has them."""
    process = bench.start("limits", "show", "--json")
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 0, stderr
    return sum(day["tokens"] for line in stdout.splitlines() for day in json.loads(line)["days"].values())


def settled(bench: Bench, gateway: Gateway) -> bool:
    """Whether summary and ledger agree on what was paid for."""
    ledger, usage = gateway.ledger(), bench.summary()["usage"]
    paid = (ledger["prompt_tokens"], ledger["completion_tokens"])
    return (usage["prompt_tokens"], usage["completion_tokens"]) == paid


@in_every_way
def test_a_limit_of_tokens_is_kept_by_the_client_alone_and_used(bench: Bench, simulate: Simulate, way: Way) -> None:
    gateway = simulate(COUNT_ONLY, "--tps", str(LIMIT), "--latency", "0.02", *ALIKE, *way.gateway)
    bench.prompts(150)
    bench.run(*command(gateway, way, "--tps", str(LIMIT)))
    ledger = gateway.ledger()
    assert ledger["servings"]["once"] == 150
    assert LIMIT / 2 <= ledger["limits"][0]["worst"] <= way.most(LIMIT, IN_FLIGHT, TOKENS)
    assert settled(bench, gateway)


@in_every_way
def test_where_nobody_knows_how_long_answers_will_be_no_row_is_lost_and_few_are_refused(
    bench: Bench, simulate: Simulate, way: Way
) -> None:
    gateway = simulate("--tps", str(LIMIT), "--latency", "0.05", "--latency-spread", "0.5", *way.gateway)
    bench.write("in.jsonl", *({"prompt": f"Question {number}? " + "word " * (number % 30)} for number in range(150)))
    bench.run(*command(gateway, way, "--tps", str(LIMIT), "--attempts", "1"))
    assert [row["status"] for row in bench.output()] == ["ok"] * 150
    ledger = gateway.ledger()
    assert ledger["servings"]["once"] == 150
    refused = {"upfront": 0, "admission": 3, "completion": 2 * IN_FLIGHT}  # late counting: an episode or two
    assert ledger["outcomes"].get("429", 0) <= refused[way.counting]
    assert settled(bench, gateway)


@in_every_way
def test_failed_tries_break_no_limit_of_tokens(bench: Bench, simulate: Simulate, way: Way) -> None:
    faults = [f"--fault={fault}" for fault in ("5xx=0.05", "reset=0.05", "truncated=0.03", "not_json=0.03")]
    gateway = simulate(COUNT_ONLY, "--tps", str(LIMIT), "--latency", "0.02", *ALIKE, *faults, *way.gateway)
    bench.prompts(120)
    bench.run(*command(gateway, way, "--tps", str(LIMIT)))
    assert [row["status"] for row in bench.output()] == ["ok"] * 120
    ledger = gateway.ledger()
    assert ledger["arrivals"] > 120
    assert ledger["servings"]["extra_paid_without_fault"] == 0
    assert ledger["limits"][0]["worst"] <= way.most(LIMIT, IN_FLIGHT, TOKENS)


@in_every_way
def test_what_the_gateway_counts_stands_in_the_book(bench: Bench, simulate: Simulate, way: Way) -> None:
    gateway = simulate("--tpd", "1M", "--latency", "0.02", *way.gateway)
    bench.prompts(60)
    bench.run(*command(gateway, way, "--tpd", "1M"))
    assert in_book(bench) == counted(gateway.entries())


@in_every_way
def test_a_quota_of_tokens_is_never_passed_by_what_was_reserved(bench: Bench, simulate: Simulate, way: Way) -> None:
    gateway = simulate(COUNT_ONLY, "--tpd", "2000", "--latency", "0.05", *ALIKE, *way.gateway)
    bench.prompts(100)
    bench.run(*command(gateway, way, "--tpd", "2000"), code=75)
    assert 1800 <= gateway.ledger()["limits"][0]["worst"] <= 2000
    arrivals = gateway.ledger()["arrivals"]
    bench.run(*command(gateway, way, "--tpd", "2000"), code=75)
    assert gateway.ledger()["arrivals"] == arrivals
    assert settled(bench, gateway)


@in_every_way
def test_a_row_larger_than_a_window_fails_at_once_with_the_reason(bench: Bench, simulate: Simulate, way: Way) -> None:
    gateway = simulate("--tpm", "1000", *way.gateway)
    bench.write("in.jsonl", {"prompt": "word " * 4000}, {"prompt": "fits"})
    bench.run(*command(gateway, way, "--tpm", "1000"), code=1)
    large, small = bench.output()
    assert large["error"]["kind"] == "too_large"
    assert small["status"] == "ok"
    assert gateway.ledger()["outcomes"] == {"ok": 1}


@in_every_way
def test_a_row_that_only_seems_larger_than_a_window_is_sent(bench: Bench, simulate: Simulate, way: Way) -> None:
    gateway = simulate("--tps", "3000", *way.gateway)
    bench.write("in.jsonl", {"prompt": "word " * 2000}, {"prompt": "small"})
    bench.run(*command(gateway, way, "--tps", "3000", "--param", "max_tokens=200"))
    assert [row["status"] for row in bench.output()] == ["ok", "ok"]
    assert gateway.ledger()["outcomes"] == {"ok": 2}


@where_use_is_counted
def test_a_max_tokens_larger_than_a_window_does_not_make_the_run_wait_for_one_answer_a_window(
    bench: Bench, simulate: Simulate, way: Way
) -> None:
    gateway = simulate("--tpm", "30k", "--latency", "0.05", "--completion-tokens", "40", *way.gateway)
    bench.prompts(40)
    begin = time.monotonic()
    bench.run(*command(gateway, way, "--tpm", "30k", "--param", "max_tokens=32768"))
    assert time.monotonic() - begin < 20
    assert gateway.ledger()["outcomes"] == {"ok": 40}


def test_a_max_tokens_larger_than_a_window_never_fits_where_it_is_counted_up_front(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate("--tpm", "30k", *UPFRONT.gateway)
    bench.prompts(3)
    bench.run(*command(gateway, UPFRONT, "--tpm", "30k", "--param", "max_tokens=32768"), code=1)
    assert bench.summary()["failed_by_kind"] == {"too_large": 3}
    assert gateway.ledger()["arrivals"] == 0


@pytest.mark.exact
@pytest.mark.slow
@in_every_way
def test_two_jobs_share_a_limit_of_tokens_and_one_that_is_killed_breaks_it_not(
    bench: Bench, simulate: Simulate, way: Way
) -> None:
    gateway = simulate(COUNT_ONLY, "--tps", str(LIMIT), "--latency", "0.05", *ALIKE, *way.gateway)
    runs = []
    for name in ("first", "second"):
        bench.write(f"{name}.jsonl", *({"prompt": f"{name[0]} {number:9}"} for number in range(200)))
        runs.append(bench.start("run", f"{name}.jsonl", *command(gateway, way, "--tps", str(LIMIT), "-q")[1:]))
    wait_until(lambda: gateway.ledger()["paid"] >= 100)
    runs[0].kill()
    runs[0].communicate()
    runs[0] = bench.start("run", "first.jsonl", *command(gateway, way, "--tps", str(LIMIT), "-q")[1:])
    for run in runs:
        run.communicate(timeout=60)
        assert run.returncode == 0
    ledger = gateway.ledger()
    assert ledger["servings"]["prompts"] == 400
    assert ledger["servings"]["extra_paid"] <= bench.summary("first.results.jsonl")["in_doubt"]
    assert ledger["limits"][0]["worst"] <= way.most(LIMIT, 3 * IN_FLIGHT, TOKENS)
