"""`view` shows a run and its rows to whoever has its token, on this machine alone, and changes nothing."""

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from browser import browsing
from conftest import KEY, Bench, Gateway, Simulate, wait_until
from pages import HOSTILE, VOID, Page

from batchrunner.folder.about import About, remember_about
from batchrunner.folder.arms import Arms, KnownArm, fact_of
from batchrunner.records import ErrorColumn, Failure, Kind, Outcome, Try
from batchrunner.store.database import Store
from batchrunner.store.rows import Entry
from batchrunner.viewer.gate import Gate
from batchrunner.viewer.kept import Kept

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
PAGES = ("/", "/rows", "/row/0", "/row/0.json", "/viewer.js", "/page.css", "/nothing")


@dataclass
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def rows(self) -> list[int]:
        """The numbers of the units that a list shows, in order."""
        return [
            int(number) for number in re.findall(r'<a href="/row/(\d+)(?:\?[^"]*)?">\s*<span class="who">', self.text)
        ]

    def link(self, rel: str) -> str | None:
        """Where the link of this kind leads."""
        found = re.search(rf'<a rel="{rel}" href="([^"]*)">', self.text)
        return None if found is None else found[1].replace("&amp;", "&")


@dataclass
class View:
    """A viewer that runs, as somebody sees it who was given its address."""

    process: subprocess.Popen[str]
    address: str
    cookie: str = ""

    @property
    def port(self) -> int:
        """Where it listens."""
        return urlsplit(self.address).port or 0

    @property
    def token(self) -> str:
        """What opens it."""
        return urlsplit(self.address).query.removeprefix("token=")

    def ask(self, path: str, method: str = "GET", **headers: str) -> Reply:
        """Ask with these headers alone; `_` stands for `-`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        said = {"Host": f"127.0.0.1:{self.port}"} | {name.replace("_", "-"): value for name, value in headers.items()}
        connection.putrequest(method, path, skip_host=True)
        for name, value in said.items():
            connection.putheader(name, value)
        connection.endheaders()
        came = connection.getresponse()
        reply = Reply(came.status, {name.lower(): value for name, value in came.getheaders()}, came.read().decode())
        connection.close()
        return reply

    def get(self, path: str) -> Reply:
        """A page, which must be there, with the cookie."""
        reply = self.ask(path, Cookie=self.cookie)
        assert reply.status == 200, (path, reply)
        return reply

    def found(self, words: str) -> Reply:
        """The first list of what has these words, once all rows have been looked at."""
        path = f"/rows?q={quote(words)}"
        wait_until(lambda: "so far" not in self.get(path).text)
        return self.get(path)

    def sheets(self, path: str) -> Iterator[Reply]:
        """This list and all behind it."""
        link: str | None = path
        while link is not None:
            reply = self.get(link)
            yield reply
            link = reply.link("next")

    def listed(self, path: str) -> list[int]:
        """The numbers of all units that this list and those behind it show."""
        return [number for sheet in self.sheets(path) for number in sheet.rows]


@contextmanager
def viewing(bench: Bench, run: str, *options: str) -> Iterator[View]:
    """`batchrunner view RUN`, with the cookie that its address brings."""
    process = bench.start("view", run, "--no-browser", *options)
    with process:
        try:
            view = View(process, process.stdout.readline().strip())
            welcome = view.ask(f"/?token={view.token}")
            view.cookie = welcome.headers["set-cookie"].partition(";")[0]
            yield view
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)


Look = Callable[..., View]


@pytest.fixture
def look(bench: Bench) -> Iterator[Look]:
    """Start viewers, which are gone after the test."""
    with ExitStack() as stack:
        yield lambda run, *options: stack.enter_context(viewing(bench, run, *options))


def checked(text: str) -> str:
    """The words of a page, in which nothing acts that is not ours, and nothing leads elsewhere."""
    page = Page(text, VOID | {"input"})
    assert page.open == []
    assert {tag for tag, _ in page.elements} & {"iframe", "object", "embed", "base", "img"} == set()
    assert [attributes for tag, attributes in page.elements if tag == "script"] == [
        {"src": "/viewer.js", "defer": None}
    ]
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)
        for name in ("href", "src", "action"):
            assert (attributes.get(name) or "/").startswith("/") or attributes[name] == "data:,"
    assert KEY not in text
    return page.text


def test_nothing_is_shown_without_the_token(bench: Bench, look: Look) -> None:
    bench.prompts(3)
    bench.run("in.jsonl", "--simulate")
    view = look("in.jsonl")
    for path in PAGES:
        for cookie in ("", f"batchrunner_{view.port}=x", f"batchrunner={view.token}"):
            reply = view.ask(path, Cookie=cookie)
            assert (reply.status, "Question" in reply.text) == (403, False), path
            assert "set-cookie" not in reply.headers
    assert view.ask(f"/?token={view.token[:-1]}x").status == 403
    assert view.ask("/?token=%F0%9F%92%A9").status == 403
    welcome = view.ask(f"/?token={view.token}")
    assert welcome.headers["set-cookie"].endswith("; HttpOnly; Path=/; SameSite=Strict")
    assert "Question 1?" in view.get("/row/1").text
    assert len(view.token) >= 22  # 128 bits


def test_other_hosts_other_sites_and_other_methods_are_refused(bench: Bench, look: Look) -> None:
    bench.prompts(1)
    bench.run("in.jsonl", "--simulate")
    view = look("in.jsonl")
    ours = {"Cookie": view.cookie}
    for host in ("evil.example", f"evil.example:{view.port}", "127.0.0.1", f"127.0.0.1:{view.port + 1}", ""):
        assert view.ask("/rows", **ours, Host=host).status == 421
        assert view.ask(f"/?token={view.token}", Host=host).status == 421
    assert view.ask("/rows", **ours, Host=f"localhost:{view.port}").status == 200
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        assert view.ask("/rows", method, **ours).status == 405
    assert view.ask("/rows", "HEAD", **ours).text == ""
    for site in ("cross-site", "same-site"):
        assert view.ask("/rows", **ours, Sec_Fetch_Site=site).status == 403
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{view.port + 1}"):
        assert view.ask("/rows", **ours, Origin=origin).status == 403


def test_every_answer_forbids_what_is_not_its_own(bench: Bench, look: Look) -> None:
    bench.prompts(1)
    bench.run("in.jsonl", "--simulate")
    view = look("in.jsonl")
    for path in (*PAGES, "/?token=x"):
        headers = view.ask(path, Cookie=view.cookie).headers
        assert headers["content-security-policy"] == POLICY
        assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
        assert headers["referrer-policy"] == "no-referrer"
        assert not any(name.startswith("access-control-") for name in headers)


def swept(bench: Bench, gateway: Gateway, output: str = "out.jsonl") -> list[dict[str, Any]]:
    """A run of 60 rows in two variants, of which some failed; the rows of its output."""
    rows = [{"id": f"q{n}", "prompt": f"Nr {n} {'[[status:422]]' if n % 7 == 3 else ''}"} for n in range(60)]
    bench.write("in.jsonl", *rows, "not JSON at all")
    (bench.folder / "job.toml").write_text(
        f'input = "in.jsonl"\noutput = "{output}"\n[gateway]\nbase_url = "{gateway.base_url}"\n'
        '[sweep]\nmodel = ["m/a", "m/b"]\n'
    )
    bench.run(
        "job.toml", "--part-rows" if output.endswith("/") else "--limit", "40" if output.endswith("/") else "61", code=1
    )
    bench.call("export", "job.toml", "-o", "all.jsonl")
    return bench.output("all.jsonl")


@pytest.mark.parametrize("output", ["out.jsonl", "out/", "out.parquet/"])
def test_lists_show_what_the_output_has(bench: Bench, simulate: Simulate, look: Look, output: str) -> None:
    rows = swept(bench, simulate(), output)
    view = look("job.toml")

    def numbers(wanted: Callable[[dict[str, Any]], bool]) -> list[int]:
        return [number for number, row in enumerate(rows) if wanted(row)]

    def says(row: dict[str, Any], words: str) -> bool:
        texts = (row["id"], row["response"] or "", (row["error"] or {}).get("message", ""), prompts[row["row"]])
        return any(words.casefold() in text.casefold() for text in texts)

    lines = (bench.folder / "in.jsonl").read_text().splitlines()[:60]
    prompts = [json.loads(line)["prompt"] for line in lines] + [""]
    assert view.listed("/rows") == list(range(122))
    assert view.listed("/rows?status=failed") == numbers(lambda row: row["status"] == "failed")
    assert view.listed("/rows?kind=invalid_row") == [120, 121]
    assert view.listed("/rows?variant=1&status=ok") == numbers(
        lambda row: row["variant"] == "model=m/b" and row["status"] == "ok"
    )
    for words in ("nr 1", "Q59", "[[status:422]]", "simulated STATUS", "x" * 90):
        assert view.listed(f"/rows?q={quote(words)}") == numbers(lambda row, words=words: says(row, words)), words
    assert view.listed("/rows?q=nr+3&status=failed&variant=0") == numbers(
        lambda row: says(row, "nr 3") and row["status"] == "failed" and row["variant"] == "model=m/a"
    )
    assert "Nothing" in view.get("/rows?q=absent").text
    assert view.get("/rows?status=x&variant=y&from=-1&q=").rows == list(range(50))


def test_lists_and_rows_lead_both_ways(bench: Bench, simulate: Simulate, look: Look) -> None:
    swept(bench, simulate())
    view = look("job.toml")
    sheets = list(view.sheets("/rows?q=nr"))
    assert [len(sheet.rows) for sheet in sheets] == [50, 50, 20]
    assert [view.get(sheet.link("prev")).rows for sheet in sheets[1:]] == [sheet.rows for sheet in sheets[:-1]]
    failed = view.listed("/rows?status=failed")
    page = view.get(f"/row/{failed[0]}?status=failed")
    walked = [failed[0]]
    while (link := page.link("next")) is not None:
        page = view.get(link)
        walked.append(int(link.removeprefix("/row/").partition("?")[0]))
    assert walked == failed
    assert f"{len(failed)} of {len(failed)}" in checked(page.text)
    assert page.link("prev") == f"/row/{failed[-2]}?status=failed"
    assert view.get(page.link("up")).rows == failed[-1:]
    assert view.ask("/row/122", Cookie=view.cookie).status == 404


def test_a_row_shows_question_and_answer_side_by_side(bench: Bench, look: Look) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    turn = {
        "role": "user",
        "content": [
            {"type": "text", "text": "Like this?"},
            {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
        ],
    }
    bench.write(
        "in.jsonl", {"id": "a", "messages": [turn], "tools": tools, "note": "mine"}, {"id": "b", "prompt": "Plain"}
    )
    bench.run("in.jsonl", "--simulate", "--system", "Be careful.", "--param", "temperature=0.5", "--keep", "note")
    view = look("in.jsonl")
    text = checked(view.get("/row/0").text)
    for words in (
        "as it was asked",
        "Be careful.",
        "Like this?",
        "https://x.example/a.png",
        '"name": "weather"',
        '"temperature": 0.5',
        '"note": "mine"',
        "simulated/model",
    ):
        assert words in text, words
    assert json.loads(view.get("/row/1.json").text) == bench.output()[1]
    assert "No text." not in text
    assert "Simulated answer to: Plain" in checked(view.get("/row/1").text)


def test_an_input_that_changed_or_is_gone_is_told(bench: Bench, simulate: Simulate, look: Look) -> None:
    gateway = simulate()
    bench.prompts(3)
    bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url)
    view = look("in.jsonl")
    changed = "The input or the job has changed since this was asked."
    assert "as it was asked" in view.get("/row/1").text
    bench.write("in.jsonl", {"prompt": "Question 0?"}, {"prompt": "Another one?"})
    assert changed not in view.get("/row/0").text
    text = view.get("/row/1").text
    assert changed in text
    assert "Another one?" in text
    assert "has no such row any more" in view.get("/row/2").text
    (bench.folder / "in.jsonl").unlink()
    text = checked(view.get("/row/1").text)
    assert "in.jsonl doesn't exist" in text
    assert "Simulated answer to: Question 1?" in text
    assert view.get("/rows?q=Question+2").rows == [2]  # in the answer
    assert "Prompts are not searched." in view.get("/rows?q=Question+2").text


def test_rows_of_a_part_that_was_moved_away_are_told(bench: Bench, simulate: Simulate, look: Look) -> None:
    swept(bench, simulate(), "out/")
    shutil.move(bench.folder / "out" / "part-00001.jsonl", bench.folder / "elsewhere")
    view = look("out")
    assert view.get("/rows?from=40").rows == list(range(40, 90))
    assert "can't be read back" in checked(view.get("/row/41").text)
    assert "can't be read back" in checked(view.get("/rows?q=nr").text)


def test_hostile_rows_are_words_only(bench: Bench, simulate: Simulate, look: Look) -> None:
    gateway = simulate()
    bench.write(
        "in.jsonl",
        *({"id": words, "prompt": f"{words} [[status:422]]"} for words in HOSTILE),
        *({"id": f"again {words}", "prompt": f"{words}\n\tsecond line", words: words} for words in HOSTILE),
    )
    bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--keep", "all", code=1)
    view = look("in.jsonl")
    pages = ["/", "/rows", *(f"/row/{number}" for number in range(2 * len(HOSTILE)))]
    pages += [f"/rows?q={quote(words)}&kind={quote(words)}&status={quote(words)}" for words in HOSTILE]
    for path in pages:
        text = view.get(path).text
        checked(text)
        assert not any(sign in text for sign in "\x00\x07\x1b\x9b\u202e\u2066\u2028"), path
    assert HOSTILE[0] in checked(view.get("/rows").text)
    assert f"{HOSTILE[1]} second line" in checked(view.get(f"/row/{len(HOSTILE) + 1}").text)
    assert view.get(f"/rows?q={quote(HOSTILE[0])}").rows == [0, len(HOSTILE)]


def test_a_long_text_is_cut_and_whole_elsewhere(bench: Bench, simulate: Simulate, look: Look) -> None:
    gateway = simulate()
    bench.write("in.jsonl", {"prompt": "<" * 3_000_000})
    bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url)
    view = look("in.jsonl")
    text = view.get("/row/0").text
    assert len(text) < 3_000_000
    assert "more characters" in text
    assert json.loads(view.get("/row/0.json").text) == bench.output()[0]


def test_a_run_is_seen_while_it_goes_on(bench: Bench, simulate: Simulate, look: Look) -> None:
    gateway = simulate("--latency", "0.2")
    bench.prompts(200)
    process = bench.start("run", "in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--concurrency", "4")
    wait_until(lambda: gateway.ledger()["paid"] > 3)
    view = look("in.jsonl")
    assert "running" in view.get("/").text
    assert "There is none yet." in view.get("/row/199").text
    assert "Question 199?" in view.get("/row/199").text
    few = len(view.listed("/rows?q=question"))
    wait_until(lambda: len(view.listed("/rows?q=question")) > few)
    wait_until(lambda: f"{few} of 200 units are done" not in view.get("/").text)
    process.send_signal(signal.SIGINT)
    process.communicate()
    wait_until(lambda: "stopped, can go on" in view.get("/").text)
    bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--concurrency", "64")
    wait_until(lambda: "All 200 units were answered." in view.get("/").text)
    assert view.listed("/rows?q=question") == list(range(200))


def large(folder: Path, rows: int) -> None:
    """A finished run of so many rows, made straight into its store, and its input."""
    run_dir = folder / "large.jsonl.run"
    run_dir.mkdir()
    with (folder / "in.jsonl").open("w") as file:
        for number in range(rows):
            file.write(f'{{"id": "q{number}", "prompt": "What is {number} and one?"}}\n')
    store = Store(run_dir)
    paths = {"folder": str(folder), "input": str(folder / "in.jsonl"), "output": str(folder / "large.jsonl")}
    about = About(arguments=("run", "in.jsonl", "-m", "m/m"), total=rows, began_at=1.0, started_at=1.0, **paths)
    remember_about(about, store.remember)
    store.remember(*fact_of(Arms(asked=[KnownArm(values={})])))
    for first in range(0, rows, 10_000):
        store.commit([entry(number) for number in range(first, min(first + 10_000, rows))])
    store.close()


def entry(number: int) -> Entry:
    """A unit that has ended: one in a thousand failed."""
    failure = Failure(kind=Kind.REJECTED, message=f"No {number}.", status=422) if number % 1000 == 7 else None
    error = None if failure is None else ErrorColumn(kind=failure.kind, status=422, message=failure.message)
    answer = None if failure else f"It is {number + 1}."
    outcome = Outcome(id=f"q{number}", row=number, status="failed" if failure else "ok", response=answer, error=error)
    return Entry(
        Try(number=number, sent_at=1000.0 + number / 100, latency_s=0.1, failure=failure), outcome, b"12345678"
    )


def test_a_hundred_thousand_rows_are_paged_filtered_and_searched(bench: Bench, look: Look) -> None:
    large(bench.folder, 100_000)
    view = look("large.jsonl")
    assert view.get("/rows?from=99950").rows == list(range(99_950, 100_000))
    assert "99,951\u2013100,000 of 100,000" in checked(view.get("/rows?from=99950").text)
    assert view.listed("/rows?status=failed") == list(range(7, 100_000, 1000))
    assert view.found("77777").rows == [77_776, 77_777]  # of one the answer
    assert view.found("it is 77777.").rows == [77_776]
    assert view.found("what is 99999 AND").rows == [99_999]
    assert "100,000 units" in view.get("/").text
    assert "What is 99999 and one?" in view.get("/row/99999").text
    assert 'href="/row/77777">go to row 77,777' in view.get("/rows?q=77777").text


def test_a_port_that_is_taken_and_a_run_that_is_not_there_are_told(bench: Bench) -> None:
    bench.prompts(1)
    bench.run("in.jsonl", "--simulate")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = bench.call("view", "in.jsonl", "--port", port, code=78).stderr
    assert told.startswith(f"batchrunner: Nothing can listen at 127.0.0.1:{port}: ")
    assert told.count("\n") == 1
    assert "name its output" in bench.call("view", "nothing.jsonl", code=65).stderr


@pytest.mark.slow
def test_a_browser_goes_by_keys_and_sees_a_run_go_on(bench: Bench, simulate: Simulate, look: Look) -> None:
    gateway = simulate("--latency", "0.1")
    bench.write("in.jsonl", *({"id": f"q{n} {HOSTILE[n % 9]}", "prompt": f"{HOSTILE[n % 9]} {n}"} for n in range(400)))
    process = bench.start("run", "in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--concurrency", "2")
    wait_until(lambda: gateway.ledger()["paid"] > 60)
    view = look("in.jsonl")
    with browsing(bench.folder / "profile") as tab:
        tab.open(f"http://127.0.0.1:{view.port}/rows")
        assert [one for one in tab.complaints if "403" in one] == tab.complaints != []
        tab.open(view.address)
        wait_until(lambda: tab.value("location.href") == f"http://127.0.0.1:{view.port}/")
        tab.open(f"http://127.0.0.1:{view.port}/")
        first = tab.value("document.querySelector('.headline').textContent")
        tab.value("window.stays = true")
        wait_until(lambda: tab.value("document.querySelector('.headline').textContent") != first)
        assert tab.value("window.stays")  # renewed, not loaded anew

        tab.press("/", leads_on=True)
        assert tab.value("location.pathname") == "/rows"
        assert tab.value("document.querySelectorAll('.rows a').length") == 50
        for key in "jjjk":
            tab.press(key)
        assert tab.value("document.activeElement.pathname") == "/row/1"
        tab.press("Enter", leads_on=True)
        assert tab.value("location.pathname") == "/row/1"
        for key, place in (("j", 2), ("ArrowRight", 3), ("k", 2), ("ArrowLeft", 1)):
            tab.press(key, leads_on=True)
            assert tab.value("location.pathname") == f"/row/{place}"
        assert HOSTILE[1] in tab.value("document.querySelector('main').innerText")
        tab.press("u", leads_on=True)
        assert tab.value("location.search") == "?from=1"
        tab.press("/")
        for key in "q5 j":  # in a field they are letters
            tab.press(key)
        assert tab.value("document.activeElement.value") == "q5 j"
        tab.press("Enter", leads_on=True)
        assert tab.value("document.querySelectorAll('.rows a').length") == 1
        for width in (400, 1400):
            tab.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
            assert tab.value("document.documentElement.scrollWidth <= window.innerWidth")
        assert tab.complaints == []
        asked = {urlsplit(url).netloc for url in tab.requests if not url.startswith("data:")}
        assert asked == {f"127.0.0.1:{view.port}"}
    process.send_signal(signal.SIGINT)
    process.communicate()


def test_the_address_for_a_browser_that_is_started_opens_once() -> None:
    gate = Gate(8000, "lasting", "once")
    assert [gate.admits(token) for token in ("", "x", "once", "once", "lasting", "lasting")] == [
        *(False, False, True, False, True, True)
    ]


def test_what_takes_long_is_made_seldom() -> None:
    now, made = [0.0], []

    def make() -> int:
        now[0] += 2.0
        made.append(now[0])
        return len(made)

    kept = Kept(make, clock=lambda: now[0])
    assert (kept.get(), kept.get()) == (1, 1)
    now[0] = 41.9
    assert kept.get() == 1
    now[0] = 42.0
    assert kept.get() == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_without_a_word(bench: Bench, number: signal.Signals) -> None:
    bench.prompts(1)
    bench.run("in.jsonl", "--simulate")
    with viewing(bench, "in.jsonl") as view:
        view.get("/")
        view.process.send_signal(number)
        assert view.process.communicate(timeout=30)[1] == "Ctrl-C ends it.\n"
        assert view.process.returncode == 0
