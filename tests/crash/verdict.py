"""What the ledger and the folder say of a scenario that was killed and run to its end; each complaint is a sentence."""

import fcntl
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from crash.running import Kill, Place

_EXPLAINING = {"reset_after", "truncated"}  # faults after payment: each explains one further serving of its row


def complaints(place: Place, kills: list[Kill]) -> Iterator[str]:
    """Everything that is not as promised."""
    rows, summary, entries = rows_of(place.output), place.bench.summary(place.output.name), place.gateway.entries()
    yield from _of_rows(place, rows)
    yield from _of_usage(place, rows, summary, entries)
    yield from _of_payment(place, kills, summary, entries)
    yield from _of_limits(place)
    yield from _of_leftovers(place)


def rows_of(output: Path) -> list[dict[str, Any]]:
    """The rows of an output in either format; it raises where the file is not whole."""
    if output.suffix == ".parquet":
        rows: list[dict[str, Any]] = pq.read_table(output).to_pylist()
        return rows
    text = output.read_text()
    assert text.endswith("\n"), f"{output} is cut"
    return [json.loads(line) for line in text.splitlines()]


def extra_servings(place: Place, entries: list[dict[str, Any]]) -> Counter[int]:
    """For each row: paid servings beyond the first that no fault explains."""
    numbers = {_digest(prompt): number for number, prompt in enumerate(place.scenario.prompts())}
    paid: Counter[int] = Counter(numbers[entry["prompt"]] for entry in entries if entry["paid"])
    explained = Counter(numbers[one["prompt"]] for one in entries if one["outcome"] in _EXPLAINING)
    return Counter({row: times - 1 - explained[row] for row, times in paid.items() if times - 1 > explained[row]})


def _of_rows(place: Place, rows: list[dict[str, Any]]) -> Iterator[str]:
    prompts = list(place.scenario.prompts())
    if [row["row"] for row in rows] != list(range(len(prompts))):
        yield f"the output has {len(rows)} rows for {len(prompts)}, or not in order"
        return
    rejected = {row["row"] for row in rows if row["status"] == "failed" and row["error"]["status"] == 422}
    failed = {row["row"] for row in rows if row["status"] != "ok"}
    if not rejected == failed == set(place.scenario.rejected):
        yield f"rows {sorted(failed)} failed, and {sorted(place.scenario.rejected)} were rejected"
    for row in rows:
        if row["status"] == "ok" and row["response"] != f"Simulated answer to: {prompts[row['row']]}":
            yield f"row {row['row']} has the answer to another prompt: {row['response'][:60]}"


def _of_usage(
    place: Place, rows: list[dict[str, Any]], summary: dict[str, Any], entries: list[dict[str, Any]]
) -> Iterator[str]:
    """Each answered row has one answer recorded, and a prompt is always answered with as many tokens."""
    tokens = {
        entry["prompt"]: (entry["prompt_tokens"], entry["completion_tokens"]) for entry in entries if entry["paid"]
    }
    digests = [_digest(prompt) for prompt in place.scenario.prompts()]
    answered = [row["row"] for row in rows if row["status"] == "ok"]
    served = [tokens[digests[number]] for number in answered]
    usage = summary["usage"]["prompt_tokens"], summary["usage"]["completion_tokens"]
    expected = sum(prompt for prompt, _ in served), sum(completion for _, completion in served)
    if usage != expected:
        yield f"the summary tells of {usage} tokens, the ledger of {expected} for the answers in the output"
    for row, one in zip(answered, served, strict=True):
        if (rows[row]["usage"]["prompt_tokens"], rows[row]["usage"]["completion_tokens"]) != one:
            yield f"row {row} has another usage than the ledger"
    hidden = sum(entry["outcome"] == "ok" for entry in entries) - len(answered)
    if hidden > summary["in_doubt"]:
        yield f"{hidden} answers were served and are not recorded, with {summary['in_doubt']} in doubt"


def _of_payment(
    place: Place, kills: list[Kill], summary: dict[str, Any], entries: list[dict[str, Any]]
) -> Iterator[str]:
    """Asked twice is what was in flight at a kill, and nothing else; the summary's `in_doubt` covers it."""
    extra = extra_servings(place, entries)
    marked = Counter(unit for kill in kills for unit in set(kill.marked))
    slots = sum(len(kill.marked) for kill in kills)
    for row, times in extra.items():
        if times > marked[row]:
            yield f"row {row} was paid for {times} times more, and was in flight at {marked[row]} kills"
    if extra.total() > summary["in_doubt"]:
        yield f"{extra.total()} were asked twice, with {summary['in_doubt']} in doubt"
    if summary["in_doubt"] > marked.total():
        yield f"{summary['in_doubt']} are in doubt, and {marked.total()} were marked at the kills"
    if len(entries) - summary["tries"] > slots:
        yield f"{len(entries)} requests arrived, {summary['tries']} are recorded and {slots} were marked at the kills"


def _of_limits(place: Place) -> Iterator[str]:
    """One more than the limit is forgiven: on a crowded machine arrivals are squeezed by more than the 50 ms of the
    guard, and this is not the test of the pace."""
    ledger = place.gateway.ledger()
    for limit in ledger["limits"]:
        if limit["worst"] > limit["limit"] + 1:
            yield f"{limit['worst']} {limit['dimension']} in {limit['window_seconds']} s, of {limit['limit']}"
    if "429" in ledger["outcomes"]:
        yield "the gateway refused"


def _of_leftovers(place: Place) -> Iterator[str]:
    if place.temporaries():
        yield f"left over: {[path.name for path in place.temporaries()]}"
    with (place.run_dir / "lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield "the run folder is still locked"


def _digest(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()[:16]
