"""A unit's charged tries, as tenacity sees them: what one brought, whether another follows, and when."""

import random

import msgspec
from tenacity import RetryCallState

from batchrunner.chat.verdict import Verdict
from batchrunner.limits.hints import DAILY_SECONDS
from batchrunner.runner.outcome import Came

FIRST_BACKOFF_SECONDS = 0.75  # six tries then outlast the 10 s after which an outage charges nobody
LONGEST_BACKOFF_SECONDS = 60.0


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """A try that is over: what it brought, the mark its commit clears, and the verdict if it failed."""

    came: Came
    slot: int
    verdict: Verdict | None


def gets_another(settled: Settled) -> bool:
    """Whether a charged try follows."""
    return settled.verdict is Verdict.AGAIN


def result_of(state: RetryCallState) -> Settled:
    """What the try that is over brought."""
    assert state.outcome is not None  # noqa: S101 - tenacity asks after an attempt only
    settled: Settled = state.outcome.result()
    return settled


def backoff_seconds(state: RetryCallState) -> float:
    """Exponential with half of it random, never less than what the gateway asked for."""
    backoff: float = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (state.attempt_number - 1))
    hint = min(result_of(state).came.hint_seconds or 0.0, DAILY_SECONDS)
    return max(backoff * random.uniform(0.5, 1.0), hint)
