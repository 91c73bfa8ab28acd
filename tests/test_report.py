"""`report` makes one page of a run that is true, needs nothing else, and shows hostile words without heeding them."""

import json
import re
import shutil
import signal
import sys

import msgspec
import pytest
from browser import browsing
from conftest import KEY, Bench, Gateway, Simulate, wait_until
from pages import HOSTILE, Page

from batchrunner.records import ErrorColumn, Outcome
from batchrunner.report import page as report_page
from batchrunner.report.bounds import LaneUse, LimitUse
from batchrunner.report.causes import Cause
from batchrunner.report.facts import Facts, Mood, Place
from batchrunner.report.history import History
from batchrunner.report.live import LaneLive, Live
from batchrunner.report.past import PastRun
from batchrunner.report.plots import draw
from batchrunner.report.safe import safe_text
from batchrunner.report.summary import ThisRun, Units
from batchrunner.store.reading import TryRow

NOON = 1_795_435_200.0  # 2026-11-23 12:00 UTC


def job(gateway: Gateway, *options: str) -> tuple[str, ...]:
    """The job of these tests."""
    return ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, *options)


def page_of(bench: Bench, run: str = "in.results.jsonl") -> Page:
    """The page of a run."""
    process = bench.start("report", run, "-o", "page.html")
    told = process.communicate(timeout=60)
    assert (process.returncode, told[0].strip()) == (0, "page.html"), told
    return checked((bench.folder / "page.html").read_text())


def checked(text: str) -> Page:
    """The page, in which nothing can act, load or be loaded, whatever is in it."""
    page = Page(text)
    assert page.open == []
    assert KEY not in text
    assert {tag for tag, _ in page.elements} & {"script", "iframe", "object", "embed", "form", "base", "img"} == set()
    names = {name for _, attributes in page.elements for name in attributes}
    assert {name for name in names if name.startswith("on") or name in {"src", "xlink:href", "action"}} == set()
    assert [attributes["href"] for _, attributes in page.elements if "href" in attributes] == ["data:,"]
    assert "url(" not in text
    assert "@import" not in text
    policy = next(at["content"] for _, at in page.elements if at.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    return page


def test_the_page_of_a_finished_run_says_that_all_is_well(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--rps", "50", "--latency", "0.05")
    bench.prompts(60)
    bench.run(*job(gateway, "--rps", "50"))
    text = page_of(bench).text
    assert "All 60 units were answered." in text
    assert "bound by requests/second" in text
    assert "limit 50 a second" in text
    assert "No unit failed." in text
    assert "No request failed." in text
    assert "Known of streams only" in text
    assert "every unit answered" in text


def test_failed_units_are_grouped_by_cause_with_an_example_each(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    rows = [{"id": f"q{n}", "prompt": f"{n} {'[[status:422]]' if n % 5 == 3 else ''}"} for n in range(30)]
    bench.write("in.jsonl", *rows, '{"id": "q30", "prompt": "x [[status:500]]"}', "not JSON at all")
    bench.run(*job(gateway, "--attempts", "2"), code=1)
    text = page_of(bench).text
    assert "24 of 32 units were answered, 8 failed." in text
    assert "8 in 3 causes" in text
    assert "6 rejected HTTP 422" in text
    assert "for example row 3, id q3" in text
    assert "1 server_error HTTP 500" in text
    assert "for example row 30, id q30" in text
    assert "for example row 31" in text
    assert "server_error 2" in text  # both tries, in the legend of failures over time


def hostile(words: str) -> Facts:
    """A run in which every word that may come from elsewhere is this one."""
    row = Outcome(
        id=words, row=3, status="failed", error=ErrorColumn(kind=words, status=400, message=words), variant=words
    )
    history = History(arms=2)
    usage = (3, 4, 0, 0)
    history.add([TryRow(0, NOON, 1.0, 0.5, None, None, None, *usage, words, 0.5)])
    history.add([TryRow(1, NOON, 1.0, None, words, 400, words, *usage, words, None)])
    use = LaneUse(lane=words, seconds=9, requests=2, tokens=7, limits=[], bound_by={words: 0.5}, lowered={words: 3})
    did = ThisRun(
        units=2, tries=2, tokens=14, duration_s=9, tries_per_s=1, cost=0.5, tries_without_cost=1, lanes=[use, use]
    )
    lane = LaneLive(
        lane=words,
        in_flight=1,
        may_be_in_flight=2,
        in_line=1,
        napping=1,
        waits_for=words,
        now_used={words: 0.5},
        paused_s=3,
        why=words,
        stopped=None,
        use=use,
    )
    past = PastRun(began_at=NOON, declared={words: {words: 5}}, ended_at=NOON + 9, ending=words, message=words, did=did)
    places = [Place(name=words, model=words, ok=1, failed=0), Place(name=words, model=words, ok=0, failed=1)]
    cause = Cause(kind=words, words=words, units=1, first=7, message=words, row=row)
    return Facts(
        output=words,
        run_dir=words,
        began_at=NOON,
        ended_at=NOON + 9,
        made_at=NOON + 99,
        mood=Mood.BAD,
        state=words,
        message=words,
        worked_on_by=words,
        resume_at=None,
        units=Units(total=2, ok=1, failed=1, pending=0),
        in_flight=0,
        in_doubt=1,
        units_per_s=None,
        eta_s=None,
        history=history,
        causes=[cause],
        places=places,
        arms=2,
        runs=[past],
        live=live_of(lane),
    )


def live_of(*lanes: LaneLive) -> Live:
    """A picture of these lanes at work."""
    return Live(
        at=NOON,
        process=1,
        done=1,
        total=2,
        failed=0,
        limited=0,
        units_per_s=1,
        tokens_per_s=1,
        cost=None,
        in_flight=1,
        eta_s=1,
        left=None,
        stopping=None,
        lanes=list(lanes),
    )


@pytest.mark.parametrize("words", [*HOSTILE, "<" * 1_000_000, "\ud800", "%s {0} ${x} `id`"])
@pytest.mark.parametrize("mood", [Mood.BAD, Mood.UNDERWAY])
def test_hostile_words_are_shown_and_do_nothing(mood: Mood, words: str) -> None:
    text = report_page.page_of(msgspec.structs.replace(hostile(words), mood=mood))
    page = checked(text)
    whole = " ".join(safe_text(words, 90).removesuffix("…").split())
    assert page.text.count(whole) > 15
    assert not any(sign in text for sign in "\x00\x07\x1b\x9b\u202e\u2066\u2028\ud800")
    assert len(text) < 100_000


def test_hostile_rows_reach_the_page_as_words(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write(
        "in.jsonl", {"id": HOSTILE[0], "prompt": "[[status:422]]"}, {"id": "x" * 1_000_000, "prompt": "[[empty]]"}
    )
    bench.run(*job(gateway, "--attempts", "1"), code=1)
    page = page_of(bench)
    assert HOSTILE[0] in page.text
    assert "x" * 99 in page.text
    assert (bench.folder / "page.html").stat().st_size < 100_000


def test_the_page_of_a_killed_run_says_how_to_go_on(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.3")
    bench.prompts(300)
    process = bench.start("run", *job(gateway, "--concurrency", "2"))
    wait_until(lambda: gateway.ledger()["paid"] > 2)
    wait_until(lambda: "requests in flight" in page_of(bench).text)
    text = page_of(bench).text
    assert "running" in text
    assert f"At work: process {process.pid} on " in text
    assert "What binds it" in text
    assert re.search("[012] of 2 in flight", text)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    text = page_of(bench).text
    assert "What bound it bound by requests in flight" in text
    assert "stopped, can go on" in text
    assert "in doubt" in text
    assert "The same command goes on where it stopped." in text
    bench.run(*job(gateway, "--concurrency", "64"))
    text = page_of(bench).text
    assert "All 300 units were answered." in text
    assert "in 2 runs" in text
    assert "cut off" in text


def test_a_finished_job_that_is_run_again_keeps_its_history(bench: Bench) -> None:
    bench.prompts(5)
    for _ in range(2):
        bench.run("in.jsonl", "--simulate", "--rps", "100")
    text = page_of(bench).text
    assert "in one run" in text
    assert "limit 100 a second" in text


def test_a_parked_run_says_when_to_come_back(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--rpd", "10", "--headers", "retry-after", "--latency", "0.01")
    bench.prompts(30)
    bench.run(*job(gateway), code=75)
    text = page_of(bench).text
    assert "Come back at" in text
    assert "00:00 UTC: run the same command again." in text
    assert "daily_limit" in text


def test_streams_have_a_time_to_the_first_token(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.2", "--latency-spread", "0")
    bench.prompts(20)
    bench.run(*job(gateway, "--param", "stream=true"))
    text = page_of(bench).text
    assert "Known of streams only" not in text
    assert text.count("p95") >= 2


def test_variants_stand_side_by_side(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(4)
    (bench.folder / "job.toml").write_text(
        f'input = "in.jsonl"\noutput = "out.jsonl"\n[gateway]\nbase_url = "{gateway.base_url}"\n'
        '[sweep]\nmodel = ["m/a", "m/b"]\ntemperature = [0, 1]\nsamples = 2\n'
    )
    bench.run("job.toml")
    text = page_of(bench, "job.toml").text
    for variant in ("model=m/a temperature=0", "model=m/b temperature=1"):
        assert f"{variant} 8 0" in text


def test_cost_is_told_by_day_and_model_where_it_is_known(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(4)
    (bench.folder / "job.toml").write_text(
        f'input = "in.jsonl"\noutput = "out.jsonl"\n[gateway]\nbase_url = "{gateway.base_url}"\n'
        '[prices."m/a"]\nprompt = 1000\ncompletion = 2000\n[sweep]\nmodel = ["m/a", "m/b"]\n'
    )
    bench.run("job.toml")
    cost = sum(row["cost"] or 0 for row in bench.output("out.jsonl"))
    page = page_of(bench, "job.toml")
    assert f"{cost:,.2f} cost unknown of 4 tries" in page.text
    assert "Tokens and cost by day and model" in page.text
    rows = re.findall(r"\d{4}-\d\d-\d\d (m/[ab]) 4 [\d, ]* (unknown|[\d.,]+) ", page.text)
    assert rows == [("m/a", f"{cost:,.2f}"), ("m/b", "unknown")]


def test_examples_come_from_published_parts_too(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", *({"id": f"q{n}", "prompt": "x [[status:422]]" if n == 13 else "?"} for n in range(30)))
    bench.run(*job(gateway, "-o", "out/", "--part-rows", "10"), code=1)
    assert "for example row 13, id q13" in page_of(bench, "out").text
    shutil.move(bench.folder / "out" / "part-00001.jsonl", bench.folder / "elsewhere")
    assert "for example row 13" in page_of(bench, "out").text


def test_a_report_replaces_reports_only(bench: Bench) -> None:
    bench.prompts(1)
    bench.run("in.jsonl", "--simulate")
    process = bench.start("report", "in.jsonl")
    name = process.communicate()[0].strip()
    assert name.endswith("in.results.jsonl.report.html")
    again = bench.start("report", "in.jsonl")
    assert again.communicate()[0].strip() == name
    for taken in ("in.jsonl", "in.results.jsonl", "."):
        process = bench.start("report", "in.jsonl", "-o", taken)
        assert "name another --output" in process.communicate()[1]
        assert process.returncode == 78
    assert json.loads((bench.folder / "in.jsonl").read_text())["prompt"] == "Question 0?"
    process = bench.start("report", "in.jsonl", "-o", "-")
    assert process.communicate()[0].startswith("<!doctype html>")


def test_what_draws_leaves_no_import_hook_behind() -> None:
    assert draw.__module__ == "batchrunner.report.plots"
    assert all(hasattr(finder, "find_spec") for finder in sys.meta_path)


def test_no_run_is_65(bench: Bench) -> None:
    process = bench.start("report", "nothing.jsonl")
    assert "name its output" in process.communicate()[1]
    assert process.returncode == 65


@pytest.mark.slow
def test_a_browser_opens_the_page_without_a_complaint_and_asks_for_nothing(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.05")
    bench.write("in.jsonl", *({"id": words, "prompt": "x [[status:422]]"} for words in HOSTILE), {"prompt": "?"})
    bench.run(*job(gateway), code=1)
    page_of(bench)
    page, spoilt = bench.folder / "page.html", bench.folder / "spoilt.html"
    script = "<script>console.log(1)</script><img src='http://127.0.0.1:9/x.png'>"
    with browsing(bench.folder / "profile") as tab:
        tab.open(page.as_uri())
        assert tab.complaints == []
        assert [url for url in tab.requests if not url.startswith("data:")] == [page.as_uri()]
        assert tab.value("document.querySelectorAll('.plot svg path').length") > 20
        assert tab.value("document.documentElement.scrollWidth <= window.innerWidth")
        spoilt.write_text(page.read_text().replace("<header>", f"{script}<header>"))
        tab.open(spoilt.as_uri())
        assert sum("Content Security Policy" in one for one in tab.complaints) == 2
        assert "http://127.0.0.1:9/x.png" not in tab.requests
        spoilt.write_text(spoilt.read_text().replace("Content-Security-Policy", "X-Nothing"))
        tab.open(spoilt.as_uri())  # what is asked for is seen, where it may be
        assert "http://127.0.0.1:9/x.png" in tab.requests


def test_a_limit_that_was_found_lower_than_declared_is_drawn_beside_it() -> None:
    limits = [LimitUse(limit="requests/minute", amount=60, used=1.0, found=True)]
    use = LaneUse(lane="m", seconds=120, requests=200, tokens=0, limits=limits, bound_by={})
    did = ThisRun(units=2, tries=2, tokens=0, duration_s=9, tries_per_s=1, cost=None, tries_without_cost=2, lanes=[use])
    declared = {"m": {"requests/minute": 600.0}, "never asked": {"requests/minute": 600.0}}
    past = PastRun(began_at=NOON, declared=declared, ended_at=NOON + 9, ending="parked", message="", did=did)
    text = report_page.page_of(msgspec.structs.replace(hostile("x"), runs=[past], live=None))
    assert "limit 600 a minute" in text
    assert "at the end 60<" in text
    assert "100 % of 60 (found)" in text


STYLE = (report_page.FOLDER / "page.css").read_text()
TEXTS = ["ink", "soft", "good", "paused", "underway", "bad"]
SHAPES = ["ok", "tokens", "limited", "broken", "k0", "k1", "k2", "k3", "k4", "k5", "k8", "k9"]


@pytest.mark.parametrize(("scheme", "style"), [("light", STYLE.split("@media")[0]), ("dark", STYLE)])
def test_what_is_to_be_read_stands_out_from_what_is_behind_it(scheme: str, style: str) -> None:
    colours = dict(re.findall(r"--(\w+): (#\w{6})", style.partition("@media print")[0]))  # the later ones hold
    for least, names in ((4.5, TEXTS), (3.0, SHAPES)):  # WCAG 2.2, 1.4.3 and 1.4.11
        for name in names:
            behind = ("page", "card", "track") if least > 4 else ("card",)
            faint = {one: contrast(colours[name], colours[one]) for one in behind}
            assert min(faint.values()) >= least, (scheme, name, faint)


def contrast(one: str, other: str) -> float:
    """Of two colours, as WCAG reckons it."""
    darker, lighter = sorted(map(_luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))
