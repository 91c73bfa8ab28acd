"""The last look before a request is written: aiohttp's own request, that asks when its connection stands.

A new connection takes a while, a TLS one longer; what was allowed before may be too late by then. The connection is
kept for the next try when nothing was written to it.
"""

from collections.abc import Callable
from contextvars import ContextVar

import aiohttp

MayWrite = Callable[[], bool]


class NotWrittenError(Exception):
    """Nothing was written: the answer was no."""


def always() -> bool:
    """For a request that nobody limits."""
    return True


may_write_now: ContextVar[MayWrite] = ContextVar("may_write_now", default=always)


class AskingRequest(aiohttp.ClientRequest):
    """Asks `may_write_now` of its task before it writes."""

    async def send(self, conn: "aiohttp.connector.Connection") -> aiohttp.ClientResponse:
        """Write, or give the connection back and raise NotWrittenError."""
        if not may_write_now.get()():
            conn.release()
            raise NotWrittenError
        return await super().send(conn)
