"""The pages of a viewer: plain HTML with links and one form, which work without the script that hears keys."""

import html
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batchrunner.report import page as report_page
from batchrunner.report.facts import Facts, Mood
from batchrunner.report.safe import safe_lines
from batchrunner.viewer import shown
from batchrunner.viewer.question import Question
from batchrunner.viewer.rows import Opened, Sheet, Unit
from batchrunner.viewer.search import Search

FOLDER = Path(__file__).parent
LONGEST_TEXT = 100_000  # characters of one text of a page
LIVE_SECONDS, IDLE_SECONDS = 2, 15

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


class Pages:
    """The pages of the run of this name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._templates = report_page.environment(FOLDER, report_page.FOLDER)
        self._templates.filters |= {"lines": _lines, "moment": _moment}

    def overview(self, facts: Facts) -> str:
        """How the run stands."""
        live = LIVE_SECONDS if facts.mood is Mood.UNDERWAY else IDLE_SECONDS
        told = {**report_page.told(facts), "linked": True}
        return self._made("overview.html", here="overview", live=live, question=Question(), mood=facts.mood, **told)

    def sheet(self, sheet: Sheet, question: Question, search: Search | None, *, running: bool) -> str:
        """Some rows."""
        searching = search is not None and not search.done
        return self._made(
            "rows.html",
            here="rows",
            live=1 if searching else LIVE_SECONDS if running else IDLE_SECONDS,
            question=question,
            sheet=sheet,
            lines=_lines_of(sheet.units),
            search=search,
            searching=searching,
            number=int(question.words) if question.words.isascii() and question.words.isdigit() else None,
        )

    def unit(self, opened: Opened, question: Question) -> str:
        """One row in full."""
        unit = opened.unit
        return self._made(
            "row.html",
            here="row",
            live=LIVE_SECONDS if unit.ended is None else 0,
            question=question,
            opened=opened,
            unit=unit,
            outcome=unit.outcome or {},
            turns=shown.turns_of(unit.asked.body or {}),
            rest=shown.rest_of(unit.asked.body or {}),
            columns=None if unit.asked.columns is None else shown.pretty(unit.asked.columns),
            folded_parts=shown.folded_of(unit.outcome or {}),
            figures=list(shown.figures_of(unit.outcome or {})),
        )

    def message(self, words: str, title: str = "Not here") -> str:
        """Something that went wrong."""
        return self._made("message.html", here="", live=0, question=Question(), words=words, title=title)

    def welcome(self) -> str:
        """What a browser gets together with the cookie. It goes on from here by itself, and as the viewer's own page: a
        redirect of a link from elsewhere would go without the cookie."""
        return self._templates.get_template("welcome.html").render(name=self._name)

    def _made(self, template: str, **told: Any) -> str:
        return self._templates.get_template(template).render({"run_name": self._name, "mood": "", **told})


def _lines_of(units: list[Unit]) -> list[dict[str, Any]]:
    asked = shown.without_beginning([shown.last_asked(unit.asked.columns, unit.asked.body) for unit in units])
    return [_line(unit, prompt) for unit, prompt in zip(units, asked, strict=True)]


def _line(unit: Unit, prompt: str) -> dict[str, Any]:
    """A row of the list."""
    outcome, ended = unit.outcome or {}, unit.ended
    usage = outcome.get("usage") or {}
    return {
        "unit": unit,
        "id": outcome.get("id", ""),
        "prompt": shown.excerpt(prompt),
        "answer": shown.excerpt_of_answer(outcome),
        "error": "" if ended is None or ended.ok else shown.excerpt(ended.message or ""),
        "finish": outcome.get("finish_reason") if outcome.get("finish_reason") != "stop" else None,
        "tokens": usage.get("total_tokens"),
        "latency": outcome.get("latency_s"),
    }


class _Html(str):
    """What is to stand in a page as it is."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


def _lines(text: str, longest: int = LONGEST_TEXT) -> _Html:
    """A text of any length, its lines as they are."""
    cut = f"\n… {len(text) - longest:,} more characters" if len(text) > longest else ""
    return _Html(html.escape(safe_lines(text, longest) + cut))


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%-d %b %H:%M:%S} UTC"
