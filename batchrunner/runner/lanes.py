"""Opens lanes: their limits from the job, their beginning from this machine's book, their leases kept ahead."""

import time

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from batchrunner.job.schema import LimitsTable
from batchrunner.limits.account import EXTEND_EVERY_SECONDS, LEASE_SECONDS, Book
from batchrunner.limits.bucket import Limit
from batchrunner.limits.lane import Lane, Limits
from batchrunner.limits.limiter import Limiter


class LaneOpener:
    """Makes the limiter of a model's lane, and keeps its lease in the book ahead of its admissions."""

    def __init__(self, book: Book, limits: LimitsTable, *, base_url: str, account: str) -> None:
        self._book = book
        self._limits = declared(limits)
        self._base_url = base_url
        self._account = account
        self._lanes: dict[str, Lane] = {}
        self._writing = anyio.Lock()

    @property
    def most_in_flight(self) -> int | None:
        """The concurrency that the user gave."""
        return self._limits.concurrency

    def open(self, model: str, keepers: TaskGroup) -> Limiter:
        """A limiter that begins where earlier runs on this lane may have left off."""
        name = self._book.lane_name(self._base_url, self._account, model)
        now, leased_until = time.monotonic(), self._book.leased_until(name)
        longest = max((limit.window_seconds + limit.guard_seconds for limit in self._all_limits()), default=0.0)
        used_before = leased_until > now - longest
        lane = Lane(self._limits, now=max(now, leased_until) if used_before else now, empty=used_before)
        limiter = Limiter(lane, time.monotonic)  # asyncio's own clock, at a tenth of the cost
        self._lanes[name] = lane
        if self._all_limits():
            lane.leased_until = float("-inf")
            keepers.start_soon(self._keep, name, limiter)
        return limiter

    def close(self) -> None:
        """Nothing more is admitted: end the leases now."""
        now = time.monotonic()
        for name, lane in self._lanes.items():
            if self._all_limits():
                self._book.end(name, lane.in_debt_until(now))

    async def _keep(self, name: str, limiter: Limiter) -> None:
        while True:
            now = time.monotonic()
            until = max(now + LEASE_SECONDS, limiter.lane.in_debt_until(now))
            async with self._writing:
                await to_thread.run_sync(self._book.extend, name, until)
            limiter.lane.leased_until = until
            limiter.wake()
            await anyio.sleep(EXTEND_EVERY_SECONDS)

    def _all_limits(self) -> tuple[Limit, ...]:
        return self._limits.requests + self._limits.tokens


def declared(table: LimitsTable) -> Limits:
    """The job's table as the limits of a lane."""
    return Limits(
        requests=_limits((table.requests_per_second, 1), (table.requests_per_minute, 60)),
        tokens=_limits((table.tokens_per_second, 1), (table.tokens_per_minute, 60)),
        concurrency=None if table.concurrency == "auto" else table.concurrency,
    )


def _limits(*pairs: tuple[int | None, float]) -> tuple[Limit, ...]:
    return tuple(Limit(amount=amount, window_seconds=window) for amount, window in pairs if amount is not None)
