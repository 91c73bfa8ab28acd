"""What is recorded, as rows of the run store's tables."""

from typing import NamedTuple

from batchrunner.records import Outcome, Try, Usage

_NO_USAGE = Usage()


class Entry(NamedTuple):
    """One thing to record: a try, an outcome with the digest of what was asked for it, or both at once. `unit`: the
    number of the unit that has ended, where it is not that of its row."""

    tried: Try | None = None
    outcome: Outcome | None = None
    digest: bytes | None = None
    unit: int | None = None


def ended_unit(entry: Entry, outcome: Outcome) -> int:
    """The number of the unit that ended with this entry."""
    return outcome.row if entry.unit is None else entry.unit


def unit_row(number: int, outcome: Outcome, digest: bytes | None) -> tuple[object, ...]:
    """A row of `units`."""
    error = outcome.error
    return (number, error is None, digest, error and error.kind, error and error.message)


def try_row(one: Try) -> tuple[object, ...]:
    """A row of `tries`."""
    failure = one.failure
    usage = one.usage or _NO_USAGE
    return (
        one.number,
        one.sent_at,
        one.latency_s,
        failure and failure.kind,
        failure and failure.status,
        failure and failure.message,
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens,
        usage.cached_tokens,
        usage.reasoning_tokens,
        one.finish_reason,
        one.model,
        one.cost,
        one.most_prompt_tokens,
        one.most_completion_tokens,
        one.first_token_s,
    )
