"""Whether a body can be sent: what gateways, or other readers of JSON, would trip over.

Refused: no model, n > 1, integers that JSON readers disagree on (beyond 64 bits), numbers that JSON can't hold (NaN),
nesting deeper than 64.
"""

import math
from collections.abc import Mapping
from typing import Any

DEEPEST = 64
_LARGEST_INTEGER = 2**63 - 1


def fault_in(body: Mapping[str, Any]) -> str | None:
    """What is wrong with a body, in words for people; None where nothing is."""
    if not isinstance(body.get("model"), str) or not body["model"]:
        return "no model: name one with --model"
    if body.get("n") not in (None, 1):
        return "n > 1 is not asked in one request: `samples` in [sweep] asks for several answers to each row"
    return _unfit(body, DEEPEST)


def _unfit(value: object, depth: int) -> str | None:
    """What in a JSON value other readers of JSON would trip over."""
    if isinstance(value, str):
        return None
    if isinstance(value, dict | list):
        if depth == 0:
            return f"nested deeper than {DEEPEST}"
        for inner in value.values() if isinstance(value, dict) else value:
            fault = _unfit(inner, depth - 1)
            if fault is not None:
                return fault
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        return "an integer beyond 64 bits"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value}, which JSON has no number for"
    return None
