"""What a probe found out about a gateway, as records made of its replies. Pure; never raises on any reply.

Nothing here is safe to show as it is, but for secrets, which the transport has taken out: lengths are bounded, yet
characters are the gateway's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from batchrunner.chat.verdict import TABLE
from batchrunner.folder.ending import Ending
from batchrunner.job.words import SHORT_NAMES
from batchrunner.limits.hints import retry_after_seconds
from batchrunner.limits.spans import gateway_time
from batchrunner.limits.told import MONTH_SECONDS, State, Told, states, told_limits
from batchrunner.records import HttpReply, Kind, Usage
from batchrunner.runner.outcome import Came
from batchrunner.transport.observed import Seen

LONGEST_SHOWN = 500
_MOST_HEADERS = 64
_LONGEST_NAME = 80
_MOST_KEYS = 12
_DEEPEST = 3
_CODES = ("code", "error_code", "type")
_SECRET_HEADERS = frozenset({"set-cookie", "set-cookie2", "authorization", "proxy-authorization"})
_WINDOWS = {1.0: "second", 60.0: "minute", 3600.0: "hour", 86400.0: "day", MONTH_SECONDS: "month"}
_LIKELY = ((1.0, 60.0), (3600.0, 86400.0))  # a reset within a second may be that of a steady refill
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a probe and what came of it. `failure` is its kind, None for a completion; `verdict` what a run
    would make of that; `wait_seconds` what the gateway asks to wait; `shape` the keys of an error's body; `headers` by
    lower-case name. Times in seconds."""

    what: str
    status: int | None = None
    failure: Kind | None = None
    verdict: str | None = None
    message: str | None = None
    code: str | None = None
    shape: str | None = None
    body: str | None = None
    content_type: str | None = None
    answer: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    cost: float | None = None
    wait_seconds: float | None = None
    latency_s: float | None = None
    first_token_s: float | None = None
    seen: Seen = Seen()
    clock_ahead_s: float | None = None
    headers: dict[str, str] = {}

    @property
    def answered(self) -> bool:
        """Whether a chat completion came, be it empty."""
        return self.status is not None and self.status // 100 == 2 and self.finish_reason is not None  # noqa: PLR2004


class LimitHeader(msgspec.Struct, frozen=True, kw_only=True):
    """A header that may tell of limits, and how it is read; None where it is not understood."""

    name: str
    value: str
    understood: str | None


class ToldLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit as all headers together tell it. `option` declares it, where there is one; `likely_window_seconds` is the
    window that its reset suggests, where none is told."""

    dimension: str
    amount: float
    window_seconds: float | None
    remaining: float | None
    reset_seconds: float | None
    likely_window_seconds: float | None
    option: str | None


class Probed(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out about one model; `ending` as that of a run whose rows had all met what the good one met."""

    model: str
    base_url: str
    auth_scheme: str
    ending: Ending
    exchanges: list[Exchange]
    limit_headers: list[LimitHeader] = []
    limits: list[ToldLimit] = []
    advice: list[str] = []


def exchange_of(what: str, shown: HttpReply | None, came: Came, seen: Seen) -> Exchange:
    """The exchange that brought this; `shown` is its reply without secrets, where one came."""
    reply, failure = came.reply, came.failure
    facts: dict[str, Any] = {"what": what, "seen": seen, "latency_s": round(came.latency_s, 4)}
    if failure is not None:
        facts |= {"failure": failure.kind, "verdict": TABLE[failure.kind], "message": failure.message}
    if shown is not None:
        headers = headers_of(shown.headers)
        facts |= {
            "status": shown.status,
            "headers": headers,
            "content_type": headers.get("content-type"),
            "first_token_s": shown.first_token_s,
            "clock_ahead_s": _clock_ahead_s(shown.headers, came),
        }
        facts |= _of_body(shown.body) if reply is None else {}
    if reply is not None:
        facts |= {
            "answer": (reply.text or "")[:LONGEST_SHOWN],
            "finish_reason": (reply.finish_reason or "none")[:_LONGEST_NAME],
            "usage": reply.usage,
            "cost": reply.cost,
        }
    return Exchange(wait_seconds=came.hint_seconds, **facts)


def headers_of(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers as they may be shown: so many, so long, and no cookie's value."""
    kept = [(name, value) for name, value in headers.items() if len(name) <= _LONGEST_NAME][:_MOST_HEADERS]
    return {
        _text(name): "[not shown]" if name in _SECRET_HEADERS else _text(value)[:LONGEST_SHOWN] for name, value in kept
    }


def limit_headers(exchanges: Sequence[Exchange], now: float) -> list[LimitHeader]:
    """The headers that may tell of limits, each read as it would be alone. `now` is Unix time."""
    found: dict[str, LimitHeader] = {}
    for exchange in exchanges:
        beside = {"date": exchange.headers.get("date", "")}
        beside |= {name: "" for name in exchange.headers if name.startswith("x-groq-")}
        for name, value in exchange.headers.items():
            if ("limit" in name or "retry-after" in name) and name not in found:
                understood = _understood({name: value} | beside, now)
                found[name] = LimitHeader(name=name, value=value, understood=understood)
    return list(found.values())


def limits_told(exchanges: Sequence[Exchange], now: float) -> list[ToldLimit]:
    """The limits that the first reply which tells of any tells of."""
    for exchange in exchanges:
        told = told_limits(exchange.headers, now)
        if told:
            return [_told_limit(one) for one in told]
    return []


def window_name(seconds: float | None) -> str | None:
    """`minute` for 60, `300 s` for 300."""
    return None if seconds is None else _WINDOWS.get(seconds, f"{seconds:g} s")


def _told_limit(told: Told) -> ToldLimit:
    likely, reset = None, told.reset_seconds or 0.0
    if told.window_seconds is None:
        likely = next((window for least, window in _LIKELY if least < reset <= window), None)
    option = _option(told.dimension, told.amount, told.window_seconds or likely)
    return ToldLimit(**msgspec.structs.asdict(told), likely_window_seconds=likely, option=option)


def _option(dimension: str, amount: float, window_seconds: float | None) -> str | None:
    """The option of `run` that declares a limit, where there is one for its window."""
    name = f"{dimension}_per_{window_name(window_seconds)}"
    short = next((option for option, key in SHORT_NAMES.items() if key == name), None)
    return None if short is None or amount < 1 else f"--{short} {int(amount)}"


def _understood(headers: Mapping[str, str], now: float) -> str | None:
    """What one header says; the others here are those that it is read by."""
    if "retry-after" in next(iter(headers)):
        seconds = retry_after_seconds(headers, b"", now)
        return None if seconds is None else f"wait {seconds:g} s at least (heeded on refusals)"
    words = [words for state in states(headers, now) if (words := _words_of(state)) is not None]
    return "; ".join(words) or None


def _words_of(state: State) -> str | None:
    window = window_name(state.window_seconds)
    facts = [
        f"limit {state.amount:,.12g}" if state.amount is not None else None,
        f"remaining {state.remaining:,.12g}" if state.remaining is not None else None,
        f"resets in {state.reset_seconds:.3g} s" if state.reset_seconds is not None else None,
    ]
    known = [fact for fact in facts if fact is not None]
    if not known:
        return None
    part = ", of a part of them" if state.is_part else ""
    return f"{state.of}{f' per {window}' if window else ''}{part}: {', '.join(known)}"


def _clock_ahead_s(headers: Mapping[str, str], came: Came) -> float | None:
    """By how much the gateway's clock is ahead of ours, to about a second: its Date is cut to seconds."""
    date = gateway_time(headers, -1.0)
    return None if date < 0 else round(date + 0.5 - came.sent_at - came.latency_s / 2, 1)


def _of_body(body: bytes) -> dict[str, str | None]:
    try:
        content = msgspec.json.decode(body)
    except _UNREADABLE:
        shape = "no JSON" if body.strip() else "empty"
        return {"shape": shape, "body": body[:LONGEST_SHOWN].decode(errors="replace")}
    return {"shape": _shape(content), "body": body[:LONGEST_SHOWN].decode(errors="replace"), "code": _code(content)}


def _shape(content: object, depth: int = 0) -> str:
    """The names of a JSON value's members, as far as one wants to know them."""
    match content:
        case dict():
            names = [_with_members(name, content[name], depth) for name in list(content)[:_MOST_KEYS]]
            return "{" + ", ".join([*names, *(["…"] if len(content) > _MOST_KEYS else [])]) + "}"
        case list():
            return f"[{_shape(content[0], depth + 1)}]" if content and depth < _DEEPEST else "[]"
        case _:
            return type(content).__name__.replace("NoneType", "null")


def _with_members(name: str, value: object, depth: int) -> str:
    has_members = isinstance(value, dict | list) and value and depth < _DEEPEST
    return name[:_LONGEST_NAME] + (f": {_shape(value, depth + 1)}" if has_members else "")


def _code(content: object) -> str | None:
    """The code, or else the type, that an error's body names."""
    error = content.get("error") if isinstance(content, dict) else None
    for table in (error, content):
        if isinstance(table, dict):
            for name in _CODES:
                if isinstance(table.get(name), str | int):
                    return str(table[name])[:_LONGEST_NAME]
    return None


def _text(words: str) -> str:
    """Such as UTF-8 can hold."""
    return words.encode(errors="replace").decode()
