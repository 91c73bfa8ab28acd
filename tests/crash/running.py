"""One run of the command line, watched from outside and killed in the phase that is meant.

Nothing in the product helps: a phase is told by what arrived at the gateway and by the files in the folder.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from conftest import Bench, Gateway

from batchrunner.store.marks import Marks
from crash.scenario import Phase, Scenario

_STALE_SECONDS = 0.005  # a kill so long after the write-ahead log changed is no longer one in a commit
_SETTLED_SECONDS = 0.02
_SETTLED_OF_WORKERS_SECONDS = 0.3  # for as long as a worker may write what it was handed
_GIVE_UP_SECONDS = 60.0
_RIVAL_SECONDS = 20.0
_PARKED = 75


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One `kill -9`. `marked`: the units whose marks it left, one for each slot; `hit`: it fell in the phase meant;
    `trouble`: what went wrong with the run before it."""

    phase: Phase
    hit: bool
    marked: tuple[int, ...]
    trouble: str


@dataclass(slots=True)
class Place:
    """Where a scenario is played. `engine`: options that say what sends; `missed`: kills in succession that came too
    late for their phase."""

    scenario: Scenario
    bench: Bench
    gateway: Gateway
    engine: tuple[str, ...] = ()
    dice: random.Random = field(init=False)
    missed: int = 0

    def __post_init__(self) -> None:
        self.dice = random.Random(f"kills {self.scenario.seed}")

    @property
    def haste(self) -> float:
        """What drawn delays are multiplied with: less after each miss."""
        return 0.5**self.missed

    @property
    def output(self) -> Path:
        return self.bench.folder / self.scenario.output

    @property
    def run_dir(self) -> Path:
        return self.output.with_name(self.output.name + ".run")

    def arrived(self) -> int:
        """Requests at the gateway so far."""
        return int(self.gateway.ledger()["arrivals"])

    def settled(self) -> int:
        """The same, once what a dead client had written has been read."""
        arrived, last = self.arrived(), -1
        while arrived != last:
            time.sleep(_SETTLED_OF_WORKERS_SECONDS if self.engine else _SETTLED_SECONDS)
            arrived, last = self.arrived(), arrived
        return arrived

    def start(self) -> "subprocess.Popen[str]":
        """The run, in a process group of its own."""
        arguments = (*self.scenario.run_arguments(self.gateway.base_url), *self.engine)
        return self.bench.start("run", *arguments, "-q", start_new_session=True)

    def temporaries(self, pid: int | None = None) -> list[Path]:
        """Temporary files in the folder, of the output by this process or of anything by anybody."""
        begins = "." if pid is None else f".{self.output.name}.{pid}."
        names = os.listdir(self.bench.folder)  # noqa: PTH208 - ten thousand times a second
        return [self.bench.folder / name for name in names if name.startswith(begins) and name.endswith(".tmp")]

    def holds_lock(self, pid: int) -> bool:
        """Whether the lock names this process, which it does from the moment it has looked the run folder up."""
        try:
            return f"process {pid} " in (self.run_dir / "lock").read_text()
        except FileNotFoundError:
            return False


def kill_in(phase: Phase, place: Place) -> Kill:
    """Start the run and kill it in this phase, at a moment drawn from the seed. Where it is to be killed while it
    sends, another one is started at the same time and must be turned away."""
    before = place.settled()
    process, trouble = _start_against_a_rival(place) if phase is Phase.SENDING else (place.start(), "")
    seen = _MOMENTS[phase](place, process, before)
    killed_at = time.monotonic()
    kill(process)
    _, words = process.communicate()
    place.settled()
    if process.returncode not in (-signal.SIGKILL, place.scenario.code):
        trouble = f"a run ended with {process.returncode}: {words[-300:]}"
    was_killed = process.returncode == -signal.SIGKILL
    hit = was_killed and seen is not None and _FELL_IN[phase](place, process.pid, before, killed_at - seen)
    place.missed = 0 if hit else place.missed + 1
    return Kill(phase=phase, hit=hit, marked=marked_units(place.run_dir), trouble=trouble)


def kill(process: "subprocess.Popen[str]") -> None:
    """SIGKILL to its whole group, which is gone where the run has ended."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def marked_units(run_dir: Path) -> tuple[int, ...]:
    """The units marked in flight, one for each slot, as the next run will find them; read from a copy."""
    if not (run_dir / "marks").exists():
        return ()
    copy = run_dir.with_name("copy of marks")
    shutil.copyfile(run_dir / "marks", copy)
    marks = Marks(copy)
    units = tuple(marks.units())
    marks.close()
    copy.unlink()
    return units


def _start_against_a_rival(place: Place) -> tuple["subprocess.Popen[str]", str]:
    """Two runs at once: the one that was let in, and what is wrong where the other one was not turned away. The one
    that is in is stopped until then: however long the other one takes to start, it comes while there is work to do."""
    both = [place.start(), place.start()]
    _when(lambda: any(place.holds_lock(process.pid) for process in both), both[0], every=0.0005)
    outside, inside = sorted(both, key=lambda process: place.holds_lock(process.pid))
    os.killpg(inside.pid, signal.SIGSTOP)
    with suppress(subprocess.TimeoutExpired):
        outside.wait(_RIVAL_SECONDS)
    os.killpg(inside.pid, signal.SIGCONT)
    kill(outside)
    outside.communicate()
    trouble = "" if outside.returncode == _PARKED else f"of two runs at once none was turned away: {outside.returncode}"
    return inside, trouble


def _moment_of_sending(place: Place, process: "subprocess.Popen[str]", before: int) -> float | None:
    """After so many arrivals."""
    wanted = before + place.dice.randint(1, max(1, place.scenario.rows // 8))
    return _when(lambda: place.arrived() >= wanted, process, every=0.003)


def _moment_of_committing(place: Place, process: "subprocess.Popen[str]", before: int) -> float | None:
    """As the write-ahead log changes for the so manyth time since the first arrival."""
    changes, delay = place.dice.randint(1, 12), place.dice.choice((0.0, 0.0, place.dice.uniform(0, 0.002)))
    _when(lambda: place.arrived() > before, process, every=0.003)
    log, seen = place.run_dir / "run.sqlite-wal", None
    for _ in range(changes):
        last = _state_of(log)
        seen = _when(lambda last=last: _state_of(log) != last, process, every=0.0001)
    time.sleep(delay)
    return seen


def _moment_of_resuming(place: Place, process: "subprocess.Popen[str]", before: int) -> float | None:
    """So long after the start, after the run folder was taken, or after the first things were written to its store."""
    del before
    seen: float | None = time.monotonic()
    way, share = place.dice.choice(("start", "lock", "store", "store", "store")), place.dice.random()
    log, last = place.run_dir / "run.sqlite-wal", _state_of(place.run_dir / "run.sqlite-wal")
    if way != "start":
        seen = _when(lambda: place.holds_lock(process.pid), process, every=0.0001)
    for _ in range(round(place.dice.randint(1, 5) * place.haste) if way == "store" else 0):
        seen = _when(lambda last=last: _state_of(log) != last, process, every=0.0001)
        last = _state_of(log)
    time.sleep(share * {"start": 0.6, "lock": 0.01, "store": 0.003}[way] * place.haste)
    return seen


def _moment_of_writing(place: Place, process: "subprocess.Popen[str]", before: int) -> float | None:
    """So long after the temporary file appeared, or as the output itself does."""
    del before
    delay = place.dice.uniform(0.0, place.scenario.writing_seconds) * place.haste
    at_the_end = place.dice.random() < 0.3 and not place.missed
    seen = _when(lambda: place.temporaries(process.pid) != [] and place.holds_lock(process.pid), process, every=0.0001)
    if at_the_end:
        return _when(place.output.exists, process, every=0.00005)
    time.sleep(delay)
    return seen


def _fell_in_sending(place: Place, pid: int, before: int, late: float) -> bool:
    del late
    asked_all = place.gateway.ledger()["servings"]["prompts"] == place.scenario.rows - len(place.scenario.rejected)
    return not asked_all and not place.temporaries(pid) and place.arrived() > before


def _fell_in_committing(place: Place, pid: int, before: int, late: float) -> bool:
    return late <= _STALE_SECONDS and not place.temporaries(pid) and place.arrived() > before


def _fell_in_resuming(place: Place, pid: int, before: int, late: float) -> bool:
    del pid, late
    return place.arrived() == before and not place.output.exists()


def _fell_in_writing(place: Place, pid: int, before: int, late: float) -> bool:
    """The temporary file is still there: of the writing, not of the trial at the start, before the lock."""
    del before, late
    return place.temporaries(pid) != [] and place.holds_lock(pid)


_MOMENTS: dict[Phase, Callable[[Place, "subprocess.Popen[str]", int], float | None]] = {
    Phase.SENDING: _moment_of_sending,
    Phase.COMMITTING: _moment_of_committing,
    Phase.RESUMING: _moment_of_resuming,
    Phase.WRITING: _moment_of_writing,
}
_FELL_IN: dict[Phase, Callable[[Place, int, int, float], bool]] = {
    Phase.SENDING: _fell_in_sending,
    Phase.COMMITTING: _fell_in_committing,
    Phase.RESUMING: _fell_in_resuming,
    Phase.WRITING: _fell_in_writing,
}


def _when(condition: Callable[[], bool], process: "subprocess.Popen[str]", *, every: float) -> float | None:
    """The moment at which it became true; None where the process ended first."""
    end = time.monotonic() + _GIVE_UP_SECONDS
    while time.monotonic() < end:
        if condition():
            return time.monotonic()
        if process.poll() is not None:
            return None
        time.sleep(every)
    raise AssertionError("what was waited for did not happen")


def _state_of(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
