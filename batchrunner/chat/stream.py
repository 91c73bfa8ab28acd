"""A streamed answer, folded into the completion that an answer which is not streamed would be. Never raises on any
bytes; linear in time.

Content may come after the `finish_reason`, `usage` in every chunk (the last one counts), comments between, errors
inside. An answer is complete at `[DONE]`, or where the stream ends after a `finish_reason`; a stream that ends before
is truncated, whatever had come. Bytes that are no stream (JSON, HTML) are the body of a common reply.
"""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from batchrunner.chat.calls import ToolCalls
from batchrunner.chat.error_inside import status_in
from batchrunner.chat.events import BOM, LONGEST_EVENT, Event, EventReader
from batchrunner.records import Broken, Failure, HttpReply, Kind

_LONGEST_MESSAGE = 300
_BLANK = b" \t\r\n"
_NO_STREAM = (b"{", b"[", b"<")
_NULL = msgspec.Raw(b"null")
_UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError)  # a UnicodeError is a ValueError


class _Delta(msgspec.Struct):
    content: Any = None
    tool_calls: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None


class _Choice(msgspec.Struct):
    index: Any = 0
    delta: _Delta | None = None
    message: _Delta | None = None  # some gateways end with one that has the whole in it, or send nothing else
    finish_reason: Any = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL
    object: Any = None
    model: Any = None
    id: Any = None
    created: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


class Fold:
    """One answer as it comes: `take` its bytes until `is_done` or they end, then ask what `came_of` it.

    `has_begun`: a first token has come.
    """

    def __init__(self) -> None:
        self.has_begun = False
        self.is_done = False
        self._head: bytes | None = b""  # until the first byte that tells what this is
        self._body: list[bytes] | None = None  # where it is no stream
        self._events = EventReader()
        self._seen = 0
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._calls = ToolCalls()
        self._finish_reason: str | None = None
        self._usage: bytes | None = None
        self._about: dict[str, Any] = {}
        self._has_choices = False
        self._wrong: Failure | HttpReply | None = None

    def take(self, part: bytes) -> bool:
        """Take in bytes; whether they ended an event."""
        if self._head is not None:
            part = self._decide(part)
        if self._body is not None:
            self._body.append(part)
            return False
        seen = self._seen
        self._take_events(self._events.take(part))
        return self._seen > seen

    def came_of(
        self, status: int, headers: Mapping[str, str], broke: Failure | None = None
    ) -> HttpReply | Broken | Failure:
        """What the reply was whose bytes these are; `broke` says why no more of them came, where they did not end.

        A silence after the `finish_reason` is an end, too.
        """
        if self._body is not None:
            return broke or HttpReply(status=status, headers=headers, body=b"".join(self._body))
        if broke is None:
            self._take_events(self._events.end(), may_be_cut=True)
        how = self._wrong
        if how is None and not self.is_done:
            how = self._unfinished(status, broke)
        if how is None:
            return HttpReply(status=status, headers=headers, body=self._completion())
        if isinstance(how, HttpReply):
            how = msgspec.structs.replace(how, headers=headers)
        return Broken(how=how, so_far=self._completion()) if self.has_begun or self._usage else how

    def _decide(self, part: bytes) -> bytes:
        """Look at the first byte that is not blank: JSON and HTML are no stream."""
        head = (self._head or b"") + part
        if BOM.startswith(head):
            self._head = head
            return b""
        head = head.removeprefix(BOM).lstrip(_BLANK)
        if head:
            self._head = None
            self._body = [] if head.startswith(_NO_STREAM) else None
        return head

    def _take_events(self, events: list[Event], *, may_be_cut: bool = False) -> None:
        if self._events.is_overlong:
            self._fail(f"an event of the stream is longer than {LONGEST_EVENT} bytes")
        for event in events:
            if self.is_done:
                return
            self._seen += 1
            if event.data.strip() == b"[DONE]":
                self.is_done = True
                return
            self._take_event(event, may_be_cut=may_be_cut)

    def _take_event(self, event: Event, *, may_be_cut: bool) -> None:
        try:
            chunk = _chunk(event.data)
            if event.name == b"error" or chunk.object == "error" or chunk.error != _NULL:
                self._take_error(event.data)
            else:
                self._take_chunk(chunk)
        except _UNREADABLE as error:
            if not may_be_cut:
                self._fail(f"an event of the stream is no part of a chat completion: {error}")

    def _take_chunk(self, chunk: _Chunk) -> None:
        if not self._about:
            self._about = {"id": chunk.id, "model": chunk.model, "created": chunk.created}
        if chunk.usage != _NULL:
            self._usage = bytes(chunk.usage)
        for choice in chunk.choices or ():
            if choice.index in (0, None):
                self._take_choice(choice)

    def _take_choice(self, choice: _Choice) -> None:
        self._has_choices = True
        delta = choice.delta
        if delta is None and not self.has_begun:
            delta = choice.message
        if delta is not None:
            self._take_delta(delta)
        if isinstance(choice.finish_reason, str):
            self._finish_reason = choice.finish_reason
            if choice.finish_reason == "error":
                message = "the stream ended with an error that it does not name"
                self._wrong, self.is_done = Failure(kind=Kind.SERVER_ERROR, status=200, message=message), True

    def _take_delta(self, delta: _Delta) -> None:
        for kept, content in (
            (self._text, delta.content),
            (self._reasoning, delta.reasoning_content or delta.reasoning),
            (self._refusal, delta.refusal),
        ):
            words = _words(content)
            if words is not None:
                kept.append(words)
                self.has_begun = self.has_begun or words != ""
        if delta.tool_calls:
            self._calls.take(delta.tool_calls)
            self.has_begun = True

    def _take_error(self, data: bytes) -> None:
        self.is_done = True
        status = status_in(data)
        if status is not None:
            self._wrong = HttpReply(status=status, headers={}, body=data)
            return
        words = " ".join(data.decode(errors="replace").split())[:_LONGEST_MESSAGE]
        self._wrong = Failure(kind=Kind.SERVER_ERROR, status=200, message=f"an error in the stream: {words}")

    def _fail(self, message: str) -> None:
        self.is_done = True
        self._wrong = self._wrong or Failure(kind=Kind.INVALID_REPLY, status=200, message=message)

    def _unfinished(self, status: int, broke: Failure | None) -> Failure | None:
        """Why an answer without `[DONE]` is none; None where its stream ended after a `finish_reason`."""
        if self._finish_reason is not None and (broke is None or broke.kind is Kind.TIMEOUT):
            return None
        if broke is not None:
            return broke
        if not self._seen:
            return Failure(kind=Kind.INVALID_REPLY, status=status, message="no chat completion, and no stream of one")
        return Failure(kind=Kind.TRUNCATED, status=status, message="the stream ended before its answer did")

    def _completion(self) -> bytes:
        """What has come, as the body of a completion that is not streamed."""
        message: dict[str, Any] = {"role": "assistant", "content": _joined(self._text)}
        for name, parts in (("reasoning_content", self._reasoning), ("refusal", self._refusal)):
            if parts:
                message[name] = _joined(parts)
        if self._calls:
            message["tool_calls"] = self._calls.whole()
        choice = {"index": 0, "message": message, "finish_reason": self._finish_reason}
        completion = {"object": "chat.completion"} | self._about
        completion["choices"] = [choice] if self._has_choices else []
        if self._usage is not None:
            completion["usage"] = msgspec.Raw(self._usage)
        return _encoded(completion)


def _chunk(data: bytes) -> _Chunk:
    """The chunk in an event's data. Half a surrogate pair, the other half of which comes in the next chunk, is read
    by a slower way. Raises one of _UNREADABLE."""
    try:
        return _decode(data)
    except msgspec.ValidationError:
        raise
    except _UNREADABLE:
        if b"\\u" not in data:
            raise
    content = json.loads(data)
    table = content if isinstance(content, dict) else {}
    raw = {name: table.pop(name) for name in ("usage", "error") if name in table}
    chunk: _Chunk = msgspec.convert(content, _Chunk)
    for name, value in raw.items():
        setattr(chunk, name, msgspec.Raw(json.dumps(value).encode()))
    return chunk


def _words(content: object) -> str | None:
    """The text of a delta's field: as it is, or in parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    texts = (part.get("text") for part in content if isinstance(part, dict))
    return "".join(text for text in texts if isinstance(text, str))


def _joined(parts: list[str]) -> str | None:
    return "".join(parts) if parts else None


def _encoded(completion: dict[str, Any]) -> bytes:
    """As JSON; where there are halves of surrogate pairs, these are put together, and what has no other half lost."""
    try:
        return msgspec.json.encode(completion)
    except UnicodeEncodeError:
        raw = completion.pop("usage", None)
        text = json.dumps(completion, ensure_ascii=False)
        whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return msgspec.json.encode(json.loads(whole) | ({} if raw is None else {"usage": raw}))
