"""Faults on the wire: whole runs through a proxy that breaks, cuts, delays and goes away."""

import time
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import proxy as wire
import pytest
from conftest import Bench, Gateway, Simulate, wait_until
from proxy import Proxy, at_word, proxying

COMMON = ("in.jsonl", "-m", "m/m")

# What a try meets, the kind it is counted under, and whether the gateway had taken the request: it is paid then.
FAULTS: dict[str, tuple[wire.Deed, str, bool]] = {
    "reset before": (wire.resets_unread, "reset", False),
    "reset after": (wire.resets_when_taken, "reset", True),
    "closed after": (wire.closes_when_taken, "reset", True),
    "half a body": (wire.cuts_body, "reset", True),
    "half the chunks": (wire.cuts_chunks, "reset", True),
    "reset in the body": (wire.resets_in_body, "reset", True),
    "long header": (wire.sends_a_long_header, "reset", True),
    "endless headers": (wire.never_ends_its_headers, "reset", False),
    "another protocol": (wire.talks_no_http, "reset", False),
    "a byte a while": (wire.drips, "timeout", True),
    "hang": (wire.hangs, "timeout", True),
    "html": (wire.says(b"<html>It works!</html>", content_type="text/html"), "invalid_reply", False),
    "bad utf-8": (wire.says(b'{"choices":[{"message":{"content":"caf\xe9"}}]}'), "invalid_reply", False),
    "nothing": (wire.says(b""), "invalid_reply", False),
    "no choices": (wire.says(b'{"choices":[]}'), "empty_answer", False),
    "no words": (wire.says(b'{"choices":[{"message":{"content":""}}]}'), "empty_answer", False),
    "500": (wire.says(b"oops", status="500 No"), "server_error", False),
    "503": (wire.says(b"oops", status="503 No"), "unavailable", False),
}


def rows_of(*texts: str) -> list[dict[str, Any]]:
    """A row for each text; no two prompts are alike."""
    return [{"prompt": f"{number} {text}"} for number, text in enumerate(texts)]


def paid_by_prompt(gateway: Gateway) -> Callable[[str], int]:
    """How often the gateway was paid for a prompt."""
    paid = Counter(entry["prompt"] for entry in gateway.entries() if entry["paid"])
    return lambda prompt: paid[sha256(prompt.encode()).hexdigest()[:16]]


def test_a_fault_that_passes_costs_its_row_a_try_and_one_that_stays_fails_its_row_alone(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate()
    words = [text for word in FAULTS for text in (f"<{word} once>", "good", f"<{word}>", "good")]
    rows = rows_of(*["good"] * 16, *words)
    bench.write("in.jsonl", *rows)
    with proxying(gateway.base_url, at_word({word: deed for word, (deed, _, _) in FAULTS.items()})) as proxy:
        options = ("--attempts", "2", "--timeout", "2", "--concurrency", "8")
        bench.run(*COMMON, *options, "--base-url", proxy.base_url, code=1)
    output, paid = bench.output(), paid_by_prompt(gateway)
    assert [row["row"] for row in output] == list(range(len(rows)))
    assert [(row["status"], row["attempts"], paid(f"{row['row']} good")) for row in output[:16]] == [("ok", 1, 1)] * 16
    for (word, (_, kind, taken)), first in zip(FAULTS.items(), range(16, len(rows), 4), strict=True):
        once, good, always, _ = output[first : first + 4]
        assert (once["status"], once["attempts"]) == ("ok", 2), word
        assert paid(rows[first]["prompt"]) == 1 + taken, word
        assert (good["status"], good["attempts"]) == ("ok", 1), word
        assert (always["status"], always["attempts"], always["error"]["kind"]) == ("failed", 2, kind), word
        assert paid(rows[first + 2]["prompt"]) == 2 * taken, word


def test_tries_that_may_have_been_paid_are_counted_under_kinds_of_their_own(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    maybe_paid = ["<reset after once>"] * 3 + ["<half a body once>"] * 2 + ["<hang once>"] * 2
    rows = rows_of(*["good"] * 8, *maybe_paid, *["<503 once>"] * 4, "<html once>")
    bench.write("in.jsonl", *rows)
    with proxying(gateway.base_url, at_word({word: deed for word, (deed, _, _) in FAULTS.items()})) as proxy:
        bench.run(*COMMON, "--timeout", "1", "--concurrency", "4", "--base-url", proxy.base_url)
    summary = bench.summary()
    assert summary["failed_tries_by_kind"] == {"reset": 5, "timeout": 2, "unavailable": 4, "invalid_reply": 1}
    assert summary["tries"] == len(rows) + 12
    assert summary["in_doubt"] == 0
    assert gateway.ledger()["servings"]["extra_paid"] == 7


ODD = {
    "no length": wire.answers_without_length,
    "continue": wire.continues_first,
    "pieces": wire.drips_in_time,
}


def test_an_answer_that_comes_in_an_odd_way_is_an_answer(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", *rows_of(*(f"<{word}>" for _ in range(8) for word in ODD)))
    with proxying(gateway.base_url, at_word(ODD)) as proxy:
        bench.run(*COMMON, "--concurrency", "4", "--base-url", proxy.base_url)
        assert proxy.requests == 24
    assert {row["attempts"] for row in bench.output()} == {1}
    assert gateway.ledger()["servings"] | {"once": 24, "extra_paid": 0} == gateway.ledger()["servings"]


def test_a_connection_that_breaks_as_the_next_request_is_written_costs_that_one_a_try(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate()
    bench.write("in.jsonl", *rows_of("good", "good", "<race>", *["good"] * 5))
    with proxying(gateway.base_url, at_word({"race": wire.resets_the_next})) as proxy:
        bench.run(*COMMON, "--concurrency", "1", "--base-url", proxy.base_url)
    assert [row["attempts"] for row in bench.output()] == [1, 1, 1, 2, 1, 1, 1, 1]
    assert bench.summary()["failed_tries_by_kind"] == {"reset": 1}
    assert gateway.ledger()["servings"]["once"] == 8


def test_a_gateway_that_closes_every_connection_after_an_answer_unannounced_costs_no_row(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate()
    bench.prompts(24)
    with proxying(gateway.base_url, lambda _: wire.closes_after_the_answer) as proxy:
        bench.run(*COMMON, "--concurrency", "4", "--base-url", proxy.base_url)
    assert bench.summary()["failed_tries_by_kind"].keys() <= {"reset"}
    assert gateway.ledger()["servings"]["once"] == 24


def test_a_gateway_that_is_slow_to_accept_is_waited_for(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(12)
    with proxying(gateway.base_url) as proxy:
        proxy.accepts_after_seconds = 0.2
        bench.run(*COMMON, "--concurrency", "6", "--base-url", proxy.base_url)
    assert bench.summary()["tries"] == 12


# A gateway that goes away

AWAY: dict[str, tuple[Callable[[Proxy], None], Callable[[Proxy], None]]] = {
    "nobody listens": (Proxy.leave, Proxy.come_back),
    "connections are reset": (Proxy.turn_away, Proxy.let_in),
    "503 for all": (Proxy.refuse_all, Proxy.let_in),
}


def away(bench: Bench, simulate: Simulate, *options: str, how: str, seconds: float, rows: int = 100) -> Gateway:
    """A run whose gateway is away for so long, after a fifth of its rows; its ledger."""
    leave, come_back = AWAY[how]
    gateway = simulate("--latency", "0.05")
    bench.prompts(rows)
    with proxying(gateway.base_url) as proxy:
        process = bench.start("run", *COMMON, *options, "--base-url", proxy.base_url)
        wait_until(lambda: gateway.ledger()["paid"] > rows // 5)
        leave(proxy)
        time.sleep(seconds)
        come_back(proxy)
        stdout, stderr = process.communicate(timeout=100)
    assert process.returncode == 0, stdout + stderr
    assert [row["row"] for row in bench.output()] == list(range(rows))
    assert {row["status"] for row in bench.output()} == {"ok"}
    return gateway


@pytest.mark.parametrize("how", AWAY)
def test_a_gateway_that_is_away_for_seconds_costs_no_row(bench: Bench, simulate: Simulate, how: str) -> None:
    gateway = away(bench, simulate, "--concurrency", "8", how=how, seconds=1)
    assert gateway.ledger()["servings"]["extra_paid"] <= 8
    assert bench.summary()["failed_tries_by_kind"].keys() <= {"reset", "unreachable", "unavailable"}


@pytest.mark.slow
def test_a_gateway_that_is_away_for_long_costs_no_row_and_is_not_hammered(bench: Bench, simulate: Simulate) -> None:
    options = ("--concurrency", "8", "--rps", "20")
    gateway = away(bench, simulate, *options, how="nobody listens", seconds=14, rows=200)
    assert gateway.ledger()["servings"]["extra_paid"] <= 8
    # Those in flight and a few more; from then on one probe at a time, after pauses that double.
    assert sum(bench.summary()["failed_tries_by_kind"].values()) <= 60


def test_a_gateway_that_stays_away_leaves_its_rows_pending_and_the_next_run_asks_for_them_alone(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate()
    bench.prompts(60)
    with proxying(gateway.base_url) as proxy:
        command = (*COMMON, "--concurrency", "4", "--max-outage", "1s", "--base-url", proxy.base_url)
        bench.run(*command, "--limit", "20")
        proxy.leave()
        bench.run(*command, code=69)
        assert bench.summary()["units"] == {"total": 60, "ok": 20, "failed": 0, "pending": 40}
        proxy.come_back()
        bench.run(*command)
    assert gateway.ledger()["servings"]["once"] == 60
    assert gateway.ledger()["arrivals"] == 60


def test_a_storm_of_5xx_ends_each_row_once(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.02", "--fault", "5xx=0.2", "--status-5xx", "500,502,503,504,529", "--seed", "3")
    bench.prompts(50)
    bench.run(*COMMON, "--attempts", "12", "--base-url", gateway.base_url)
    ledger, summary = gateway.ledger(), bench.summary()
    assert ledger["servings"] | {"once": 50, "extra_paid": 0} == ledger["servings"]
    assert summary["failed_tries_by_kind"].keys() == {"server_error", "unavailable"}
    assert sum(summary["failed_tries_by_kind"].values()) == ledger["outcomes"]["5xx"]


# Killers: rows that break their connection each time


def test_killers_side_by_side_fail_alone_while_others_pass(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.05")
    killers = ["[[reset]]", "[[reset_before]]", "[[status:503]]"] * 2
    rows = rows_of(*["good"] * 20, *killers, *["good"] * 160)
    bench.write("in.jsonl", *rows)
    options = ("--concurrency", "6", "--attempts", "3", "--rps", "40", "--base-url", gateway.base_url)
    bench.run(*COMMON, *options, code=1)
    output = bench.output()
    assert [row["status"] for row in output] == ["ok"] * 20 + ["failed"] * 6 + ["ok"] * 160
    assert [row["error"]["kind"] for row in output[20:26]] == ["reset", "reset", "unavailable"] * 2
    assert {row["attempts"] for row in output[20:26]} == {3}
    assert {row["attempts"] for row in output[:20] + output[26:]} == {1}
    paid = paid_by_prompt(gateway)
    assert [paid(row["prompt"]) for row in rows[20:26]] == [3, 0, 0] * 2


def test_a_killer_as_the_first_row_keeps_nobody_from_being_asked(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.05")
    bench.write("in.jsonl", *rows_of("[[reset]]", *["good"] * 30))
    options = ("--concurrency", "1", "--attempts", "2", "--max-outage", "30s", "--base-url", gateway.base_url)
    bench.run(*COMMON, *options, code=1)
    assert [row["status"] for row in bench.output()] == ["failed"] + ["ok"] * 30
    assert bench.summary()["failed_by_kind"] == {"reset": 1}


@pytest.mark.slow
@pytest.mark.parametrize("in_flight", ["1", "auto"])
def test_many_killers_in_front_keep_nobody_from_being_asked(bench: Bench, simulate: Simulate, in_flight: str) -> None:
    gateway = simulate("--latency", "0.05")
    bench.write("in.jsonl", *rows_of(*["[[reset]]"] * 4, *["good"] * 30))
    options = ("--concurrency", in_flight, "--attempts", "2", "--max-outage", "60s", "--base-url", gateway.base_url)
    bench.run(*COMMON, *options, code=1)
    assert [row["status"] for row in bench.output()] == ["failed"] * 4 + ["ok"] * 30


def test_killers_at_the_end_fail_alone_when_patience_is_over(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.05")
    bench.write("in.jsonl", *rows_of(*["good"] * 30, "[[reset]]", "[[status:502]]"))
    options = ("--concurrency", "4", "--attempts", "3", "--max-outage", "12s", "--base-url", gateway.base_url)
    bench.run(*COMMON, *options, code=1)
    assert [row["status"] for row in bench.output()] == ["ok"] * 30 + ["failed"] * 2


@pytest.mark.slow
def test_a_gateway_that_nobody_can_reach_at_the_end_leaves_the_last_rows_pending(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate("--latency", "0.3")
    bench.prompts(20)
    with proxying(gateway.base_url) as proxy:
        options = ("--concurrency", "4", "--max-outage", "1s", "--base-url", proxy.base_url)
        process = bench.start("run", *COMMON, *options)
        wait_until(lambda: gateway.ledger()["paid"] >= 16)
        proxy.leave()
        process.communicate(timeout=60)
    assert process.returncode == 69
    assert bench.summary()["units"]["pending"] > 0
    assert bench.summary()["units"]["failed"] == 0
