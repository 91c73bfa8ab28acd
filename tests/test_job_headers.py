"""Extra headers: what may stand in them, and that they arrive with every try and in place of nothing."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from conftest import KEY, Bench
from jobs import line_named, parsed, refused

from batchrunner.job.schema import FromEnvironment

TOKEN = "canary-of-a-header-7f3a9c"
REPLY = {
    "choices": [{"message": {"role": "assistant", "content": f"you said {TOKEN}"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


def headers(*lines: str) -> str:
    """A job file with these headers."""
    return "\n".join(['input = "a"', "[gateway.headers]", *lines])


def test_headers_are_texts_or_name_a_variable() -> None:
    assert parsed(headers('X-Org = "acme, inc."', 'X-Proxy-Token = { env = "PROXY_TOKEN" }')).gateway.headers == {
        "X-Org": "acme, inc.",
        "X-Proxy-Token": FromEnvironment(env="PROXY_TOKEN"),
    }


@pytest.mark.parametrize("name", ["Authorization", "content-type", "HOST", "Content-Length", "Transfer-Encoding"])
def test_headers_that_batchrunner_needs_are_no_ones_to_set(name: str) -> None:
    assert "is set by batchrunner itself" in refused(headers(f'{name} = "x"'))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('X = "a\\nb"', "has characters that can't stand in an HTTP header"),
        ('X = "a\\r\\nHost: b"', "has characters"),
        ('X = "a\\u0000"', "has characters"),
        ('X = "\\u007f"', "has characters"),
        ('X = "é"', "has characters"),
        ('X = " a"', "has characters"),
        ('X = ""', "is empty"),
        ("X = 5", "takes a text in quotes or a table, not a whole number"),
        ('"X Y" = "a"', "is no name of a header"),
        ('"X:" = "a"', "is no name of a header"),
        ('"X\\n" = "a"', "is no name of a header"),
        ('"" = "a"', "is no name of a header"),
        ('X = { env = "$NAME" }', "takes the name of an environment variable"),
        ('X = { env = "" }', "takes the name of an environment variable"),
        ("X = { env = 5 }", "takes a text in quotes, not a whole number"),
        ('X = { file = "x" }', "file"),
        ("X = {}", "lacks the key `env`"),
    ],
)
def test_what_no_header_can_be_is_refused(line: str, words: str) -> None:
    told = refused(headers(line))
    assert words in told
    assert line_named(told, headers(line)) in (line, "[gateway.headers]")


def test_the_same_header_in_another_case_is_refused() -> None:
    assert "gateway.headers.x-org is there twice" in refused(headers('X-Org = "a"', 'x-org = "b"'))


@pytest.mark.parametrize(
    "line",
    [
        'X-Api-Key = "hush"',
        'Cookie = "hush"',
        'X-Session-Token = "hush"',
        'X-Org = "Bearer hush-hush-hush"',
        'X-Org = "sk-hush-hush-hush"',
        'X-Org = "hush4hush4hush4hush4"',
    ],
)
def test_what_may_be_a_secret_is_pointed_to_the_environment_and_not_shown(line: str) -> None:
    told = refused(headers(line))
    assert "name the variable that holds it, X-" in told or "Cookie = { env" in told
    assert "hush" not in told


def test_headers_go_with_every_try_and_in_place_of_no_other(bench: Bench) -> None:
    seen: list[dict[str, str]] = []

    class Echo(BaseHTTPRequestHandler):
        """Fails at first, with all headers in its words."""

        def do_POST(self) -> None:
            seen.append({name.lower(): ", ".join(self.headers.get_all(name, [])) for name in self.headers})
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body = (500, {"error": {"message": str(seen)}}) if len(seen) == 1 else (200, REPLY)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Echo)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        bench.prompts(2)
        bench.environment["PROXY_TOKEN"] = TOKEN
        told = _run_with_headers(bench, f"http://127.0.0.1:{server.server_port}/v1")
    finally:
        server.shutdown()
        server.server_close()
    assert len(seen) == 3
    assert {(one["x-org"], one["x-proxy-token"], one["user-agent"]) for one in seen} == {("acme", TOKEN, "ours/1")}
    assert {(one["authorization"], one["content-type"]) for one in seen} == {(f"Api-Key {KEY}", "application/json")}
    assert TOKEN not in told
    held = [path for path in bench.folder.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert held == []


def _run_with_headers(bench: Bench, base_url: str) -> str:
    lines = ['X-Org = "acme"', 'X-Proxy-Token = { env = "PROXY_TOKEN" }', 'user-agent = "ours/1"']
    job = ['input = "in.jsonl"', "request.model = 'm/m'", "limits.concurrency = 1", f'gateway.base_url = "{base_url}"']
    bench.write("job.toml", *job, "[gateway.headers]", *lines)
    told = bench.run("job.toml")
    return told.stdout + told.stderr


def test_a_header_whose_variable_is_not_set_ends_with_77(bench: Bench) -> None:
    bench.prompts(1)
    bench.write(
        "job.toml", 'input = "in.jsonl"', "request.model = 'm/m'", "[gateway.headers]", 'X = { env = "NOT_SET" }'
    )
    assert "The header X has its value in a variable" in bench.run("job.toml", code=77).stderr
    assert sorted(path.name for path in bench.folder.iterdir()) == ["in.jsonl", "job.toml"]


@pytest.mark.parametrize("value", ["hush\r\nHost: x", "hush hush", "hush\x7f"])
def test_a_secret_that_would_break_the_request_ends_with_77_and_is_not_shown(bench: Bench, value: str) -> None:
    bench.prompts(1)
    bench.environment["HUSHED"] = value
    bench.write(
        "job.toml", 'input = "in.jsonl"', "request.model = 'm/m'", "[gateway.headers]", 'X = { env = "HUSHED" }'
    )
    stderr = bench.run("job.toml", code=77).stderr
    assert "The variable of the header X has spaces" in stderr
    assert "hush" not in stderr


def test_other_headers_are_no_other_questions(bench: Bench) -> None:
    bench.prompts(2)
    bench.write("job.toml", 'input = "in.jsonl"')
    bench.run("job.toml", "--simulate")
    bench.write("job.toml", 'input = "in.jsonl"', "[gateway.headers]", 'X-Org = "acme"')
    assert "nothing was left to ask" in bench.run("job.toml", "--simulate").stdout
