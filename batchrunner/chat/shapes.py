"""The shapes of a row and the body each makes. They are told apart by their keys, in this order:

1. a template is given: it is rendered over the row's columns, into a prompt or a conversation;
2. `body`: a line of the OpenAI Batch API, sent as written but for `stream` and its options;
3. `messages`: a conversation;
4. `prompt`: one user message.

A row of shape 2 knows no sweep but that of samples: they add to the `seed` it names, if it names one.
A row of shapes 1, 3 and 4 sets its content, the parameters that the job lets rows set, and in 3 and 4 its `tools` and
`tool_choice`. Whether answers are streamed is the job's affair for every shape, and no part of what is asked: digests
are the same either way. Refused, as that row's failure: any other shape, another URL than /v1/chat/completions.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from batchrunner.chat.expecting import Expectations
from batchrunner.chat.parts import ReadFile
from batchrunner.records import SAME_PARAMETER, Failure, Kind

URL = "/v1/chat/completions"

Columns = Mapping[str, Any]
Messages = list[dict[str, Any]]

_OF_STREAMS = ("stream", "stream_options")
_OF_TOOLS = ("tools", "tool_choice")
_TEXTS = frozenset({"model", "user"})  # parameters that are texts even where they look like numbers
_JSON_IN_TEXT = frozenset({"tools", "tool_choice", "response_format"})  # as tables of texts have them


class RequestSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the job says of every request. `model` may be None where every row carries its own.

    `render` makes the user's text or the whole conversation of a row, `render_system` the system message that `system`
    is without; `read_file` reads the local files that parts of messages may name; `from_texts`: columns are
    texts, so that numbers among the parameters have to be read out of them. `base_url` goes into digests only.
    Where the job has a sweep, this is one of its arms: `variant` and `sample` name it in the output, `swept` are the
    names of what differs between variants. `stream`: answers are asked for as streams that end with their usage.
    """

    model: str | None
    base_url: str = ""
    params: Mapping[str, Any] = {}
    row_params: tuple[str, ...] = ()
    from_texts: bool = False
    system: str | None = None
    render_system: Callable[[Columns], str | Failure] | None = None
    render: Callable[[Columns], str | Messages | Failure] | None = None
    read_file: ReadFile | None = None
    expectations: Expectations = Expectations()
    stream: bool = False
    variant: str | None = None
    sample: int | None = None
    swept: tuple[str, ...] = ()


def model_of(columns: Columns, settings: RequestSettings) -> str | None:
    """The model that a row's request will name, read at a glance; None where only `body_of` can tell."""
    body = columns.get("body") if settings.render is None else None
    if body is not None:
        model = body.get("model") if isinstance(body, dict) else None
    else:
        own = columns.get("model") if "model" in settings.row_params else None
        model = settings.model if own is None else own
    return model if isinstance(model, str) else None


def body_of(columns: Columns, settings: RequestSettings) -> dict[str, Any] | Failure:
    """The body of the request that asks for a row with these columns, or why there is none."""
    if settings.render is not None:
        made = settings.render(columns)
        return made if isinstance(made, Failure) else _with_settings(_conversation(made), columns, settings)
    if columns.get("body") is not None:
        return _from_batch_line(columns, settings)
    if columns.get("messages") is not None:
        return _from_messages(columns, settings)
    prompt = columns.get("prompt")
    if isinstance(prompt, str):
        return _with_tools(_with_settings(_conversation(prompt), columns, settings), columns, settings)
    if prompt is not None:
        return _invalid("`prompt` is not a text")
    return _invalid("the row has none of `prompt`, `messages` and `body`; a template (--prompt) may make one")


def _conversation(made: str | Messages) -> Messages:
    return [{"role": "user", "content": made}] if isinstance(made, str) else made


def _from_messages(columns: Columns, settings: RequestSettings) -> dict[str, Any] | Failure:
    messages = columns["messages"]
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        return _invalid("`messages` is not a list of objects")
    said = [_without_nulls(message) for message in messages]
    return _with_tools(_with_settings(said, columns, settings), columns, settings)


def _without_nulls(message: dict[str, Any]) -> dict[str, Any]:
    """A message and its parts without empty members: tables give every one all members that any other has. An empty
    content stays, as beside tool calls."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [_kept(part) if isinstance(part, dict) else part for part in content]
        return {**_kept(message), "content": parts}
    return {**_kept(message), "content": content} if "content" in message and content is None else _kept(message)


def _kept(members: dict[str, Any]) -> dict[str, Any]:
    if None not in members.values():
        return members
    return {name: value for name, value in members.items() if value is not None}


def _with_settings(messages: Messages, columns: Columns, settings: RequestSettings) -> dict[str, Any] | Failure:
    system = settings.system
    if settings.render_system is not None:
        rendered = settings.render_system(columns)
        if isinstance(rendered, Failure):
            return rendered
        system = rendered
    if system is not None and messages[0].get("role") not in ("system", "developer"):
        messages = [{"role": "system", "content": system}, *messages]
    body = {"model": settings.model, "messages": messages, **settings.params}
    if not settings.row_params:
        return body
    said = _read(columns, settings.row_params) if settings.from_texts else columns
    made = _with_row_params(body, said, settings.row_params)
    grows = settings.sample and "seed" in settings.row_params and said.get("seed") is not None
    return with_seed_of(settings.sample or 0, made) if grows and not isinstance(made, Failure) else made


def _with_row_params(body: dict[str, Any], columns: Columns, names: tuple[str, ...]) -> dict[str, Any] | Failure:
    """What the row sets instead of the job; an empty column sets nothing. The two names of one limit replace each
    other, as gateways refuse both at once."""
    for name in names:
        value = _own(columns, name)
        if isinstance(value, Failure):
            return value
        if value is not None:
            body.pop(SAME_PARAMETER.get(name, ""), None)
            body[name] = value
    return body


def _with_tools(
    body: dict[str, Any] | Failure, columns: Columns, settings: RequestSettings
) -> dict[str, Any] | Failure:
    """A conversation may come with its tools, where these are not what the sweep varies."""
    if not ("tools" in columns or "tool_choice" in columns) or isinstance(body, Failure):
        return body
    said = _read(columns, _OF_TOOLS) if settings.from_texts else columns
    clash = next((name for name in _OF_TOOLS if name in settings.swept and said.get(name) is not None), None)
    if clash is not None:
        return _invalid(f"the row has `{clash}` of its own, and the sweep sets `{clash}`: only one of them can")
    made = _with_row_params(body, said, _OF_TOOLS)
    if isinstance(made, Failure):
        return made
    tools = made.get("tools")
    if tools is not None and not (isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)):
        return _invalid("`tools` is not a list of objects")
    return made


def _read(columns: Columns, names: tuple[str, ...]) -> Columns:
    """These columns of a table of texts as what they mean: "0.7" a number, "true" a truth, an empty one nothing."""
    texts = {name: columns[name] for name in names if name in columns}
    return {name: text or None if name in _TEXTS else _meant(text) for name, text in texts.items()}


def _meant(text: Any) -> Any:
    try:
        return msgspec.json.decode(text) if text else None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text


def _own(columns: Columns, name: str) -> Any | Failure:
    value = columns.get(name)
    if isinstance(value, str) and name in _JSON_IN_TEXT and value[:1] in ("[", "{"):
        try:
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            return _invalid(f"`{name}` is no JSON: {error}")
    return value


def with_seed_of(sample: int, params: Columns) -> dict[str, Any]:
    """The parameters of a sample: a seed that is given is another for each, the first one's as it is."""
    seed = params.get("seed")
    return dict(params) | ({"seed": seed + sample} if isinstance(seed, int) and not isinstance(seed, bool) else {})


def _from_batch_line(columns: Columns, settings: RequestSettings) -> dict[str, Any] | Failure:
    body = columns["body"]
    if settings.swept:
        return _invalid(f"a `body` is sent as written: the sweep of {', '.join(settings.swept)} can't change it")
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
        return _invalid("`body` is not an object with `messages`")
    if str(columns.get("url") or URL) != URL:
        return _invalid(f"only {URL} can be asked, not `url` {str(columns['url'])[:60]!r}")
    if str(columns.get("method") or "POST").upper() != "POST":
        return _invalid("`method` is not POST")
    written = {name: value for name, value in body.items() if name not in _OF_STREAMS}
    return with_seed_of(settings.sample, written) if settings.sample else written


def _invalid(message: str) -> Failure:
    return Failure(kind=Kind.INVALID_ROW, message=message)
