"""What a seed stands for: an input, a gateway with its faults, the options of the run, and the phases to kill it in."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

SEEDS = tuple(range(1, 11))
_KILLS = 5
_RATE_AT_MOST = 500  # rows a second, for how many rows make a run of about two seconds


class Phase(StrEnum):
    """Where a kill falls, as seen from outside."""

    SENDING = "sending"
    COMMITTING = "committing"
    RESUMING = "resuming"
    WRITING = "writing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`rejected`: rows that the gateway answers 422; `chars`: the length of a prompt; `limit`: requests a second."""

    seed: int
    rows: int
    chars: int
    rejected: frozenset[int]
    latency: float
    spread: float
    faults: tuple[str, ...]
    limit: int | None
    concurrency: str
    suffix: str
    phases: tuple[Phase, ...]

    @property
    def code(self) -> int:
        """The exit code of the run that ends it."""
        return 1 if self.rejected else 0

    @property
    def output(self) -> str:
        return f"out.{self.suffix}"

    @property
    def gateway_options(self) -> tuple[str, ...]:
        """Of `batchrunner simulate`. It counts the limit and refuses nothing, so that passing it shows."""
        limit = () if self.limit is None else ("--rps", str(self.limit), "--no-enforce")
        faults = (word for fault in self.faults for word in ("--fault", fault))
        latency = ("--latency", str(self.latency), "--latency-spread", str(self.spread))
        return (*limit, *faults, *latency, "--seed", str(self.seed))

    def run_arguments(self, base_url: str) -> tuple[str, ...]:
        """Of `batchrunner run`."""
        limit = () if self.limit is None else ("--rps", str(self.limit))
        asked = ("in.jsonl", "-m", "org/model", "--base-url", base_url, "-o", self.output)
        return (*asked, "--concurrency", self.concurrency, *limit)

    @property
    def writing_seconds(self) -> float:
        """How long the temporary file stands there, roughly and rather less."""
        return 0.15 if self.suffix == "parquet" else 0.001 + self.rows * self.chars / 3e8

    def prompts(self) -> Iterator[str]:
        """Each unlike any other, and none to be guessed from its number."""
        dice = random.Random(f"prompts {self.seed}")
        for number in range(self.rows):
            aim = "[[status:422]] " if number in self.rejected else ""
            yield f"{aim}Question {number} {dice.randbytes(self.chars // 2).hex()}"

    def __str__(self) -> str:
        limit = "no limit" if self.limit is None else f"{self.limit} rps"
        latency = f"{self.latency * 1000:.0f} ms"
        return f"{self.rows} x {self.chars}, {latency}, {limit}, {self.concurrency}, {self.suffix}"


def scenario_of(seed: int) -> Scenario:
    """The same for the same seed."""
    dice = random.Random(seed)
    limit = dice.choice((None, None, dice.randint(40, 120)))
    latency = dice.uniform(0.005, 0.12)
    concurrency = dice.choice(("auto", "4", "8", "16", "32") if limit is None else ("auto", "16", "32"))
    rate = limit or (8 if concurrency == "auto" else int(concurrency)) / latency
    rows = round(dice.uniform(1.5, 2.5) * min(rate, _RATE_AT_MOST))
    return Scenario(
        seed=seed,
        rows=rows,
        chars=dice.choice((40, 400, 4000, 8000)),
        rejected=frozenset(dice.sample(range(rows), dice.choice((0, 0, 1, 3)))),
        latency=round(latency, 3),
        spread=round(dice.uniform(0, 0.8), 2),
        faults=tuple(f"{kind}={dice.uniform(0, 0.03):.3f}" for kind in ("5xx", "reset", "truncated")),
        limit=limit,
        concurrency=concurrency,
        suffix=dice.choice(("jsonl", "parquet")),
        phases=_phases(dice),
    )


def _phases(dice: random.Random) -> tuple[Phase, ...]:
    """Each phase, some of them again. Writing comes last, and resuming not first."""
    phases = [*Phase, *dice.choices(tuple(Phase), k=_KILLS - len(Phase))]
    asking = [phase for phase in phases if phase is not Phase.WRITING]
    dice.shuffle(asking)
    while asking[0] is Phase.RESUMING:
        dice.shuffle(asking)
    return (*asking, *(Phase.WRITING,) * (_KILLS - len(asking)))
