"""What a running loop looks like: a bar on a terminal, a line a minute elsewhere, or nothing."""

import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

import anyio

from batchrunner.cli.terminal import say, silence
from batchrunner.report.bounds import LaneUse, use_of, words_of
from batchrunner.report.safe import safe_text
from batchrunner.report.summary import words_of_cost
from batchrunner.store.summing import known_cost

if TYPE_CHECKING:
    from rich.progress import Progress

    from batchrunner.runner.loop import Loop

Style = Literal["bar", "log", "none"]
BAR_EVERY_SECONDS = 0.25
LINE_EVERY_SECONDS = 60.0
_RATE_OVER_SECONDS = 15.0


class Gauge:
    """Reads a loop from time to time and knows its recent rates. Times are monotonic seconds. `name`: of its job, where
    there are several."""

    def __init__(self, loop: "Loop", done_before: int, total: int, name: str = "") -> None:
        self._loop = loop
        self._name = name
        self._done_before = done_before
        self.total = total
        self._seen: deque[tuple[float, int, int]] = deque()
        self.read(time.monotonic())

    @property
    def done(self) -> int:
        """Units that have ended, in this run and before."""
        return self._done_before + self._loop.tally.units

    def read(self, now: float) -> None:
        """Look at the loop."""
        self._seen.append((now, self.done, self._loop.tally.tokens))
        while len(self._seen) > 2 and now - self._seen[0][0] > _RATE_OVER_SECONDS:  # noqa: PLR2004
            self._seen.popleft()

    def line(self) -> str:
        """What there is to say, the most important first."""
        tally, askers = self._loop.tally, self._loop.askers
        units_per_s, tokens_per_s = self._rates()
        flight = sum(asker.limiter.lane.in_flight for asker in askers)
        words = [f"{self.done:,} of {self.total:,}", f"{units_per_s:.1f}/s", f"{tokens_per_s:,.0f} tok/s"]
        words += [f"{flight} in flight", f"{tally.limited} x 429", f"{tally.failed} failed"]
        cost = words_of_cost(known_cost(tally.costs, tally.tries_without_cost), tally.tries_without_cost)
        words += [cost] if cost else []
        eta = (self.total - self.done) / units_per_s if units_per_s else None
        words.append(f"ETA {_clock(eta)}")
        words += [words_of(use) for use in self._uses() if len(askers) == 1]
        words += self.pauses()
        return (f"{safe_text(self._name)}: " if self._name else "") + " · ".join(words)

    def _uses(self) -> list[LaneUse]:
        now = time.monotonic()
        return [use_of(asker.opened.label, asker.limiter.lane, now) for asker in self._loop.askers]

    def pauses(self) -> list[str]:
        """What lanes wait for now."""
        now = time.monotonic()
        waits = [(asker.limiter.lane.waits_until(now) or now, asker.trouble) for asker in self._loop.askers]
        told = ((until - now, why or "as another run was told") for until, why in waits)
        return [f"paused {_clock(seconds)}: {safe_text(why, 120)}" for seconds, why in told if seconds >= 1]

    def _rates(self) -> tuple[float, float]:
        (then, done, tokens), (now, done_now, tokens_now) = self._seen[0], self._seen[-1]
        seconds = now - then
        return ((done_now - done) / seconds, (tokens_now - tokens) / seconds) if seconds > 0 else (0.0, 0.0)


def style_for(asked: str, *, quiet: bool) -> Style:
    """`auto` is a bar on a terminal and lines elsewhere."""
    if quiet or asked == "none":
        return "none"
    if asked == "auto":
        return "bar" if sys.stderr.isatty() else "log"
    return "bar" if asked == "bar" else "log"


async def watch(style: Style, loop: "Loop", done_before: int, total: int) -> None:
    """Show the loop until cancelled, or until nobody can be shown anything."""
    await _watch(style, None, Gauge(loop, done_before, total))


@contextmanager
def watching_several(style: Style) -> Iterator[Callable[..., Coroutine[Any, Any, None]]]:
    """The same for the loops of several jobs, which are told apart by their name, the first argument: bars stand one
    below the other."""
    with _bar() if style == "bar" else nullcontext() as bars:

        async def show(name: str, loop: "Loop", done_before: int, total: int) -> None:
            await _watch(style, bars, Gauge(loop, done_before, total, name))

        yield show


async def _watch(style: Style, bars: "Progress | None", gauge: Gauge) -> None:
    try:
        if style == "bar":
            with nullcontext(bars) if bars is not None else _bar() as bar:
                await _watch_with_bar(gauge, bar)
        elif style == "log":
            await _watch_with_lines(gauge)
    except (OSError, SystemExit):  # a full disk; a closed pipe, which rich answers with SystemExit
        silence(err=True)


async def _watch_with_bar(gauge: Gauge, bar: "Progress") -> None:
    task = bar.add_task("", total=gauge.total, words="")

    def show() -> None:
        gauge.read(time.monotonic())
        bar.update(task, completed=gauge.done, words=gauge.line())
        bar.refresh()

    try:
        while True:
            show()
            await anyio.sleep(BAR_EVERY_SECONDS)
    finally:
        show()


async def _watch_with_lines(gauge: Gauge) -> None:
    """A line a minute, and one when a pause begins that the last line did not tell of."""
    told, last = False, time.monotonic()
    while True:
        await anyio.sleep(1)
        now = time.monotonic()
        gauge.read(now)
        if now - last >= LINE_EVERY_SECONDS or (gauge.pauses() and not told):
            told, last = bool(gauge.pauses()), now
            if not say(f"{time.strftime('%H:%M:%S')} {gauge.line()}", err=True):
                return


def _bar() -> "Progress":
    from rich.console import Console  # noqa: PLC0415 - rich is slow to import and not always used
    from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415
    from rich.table import Column  # noqa: PLC0415

    return Progress(
        BarColumn(bar_width=16),
        TextColumn("{task.fields[words]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
        console=Console(stderr=True),
        auto_refresh=False,
    )


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
