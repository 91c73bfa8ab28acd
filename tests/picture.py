"""`make picture`: draws the README's picture of a running job anew, from a real run in a pseudo-terminal.

The picture is an SVG that plays the screens one after another and begins again; where nothing may move, it shows the
last one.
"""

import os
import sys
import tempfile
import time
from html import escape
from itertools import pairwise
from pathlib import Path

from conftest import Bench
from terminals import Terminal, screen_of

COLUMNS = 110
ROWS_ASKED = 900
COMMAND = f"batchrunner run questions.jsonl -m acme/llama-3-70b --rps 60 --tpm 500k --limit {ROWS_ASKED}"
_FRAME_SECONDS = 0.5
_LAST_SECONDS = 4.0
_CHARACTER, _LINE, _EDGE = 7.8, 18, 14
_STYLE = """text{font:13px ui-monospace,Menlo,Consolas,monospace;fill:#d6deeb;white-space:pre}
.ask{fill:#7fdbca}.frame{visibility:hidden}.last{visibility:visible}
@media(prefers-reduced-motion:no-preference){.frame{animation:_SECONDS_s step-end infinite}}"""

Frames = list[tuple[float, list[str]]]  # seconds since the start, and what stood on the screen


def main(place: Path) -> None:
    """Run the job and write its picture there."""
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), dict(os.environ))
        bench.prompts(ROWS_ASKED, "questions.jsonl")
        frames = _recorded(bench)
    place.parent.mkdir(exist_ok=True)
    place.write_text(picture_of(frames))


def picture_of(frames: Frames) -> str:
    """The SVG that plays these screens."""
    height = _LINE * (max(len(lines) for _, lines in frames) + 1) + 2 * _EDGE
    width = round(_CHARACTER * COLUMNS + 2 * _EDGE)
    ends = [began for began, _ in frames[1:]] + [frames[-1][0] + _LAST_SECONDS]
    style = _STYLE.replace("_SECONDS_", f"{ends[-1]:.1f}")
    drawn, shown = [], []
    for number, ((began, lines), end) in enumerate(zip(frames, ends, strict=True)):
        last = " last" if end == ends[-1] else ""
        drawn.append(f'<g class="frame{last}" style="animation-name:f{number}">{_text(lines)}</g>')
        shown.append(_shown(number, began, end, ends[-1]))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
        f' aria-label="A terminal in which {escape(COMMAND, quote=True)} goes on">'
        f"<style>{style}{''.join(shown)}</style>"
        f'<rect width="{width}" height="{height}" rx="8" fill="#0b1522"/>'
        f'<text class="ask" x="{_EDGE}" y="{_EDGE + 13}">$ {escape(COMMAND)}</text>{"".join(drawn)}</svg>\n'
    )


def _recorded(bench: Bench) -> Frames:
    """The screens of the run, each other one with when it was first seen."""
    terminal = Terminal(bench, *COMMAND.split()[1:], "--simulate", "--state-dir", bench.folder, columns=COLUMNS)
    began, frames = time.monotonic(), [(0.0, [""])]
    while terminal.process.poll() is None:
        after = frames[-1][0] + _FRAME_SECONDS
        terminal.until(lambda _: time.monotonic() - began >= after or terminal.process.poll() is not None)  # noqa: B023
        frames.append((time.monotonic() - began, screen_of(terminal.raw)))
    assert terminal.to_its_end() == 0, terminal.raw
    frames.append((time.monotonic() - began, screen_of(terminal.raw)))
    return [frames[0], *(later for sooner, later in pairwise(frames) if later[1] != sooner[1])]


def _text(lines: list[str]) -> str:
    top = _EDGE + 13 + _LINE
    return "".join(
        f'<text x="{_EDGE}" y="{top + _LINE * number}">{escape(line)}</text>' for number, line in enumerate(lines)
    )


def _shown(number: int, began: float, end: float, whole: float) -> str:
    """When a frame is seen, in per cent of the time of all."""
    first, last = 100 * began / whole, 100 * end / whole
    return (
        f"@keyframes f{number}{{0%{{visibility:{'visible' if began == 0 else 'hidden'}}}"
        f"{first:.2f}%{{visibility:visible}}{last:.2f}%{{visibility:{'visible' if end == whole else 'hidden'}}}}}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
