"""`python -m crash ENGINE [SEED ...]`: play the scenarios of these seeds, or of all, and print the tally."""

import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import click

from crash.scenario import SEEDS, Phase
from crash.story import Story, play

_COLUMNS = (
    "seed  sending  committing  resuming  writing  missed"
    "  lost  doubled  asked twice  in doubt  marked   wall  scenario"
)
_SHOWN = 6


def main(engine: str, seeds: Iterable[int]) -> int:
    """Print a line for each scenario and the sums; how many did not go as promised."""
    click.echo(f"kill -9 in every phase; a seed is replayed by: make crash ENGINE={engine} SEED=7\n{_COLUMNS}")
    stories = []
    for seed in seeds:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            stories.append(play(seed, Path(folder), engine))
        click.echo(_line(str(seed), stories[-1:], f"{time.monotonic() - began:6.1f}  {stories[-1].scenario}"))
        for complaint in stories[-1].complaints[:_SHOWN]:
            click.echo(f"      FAILED: {complaint}")
    click.echo(_line("all", stories, f"        {sum(story.scenario.rows for story in stories)} rows"))
    return sum(bool(story.complaints) for story in stories)


def _line(name: str, stories: list[Story], end: str) -> str:
    hits = [sum(story.hits(phase) for story in stories) for phase in Phase]
    kills = [kill for story in stories for kill in story.kills]
    figures = (
        sum(not kill.hit for kill in kills),
        sum(story.lost for story in stories),
        sum(story.doubled for story in stories),
        sum(story.asked_twice for story in stories),
        sum(story.in_doubt for story in stories),
        sum(len(kill.marked) for kill in kills),
    )
    widths = (7, 10, 8, 7, 6, 4, 7, 11, 8, 6)
    cells = (f"{figure:>{width}}" for figure, width in zip((*hits, *figures), widths, strict=True))
    return f"{name:>4}  {'  '.join(cells)} {end}"


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1], map(int, sys.argv[2:] or SEEDS))))
