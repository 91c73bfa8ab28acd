"""Values that the command line understands beyond click's own."""

import json
import re
from typing import Any, Final

import click

from batchrunner.job.times import parse_duration
from batchrunner.runner.stopping import MaxFailed

FAULTS = ("5xx", "reset_before", "reset_after", "truncated", "not_json", "empty", "hang", "reset")
FAULTS_OF_STREAMS = ("cut", "stalled", "error_inside", "no_done", "late_content", "keep_alive")

_AMOUNT = re.compile(r"(\d[\d_]{0,30})(?:\.(\d{1,30}))?([kKmMgG]?)")
_FACTORS: Final = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


class Amount(click.ParamType[int, str | int]):
    """A whole number of at least 1, written 3000, 1_000, 500k, 1M or 1.5M."""

    name = "amount"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        amount = value if isinstance(value, int) else parse_amount(value)
        if amount is None or amount < 1:
            self.fail(f"{value!r} is no amount: write a whole number such as 3000, 1_000, 500k or 1.5M", param, ctx)
        return amount


def parse_amount(text: str) -> int | None:
    """The whole number that the text stands for, or None."""
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        return None
    whole, fraction, unit = found[1], found[2] or "", found[3].lower()
    scaled = int(whole.replace("_", "") + fraction) * _FACTORS[unit]
    amount, rest = divmod(scaled, 10 ** len(fraction))
    return None if rest else amount


class Concurrency(click.ParamType[int | str, int | str]):
    """Requests in flight: a whole number of at least 1, or auto."""

    name = "concurrency"

    def convert(self, value: int | str, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == "auto":
            return value
        amount = value if isinstance(value, int) else parse_amount(value)
        if amount is None or amount < 1:
            self.fail(f"{value!r} is no number of requests: write 64, say, or auto", param, ctx)
        return amount


class Seconds(click.ParamType[float, str | float]):
    """A length of time: 90, 90s, 15m, 2h, 1d."""

    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class MostFailed(click.ParamType[MaxFailed, str | MaxFailed]):
    """How many units may fail: 20, 5%, none."""

    name = "N|P%"

    def convert(self, value: str | MaxFailed, param: click.Parameter | None, ctx: click.Context | None) -> MaxFailed:
        if isinstance(value, MaxFailed):
            return value
        text = value.strip()
        if text == "none":
            return MaxFailed()
        if re.fullmatch(r"\d{1,15}", text):
            return MaxFailed(count=int(text))
        share = _number(text[:-1]) if text.endswith("%") else None
        if share is None or not 0 <= share <= 100:  # noqa: PLR2004
            self.fail(f"{value!r} is neither a number of rows nor a share: write 20, 5% or none", param, ctx)
        return MaxFailed(share=share / 100)


class Parameter(click.ParamType[tuple[str, Any], str | tuple[str, Any]]):
    """A request parameter: NAME=JSON."""

    name = "NAME=JSON"

    def convert(
        self, value: str | tuple[str, Any], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        name, equals, text = value.partition("=")
        if not name or not equals:
            self.fail(f"{value!r} is no NAME=JSON: write temperature=0 or stop='[\"END\"]'", param, ctx)
        try:
            return name, json.loads(text)
        except (ValueError, RecursionError):
            self.fail(f"{text!r} is no JSON; a text needs its quotes: {name}='\"{text}\"'", param, ctx)


class FaultShare(click.ParamType[tuple[str, float], Any]):
    """A kind of fault and its probability: 5xx=0.03."""

    name = "KIND=PROBABILITY"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        kind, _, share = str(value).partition("=")
        known = FAULTS + FAULTS_OF_STREAMS
        if kind not in known:
            self.fail(f"{kind!r} is no fault: choose from {', '.join(known)}", param, ctx)
        probability = _number(share)
        if probability is None or not 0 <= probability <= 1:
            self.fail(f"{value!r} has no probability between 0 and 1: write {kind}=0.03", param, ctx)
        return kind, probability


class Span(click.ParamType[tuple[float, float], Any]):
    """From one second to another: 20-35."""

    name = "START-END"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        if isinstance(value, tuple):
            return value
        start, end = map(_number, (str(value).partition("-")[0], str(value).partition("-")[2]))
        if start is None or end is None or start >= end:
            self.fail(f"{value!r} is no span of seconds: write 20-35", param, ctx)
        return start, end


class Statuses(click.ParamType[tuple[int, ...], Any]):
    """A list of 5xx statuses: 500,503."""

    name = "LIST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        words = str(value).split(",")
        if not all(len(word) == len("500") and word.isdigit() and word[0] == "5" for word in words):
            self.fail(f"{value!r} is no list of statuses from 500 to 599: write 500,503", param, ctx)
        return tuple(map(int, words))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
