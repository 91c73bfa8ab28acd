"""What the gateway does with a request beyond its limits: how long it takes, what it says, what goes wrong.

Everything is drawn from the seed. Faults and latency come from (seed, number of the request), so that a retry
may fare better; the length of an answer comes from (seed, prompt), so that a prompt is always answered alike.
A prompt may carry a directive, such as [[status:422]], that aims a fault at itself: see `directive`.
"""

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from statistics import NormalDist
from typing import Final

from batchrunner.simulator.answers import Manner

_NORMAL = NormalDist()


class Fault(StrEnum):
    """What can go wrong, or be odd. The values are the ledger's outcomes and the command line's names.

    Those of streams happen to requests for a stream only.
    """

    SERVER_ERROR = "5xx"  # an error status, after the latency; not paid
    RESET_BEFORE = "reset_before"  # RST right after the headers; the request was not taken
    RESET_AFTER = "reset_after"  # taken and paid, then RST before any byte of the answer
    TRUNCATED = "truncated"  # paid; half of the promised body, then the connection closes
    NOT_JSON = "not_json"  # paid; HTML with status 200
    EMPTY = "empty"  # paid; a completion without text
    HANG = "hang"  # taken and paid; never answered
    CUT = "cut"  # paid; a stream that ends in the middle, as if that were its end
    STALLED = "stalled"  # paid; half of a stream, then silence
    ERROR_INSIDE = "error_inside"  # paid; half of a stream, then an error in it
    NO_DONE = "no_done"  # a whole stream without its last words
    LATE_CONTENT = "late_content"  # a whole stream, half of it after its finish_reason
    KEEP_ALIVE = "keep_alive"  # a whole stream with comments and blank lines between


HARMLESS: Final = frozenset({Fault.NO_DONE, Fault.LATE_CONTENT, Fault.KEEP_ALIVE})
OF_STREAMS: Final = HARMLESS | {Fault.CUT, Fault.STALLED, Fault.ERROR_INSIDE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """How the gateway behaves. `outages` are (start, end) in seconds since the server's start.

    `latency_seconds` is a median, `completion_tokens` a mean, their spreads the sigma of a lognormal;
    `faults` are probabilities that sum up to at most 1. A stream comes in pieces of `piece_chars`, with
    `piece_seconds` between them, each with the usage so far if `usage_everywhere`.
    """

    seed: int = 0
    latency_seconds: float = 0.0
    latency_spread: float = 0.0
    completion_tokens: int = 50
    completion_spread: float = 0.3
    piece_chars: int = 12
    piece_seconds: float = 0.0
    usage_everywhere: bool = True
    faults: Mapping[Fault, float] = field(default_factory=dict)
    statuses_5xx: tuple[int, ...] = (500,)
    outages: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if min(self.faults.values(), default=0.0) < 0 or sum(self.faults.values()) > 1 + 1e-9:
            raise ValueError("probabilities of faults lie between 0 and 1 and sum up to at most 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What is in store for one request."""

    fault: Fault | None = None
    status: int = 200
    latency_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """What a prompt asks for itself: a status, a fault or a manner, the first `times` it arrives (None: always)."""

    fault: Fault | None = None
    status: int = 200
    times: int | None = None
    manner: Manner | None = None

    def applies(self, earlier_arrivals: int) -> bool:
        return self.times is None or earlier_arrivals < self.times


_UNEVENTFUL: Final = Fate()
_DIRECTIVE = re.compile(r"\[\[(?:status:([345]\d\d)|429x(\d+)|5xxx(\d+)|([a-z_]+?)(?:x(\d+))?)\]\]")
_MANNERS: Final = frozenset(Manner)
_NAMED: Final = {str(fault): fault for fault in Fault} | {"reset": Fault.RESET_AFTER, "html": Fault.NOT_JSON}


def fate(script: Script, number: int) -> Fate:
    """What happens to the request of this number, drawn without looking at it."""
    if not script.faults and not script.latency_seconds:
        return _UNEVENTFUL
    which, status, latency, _ = _uniforms(script.seed, f"fate {number}")
    return Fate(
        fault=_pick_fault(script.faults, which),
        status=script.statuses_5xx[int(status * len(script.statuses_5xx))],
        latency_seconds=script.latency_seconds * _lognormal(latency, script.latency_spread),
    )


def outage(script: Script, number: int, elapsed_seconds: float) -> Fault | None:
    """During an outage every request meets a 503 or a reset, by the throw of a coin."""
    if not any(start <= elapsed_seconds < end for start, end in script.outages):
        return None
    coin = _uniforms(script.seed, f"outage {number}")[0]
    return Fault.SERVER_ERROR if coin < 0.5 else Fault.RESET_BEFORE  # noqa: PLR2004 (a fair coin)


def completion_tokens(script: Script, prompt_digest: int) -> int:
    """How long the answer to a prompt would be if nothing capped it; at least one token."""
    if not script.completion_spread:
        return max(1, script.completion_tokens)
    draw = _uniforms(script.seed, f"length {prompt_digest}")[0]
    mean_over_median = math.exp(script.completion_spread**2 / 2)
    length = script.completion_tokens * _lognormal(draw, script.completion_spread) / mean_over_median
    return max(1, round(length))


def directive(prompt: str) -> Directive | None:
    """The first directive of a prompt, or None.

    [[status:NNN]] answers so always; [[429xN]] and [[5xxxN]] refuse, or fail with 500, the first N times;
    [[empty]] [[hang]] [[html]] [[truncated]] [[cut]] and so on name a fault; [[reset]] comes after the request was
    taken. [[invalid]] [[misfit]] [[refusal]] [[length]] [[content_filter]] [[call]] say how the answer is. With xN
    ([[cutx2]], [[invalidx2]]) both only the first N times.
    """
    found = _DIRECTIVE.search(prompt) if "[[" in prompt else None
    if found is None:
        return None
    status, refusals, errors, name, times = found.groups()
    if refusals or errors:
        return _of_status(429 if refusals else 500, times=int(refusals or errors))
    if status:
        return _of_status(int(status))
    limit = int(times) if times else None
    if name in _MANNERS:
        return Directive(manner=Manner(name), times=limit)
    return Directive(fault=_NAMED[name], times=limit) if name in _NAMED else None


def _of_status(status: int, times: int | None = None) -> Directive:
    fault = Fault.SERVER_ERROR if status >= 500 else None  # noqa: PLR2004 (HTTP)
    return Directive(fault=fault, status=status, times=times)


def _pick_fault(faults: Mapping[Fault, float], draw: float) -> Fault | None:
    for fault, probability in faults.items():
        if draw < probability:
            return fault
        draw -= probability
    return None


def _lognormal(draw: float, sigma: float) -> float:
    """A draw from [0, 1) as a factor with median 1."""
    return math.exp(sigma * _NORMAL.inv_cdf(min(max(draw, 1e-12), 1 - 1e-12))) if sigma else 1.0


def _uniforms(seed: int, subject: str) -> tuple[float, ...]:
    """Four numbers from [0, 1), always the same ones for the same seed and subject."""
    digest = blake2b(f"{seed} {subject}".encode(), digest_size=32).digest()
    return tuple((number >> 11) / 2**53 for number in struct.unpack("<4Q", digest))
