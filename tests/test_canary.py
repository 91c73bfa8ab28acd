"""The key is in nothing that is written: a canary of a key goes down every way on which a gateway, a mistake or a crash
might show it; then every byte of every file, every word and every argument list is searched for it."""

import json
import re
import resource
import signal
import threading
import traceback
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from conftest import Bench
from hostile import CANARY, FORMS, found_in, found_under, hostile, http
from test_viewer import viewing

import batchrunner
from batchrunner.errors import BatchrunnerError

ANSWER = {"id": "c", "model": "m", "usage": {"prompt_tokens": 5, "completion_tokens": 5}}


def completion(text: str) -> str:
    """An answer whose text is written so in its JSON."""
    return json.dumps(ANSWER)[:-1] + f', "choices": [{{"message": {{"content": "{text}"}}, "finish_reason": "stop"}}]}}'


def chunks(text: str) -> str:
    """The same as a stream that cuts the text in two."""
    half = len(text) // 2
    events = [{"choices": [{"delta": {"content": part}}]} for part in (text[:half], text[half:])]
    events.append({"choices": [{"delta": {}, "finish_reason": "stop"}], **ANSWER})
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"


OTHERS = {
    "fine": http("200 OK", completion("Yes.")),
    "stream": http("200 OK", chunks(f"so: {CANARY}"), x_request_id=CANARY, content_type="text/event-stream"),
    "broken": f"{CANARY} is no HTTP\r\n{CANARY}: {CANARY}\r\n\r\n".encode(),
    "encoded": http("200 OK", "x", content_encoding=CANARY),
}


def echo(handler: BaseHTTPRequestHandler, prompt: str) -> bytes:
    """The reply that a prompt asks for: `STATUS FORM`, the key in head and body in that form; or another word."""
    del handler
    status, _, form = prompt.partition(" ")
    if status == "answer":
        return http("200 OK", completion(f"so: {FORMS[form](CANARY)}"), x_request_id=f"r {CANARY}")
    if not status.isdecimal():
        return OTHERS.get(status) or http("400 Bad", "what?")
    written = FORMS[form](CANARY)
    body = f'{{"error": {{"message": "no key {written} here", "code": "{written}"}}, "{written}": 1}}'
    return http(
        f"{status} {written}", body, x_request_id=written, server=written, location=f"http://a.invalid/{written}"
    )


@pytest.fixture
def canary(bench: Bench) -> Bench:
    """A bench with the canary in its environment, and all that anybody might write to in its folder."""
    bench.environment["BATCHRUNNER_API_KEY"] = CANARY
    for name in ("HOME", "TMPDIR", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        place = bench.folder.parent / name
        place.mkdir()
        bench.environment[name] = str(place)
    return bench


LOUD = ("-v", "--raw", "--log-file", "log", "--progress", "log", "--max-failed", "none", "--max-outage", "1s")
ONCE = ("--attempts", "1")


def asked(canary: Bench, base_url: str, *prompts: str, code: int, options: tuple[str, ...] = LOUD) -> list[str]:
    """All words of a run that asks this."""
    canary.write("in.jsonl", *({"prompt": prompt} for prompt in prompts))
    done = canary.run("in.jsonl", "-m", "m", "--base-url", base_url, *ONCE, *options, code=code)
    return [done.stdout, done.stderr]


def assert_nowhere(canary: Bench, words: list[str]) -> None:
    """The key is neither in these words nor in any file."""
    assert found_in("\n".join(words).encode(), CANARY) == []
    assert found_under(canary.folder.parent, CANARY) == []


def test_an_error_that_sends_the_key_back_in_any_form_shows_it_nowhere(canary: Bench) -> None:
    prompts = [f"{status} {form}" for form in FORMS for status in (400, 422)]
    with hostile(echo) as at:
        words = asked(canary, at, "fine", *prompts, "broken", "encoded", code=1)
    assert_nowhere(canary, words)


@pytest.mark.parametrize("form", ["JSON", "JSON, slashes escaped", "JSON, all escaped", "JSON, some escaped"])
def test_an_answer_that_holds_the_key_shows_it_nowhere(canary: Bench, form: str) -> None:
    with hostile(echo) as at:
        words = asked(canary, at, f"answer {form}", code=0)
    (row,) = canary.output()
    assert row["response"] == "so: [REDACTED]"
    assert_nowhere(canary, words)


def test_an_answer_that_comes_as_a_stream_shows_it_nowhere(canary: Bench) -> None:
    with hostile(echo) as at:
        words = asked(canary, at, "stream", code=0, options=(*LOUD, "--param", "stream=true"))
    (row,) = canary.output()
    assert row["response"] == "so: [REDACTED]"
    assert_nowhere(canary, words)


def test_every_command_that_shows_a_run_shows_no_key(canary: Bench) -> None:
    with hostile(echo) as at:
        words = asked(
            canary, at, "answer JSON", "400 plain", "422 base64", code=1, options=(*LOUD, "--log-format", "json")
        )
        words += show_all(canary)
        with viewing(canary, "in.results.jsonl") as view:
            words += [view.get(page).text for page in ("/", "/rows", "/rows?q=so", "/row/0", "/row/1", "/row/2")]
        probe = canary.call("probe", "-m", "m", "--base-url", at, "--json", code=69)
        words += [probe.stdout, probe.stderr]
    assert len(words) > 12
    assert_nowhere(canary, words)


def show_all(canary: Bench) -> list[str]:
    """All words of the commands that show or write a run, and of those that ask its failed rows again."""
    run = "in.results.jsonl"
    commands = [("status", run, "--json"), ("status", run), ("report", run), ("export", run, "-o", "x.parquet")]
    commands += [
        ("export", run, "-o", "x.jsonl"),
        ("limits", "show", "--json"),
        ("plan", "in.jsonl", "-m", "m", "--raw"),
    ]
    done = [canary.call(*command) for command in commands]
    done.append(canary.call("retry", run, "-v", "--json", code=1))
    return [words for one in done for words in (one.stdout, one.stderr)]


def test_a_refused_key_is_not_shown(canary: Bench) -> None:
    with hostile(echo) as at:
        words = asked(canary, at, "401 JSON", "403 plain", code=77)
    assert_nowhere(canary, words)


@pytest.mark.parametrize("bad", ["\n", "\x00", "\x1b[2J", "\u00e9", " ", "\r\nX-Other: 1"])
def test_a_key_with_signs_that_no_header_can_hold_is_not_shown(canary: Bench, bad: str) -> None:
    (canary.folder / "key").write_text(f"{CANARY}{bad}{CANARY}\n")
    (canary.folder / "key").chmod(0o600)
    canary.prompts(1)
    done = canary.run("in.jsonl", "-m", "m", "--api-key-file", "key", "-v", code=77)
    (canary.folder / "key").unlink()
    assert_nowhere(canary, [done.stdout, done.stderr])


CRASH = """
import batchrunner.transport.http as http
from batchrunner.cli import main
from batchrunner.transport.pool import Pool

async def exchange(pool, content, may_write):
    whole = pool._whole(content)
    raise RuntimeError("broken \x1b]0;owned\x07")

Pool.post = exchange
main(prog_name="batchrunner")
"""


def test_a_crash_tells_where_and_neither_values_nor_codes_that_paint(canary: Bench) -> None:
    (canary.folder / "crash.py").write_text(CRASH)
    canary.prompts(3)
    arguments = ("run", "in.jsonl", "-m", "m", "--base-url", "http://127.0.0.1:1/v1", *LOUD)
    done = canary.python("-X", "dev", "crash.py", *arguments, code=70)
    assert "RuntimeError: broken" in done.stderr
    assert "\x1b" not in done.stderr
    assert_nowhere(canary, [done.stdout, done.stderr])


def test_no_error_in_python_has_the_key_among_its_values(canary: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    source = canary.prompts(1)
    key, long = canary.folder / "key", canary.folder / "long"
    key.write_text(f"{CANARY} {CANARY}")
    long.write_text(CANARY * 1000)
    monkeypatch.setenv("BATCHRUNNER_STATE_DIR", canary.environment["BATCHRUNNER_STATE_DIR"])
    monkeypatch.setenv("BATCHRUNNER_API_KEY", CANARY)
    at = "http://127.0.0.1:1/v1"
    wrong = [{"ca_bundle": source}, {"api_key_file": key}, {"api_key_file": long}, {"base_url": "http://a.invalid"}]
    for options in wrong:
        with pytest.raises(BatchrunnerError) as caught:
            batchrunner.run(source, model="m", **({"base_url": at, "max_outage": 0.1} | options))
        shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
        assert "ca_bundle" in shown
        assert found_in(_of_the_product(shown).encode(), CANARY) == [], options


def _of_the_product(shown: str) -> str:
    """The frames that are not this test's."""
    return shown[shown.index("batchrunner/api") :]


def test_the_key_is_in_no_argument_list_and_no_memory_is_written_to_a_file(canary: Bench) -> None:
    canary.prompts(4)
    arrived = threading.Event()

    def hang(handler: BaseHTTPRequestHandler, prompt: str) -> bytes:
        del prompt
        arrived.set()
        return handler.rfile.read(1)  # which never comes

    with hostile(hang) as at:
        most = resource.getrlimit(resource.RLIMIT_CORE)[1]
        dumped = partial(resource.setrlimit, resource.RLIMIT_CORE, (most, most))
        process = canary.start("run", "in.jsonl", "-m", "m", "--base-url", at, "--grace", "0", preexec_fn=dumped)
        assert arrived.wait(30)
        lists = b"".join(map(arguments_of, Path("/proc").glob("[0-9]*")))
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        process.send_signal(signal.SIGINT)
        words = list(process.communicate(timeout=30))
    assert process.returncode == 130
    assert at.encode() in lists
    assert found_in(lists, CANARY) == []
    assert re.search(r"^Max core file size +0 ", limits, re.MULTILINE)
    assert_nowhere(canary, words)


def arguments_of(process: Path) -> bytes:
    """The argument list of a process, which may have ended."""
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
