"""The limits that a job declares, as those of its lanes. Pure."""

from collections.abc import Iterable

from batchrunner.chat.request import RequestSettings
from batchrunner.job.schema import LimitsTable
from batchrunner.limits.lane import FOREVER, Limits
from batchrunner.limits.window import Dimension, Limit, name_of


def declared(table: LimitsTable) -> Limits:
    """The job's table as the limits of a lane."""
    amounts: tuple[tuple[Dimension, float, int | None], ...] = (
        ("requests", 1.0, table.requests_per_second),
        ("requests", 60.0, table.requests_per_minute),
        ("tokens", 1.0, table.tokens_per_second),
        ("tokens", 60.0, table.tokens_per_minute),
    )
    return Limits(
        windows=tuple(
            Limit(dimension=dimension, amount=amount, window_seconds=window)
            for dimension, window, amount in amounts
            if amount is not None
        ),
        requests_per_day=FOREVER if table.requests_per_day is None else table.requests_per_day,
        tokens_per_day=FOREVER if table.tokens_per_day is None else table.tokens_per_day,
        concurrency=None if table.concurrency == "auto" else table.concurrency,
        most_concurrency=table.max_concurrency,
    )


def amounts_declared(limits: LimitsTable, arms: Iterable[RequestSettings]) -> dict[str, dict[str, float]]:
    """By the names of the lanes that these arms' models are asked on, and of the limits."""
    lanes = {"account" if limits.scope == "account" else arm.model: arm.model for arm in arms if arm.model}
    return {lane: _amounts(declared(limits.for_model(model))) for lane, model in lanes.items()}


def _amounts(limits: Limits) -> dict[str, float]:
    days = {"requests/day": limits.requests_per_day, "tokens/day": limits.tokens_per_day}
    return {name_of(limit.key): limit.amount for limit in limits.windows} | {
        name: amount for name, amount in days.items() if amount < FOREVER
    }
