"""What a run looks like while it goes on: bars on a terminal, a line a minute elsewhere, or nothing; and its log."""

import os
import stat
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import anyio

from batchrunner.cli.log import Level, Log
from batchrunner.cli.reporting import Reporter
from batchrunner.cli.screen import Screen, can_draw, width
from batchrunner.report.live import Live, clock, counts_of, news_of, rates_of
from batchrunner.report.safe import safe_text
from batchrunner.runner.course import Course

Style = Literal["bar", "log", "none"]
Show = Callable[[str, Course], Coroutine[Any, Any, None]]
BAR_EVERY_SECONDS = 0.25
LOOK_EVERY_SECONDS = 1.0
SILENT_SECONDS = 1.0  # a shorter phase is not worth a word
_BAR_SIGNS = 16
_DOT = " · "


def style_for(asked: str, *, quiet: bool) -> Style:
    """`auto` is a bar on a terminal, lines where somebody keeps or reads them, and nothing else: no cron mail."""
    if quiet or asked == "none":
        return "none"
    if asked == "auto":
        return "bar" if can_draw() else "log" if _is_read() else "none"
    return "bar" if asked == "bar" else "log"


def shown_with(style: Style, *, quiet: bool, verbose: bool) -> set[Level]:
    """What is said on stderr, beside the bars."""
    shown = {Level.ERROR}
    if style != "none":
        shown.add(Level.NOTE)
    if style == "log":
        shown.add(Level.PROGRESS)
    if verbose and not quiet:
        shown |= {Level.NOTE, Level.DETAIL}
    return shown


@contextmanager
def watching(style: Style, log: Log) -> Iterator[Show]:
    """While the block lasts, what it gets shows a job's run, by name where there are several. A bar that can't be drawn
    is lines."""
    board = _Board() if style == "bar" and can_draw() else None
    if board is not None:
        log.say = board.screen.say

    async def show(name: str, course: Course) -> None:
        if board is not None or style != "none" or log.writes_file or log.shows(Level.DETAIL):
            await _show(course, Reporter(log, course, name), board, name)

    try:
        yield show
    finally:
        if board is not None:
            board.screen.leave()


@contextmanager
def counting(what: str, style: Style) -> Iterator[Callable[[int], None]]:
    """For a reading that no event loop is beside: what it gets shows how many bytes there are, on a terminal."""
    screen = Screen() if style == "bar" and can_draw() else None
    shown_at = 0.0

    def told(count: int) -> None:
        nonlocal shown_at
        now = time.monotonic()
        if screen is not None and now - shown_at >= BAR_EVERY_SECONDS:
            shown_at = now
            screen.draw([f"{what}: {count / 1e6:,.1f} MB"])

    try:
        yield told
    finally:
        if screen is not None:
            screen.draw([])


async def _show(course: Course, reporter: Reporter, board: "_Board | None", name: str) -> None:
    try:
        while True:
            reporter.look(time.monotonic())
            if board is not None:
                board.draw(name, course)
            await anyio.sleep(LOOK_EVERY_SECONDS if board is None else BAR_EVERY_SECONDS)
    finally:
        reporter.look(time.monotonic(), last=True)
        if board is not None:
            board.draw(name, course, last=True)


class _Board:
    """The bars of all jobs, one below the other."""

    def __init__(self) -> None:
        self.screen = Screen()
        self._lines: dict[str, list[str]] = {}

    def draw(self, name: str, course: Course, *, last: bool = False) -> None:
        """This job's, as it is now."""
        named = f"{safe_text(name)}: " if name else ""
        lines = self._lines_of(course, named, last=last)
        if lines or self._lines:
            self._lines[name] = lines
            self.screen.draw([line for one in self._lines.values() for line in one])

    def _lines_of(self, course: Course, named: str, *, last: bool) -> list[str]:
        phase = course.phase
        if phase is not None and not last:
            seconds = time.monotonic() - phase.since
            bar = f"{_bar(phase.done / phase.of)} " if phase.of else ""
            return [f"{bar}{named}{phase.words()}{_DOT}{clock(seconds)}"] if seconds >= SILENT_SECONDS else []
        if course.gauge is None:
            return []
        live = course.gauge.live()
        news = [] if last else [safe_text(words, 400) for words in news_of(live)]
        return [*_packed([named + words for words in _words(live)[:1]] + _words(live)[1:], self.screen.columns), *news]


def _words(live: Live) -> list[str]:
    """What stands beside the bar, the most important first."""
    share = live.done / live.total if live.total else 1.0
    words = [f"{_bar(share)} {live.done:,} of {live.total:,}", *rates_of(live), *counts_of(live)]
    words.append(f"ETA {clock(live.eta_s)}")
    if live.binding is not None:
        words.append(f"{live.binding[0]} {live.binding[1]:.0%}".replace("%", " %"))
    return words


def _bar(share: float) -> str:
    full = int(min(1.0, share) * _BAR_SIGNS)
    return f"[{'#' * full}{'-' * (_BAR_SIGNS - full)}]"


def _packed(words: list[str], columns: int) -> list[str]:
    """The words in as few lines as they fit into."""
    lines = [words[0]]
    for word in words[1:]:
        longer = f"{lines[-1]}{_DOT}{word}"
        if width(longer) <= columns:
            lines[-1] = longer
        else:
            lines.append(f"  {word}")
    return lines


def _is_read() -> bool:
    """Whether lines on stderr are kept, in a file or systemd's journal, or a terminal is at hand to read them."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    journal = os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
    return stat.S_ISREG(status.st_mode) or journal or sys.stderr.isatty() or sys.stdin.isatty() or sys.stdout.isatty()
