"""Requests or tokens: which of the two a gateway limits, told by what they were at its refusals.

A limit refuses when it is full: what it counts is then the same each time, to a row or to the error of the estimates,
while what it doesn't count varies with the rows. And it never lets more pass than what it refuses at. To keep to both
would be to use neither: so the better suspect alone is kept to, requests at first. Where both vary too much for either
to be the only one, both are kept to.
"""

from collections.abc import Mapping

from batchrunner.limits.cap import MINUTE, SECOND, Cap, Use
from batchrunner.limits.window import Dimension, Key

_REQUESTS_VARY, _TOKENS_VARY = 0.04, 0.06  # requests are counted, tokens estimated
_REQUESTS_FIRST = 1.25
_A_ROW = 1.0


def choose(caps: dict[Key, Cap], idle: dict[Key, Cap], now: float) -> None:
    """Keep to the better suspect of each window (`caps`), lay the other one aside (`idle`)."""
    for window in (SECOND, MINUTE):
        keys: tuple[Key, Key] = (("requests", window), ("tokens", window))
        both = {key: cap for key in keys if (cap := caps.get(key) or idle.get(key)) and not cap.told}
        suspects = suspected(both[keys[0]], both[keys[1]]) if len(both) == len(keys) else ("requests", "tokens")
        for key, cap in both.items():
            if key[0] in suspects and key in idle:
                cap.resume(now)
                caps[key] = idle.pop(key)
            elif key[0] not in suspects and key in caps:
                idle[key] = caps.pop(key)


def see_passed(caps: Mapping[Key, Cap], used: Use) -> None:
    """So much has passed in the windows that end now, of which those by the second are compared with refusals."""
    for key, cap in caps.items():
        if key[1] == SECOND:
            cap.most = max(cap.most, used[key])


def suspected(requests: Cap, tokens: Cap) -> tuple[Dimension, ...]:
    """Which of two limits of one window are to be kept to."""
    row = _A_ROW / max(1.0, requests.seen)
    may_requests, may_tokens = max(_REQUESTS_VARY, row), max(_TOKENS_VARY, row)
    if min(requests.varied / may_requests, tokens.varied / may_tokens) > 1:
        return ("requests", "tokens")
    of_requests = max(requests.varied, requests.exceeded) / may_requests
    of_tokens = max(tokens.varied, tokens.exceeded) / may_tokens
    return ("requests",) if of_requests <= _REQUESTS_FIRST * of_tokens else ("tokens",)
