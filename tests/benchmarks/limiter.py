"""How well the limits are used: lanes against the simulator's meter in virtual time, hours in seconds.

Three tables: limits that are known, limits that have to be found, and scenes drawn from a seed. `use` is that of the
binding limit over the whole scene; for known limits beside what the guard leaves of it, W / (W + 0.05).
"""

import math
import random
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from statistics import median, quantiles

from tests.clairvoyant import possible_use
from tests.virtual import Scene, Seen, play

SEED = 7
KNOWN_SCENES, UNKNOWN_SCENES = 750, 300
ENDLESS = 10**9
_GUARD = 0.05
_USED, _REFUSED = 0.92, 0.02
_WINDOWS, _ANSWER_TIMES, _IN_FLIGHT = 12, 40, 150.0
_KINDS = ("rolling", "fixed", "bucket")
_ACCOUNTINGS = ("admission", "completion", "upfront")
_HINTS = ("none", "retry-after", "openai")
_AMOUNTS = {
    "2 requests/s": (("requests", 1, 2),),
    "50 requests/s": (("requests", 1, 50),),
    "2,000 requests/s": (("requests", 1, 2000),),
    "15 requests/min": (("requests", 60, 15),),
    "600 requests/min": (("requests", 60, 600),),
    "60k tokens/min": (("tokens", 60, 60_000),),
    "1M tokens/min": (("tokens", 60, 1_000_000),),
    "600 requests + 100k tokens/min": (("requests", 60, 600), ("tokens", 60, 100_000)),
    "20 requests/s + 200k tokens/min": (("requests", 1, 20), ("tokens", 60, 200_000)),
}


def main() -> None:
    """Print the tables."""
    began, hours = time.process_time(), 0.0
    with ProcessPoolExecutor() as pool:
        hours += _table(pool, "Known limits", _known(), known=True)
        hours += _table(pool, "Unknown limits", _unknown(), known=False)
        draw = random.Random(SEED)
        for title, count, known in (("known", KNOWN_SCENES, True), ("unknown", UNKNOWN_SCENES, False)):
            scenes = [_drawn(draw, number, declared=known) for number in range(count)]
            played = list(pool.map(play, scenes, chunksize=4))
            hours += sum(seen.seconds for seen in played) / 3600
            _summary(f"{count} scenes drawn, {title} limits", list(zip(scenes, played, strict=True)), known=known)
            if not known:
                _beside_possible(played, list(pool.map(possible_use, scenes, chunksize=4)))
    print(f"\n{hours:,.0f} virtual hours; {time.process_time() - began:.0f} s CPU here beside that of the pool")


def _table(pool: ProcessPoolExecutor, title: str, named: Iterable[tuple[str, Scene]], *, known: bool) -> float:
    """Print a line a scene; virtual hours."""
    names, scenes = zip(*named, strict=True)
    print(f"\n{title}\n{'scene':<58}   use  of W/(W+g)   429s  worst window  in flight")
    hours = 0.0
    for name, scene, seen in zip(names, scenes, pool.map(play, scenes), strict=True):
        hours += seen.seconds / 3600
        relative = f"{_relative(scene, seen):>10.3f}" if known else f"{'':>10}"
        worst = max(seen.worst.values(), default=0.0)
        print(
            f"{name:<58} {seen.binding:>5.3f}  {relative}  {seen.refused_share:>5.2%}  {worst:>12.3f}"
            f"  {seen.most_in_flight:>9}",
            flush=True,
        )
    return hours


def _known() -> Iterator[tuple[str, Scene]]:
    for name, limits in _AMOUNTS.items():
        yield name, _scene(limits)
    for kind in _KINDS:
        for accounting in _ACCOUNTINGS:
            yield f"60k tokens/min, {kind}, {accounting}", _scene(_AMOUNTS["60k tokens/min"], kind, accounting)
    for latency in (0.01, 0.1, 1.0, 10.0, 60.0):
        scene = replace(_scene(_AMOUNTS["600 requests/min"]), latency=(latency, 0.3))
        yield f"600 requests/min, latency {latency:g} s", scene
    for chars in (100.0, 1000.0, 10_000.0):
        scene = replace(_scene(_AMOUNTS["1M tokens/min"]), prompt_chars=(chars, 1.0))
        yield f"1M tokens/min, rows of {chars:g} characters, sigma 1", scene


def _unknown() -> Iterator[tuple[str, Scene]]:
    for name in ("50 requests/s", "600 requests/min", "60k tokens/min", "600 requests + 100k tokens/min"):
        for kind in _KINDS:
            for hint in _HINTS:
                scene = replace(_scene(_AMOUNTS[name], kind), declared=False, headers=hint)
                yield f"{name}, {kind}, hints: {hint}", scene


def _scene(limits: tuple[tuple[str, int, int], ...], kind: str = "rolling", accounting: str = "admission") -> Scene:
    """Fifteen windows of a minute, or as many seconds as 200; fewer where there would be very many requests."""
    seconds = 900.0 if limits[-1][1] > 1 else 200.0
    return Scene(limits=limits, kind=kind, accounting=accounting, requests=30_000, seconds=seconds)


def _drawn(draw: random.Random, number: int, *, declared: bool) -> Scene:
    """A scene of two thousand requests: by the minute with few requests a minute, so that it lasts for hours.

    The largest of some thousand rows, thirty times the median at most, fits into a window.
    """
    by_minute = draw.random() < 0.8
    rate = draw.uniform(2, 20) if by_minute else draw.uniform(5, 60)
    if not declared:
        rate = draw.uniform(20, 100) if by_minute else draw.uniform(20, 60)
    chars = 10 ** draw.uniform(2, 4)
    window, tokens = (60 if by_minute else 1), chars / 4 + 120
    amounts = {"requests": max(2, round(rate)), "tokens": round(max(rate * tokens * 2, chars / 4 * 30 + 1000))}
    dimensions = draw.choice((("requests",), ("tokens",), ("requests", "tokens")))
    scene = Scene(
        limits=tuple((dimension, window, amounts[dimension]) for dimension in dimensions),
        declared=declared,
        kind=draw.choice(_KINDS),
        accounting=draw.choice(_ACCOUNTINGS),
        headers=draw.choice(_HINTS),
        latency=(10 ** draw.uniform(-2, 1 if not by_minute else 1.7), draw.uniform(0.1, 0.6)),
        prompt_chars=(chars, draw.uniform(0.1, 1.0)),
        requests=2000,
        seed=number,
    )
    return scene if declared else _long_enough(scene)


def _long_enough(scene: Scene) -> Scene:
    """The scene with answers that come as soon as the most requests in flight need, and as long as the promise asks:
    ten windows, two thousand requests, some dozens of answer times."""
    tokens = _mean_tokens(scene)
    rate = min(
        amount / window / (1 if dimension == "requests" else tokens) for dimension, window, amount in scene.limits
    )
    window, (latency, spread) = scene.limits[0][1], scene.latency
    latency = min(latency, _IN_FLIGHT / rate)
    requests = max(scene.requests, math.ceil(rate * max(_WINDOWS * window, _ANSWER_TIMES * latency)))
    return replace(scene, latency=(latency, spread), requests=requests)


def _mean_tokens(scene: Scene) -> float:
    """Tokens of a row as the gateway counts them, in the mean."""
    chars, completion = (
        median * math.exp(sigma**2 / 2) for median, sigma in (scene.prompt_chars, scene.completion_tokens)
    )
    return chars / 4 + 4 + (scene.max_tokens if scene.accounting == "upfront" else completion)


def _relative(scene: Scene, seen: Seen) -> float:
    """Use of the limit that binds, beside what the guard leaves of it."""
    best = 0.0
    for (dimension, window), used in seen.used.items():
        assert (dimension, window) in {(limit[0], limit[1]) for limit in scene.limits}
        best = max(best, used * (window + _GUARD) / window)
    return best


def _beside_possible(played: list[Seen], possible: list[float]) -> None:
    """How the promise fares: 92 % of what anybody could use, 2 % answered 429."""
    most = [min(1.0, use) for use in possible]
    whole = sorted(seen.binding / use for seen, use in zip(played, most, strict=True))
    steady = sorted(seen.steady / use for seen, use in zip(played, most, strict=True))
    for name, uses in (("whole scene", whole), ("second half", steady)):
        few, below = quantiles(uses, n=20)[0], sum(use < _USED for use in uses)
        print(
            f"use beside what is possible, {name}: least {uses[0]:.3f}, 5th percentile {few:.3f}, below 92 %: {below}"
        )
    print(f"more than 2 % answered 429: {sum(seen.refused_share > _REFUSED for seen in played)}", flush=True)


def _summary(title: str, played: list[tuple[Scene, Seen]], *, known: bool) -> None:
    uses = sorted(_relative(scene, seen) if known else seen.binding for scene, seen in played)
    refused = sorted(seen.refused_share for _, seen in played)
    worst = {
        accounting: max(max(seen.worst.values()) for scene, seen in played if scene.accounting == accounting)
        for accounting in _ACCOUNTINGS
    }
    often = quantiles(refused, n=20)[-1]
    print(f"\n{title}{', use beside W / (W + 0.05)' if known else ''}")
    print(f"use: least {uses[0]:.3f}, 5th percentile {quantiles(uses, n=20)[0]:.3f}, median {median(uses):.3f}")
    print(f"429s: median {median(refused):.2%}, 95th percentile {often:.2%}, most {refused[-1]:.2%}")
    print(
        "worst window by the way tokens are counted:",
        {name: round(most, 3) for name, most in worst.items()},
        flush=True,
    )
