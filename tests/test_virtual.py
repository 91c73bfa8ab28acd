"""Whole lanes in virtual time against the simulator's own meter: how much of each limit they use, and at what cost."""

from dataclasses import dataclass, replace

import pytest

from tests.clairvoyant import possible_use
from tests.virtual import Scene, play

SECONDS_50 = (("requests", 1, 50),)
MINUTE_600 = (("requests", 60, 600),)
TOKENS_60K = (("tokens", 60, 60_000),)
TOKENS_10K_SECOND = (("tokens", 1, 10_000),)
MIXED = (("requests", 60, 600), ("tokens", 60, 100_000))
TWO_PERCENT = 0.02
ENDLESS = 10**9


@dataclass(frozen=True)
class Promise:
    """Use of the binding limit at least, refused of all tries at most, the fullest window at most."""

    use: float
    refused: float = 0.001
    worst: float = 1.0


KNOWN = {
    "50 requests a second": (Scene(limits=SECONDS_50, requests=ENDLESS, seconds=60), Promise(0.93)),
    "15 requests a minute": (
        Scene(limits=(("requests", 60, 15),), kind="fixed", requests=ENDLESS, seconds=3600),
        Promise(0.97),
    ),
    "600 requests a minute, answers take a minute": (
        Scene(limits=MINUTE_600, latency=(60.0, 0.3), requests=ENDLESS, seconds=600),
        Promise(0.98),
    ),
    "2,000 requests a second": (Scene(limits=(("requests", 1, 2000),), requests=ENDLESS, seconds=4), Promise(0.90)),
    "a million tokens a minute, counted upfront": (
        Scene(limits=(("tokens", 60, 1_000_000),), accounting="upfront", requests=ENDLESS, seconds=600),
        Promise(0.98),
    ),
    "requests and tokens a minute, from a bucket": (
        Scene(limits=MIXED, kind="bucket", requests=ENDLESS, seconds=900),
        Promise(0.95, worst=1.02),
    ),
}
UNKNOWN = {
    "50 a second, rolling": (Scene(limits=SECONDS_50, seconds=200), Promise(0.92, TWO_PERCENT)),
    "50 a second, fixed": (Scene(limits=SECONDS_50, kind="fixed", seconds=100), Promise(0.92, TWO_PERCENT, 2.0)),
    "50 a second, told": (Scene(limits=SECONDS_50, headers="openai", seconds=60), Promise(0.95, TWO_PERCENT)),
    "10k tokens a second, rolling": (Scene(limits=TOKENS_10K_SECOND, seconds=200), Promise(0.84, TWO_PERCENT)),
    "10k tokens a second, bucket": (
        Scene(limits=TOKENS_10K_SECOND, kind="bucket", seconds=60),
        Promise(0.95, TWO_PERCENT, 2.0),
    ),
    "600 a minute, rolling": (Scene(limits=MINUTE_600, seconds=900), Promise(0.95, TWO_PERCENT)),
    "600 a minute, fixed, with hints": (
        Scene(limits=MINUTE_600, kind="fixed", headers="retry-after", seconds=600),
        Promise(0.95, TWO_PERCENT, 1.5),
    ),
    "60k tokens a minute, rolling": (Scene(limits=TOKENS_60K, seconds=900), Promise(0.95, TWO_PERCENT)),
    "20k tokens a second, counted when answers of 1.4 s are done, bucket": (
        Scene(limits=(("tokens", 1, 20_000),), kind="bucket", accounting="completion", latency=(1.4, 0.1), seconds=120),
        Promise(0.82, TWO_PERCENT, 4.0),
    ),
    "60k tokens a minute, told, counted when answers of 20 s are done": (
        Scene(limits=TOKENS_60K, accounting="completion", headers="openai", latency=(20.0, 0.2), seconds=900),
        Promise(0.82, TWO_PERCENT, 1.1),
    ),
    "70 large and small rows a minute, told": (
        Scene(
            limits=(("requests", 60, 70), ("tokens", 60, 75_000)),
            headers="openai",
            prompt_chars=(1600, 1.0),
            requests=2000,
        ),
        Promise(0.95, TWO_PERCENT),
    ),
    "600 a minute, told, that grow to 1,200": (
        Scene(limits=MINUTE_600, headers="openai", change=(200.0, 2.0), seconds=600),
        Promise(0.95, TWO_PERCENT, 2.0),
    ),
    "600 a minute that shrink to 300": (
        Scene(limits=MINUTE_600, change=(600.0, 0.5), seconds=1500),
        Promise(0.90, TWO_PERCENT, 2.0),
    ),
}


@pytest.mark.parametrize(("scene", "promise"), KNOWN.values(), ids=KNOWN)
def test_a_known_limit_is_used_and_never_passed(scene: Scene, promise: Promise) -> None:
    seen = play(scene)
    assert seen.binding >= promise.use
    assert seen.refused_share <= promise.refused
    assert max(seen.worst.values()) <= promise.worst


@pytest.mark.parametrize(("scene", "promise"), UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_limit_is_found_and_used_with_few_refusals(scene: Scene, promise: Promise) -> None:
    seen = play(_undeclared(scene))
    assert seen.binding >= promise.use
    assert seen.refused_share <= promise.refused
    assert max(seen.worst.values()) <= promise.worst


def test_a_gateway_that_saturates_is_kept_busy_with_few_in_flight() -> None:
    seen = play(Scene(limits=(), declared=False, capacity=30.0, latency=(1.0, 0.3), requests=ENDLESS, seconds=200))
    assert seen.answered_per_second >= 0.95 * 30
    assert seen.most_in_flight <= 5 * 30


@pytest.mark.parametrize("says_so", [True, False])
@pytest.mark.parametrize(("most", "latency"), [(32, 1.0), (100, 5.0), (200, 3.0)])
def test_a_limit_on_requests_in_flight_is_found(most: int, latency: float, says_so: bool) -> None:  # noqa: FBT001
    scene = Scene(limits=(), declared=False, max_in_flight=most, says_concurrency=says_so, latency=(latency, 0.3))
    seen = play(replace(scene, requests=ENDLESS, seconds=300 * latency))
    assert seen.answered_per_second >= 0.92 * most / (1.05 * latency)
    assert seen.refused_share <= TWO_PERCENT


def test_a_run_that_remembers_the_limit_starts_at_its_rate() -> None:
    seen = play(Scene(limits=MINUTE_600, declared=False, remembered=(("requests", 60, 600.0),), seconds=55))
    assert sum(start < 30 for start in seen.starts) >= 0.95 * 300
    assert seen.refused == 0


def _undeclared(scene: Scene) -> Scene:
    return Scene(**{name: getattr(scene, name) for name in scene.__dataclass_fields__} | {"declared": False})


@pytest.mark.parametrize("accounting", ["admission", "upfront"])
def test_who_knows_all_uses_a_limit_of_small_rows_whole(accounting: str) -> None:
    scene = Scene(limits=TOKENS_60K, accounting=accounting, prompt_chars=(100.0, 0.1), requests=3000)
    assert 0.98 <= possible_use(scene) <= 1.2  # the first window begins empty
