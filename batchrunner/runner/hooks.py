"""What a program that runs a job puts into it: its own functions to make requests, judge answers, hear of outcomes.

What these functions do wrong fails the row that they do it to, and costs it no further try.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from batchrunner.records import Failure, Kind, Outcome, Reply, Request, Row
from batchrunner.source import Source
from batchrunner.source.scan import Scan

LONGEST_MESSAGE = 500


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is to be judged: the columns of its row, what was said, and all else about it in `reply`."""

    id: str
    row: Mapping[str, Any]
    text: str | None
    reply: Reply


MakeRequest = Callable[[Mapping[str, Any]], Mapping[str, Any] | Sequence[Mapping[str, Any]] | None]
Accept = Callable[[Answer], bool | str]
Tell = Callable[[list[Outcome]], Awaitable[None]]
Warn = Callable[[str], None]


def _unheard(_: str) -> None:
    """Where nobody wants to hear."""


class Hooks(msgspec.Struct, frozen=True, kw_only=True):
    """`request` makes of a row's columns a body or the messages, or None to fail the row; `accept` judges an answer:
    True, or the reason why it is asked for again; `told` hears of outcomes that have been recorded; `warn` of what may
    be a mistake, before anything is sent; `heeds_signals`: SIGINT and SIGTERM are the run's affair."""

    request: MakeRequest | None = None
    accept: Accept | None = None
    told: Tell | None = None
    warn: Warn = _unheard
    heeds_signals: bool = True


class RemadeSource:
    """A source whose rows are what `request` makes of them."""

    def __init__(self, source: Source, make: MakeRequest, model: str | None) -> None:
        self._source = source
        self._make = make
        self._model = model

    def rows(self, skip: Callable[[int], bool], limit: int | None) -> Iterator[list[Row]]:
        """As the source's own."""
        for batch in self._source.rows(skip, limit):
            yield [self._remade(row) for row in batch]

    def size(self) -> int:
        """As the source's own."""
        return self._source.size()

    def version(self) -> str:
        """As the source's own."""
        return self._source.version()

    def scan(self) -> Scan:
        """As the source's own."""
        return self._source.scan()

    def fingerprint(self) -> str:
        """As the source's own."""
        return self._source.fingerprint()

    def _remade(self, row: Row) -> Row:
        if row.failure is not None:
            return row
        try:
            made = self._make(row.columns)
        except Exception as error:  # noqa: BLE001 - whatever somebody else's code raises is that row's failure
            return _failed(row, f"request raised {_words(error)}")
        others = {name: value for name, value in row.columns.items() if name not in ("body", "messages")}
        if isinstance(made, Mapping):
            body = dict(made) if self._model is None else {"model": self._model, **made}
            return msgspec.structs.replace(row, columns=others | {"body": body})
        if isinstance(made, Sequence) and not isinstance(made, str | bytes):
            return msgspec.structs.replace(row, columns=others | {"messages": list(made)})
        said = "made nothing of the row" if made is None else "returned neither a body nor a list of messages"
        return _failed(row, f"request {said}")


def judged(request: Request, row: Row, accept: Accept) -> Request:
    """The request, whose answers `accept` judges when all other checks have let them through."""
    earlier = request.check

    def check(reply: Reply) -> Reply | Failure:
        checked = reply if earlier is None else earlier(reply)
        if isinstance(checked, Failure):
            return checked
        answer = Answer(id=row.id, row=row.columns, text=checked.text, reply=checked)
        try:
            verdict = accept(answer)
        except Exception as error:  # noqa: BLE001 - likewise, and asking again would not help
            return _rejected(f"accept raised {_words(error)}", final=True)
        if verdict is True:
            return checked
        return _rejected(verdict if isinstance(verdict, str) and verdict else "accept said no", final=False)

    return msgspec.structs.replace(request, check=check)


def _failed(row: Row, message: str) -> Row:
    failure = Failure(kind=Kind.INVALID_ROW, message=message[:LONGEST_MESSAGE])
    return msgspec.structs.replace(row, columns={}, failure=failure)


def _rejected(message: str, *, final: bool) -> Failure:
    return Failure(kind=Kind.INVALID_ANSWER, status=200, message=message[:LONGEST_MESSAGE], final=final)


def _words(error: Exception) -> str:
    words = str(error).encode(errors="replace").decode()
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
