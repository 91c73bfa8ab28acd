"""The frozen records that travel through the house, and the kinds of failure they name.

A unit is one thing to ask: a row in one of the arms of the sweep, which are its variants times its samples. Its
number is that of the row (0 for the first one) times the arms, plus that of the arm; without a sweep it is the row's.
Times are seconds; instants called `_at` are Unix time unless they say otherwise.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

REFUSAL = "refusal"  # the finish reason of an answer that is a refusal; gateways say `stop`
FINISH_REASONS = ("stop", "length", "tool_calls", "function_call", "content_filter", REFUSAL)
SAME_PARAMETER = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}  # two names of one


class Kind(StrEnum):
    """What went wrong with a try or a row: the `error.kind` of the output. Ordered from the row outwards."""

    INVALID_ROW = "invalid_row"  # the row can't be read or makes no request
    TOO_LARGE = "too_large"  # the row asks for more tokens than a whole window of the limit holds
    REJECTED = "rejected"  # the gateway will not have this request: 400, 413, 422, ...
    INVALID_REPLY = "invalid_reply"  # status 2xx, but the body is no chat completion
    EMPTY_ANSWER = "empty_answer"  # a completion without text and without tool calls
    TRUNCATED = "truncated"  # a stream that ended before its answer did: maybe paid
    INVALID_ANSWER = "invalid_answer"  # the answer is not what was asked for
    FINISH_REASON = "finish_reason"  # the answer ended in a way that the job counts as failure
    SERVER_ERROR = "server_error"  # 500 and other 5xx
    TIMEOUT = "timeout"  # no whole answer within the time for one try
    RATE_LIMITED = "rate_limited"  # 429 of a rate
    CONCURRENCY = "concurrency"  # 429 of requests in flight
    DAILY_LIMIT = "daily_limit"  # 429 of a daily quota
    UNAVAILABLE = "unavailable"  # no capacity: 502, 503, 504, 529
    UNREACHABLE = "unreachable"  # no connection: refused, no such host, TLS
    RESET = "reset"  # the connection broke after the request was written: maybe paid
    WORKER_LOST = "worker_lost"  # the worker died that had been handed the request: maybe paid
    REFUSED = "refused"  # 401, 403, 404: the key or the model
    BILLING = "billing"  # 402 and its kin: the account has no money
    REDIRECTED = "redirected"  # 3xx: redirects are never followed


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a try or a row failed. `status` is the HTTP status, where one came; `final`: another try won't help."""

    kind: Kind
    message: str
    status: int | None = None
    final: bool = False


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the input, as one of its units. `failure` is set, and `columns` empty, where it can't be read; `kept`
    are the columns that its output row has, too, as a JSON object."""

    number: int
    id: str
    columns: Mapping[str, Any]
    failure: Failure | None = None
    arms: int = 1
    kept: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @property
    def row(self) -> int:
        """The number of the row."""
        return self.number // self.arms

    @property
    def arm(self) -> int:
        """The number of the arm."""
        return self.number % self.arms


class FileContent(msgspec.Struct, frozen=True, kw_only=True):
    """A local file that goes into a message."""

    media_type: str
    base64: str

    @property
    def data_url(self) -> str:
        """The whole file as a URL."""
        return f"data:{self.media_type};base64,{self.base64}"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent for one unit: a JSON body for /chat/completions, and what the limiter needs of it.

    `digest` tells it from what another run asks for a unit of the same number; `check` takes an answer in, or says what
    is wrong with it, where somebody is particular about answers; `kept` is the row's; `keeps_raw`: the
    outcome has the body of the reply.
    """

    number: int
    id: str
    model: str
    body: bytes
    digest: bytes = b""
    prompt_chars: int
    max_tokens: int | None = None
    check: "Callable[[Reply], Reply | Failure] | None" = None
    arms: int = 1
    variant: str | None = None
    sample: int | None = None
    kept: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    keeps_raw: bool = False

    @property
    def row(self) -> int:
        """The number of the row."""
        return self.number // self.arms


class HttpReply(msgspec.Struct, frozen=True, kw_only=True):
    """What came back over the wire: status, headers by lower-case name, the body whole; of a stream also when its first
    token came, after the request was sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    first_token_s: float | None = None


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """A streamed answer that broke off: how, or as which HTTP reply if the error in the stream named a status, and the
    body of the completion so far."""

    how: Failure | HttpReply
    so_far: bytes


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens as the gateway counted them; None where it did not say or said nonsense."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None

    def plus(self, other: "Usage | None") -> "Usage":
        """Both together; what neither says stays None."""
        if other is None:
            return self
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        sums = (None if one is None and two is None else (one or 0) + (two or 0) for one, two in pairs)
        return Usage(**dict(zip(self.__struct_fields__, sums, strict=True)))


class Paid(msgspec.Struct, frozen=True, kw_only=True):
    """What was used and paid, as far as anybody knows."""

    usage: Usage | None = None
    cost: float | None = None

    def plus(self, other: "Paid") -> "Paid":
        """Both together; what neither knows stays None."""
        usage = other.usage if self.usage is None else self.usage.plus(other.usage)
        if self.cost is None or other.cost is None:
            return Paid(usage=usage, cost=other.cost if self.cost is None else self.cost)
        return Paid(usage=usage, cost=money(self.cost + other.cost))


def money(amount: float) -> float:
    """An amount to twelve digits, so that 0.1 and 0.2 are 0.3."""
    return float(f"{amount:.12g}")


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A chat completion, understood. `tool_calls` is the gateway's JSON as it came, `parsed` the answer's own; `cost`
    what the gateway says that it took for it."""

    text: str | None
    tool_calls: msgspec.Raw | None
    reasoning: str | None
    finish_reason: str | None
    usage: Usage
    model: str | None
    request_id: str | None
    parsed: msgspec.Raw | None = None
    cost: float | None = None


class Try(msgspec.Struct, frozen=True, kw_only=True):
    """One request that was sent, whatever came of it. `failure` is None where it was answered; `model` is the one that
    was asked, `cost` None where nobody knows it. Where nobody knows what it used, `most_prompt_tokens` and
    `most_completion_tokens` are the most that it can have, if that is known. `first_token_s`: of streams."""

    number: int
    sent_at: float
    latency_s: float
    failure: Failure | None = None
    usage: Usage | None = None
    finish_reason: str | None = None
    model: str | None = None
    cost: float | None = None
    most_prompt_tokens: int | None = None
    most_completion_tokens: int | None = None
    first_token_s: float | None = None


class ErrorColumn(msgspec.Struct, frozen=True, kw_only=True):
    """The `error` column of an output row."""

    kind: str
    status: int | None
    message: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a unit ended: the native output row, its fields in the order of the output's columns.

    Two of them are there where the run was told so: `raw`, the body of the gateway's last reply as JSON, and `kept`,
    a JSON object of input columns, which are columns of the output row themselves.
    """

    id: str
    row: int
    status: str  # "ok" or "failed"
    response: str | None = None
    tool_calls: msgspec.Raw | None = None
    parsed: msgspec.Raw | None = None
    reasoning: str | None = None
    finish_reason: str | None = None
    error: ErrorColumn | None = None
    usage: Usage | None = None
    cost: float | None = None
    model: str | None = None
    variant: str | None = None
    sample: int | None = None
    attempts: int = 0
    latency_s: float | None = None
    first_token_s: float | None = None
    request_id: str | None = None
    finished_at: str | None = None  # RFC 3339, UTC
    raw: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    kept: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    def as_row(self) -> bytes:
        """The output row as JSON, the kept columns behind all others."""
        encoded = msgspec.json.encode(self)
        if isinstance(self.kept, msgspec.UnsetType):
            return encoded
        kept = bytes(self.kept)
        native = encoded[: -len(_KEPT) - len(kept) - len("}")]
        return native + (b"}" if kept == b"{}" else b"," + kept[1:])


COLUMNS = tuple(name for name in Outcome.__struct_fields__ if name != "kept")
_KEPT = b',"kept":'
_BEFORE_TAKEN = "input."


def name_in_output(column: str) -> str:
    """What an input column is called in the output, where its own name may be one of the output's columns."""
    bare = column
    while bare.startswith(_BEFORE_TAKEN):
        bare = bare.removeprefix(_BEFORE_TAKEN)
    return _BEFORE_TAKEN + column if bare in COLUMNS else column
