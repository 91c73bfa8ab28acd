"""The Jinja2 environment of prompts: the immutable sandbox, made strict, free of chance and bounded.

Refuses what is undefined, attributes that reach into Python, and, before it is computed, what would eat the memory:
texts repeated or padded and powers of numbers past a bound. `random` and `lipsum` are not there: a row gives the same
text every time. `tojson` writes plain JSON, without the escapes that HTML needs.
"""

import re
from typing import Any

import jinja2
import msgspec
from jinja2.exceptions import SecurityError
from jinja2.filters import do_indent
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_CHARS = 4 * 1024 * 1024  # of a prompt, and of anything repeated on the way to it
MAX_BITS = 4096  # of a whole number that a template computes
MAX_INDENT = 1000
_PADDING = frozenset({"center", "expandtabs", "format", "format_map", "ljust", "rjust", "zfill"})
_WIDE = re.compile(r"\*|\d{5}")  # in a % format: a width from an argument, or one of five digits


class PromptEnvironment(ImmutableSandboxedEnvironment):
    """No loader, no autoescape: prompts are no HTML."""

    intercepted_binops = frozenset({"*", "**", "%"})  # also keeps the compiler from computing them

    def __init__(self) -> None:
        super().__init__(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
        for name in ("center", "random"):
            del self.filters[name]
        del self.globals["lipsum"]
        self.filters |= {"tojson": _to_json, "format": _format, "indent": _indent}

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        _BOUNDS[operator](left, right)
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        padding = isinstance(obj, str) and attr in _PADDING
        return not padding and super().is_safe_attribute(obj, attr, value)


def _bound_product(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        _bound(left.bit_length() + right.bit_length(), MAX_BITS)
    for sized, times in ((left, right), (right, left)):
        if isinstance(sized, str | bytes | list | tuple) and isinstance(times, int):
            _bound(len(sized) * times, MAX_CHARS)


def _bound_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        _bound(left.bit_length() * right, MAX_BITS)


def _bound_format(left: Any, right: Any) -> None:
    del right
    if isinstance(left, str | bytes) and _WIDE.search(str(left)):
        raise SecurityError("the width of a format is too large")


_BOUNDS = {"*": _bound_product, "**": _bound_power, "%": _bound_format}


def _bound(size: int, most: int) -> None:
    if size > most:
        raise SecurityError(f"too large a result: {size} where {most} is the most")


def _to_json(value: Any, indent: int | None = None) -> str:
    encoded = msgspec.json.encode(value)
    return (encoded if indent is None else msgspec.json.format(encoded, indent=indent)).decode()


def _format(value: str, *args: Any) -> str:
    _bound_format(value, args)
    return str(value) % args


def _indent(text: str, width: int = 4, first: bool = False, blank: bool = False) -> str:  # noqa: FBT001, FBT002 - Jinja2's
    _bound(width, MAX_INDENT)
    return do_indent(text, width, first, blank)
