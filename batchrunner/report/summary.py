"""The summary of a run: `<output>.summary.json`, and the line for people. A fold of the store."""

from pathlib import Path

import msgspec

from batchrunner.report.bounds import LaneUse, words_of
from batchrunner.report.tally import Tally
from batchrunner.store.by_arm import VariantSums
from batchrunner.store.summing import DayUsage, ModelUsage, Sums, known_cost

_SURE_OF_A_SUMMARY = {"ending", "exit_code", "units", "tries", "this_run"}
APART = frozenset({"length", "content_filter", "refusal"})  # answers that ended in these ways are told apart


class Units(msgspec.Struct, frozen=True, kw_only=True):
    """Units by status; they add up to `total`."""

    total: int
    ok: int
    failed: int
    pending: int


class ThisRun(msgspec.Struct, frozen=True, kw_only=True):
    """What this process did; the rest of a summary counts all runs of this output."""

    units: int
    tries: int
    tokens: int
    cost: float | None
    tries_without_cost: int
    duration_s: float
    tries_per_s: float
    lanes: list[LaneUse]


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One variant of the sweep, over all runs: its units by status, what their tries used, and how long the answered
    ones took. `variant`: as in the output, None where samples alone are swept."""

    variant: str | None
    model: str | None
    ok: int
    failed: int
    tries: int
    usage: dict[str, int]
    cost: float | None
    tries_without_cost: int
    latency_mean_s: float | None
    latency_median_s: float | None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the summary file. `in_doubt`: units in flight when a run was cut off: they are
    asked again, and perhaps paid twice; `cost`: of all tries but `tries_without_cost`, None where none is known."""

    output: str
    ending: str
    message: str
    exit_code: int
    resume_at: str | None
    units: Units
    failed_by_kind: dict[str, int]
    first_failure: str | None
    finish_reasons: dict[str, int]
    tries: int
    failed_tries_by_kind: dict[str, int]
    in_doubt: int
    usage: dict[str, int]
    cost: float | None
    tries_without_cost: int
    usage_by_day: dict[str, DayUsage]
    usage_by_model_and_day: list[ModelUsage]
    this_run: ThisRun
    variants: list[Variant]


def this_run(tally: Tally, duration_seconds: float, lanes: list[LaneUse]) -> ThisRun:
    """What one process did in so many seconds."""
    return ThisRun(
        units=tally.units,
        tries=tally.tries,
        tokens=tally.tokens,
        cost=known_cost(tally.costs, tally.tries_without_cost),
        tries_without_cost=tally.tries_without_cost,
        duration_s=round(duration_seconds, 3),
        tries_per_s=round(tally.tries / duration_seconds, 3) if duration_seconds > 0 else 0.0,
        lanes=lanes,
    )


def usage_of(sums: Sums) -> dict[str, int]:
    """The token sums, by the names of the output's `usage`."""
    return {
        "prompt_tokens": sums.prompt_tokens,
        "completion_tokens": sums.completion_tokens,
        "total_tokens": sums.prompt_tokens + sums.completion_tokens,
        "cached_tokens": sums.cached_tokens,
        "reasoning_tokens": sums.reasoning_tokens,
    }


def words_of_cost(cost: float | None, tries_without_cost: int) -> str:
    """For people: an amount in whatever money the prices are, and how many tries are not in it; empty where nothing
    is known, or was paid."""
    if not cost:
        return ""
    return f"cost {amount_of(cost)}" + (f" (unknown of {tries_without_cost:,} tries)" if tries_without_cost else "")


def amount_of(cost: float | None) -> str:
    """For people: 1,234.50, 0.01234, or - where it is not known."""
    if cost is None:
        return "-"
    return f"{cost:,.2f}" if cost >= 1 else f"{cost:.4g}"


def variant_of(name: str | None, model: str | None, sums: VariantSums) -> Variant:
    """One line of the table of variants."""
    mean, median = sums.latency_mean_s, sums.latency_median_s
    return Variant(
        variant=name,
        model=model,
        ok=sums.ok,
        failed=sums.failed,
        tries=sums.tries,
        usage={
            "prompt_tokens": sums.prompt_tokens,
            "completion_tokens": sums.completion_tokens,
            "total_tokens": sums.prompt_tokens + sums.completion_tokens,
            "cached_tokens": sums.cached_tokens,
        },
        cost=known_cost(sums.costs, sums.tries_without_cost),
        tries_without_cost=sums.tries_without_cost,
        latency_mean_s=None if mean is None else round(mean, 3),
        latency_median_s=None if median is None else round(median, 3),
    )


def summary_beside(output: Path) -> Path:
    """Where the summary of an output stands."""
    return output.with_name(output.name + ".summary.json")


def is_summary(content: bytes) -> bool:
    """Whether this is the content of a summary file."""
    try:
        return msgspec.json.decode(content, type=dict[str, msgspec.Raw]).keys() >= _SURE_OF_A_SUMMARY
    except msgspec.DecodeError:
        return False


def line(summary: Summary) -> str:
    """One line for people. Counts are those of all runs of this output; what this one did has words of its own."""
    units, this_run = summary.units, summary.this_run
    apart = ", ".join(f"{name} {count:,}" for name, count in sorted(summary.finish_reasons.items()) if name in APART)
    parts = [f"{units.ok:,} of {units.total:,} answered{f' ({apart})' if apart else ''}"]
    if units.failed:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(summary.failed_by_kind.items()))
        parts.append(f"{units.failed:,} failed ({kinds})")
    if units.pending:
        parts.append(f"{units.pending:,} pending")
    limited = sum(summary.failed_tries_by_kind.get(kind, 0) for kind in ("rate_limited", "concurrency", "daily_limit"))
    counts = f"{limited:,} x 429, {summary.usage['total_tokens']:,} tokens"
    cost = words_of_cost(summary.cost, summary.tries_without_cost)
    counts += f", {cost}" if cost else ""
    if this_run.tries == summary.tries:
        parts.append(f"{summary.tries:,} tries in {this_run.duration_s:.1f} s, {counts}")
    else:
        parts.append(f"in all runs {summary.tries:,} tries, {counts}")
        parts.append(f"in this run {this_run.tries:,} tries in {this_run.duration_s:.1f} s")
    if summary.in_doubt:
        parts.append(f"{summary.in_doubt:,} in doubt, in flight when a run was cut off")
    return "; ".join(parts)


def lines_of_lanes(summary: Summary) -> list[str]:
    """For people: what bound each lane, named where there are several."""
    lanes = [use for use in summary.this_run.lanes if use.requests]
    told = [(use.lane, words_of(use)) for use in lanes]
    return [f"{lane}: {words}" if len(lanes) > 1 else words for lane, words in told if words]


def lines_of_variants(summary: Summary) -> list[str]:
    """For people: the variants as a table, where there are several."""
    if len(summary.variants) < 2:  # noqa: PLR2004
        return []
    has_costs = any(one.cost is not None for one in summary.variants)
    rows = [("variant", "ok", "failed", "tokens", *(["cost"] if has_costs else []), "mean s", "median s")]
    rows += [
        (
            one.variant or "",
            f"{one.ok:,}",
            f"{one.failed:,}",
            f"{one.usage['total_tokens']:,}",
            *([amount_of(one.cost)] if has_costs else []),
            "-" if one.latency_mean_s is None else f"{one.latency_mean_s:.3f}",
            "-" if one.latency_median_s is None else f"{one.latency_median_s:.3f}",
        )
        for one in summary.variants
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([first.ljust(widths[0]), *(text.rjust(width) for text, width in zip(rest, widths[1:], strict=True))])
        for first, *rest in rows
    ]
