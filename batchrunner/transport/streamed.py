"""A connection whose replies are streams: each part of a body is folded as it comes, so that no stream is held whole.

The time for one try is here the longest silence: between request and headers, and between two events. Comments that
keep the connection alive are no events. What is not streamed though it was asked for has that time as a whole. However
steadily its events drip, a stream ends within LONGEST_STREAM_SECONDS.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from batchrunner.records import Broken, Failure, HttpReply, Kind
from batchrunner.transport.connection import Connection, WireError

LARGEST_STREAM = 256 * 2**20
LONGEST_STREAM_SECONDS = 4 * 3600.0
_LINGER_SECONDS = 1.0
_NEVER_SECONDS = 1e9


class Folding(Protocol):
    """Takes an answer's bytes as they come: chat.stream.Fold, which stands in a room beside this one."""

    has_begun: bool
    is_done: bool

    def take(self, part: bytes) -> bool:
        """Take in bytes; whether they ended an event."""
        ...

    def came_of(
        self, status: int, headers: Mapping[str, str], broke: Failure | None = None
    ) -> HttpReply | Broken | Failure:
        """What the reply was."""
        ...


class Streamed(NamedTuple):
    """How a reply went: status, headers, when the first token came, what broke it; the body of one that is no 2xx."""

    status: int
    headers: Mapping[str, str]
    first_token_s: float | None = None
    broke: WireError | None = None
    content: bytes = b""


class StreamingConnection(Connection):
    """Exchanges a request for a stream."""

    async def stream(self, content: bytes, fold: Folding, *, silence_seconds: float) -> Streamed:
        """Write the content of a whole request and fold its reply. Raises WireError for what comes before a
        2xx; what comes after is told in the result."""
        self._fold, self._silence_seconds = fold, silence_seconds
        self._first_token_s: float | None = None
        self._began = self._heard = time.monotonic()
        self._watch()
        try:
            status, headers, body = await self.exchange(content, timeout_seconds=_NEVER_SECONDS)
        except WireError as error:
            if not self._is_answer:
                raise
            return Streamed(self._parser.get_status_code(), self._headers, self._first_token_s, error)
        finally:
            self._watcher.cancel()
        return Streamed(status, headers, self._first_token_s, content=body)

    def on_body(self, body: bytes) -> None:
        """A part of the body: an answer's is folded."""
        if not self._is_answer:
            super().on_body(body)
            return
        if self._waiter is None or self._fold.is_done:
            return
        has_event, now = self._fold.take(body), time.monotonic()
        if self._first_token_s is None and self._fold.has_begun:
            self._first_token_s = round(now - self._began, 4)
        if has_event:
            self._heard = now
        self._size += len(body)
        if self._size > LARGEST_STREAM:
            self._fail(WireError(Kind.INVALID_REPLY, f"the stream is larger than {LARGEST_STREAM} bytes"))
        if self._fold.is_done:  # its end is waited for, so that the connection can be used again, but not for long
            self._heard, self._silence_seconds = now, min(_LINGER_SECONDS, self._silence_seconds)
            self._watcher.cancel()
            self._watch()

    @property
    def _is_answer(self) -> bool:
        """Whether the reply that is being read has a status of 2xx."""
        return self._has_head and 200 <= self._parser.get_status_code() < 300  # noqa: PLR2004

    def _watch(self) -> None:
        """Give up when the silence has been too long; else look again when it may be."""
        now = time.monotonic()
        left, left_at_all = self._heard + self._silence_seconds - now, self._began + LONGEST_STREAM_SECONDS - now
        if left > 0 and left_at_all > 0:
            self._watcher = asyncio.get_running_loop().call_later(min(left, left_at_all), self._watch)
        elif left > 0:
            self._fail(WireError(Kind.TIMEOUT, f"the stream did not end within {LONGEST_STREAM_SECONDS:g} s"))
        else:
            self._fail(WireError(Kind.TIMEOUT, f"nothing of an answer came for {self._silence_seconds:g} s"))
