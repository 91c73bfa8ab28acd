"""batchrunner limits: this machine's book, shown and reset."""

import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from batchrunner.cli.exits import errors_as_exit_codes
from batchrunner.cli.manual import Manual, ManualGroup
from batchrunner.cli.terminal import say
from batchrunner.errors import UsageError
from batchrunner.limits.book import Book, LaneInBook
from batchrunner.limits.redis_place import VARIABLE, RedisPlace
from batchrunner.limits.window import name_of
from batchrunner.report.safe import safe_text
from batchrunner.runner.books import open_book, place_of
from batchrunner.runner.state import state_home

EXAMPLES = """\b
Examples:
  batchrunner limits show
  batchrunner limits show --json
  batchrunner limits reset acme/small
  batchrunner limits show --shared redis://localhost:6379/0
"""
EXAMPLES_OF_SHOW = """\b
Examples:
  batchrunner limits show
  batchrunner limits show --json
"""
EXAMPLES_OF_RESET = """\b
Examples:
  batchrunner limits reset acme/small
  batchrunner limits reset /    (all)
"""
BOOK = "book.sqlite"
_STATE_DIR = click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    envvar="BATCHRUNNER_STATE_DIR",
    metavar="PATH",
    help="Where the book is [$XDG_STATE_HOME/batchrunner]",
)
_SHARED = click.option("--shared", envvar=VARIABLE, metavar="URL", help="The book that several machines share.")
_INSECURE = click.option("--allow-insecure-http", is_flag=True, help="A shared one beyond loopback without TLS.")


@click.group(cls=ManualGroup, epilog=EXAMPLES)
def limits(**_: Any) -> None:
    """This machine's book: what each lane has used by day, the limits found, and whose quota is gone.

    A lane is what a gateway counts together: base URL, key or account (shown as a hash) and model.
    """


@limits.command(cls=Manual, epilog=EXAMPLES_OF_SHOW)
@_STATE_DIR
@_SHARED
@_INSECURE
@click.option("--json", "as_json", is_flag=True, help="One JSON object a lane.")
def show(state_dir: Path | None, shared: str | None, *, allow_insecure_http: bool, as_json: bool) -> None:
    """Print every lane, the one used last first."""
    with (
        errors_as_exit_codes(),
        _book(state_dir, place := place_of(shared, allow_insecure=allow_insecure_http)) as book,
    ):
        lanes = book.lanes() if book is not None else []
        for lane in lanes:
            say(msgspec.json.encode(_plain(lane)).decode() if as_json else "\n".join(_lines(lane)))
        if not lanes and not as_json:
            say(f"nothing was used yet: {place or (state_dir or state_home()) / BOOK}")


@limits.command(cls=Manual, epilog=EXAMPLES_OF_RESET, short_help="Forget what was used and found on lanes.")
@click.argument("lane")
@_STATE_DIR
@_SHARED
@_INSECURE
def reset(lane: str, state_dir: Path | None, shared: str | None, *, allow_insecure_http: bool) -> None:
    """Forget what was used and found on every lane whose name contains LANE: a model, a URL, or `/` for all."""
    with errors_as_exit_codes(), _book(state_dir, place_of(shared, allow_insecure=allow_insecure_http)) as book:
        chosen = [one for one in book.lanes() if lane in one.name] if book is not None else []
        busy = [one for one in chosen if one.processes]
        if busy:
            who = ", ".join(str(pid) for pid in busy[0].processes)
            raise UsageError(f"The lane {busy[0].name} is in use by process {who}: stop it first.")
        if book is None or not chosen:
            say(f"no lane has {safe_text(lane)} in its name; see batchrunner limits show", err=True)
            sys.exit(1)
        for one in chosen:
            book.forget(one.name)
            say(f"forgotten: {safe_text(one.name)}")


@contextmanager
def _book(state_dir: Path | None, shared: RedisPlace | None) -> Iterator[Book | None]:
    """The book, or None where there is none: asking for it makes none. Why one can't be reached is told by Book."""
    home = state_dir or state_home()
    try:
        (home / BOOK).stat()
    except FileNotFoundError:
        if shared is None:
            yield None
            return
    except OSError:
        pass
    with closing(open_book(home, shared)) as book:
        yield book


def _plain(lane: LaneInBook) -> dict[str, Any]:
    page = lane.page
    return {
        "lane": lane.name,
        "days": {
            day: {"requests": round(spent.requests), "tokens": round(spent.tokens)} for day, spent in _recent(lane)
        },
        "found": {name_of(one.key): round(one.amount, 1) for one in page.found},
        "quota_gone_until": _utc(page.gone_until) if page.gone_until > time.time() else None,
        "processes": lane.processes,
        "last_used": _utc(lane.seen_at),
    }


def _lines(lane: LaneInBook) -> list[str]:
    plain = _plain(lane)
    lines = [safe_text(lane.name)]
    lines += [
        f"  {day}: {spent['requests']:,} requests, {spent['tokens']:,} tokens" for day, spent in plain["days"].items()
    ]
    lines += [f"  found: {name} {amount:,}" for name, amount in plain["found"].items()]
    if plain["quota_gone_until"] is not None:
        lines.append(f"  the day's quota is gone until {plain['quota_gone_until']}")
    if lane.processes:
        lines.append(f"  in use by process {', '.join(map(str, lane.processes))}")
    lines.append(f"  last used {plain['last_used']}")
    return lines


def _recent(lane: LaneInBook) -> list[tuple[str, Any]]:
    """The last week's days, the newest first."""
    return sorted(lane.page.days.items(), reverse=True)[:7]


def _utc(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
