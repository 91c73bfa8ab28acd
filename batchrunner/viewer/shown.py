"""What the page of a row shows of question and answer: texts as they are, all else as JSON to unfold. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

import msgspec

from batchrunner.records import COLUMNS

LONGEST_EXCERPT = 220
LONGEST_ID = 120  # of the title
MANY_ALIKE = 16  # characters
_TOLD = frozenset({"id", "row", "status", "response", "reasoning", "error", "variant", "sample"})
_SPEAKS = ("role", "name", "tool_call_id")
_FOLDED = ("tool_calls", "parsed", "raw")


class Folded(msgspec.Struct, frozen=True, kw_only=True):
    """Something to unfold, or unfolded already."""

    title: str
    text: str
    open: bool = False


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a conversation. `role`: who speaks, and under which name."""

    role: str
    text: str
    folded: list[Folded]


def turns_of(body: Mapping[str, Any]) -> list[Turn]:
    """The conversation of a request."""
    return [_turn(message) for message in _list_in(body.get("messages")) or () if isinstance(message, Mapping)]


def rest_of(body: Mapping[str, Any]) -> list[Folded]:
    """What the request says beside its conversation."""
    others = {name: value for name, value in body.items() if name not in ("messages", "tools")}
    tools = body.get("tools")
    parts = [("parameters", others), *([("tools", tools)] if tools else [])]
    return [Folded(title=_counted(title, value), text=pretty(value)) for title, value in parts if value]


def folded_of(outcome: Mapping[str, Any]) -> list[Folded]:
    """What an output row has beside texts and figures; last the kept columns of the input."""
    kept = {name: value for name, value in outcome.items() if name not in COLUMNS}
    parts = {name: outcome.get(name) for name in _FOLDED} | {"kept columns": kept or None}
    return [
        Folded(
            title=_counted(name.replace("_", " "), value),
            text=pretty(value),
            open=name == "tool_calls" and not outcome.get("response"),
        )
        for name, value in parts.items()
        if value is not None
    ]


def figures_of(outcome: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Name and value of all else that is known of it; a long id is whole here."""
    if len(str(outcome.get("id", ""))) > LONGEST_ID:
        yield "id", outcome["id"]
    for name in COLUMNS:
        value = outcome.get(name)
        if name in _TOLD or name in _FOLDED or value is None:
            continue
        if isinstance(value, Mapping):
            yield from ((inner.replace("_", " "), one) for inner, one in value.items() if one is not None)
        else:
            yield name.removesuffix("_s").replace("_", " "), f"{value} s" if name.endswith("_s") else value


def last_asked(columns: Mapping[str, Any] | None, body: Mapping[str, Any] | None) -> str:
    """What was asked last."""
    texts = [turn.text for turn in turns_of(body or {}) if turn.text]
    if not texts and columns:
        texts = [value for value in columns.values() if isinstance(value, str)]
    return texts[-1] if texts else ""


def without_beginning(texts: Sequence[str]) -> list[str]:
    """The texts without the many words with which all of them begin, as a template makes them."""
    first, last = min(texts, default=""), max(texts, default="")
    alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
    words = max((end for end in range(alike) if first[end].isspace()), default=0) if first != last else 0
    return [f"… {text[words:].lstrip()}" for text in texts] if words >= MANY_ALIKE else list(texts)


def excerpt_of_answer(outcome: Mapping[str, Any]) -> str:
    """What was answered, in short."""
    text = outcome.get("response")
    if isinstance(text, str) and text.strip():
        return excerpt(text)
    calls = outcome.get("tool_calls")
    return excerpt(msgspec.json.encode(calls).decode()) if calls else ""


def excerpt(text: str) -> str:
    """Its beginning, in one line."""
    return " ".join(text[: 4 * LONGEST_EXCERPT].split())[:LONGEST_EXCERPT]


def pretty(value: Any) -> str:
    """JSON for people; a text as it is."""
    if isinstance(value, str):
        return value
    try:
        return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    except (RecursionError, UnicodeEncodeError, TypeError):
        return repr(value)


def _turn(message: Mapping[str, Any]) -> Turn:
    content = message.get("content")
    parts = [content] if _list_in(content) is None else _list_in(content) or []
    texts = [one if isinstance(one, str) else _text_in(one) for one in parts]
    others = [one for one, text in zip(parts, texts, strict=True) if text is None and one is not None]
    beside = {name: value for name, value in message.items() if name not in _SPEAKS and name != "content" and value}
    folded = [(_type_of(one), one) for one in others] + [(name.replace("_", " "), one) for name, one in beside.items()]
    names = [str(message[name]) for name in _SPEAKS if message.get(name)]
    return Turn(
        role=", ".join(names),
        text="\n\n".join(text for text in texts if text),
        folded=[Folded(title=_counted(title, one), text=pretty(one)) for title, one in folded],
    )


def _text_in(part: Any) -> str | None:
    text = part.get("text") if isinstance(part, Mapping) else None
    return text if isinstance(text, str) else None


def _type_of(part: Any) -> str:
    return str(part.get("type", "part")).replace("_", " ") if isinstance(part, Mapping) else "part"


def _counted(title: str, value: Any) -> str:
    listed = _list_in(value) or []
    return f"{title} ({len(listed)})" if len(listed) > 1 else title


def _list_in(value: Any) -> list[Any] | None:
    return list(value) if isinstance(value, list | tuple) else None
