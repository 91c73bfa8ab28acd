"""Plays a scenario: its kills one after another, the last run to its end, once more for nothing, and the verdict."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import rays
from conftest import KEY, Bench, simulating

from crash.running import Kill, Place, kill_in
from crash.scenario import Phase, Scenario, scenario_of
from crash.verdict import complaints, extra_servings, rows_of

_TRIES = 8  # for a kill that is to fall in its phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """How a scenario went. `lost`, `doubled`: rows of the output; `asked_twice` and `in_doubt` over all its kills."""

    scenario: Scenario
    kills: tuple[Kill, ...]
    lost: int
    doubled: int
    asked_twice: int
    in_doubt: int
    complaints: tuple[str, ...]

    def hits(self, phase: Phase) -> int:
        """Kills that fell in the phase that was meant."""
        return sum(kill.hit for kill in self.kills if kill.phase is phase)


def play(seed: int, folder: Path, engine: str = "local") -> Story:
    """Play the scenario of this seed in an empty folder."""
    scenario = scenario_of(seed)
    bench = _bench(folder)
    bench.write("in.jsonl", *({"prompt": prompt} for prompt in scenario.prompts()))
    with simulating(*scenario.gateway_options) as gateway:
        place = Place(scenario, bench, gateway, _options_of(engine, bench))
        kills: list[Kill] = []
        found = [*_killed(place, kills), *_ended(place)]
        found += complaints(place, kills) if place.output.exists() else ["the last run left no output"]
        return _told(place, kills, found)


def _bench(folder: Path) -> Bench:
    environment = {
        name: value for name, value in os.environ.items() if "KEY" not in name and "proxy" not in name.lower()
    }
    environment |= {"BATCHRUNNER_API_KEY": KEY, "BATCHRUNNER_STATE_DIR": str(folder / "state")}
    (folder / "work").mkdir()
    return Bench(folder / "work", environment)


def _options_of(engine: str, bench: Bench) -> tuple[str, ...]:
    """Those that say what sends. Of Ray it is a cluster that is there before the run and after it."""
    if engine == "local":
        return ()
    options = ("--engine", engine, "--ray-address", rays.shared_address(KEY))
    bench.environment |= rays.environment_of(rays.shared_folder())
    return options


def _killed(place: Place, kills: list[Kill]) -> Iterator[str]:
    """Kill in each phase of the scenario in turn, again where it was missed; after each kill no half output is seen."""
    for phase in place.scenario.phases:
        for _ in range(_TRIES):
            if phase is Phase.WRITING:
                place.output.unlink(missing_ok=True)  # it would stand there as it was written
            kills.append(kill_in(phase, place))
            yield from filter(None, (kills[-1].trouble, *_of_half_outputs(place)))
            if kills[-1].hit:
                break
        else:
            yield f"no kill fell in the phase of {phase}"


def _of_half_outputs(place: Place) -> Iterator[str]:
    if place.output.exists():
        try:
            whole = len(rows_of(place.output)) == place.scenario.rows
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a file that is not whole
            yield f"a kill left half an output: {error}"
        else:
            if not whole:
                yield "a kill left an output of fewer rows"


def _ended(place: Place) -> Iterator[str]:
    """Run to the end; a further run sends nothing and leaves the output alone."""
    yield from _run(place)
    before = place.arrived(), _content(place.output)
    yield from _run(place)
    if (place.arrived(), _content(place.output)) != before:
        yield "a further run sent something, or wrote another output"


def _run(place: Place) -> Iterator[str]:
    process = place.start()
    _, words = process.communicate(timeout=60)
    if process.returncode != place.scenario.code:
        yield f"a run ended with {process.returncode}, not {place.scenario.code}: {words[-300:]}"


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() + str(path.stat().st_ino) if path.exists() else "none"


def _told(place: Place, kills: list[Kill], found: list[str]) -> Story:
    ended = place.output.exists()
    written = Counter(row["row"] for row in (rows_of(place.output) if ended else ()))
    return Story(
        scenario=place.scenario,
        kills=tuple(kills),
        lost=sum(number not in written for number in range(place.scenario.rows)),
        doubled=sum(times > 1 for times in written.values()),
        asked_twice=extra_servings(place, place.gateway.entries()).total(),
        in_doubt=place.bench.summary(place.output.name)["in_doubt"] if ended else 0,
        complaints=tuple(found),
    )
