"""The JSON of chat completions, in and out: what a request asks for, and an answer in OpenAI's shape."""

from hashlib import sha256
from typing import Annotated, Any

import msgspec

PROMPT_TOKENS_PER_MESSAGE = 4
CHARS_PER_TOKEN = 4

Positive = Annotated[int, msgspec.Meta(ge=1, le=100_000_000)]


class Part(msgspec.Struct, frozen=True):
    """A piece of a message's content; only text has a length here."""

    type: str
    text: str = ""


class Message(msgspec.Struct, frozen=True):
    role: str
    content: str | list[Part] | None = None


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the simulator understands of a request; unknown fields are accepted and ignored."""

    model: str
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    max_tokens: Positive | None = None
    max_completion_tokens: Positive | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Function(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    arguments: str


class Call(msgspec.Struct, frozen=True, kw_only=True, tag="function", tag_field="type"):
    """A call of a tool."""

    id: str
    function: Function


class Spoken(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="assistant", tag_field="role"):
    content: str | None
    refusal: str | None = None
    tool_calls: tuple[Call, ...] | None = None


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    index: int = 0
    message: Spoken
    finish_reason: str


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: tuple[Choice]
    usage: Usage


_decoder = msgspec.json.Decoder(ChatRequest)
_encoder = msgspec.json.Encoder()


def read_request(body: bytes) -> ChatRequest:
    """Decode a request. Raises msgspec.DecodeError (of which ValidationError is one) with what is wrong."""
    return _decoder.decode(body)


def prompt_text(request: ChatRequest) -> str:
    """The text of the last message by the user, or of the last message where no user speaks."""
    for message in reversed(request.messages):
        if message.role == "user":
            return _text(message)
    return _text(request.messages[-1])


def digest_of(text: str) -> int:
    """The first 64 bits of the text's SHA-256; as 16 hexadecimal digits in the ledger."""
    return int.from_bytes(sha256(text.encode("utf-8", "surrogatepass")).digest()[:8])


def prompt_tokens(request: ChatRequest) -> int:
    """A token for every four characters, and a few for each message."""
    chars = sum(len(_text(message)) for message in request.messages)
    return -(-chars // CHARS_PER_TOKEN) + PROMPT_TOKENS_PER_MESSAGE * len(request.messages)


def max_completion(request: ChatRequest) -> int | None:
    """The cap the request sets on its answer, by either name."""
    return request.max_completion_tokens or request.max_tokens


def wants_usage(request: ChatRequest) -> bool:
    """Whether a stream is to tell what it cost."""
    return request.stream_options is not None and bool(request.stream_options.include_usage)


def completion(*, number: int, created: int, model: str, spoken: Spoken, finish: str, usage: Usage) -> bytes:
    """The body of an answer."""
    choice = Choice(message=spoken, finish_reason=finish)
    return _encoder.encode(
        Completion(id=f"chatcmpl-sim-{number}", created=created, model=model, choices=(choice,), usage=usage)
    )


def model_list(models: frozenset[str]) -> bytes:
    """The body of GET /v1/models."""
    rows = [{"id": m, "object": "model", "created": 0, "owned_by": "simulator"} for m in sorted(models)]
    return _encoder.encode({"object": "list", "data": rows})


def _text(message: Message) -> str:
    content = message.content
    if isinstance(content, str):
        return content
    return "".join(part.text for part in content or ())
