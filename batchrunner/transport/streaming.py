"""One try whose answer is streamed; see streamed for how it is read."""

from collections.abc import Callable
from typing import Any

import msgspec

from batchrunner.records import Broken, Failure, HttpReply, Request
from batchrunner.transport.connection import WireError
from batchrunner.transport.http import HttpTransport
from batchrunner.transport.pool import NotWrittenError, Pool
from batchrunner.transport.streamed import Folding, Streamed, StreamingConnection
from batchrunner.transport.transport import Brought, TimeLeft, always


class StreamingPool(Pool):
    """Posts as its parent does; `timeout_seconds` is the longest silence."""

    _connection_class = StreamingConnection

    async def stream(self, content: bytes, time_left: TimeLeft, fold: Folding) -> Streamed:
        """POST the content and fold what comes; raises as `post` does."""
        connection = await self._ready(time_left)
        assert isinstance(connection, StreamingConnection)  # noqa: S101 - this pool has no others
        try:
            return await connection.stream(self._whole(content), fold, silence_seconds=self._timeout_seconds)
        finally:
            self._put_back(connection)


class StreamingTransport(HttpTransport):
    """Sends requests that ask for a stream; `new_fold` makes what takes an answer in."""

    _pool: StreamingPool
    _pool_class = StreamingPool

    def __init__(self, base_url: str, *, new_fold: Callable[[], Folding], **others: Any) -> None:
        super().__init__(base_url, **others)
        self._new_fold = new_fold

    async def send(self, request: Request, *, time_left: TimeLeft = always) -> Brought | None:
        """As its parent's."""
        fold = self._new_fold()
        try:
            streamed = await self._pool.stream(request.body, time_left, fold)
        except NotWrittenError:
            return None
        except WireError as error:
            return self._failure(error)
        status, headers, first_token_s, broke, content = streamed
        if not 200 <= status < 300:  # noqa: PLR2004
            return self._refusal(status, headers, content)
        came = fold.came_of(status, headers, None if broke is None else self._failure(broke))
        return self._kept(came, first_token_s)

    def _kept(self, came: Brought, first_token_s: float | None) -> Brought:
        """What came of a stream, as safe to keep as any other reply."""
        match came:
            case HttpReply(status=status) if 200 <= status < 300:  # noqa: PLR2004
                body = self._answer(came.body)
                headers = self._told(came.headers)
                return HttpReply(status=status, headers=headers, body=body, first_token_s=first_token_s)
            case HttpReply():
                return self._refusal(came.status, came.headers, came.body)
            case Broken():
                how = self._kept(came.how, None)
                assert not isinstance(how, Broken)  # noqa: S101 - it was none
                return Broken(how=how, so_far=self._answer(came.so_far))
            case Failure():
                return msgspec.structs.replace(came, message=self._redacted(came.message))
