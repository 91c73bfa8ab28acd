"""What sends one try, wherever from: a process here (http), or others on this machine or on several (ray)."""

from collections.abc import Callable
from typing import Protocol

from batchrunner.records import Broken, Failure, HttpReply, Request

Brought = HttpReply | Broken | Failure
TimeLeft = Callable[[], float]


def always() -> float:
    """For a request that nobody limits."""
    return float("inf")


class Transport(Protocol):
    """Sends requests to one gateway."""

    async def send(self, request: Request, *, time_left: TimeLeft) -> Brought | None:
        """One try, once; what goes wrong with it is a Failure, never an exception. `time_left`: seconds in which it may
        still be written; None where it was not, as they were over."""
        ...
