"""`batchrunner probe`: what it says of gateways of every kind, and that its requests are counted like any others."""

import json
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import time
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import KEY, Bench, Simulate
from hypothesis import given
from hypothesis import strategies as st
from test_dialects import DATE, RECORDED, Recorded

from batchrunner.cli import main
from batchrunner.probe.probed import exchange_of, limit_headers, limits_told
from batchrunner.records import Failure, HttpReply, Kind
from batchrunner.runner.outcome import read
from batchrunner.transport.observed import Seen

BODY = {
    "id": "a",
    "model": "acme/a",
    "choices": [{"message": {"role": "assistant", "content": "OK"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
}
BAD = {"error": {"message": "messages must be a list", "type": "bad_request", "code": 1234}}
A = ("-m", "acme/a")


@dataclass(kw_only=True)
class Says:
    """A reply of a gateway."""

    status: int = 200
    body: bytes = json.dumps(BODY).encode()
    headers: Mapping[str, str] = field(default_factory=dict)


def answers(body: Mapping[str, Any] = BODY, **headers: str) -> Says:
    """A completion, with headers."""
    return Says(body=json.dumps(body).encode(), headers=headers)


def refuses(status: int = 400, body: Mapping[str, Any] = BAD, **headers: str) -> Says:
    """No completion."""
    return Says(status=status, body=json.dumps(body).encode(), headers=headers)


@dataclass
class Scripted:
    """A gateway that says to a good request `good`, to a malformed one `bad`."""

    base_url: str
    asked: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def scripted(good: Says, bad: Says, certificate: Path | None = None) -> Iterator[Scripted]:
    """Serve it on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            gateway.asked.append(asked)
            said = good if isinstance(asked["messages"], list) else bad
            self.send_response_only(said.status)
            for name, value in ({"content-type": "application/json"} | dict(said.headers)).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(said.body)))
            self.end_headers()
            self.wfile.write(said.body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        scheme = "http"
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.handle_error = lambda *_: None
            scheme = "https"
        gateway = Scripted(f"{scheme}://127.0.0.1:{server.server_port}/v1")
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield gateway
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Told:
    """What the command said."""

    code: int
    stdout: str
    stderr: str

    @property
    def probes(self) -> list[dict[str, Any]]:
        """What `--json` tells of each model."""
        told = json.loads(self.stdout)
        assert told["exit_code"] == self.code
        return list(told["probes"])

    @property
    def probe(self) -> dict[str, Any]:
        """What it tells of the only one."""
        (only,) = self.probes
        return dict(only)


Probe = Callable[..., Told]


@pytest.fixture
def probe(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Probe:
    """`batchrunner probe ARGUMENTS` in the bench's folder."""

    def run(*arguments: object) -> Told:
        monkeypatch.chdir(bench.folder)
        done = CliRunner(env=bench.environment).invoke(main, ["probe", *map(str, arguments)])
        return Told(done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture
def gateway() -> Iterator[Callable[..., Scripted]]:
    """Serve a scripted gateway; all are gone after the test."""
    with ExitStack() as stack:
        yield lambda good, bad=None, **others: stack.enter_context(scripted(good, bad or refuses(), **others))


def test_a_good_and_a_bad_request_are_sent_and_counted_in_the_book(bench: Bench, simulate: Simulate) -> None:
    simulated = simulate("--rpm", "600", "--headers", "openai")
    process = bench.start("probe", *A, "--base-url", simulated.base_url)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert stderr == ""
    assert simulated.ledger()["arrivals"] == 2
    assert re.search(r"a good request +200, in .* first byte after .*\n +answer +\"Simulated", stdout)
    assert re.search(r"a malformed one +400.*\n +body +{error: {message, type, param, code}}", stdout)
    assert "x-ratelimit-limit-requests: 600  ->  requests: limit 600" in stdout
    assert "declare the limit of 600 requests with --rpm 600, if it is per minute" in stdout
    process = bench.start("limits", "show", "--json")
    lane = json.loads(process.communicate(timeout=60)[0])
    assert [day["requests"] for day in lane["days"].values()] == [2]


@pytest.mark.parametrize("recorded", RECORDED.values(), ids=RECORDED)
def test_the_limits_of_every_dialect_are_told_as_they_are_understood(
    probe: Probe, gateway: Callable[..., Scripted], recorded: Recorded
) -> None:
    served = gateway(Says(status=429, body=recorded.body.encode(), headers={"date": DATE} | recorded.headers))
    told = probe(*A, "--base-url", served.base_url, "--json")
    (exchange,) = told.probe["exchanges"]
    assert exchange["failure"] == recorded.refusal.kind
    assert told.code == (77 if recorded.refusal.kind is Kind.BILLING else 75)
    assert len(served.asked) == 1
    found = told.probe["limits"]
    assert [(one["dimension"], one["amount"], one["window_seconds"]) for one in found] == [
        (one.dimension, one.amount, one.window_seconds) for one in recorded.told
    ]
    if recorded.refusal.wait_seconds is not None:
        assert exchange["wait_seconds"] == pytest.approx(recorded.refusal.wait_seconds, abs=2)
    named = {one["name"] for one in told.probe["limit_headers"]}
    assert named == {name for name in recorded.headers if "limit" in name or "retry-after" in name}


def test_the_options_that_declare_what_headers_tell_are_named(probe: Probe, gateway: Callable[..., Scripted]) -> None:
    limits = {"ratelimit-policy": '"b";q=100;w=60,"d";q=9000;w=86400,"h";q=500;w=3600', "ratelimit": '"b";r=99;t=30'}
    served = gateway(answers(**limits))
    told = probe(*A, "--base-url", served.base_url, "--rpd", "10000", "--json").probe
    assert [one["option"] for one in told["limits"]] == ["--rpm 100", "--rpd 9000", None]
    advice = "\n".join(told["advice"])
    assert "declare the limit of 100 requests with --rpm 100" in advice
    assert "declare --rpd 9000: the gateway allows 9,000 requests per day, the job says 10,000" in advice
    assert "500 requests are told as a limit, but they are per hour" in advice


def test_a_header_that_is_not_understood_is_said_to_be_so(probe: Probe, gateway: Callable[..., Scripted]) -> None:
    served = gateway(answers(**{"x-limit-of-mine": "many", "retry-after": "soon"}))
    told = probe(*A, "--base-url", served.base_url)
    assert "x-limit-of-mine: many  ->  not understood" in told.stdout
    assert "retry-after: soon  ->  not understood" in told.stdout


def test_usage_its_details_and_its_cost_are_told(probe: Probe, gateway: Callable[..., Scripted]) -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 0}}
    served = gateway(answers(BODY | {"usage": BODY["usage"] | details | {"cost": 0.00012}}))
    told = probe(*A, "--base-url", served.base_url)
    assert "prompt 9, completion 1, total 10, cached 4, reasoning 0; cost 0.00012" in told.stdout
    assert "[prices]" not in told.stdout


def test_missing_usage_is_told_with_what_follows(probe: Probe, gateway: Callable[..., Scripted]) -> None:
    served = gateway(answers({name: value for name, value in BODY.items() if name != "usage"}))
    told = probe(*A, "--base-url", served.base_url)
    assert told.code == 0
    assert "not told; cost not told" in told.stdout
    assert "no usage comes back: limits of tokens and budgets go by estimates alone" in told.stdout


@pytest.mark.parametrize(("used", "other"), [("Api-Key", "Bearer"), ("Bearer", "Api-Key")])
def test_a_refused_key_names_the_other_scheme(probe: Probe, simulate: Simulate, used: str, other: str) -> None:
    simulated = simulate("--auth-scheme", other)
    told = probe(*A, "--base-url", simulated.base_url, "--auth-scheme", used)
    assert told.code == 77
    assert f"the key was sent as {used}: try --auth-scheme {other}" in told.stdout
    assert simulated.ledger()["arrivals"] == 1


def test_a_run_whose_key_is_refused_names_both_schemes(bench: Bench, simulate: Simulate) -> None:
    bench.prompts(1)
    done = bench.run("in.jsonl", *A, "--base-url", simulate("--auth-scheme", "Bearer").base_url, code=77)
    assert "does the key go with the other --auth-scheme? There are Api-Key (default) and Bearer" in done.stdout


def test_a_model_that_is_not_known_is_told(probe: Probe, simulate: Simulate) -> None:
    told = probe(*A, "--base-url", simulate("--model", "acme/b").base_url)
    assert told.code == 77
    assert "is the model acme/a right, and the path of --base-url? It ends in /v1, mostly" in told.stdout


def test_a_port_where_nobody_listens_is_unreachable(probe: Probe) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    told = probe(*A, "--base-url", f"http://127.0.0.1:{port}/v1")
    assert told.code == 69
    assert f"is --base-url http://127.0.0.1:{port}/v1 right?" in told.stdout


def test_an_unknown_certificate_is_told_with_the_option_that_helps(
    probe: Probe, gateway: Callable[..., Scripted], certificate: Path
) -> None:
    served = gateway(answers(), certificate=certificate)
    told = probe(*A, "--base-url", served.base_url)
    assert told.code == 69
    assert "name its own authority with --ca-bundle PATH" in told.stdout
    known = probe(*A, "--base-url", served.base_url, "--ca-bundle", certificate, "--json")
    assert known.code == 0
    assert known.probe["exchanges"][0]["seen"]["tls"].startswith("TLSv1.")


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (302, 78, "redirects are never followed"),
        (402, 77, "the account has no money"),
        (422, 69, "does not take a plain chat completion"),
        (500, 69, "has trouble of its own"),
        (529, 69, "has no capacity now"),
    ],
)
def test_what_stops_a_run_ends_a_probe_with_the_same_code(
    probe: Probe, gateway: Callable[..., Scripted], status: int, code: int, words: str
) -> None:
    told = probe(*A, "--base-url", gateway(refuses(status)).base_url)
    assert told.code == code
    assert words in told.stdout


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b'{"data": []}', b""])
def test_a_reply_that_is_no_completion_is_no_success(
    probe: Probe, gateway: Callable[..., Scripted], body: bytes
) -> None:
    told = probe(*A, "--base-url", gateway(Says(body=body)).base_url)
    assert told.code == 69
    assert "is --base-url that of an OpenAI-compatible gateway?" in told.stdout


def test_plain_http_beyond_loopback_is_refused_before_anything_is_sent(probe: Probe) -> None:
    told = probe(*A, "--base-url", "http://gateway.invalid/v1")
    assert (told.code, told.stdout) == (78, "")
    assert "--allow-insecure-http" in told.stderr


def test_without_a_key_or_a_model_it_says_what_is_missing(probe: Probe, bench: Bench) -> None:
    assert "--model org/model" in probe().stderr
    assert probe().code == 78
    del bench.environment["BATCHRUNNER_API_KEY"]
    bench.environment["BASETEN_API_KEY"] = ""
    told = probe(*A)
    assert told.code == 77
    assert "BATCHRUNNER_API_KEY" in told.stderr


def test_a_probe_that_has_not_got_the_day_s_quota_is_refused_unsent(probe: Probe, simulate: Simulate) -> None:
    simulated = simulate()
    arguments = (*A, "--base-url", simulated.base_url, "--rpd", "2")
    assert probe(*arguments).code == 0
    told = probe(*arguments, "--json")
    assert told.code == 75
    assert told.probe["ending"]["resume_at"].endswith("T00:00:00+00:00")
    assert simulated.ledger()["arrivals"] == 2
    assert "the day's quota is used up" in probe(*arguments).stdout


def test_it_waits_for_its_turn(probe: Probe, simulate: Simulate) -> None:
    simulated = simulate()
    assert probe(*A, "--base-url", simulated.base_url, "--rps", "1").code == 0
    first, second = (entry["arrived"] for entry in simulated.entries())
    assert second - first >= 1.0


def test_each_model_of_a_job_is_probed_once(probe: Probe, bench: Bench, simulate: Simulate) -> None:
    bench.write("in.jsonl", {"prompt": "x"}, {"custom_id": "b", "body": {"model": "acme/c", "messages": []}})
    sweep = '[sweep]\nmodel = ["acme/a", "acme/b"]\ntemperature = [0, 1]\nsamples = 3\n'
    (bench.folder / "job.toml").write_text(f'input = "in.jsonl"\n{sweep}')
    simulated = simulate()
    told = probe("job.toml", "--base-url", simulated.base_url, "--json")
    assert [one["model"] for one in told.probes] == ["acme/a", "acme/c", "acme/b"]
    assert simulated.ledger()["arrivals"] == 6
    told = probe("in.jsonl", "--base-url", simulated.base_url, "--json")
    assert told.probe["model"] == "acme/c"
    told = probe("job.toml", "-m", "acme/z", "--base-url", simulated.base_url, "--json")
    assert told.probe["model"] == "acme/z"


def test_one_lane_s_trouble_does_not_hide_another(probe: Probe, bench: Bench, simulate: Simulate) -> None:
    (bench.folder / "job.toml").write_text('input = "no.jsonl"\n[sweep]\nmodel = ["acme/a", "acme/b"]\n')
    told = probe("job.toml", "--base-url", simulate("--model", "acme/b").base_url, "--json")
    assert [one["ending"]["exit_code"] for one in told.probes] == [77, 0]
    assert told.code == 77


def test_streams_and_schemas_are_tried_on_request(probe: Probe, simulate: Simulate) -> None:
    simulated = simulate()
    told = probe(*A, "--base-url", simulated.base_url, "--stream", "--schema", "--json").probe
    whole, _, schema, stream, without = told["exchanges"]
    assert simulated.ledger()["arrivals"] == 5
    assert json.loads(schema["answer"])["wet"] in (True, False)
    assert schema["failure"] is None
    assert whole["usage"] == stream["usage"]
    assert without["usage"]["total_tokens"] is None
    assert stream["first_token_s"] >= 0


def test_streams_and_schemas_that_do_not_work_are_told(probe: Probe, gateway: Callable[..., Scripted]) -> None:
    told = probe(*A, "--base-url", gateway(answers()).base_url, "--stream", "--schema")
    assert "a stream with usage was asked for, and the answer came whole" in told.stdout
    assert "response_format with a JSON schema is taken, but the answer did not fit it" in told.stdout


def test_a_model_that_wants_the_other_name_of_max_tokens_gets_it(
    probe: Probe, gateway: Callable[..., Scripted]
) -> None:
    words = "Unsupported parameter: use 'max_completion_tokens' instead."
    served = gateway(refuses(body={"error": {"message": words}}))
    told = probe(*A, "--base-url", served.base_url)
    assert [sorted(asked.keys() & {"max_tokens", "max_completion_tokens"}) for asked in served.asked[:2]] == [
        ["max_tokens"],
        ["max_completion_tokens"],
    ]
    assert "a good request, with max_completion_tokens" in told.stdout


def test_a_malformed_request_that_is_answered_is_told(probe: Probe, gateway: Callable[..., Scripted]) -> None:
    told = probe(*A, "--base-url", gateway(answers(), answers()).base_url)
    assert told.code == 0
    assert "mistakes in rows will not show as failures" in told.stdout


@pytest.mark.parametrize(
    ("ahead", "words"), [(0, "agree to a second"), (90, "0:01:30 ahead"), (-3600, "1:00:00 behind")]
)
def test_the_difference_of_the_clocks_is_told(
    probe: Probe, gateway: Callable[..., Scripted], ahead: int, words: str
) -> None:
    told = probe(*A, "--base-url", gateway(answers(date=formatdate(time() + ahead, usegmt=True))).base_url)
    seconds = re.search(r"clock +(.*)", told.stdout)
    assert seconds is not None
    assert words.split(":", maxsplit=1)[0] in seconds[1]
    assert ("the clocks differ" in told.stdout) == (ahead != 0)


HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202emalicious\u2066"


@pytest.mark.parametrize("arguments", [(), ("--json",), ("--stream", "--schema")])
@pytest.mark.parametrize("status", [200, 400, 429])
def test_nothing_that_a_gateway_says_paints_floods_or_shows_the_key(
    probe: Probe, gateway: Callable[..., Scripted], arguments: tuple[str, ...], status: int
) -> None:
    words = f"{HOSTILE} {KEY} {KEY[:20]} Bearer {KEY} " + "x" * 200_000
    choice = {"message": {"content": words}, "finish_reason": words}
    content = {**BODY, "choices": [choice], "error": {"message": words, "code": words, words: words}, words: words}
    header = f"\x9b31m {KEY} Api-Key {KEY} " + "y" * 3000
    names = ("server", "x-ratelimit-limit-requests", "retry-after", "x-echo", "set-cookie", "x-limit-" + "z" * 2000)
    said = Says(status=status, body=json.dumps(content).encode(), headers=dict.fromkeys(names, header))
    told = probe(*A, "--base-url", gateway(said, said).base_url, *arguments)
    assert told.code == {200: 0, 400: 69, 429: 75}[status]
    assert KEY not in told.stdout
    assert KEY[:20] not in told.stdout
    assert len(told.stdout) < 40_000
    assert all(len(line) <= 720 or "--json" in arguments for line in told.stdout.splitlines())
    assert not set(told.stdout) & set("\x1b\x07\x9b\u202e\u2066")


def test_a_reply_that_is_too_large_is_given_up(probe: Probe, gateway: Callable[..., Scripted]) -> None:
    told = probe(*A, "--base-url", gateway(Says(body=b" " * (65 * 2**20))).base_url)
    assert told.code == 69
    assert "larger than" in told.stdout


def test_a_simulated_gateway_needs_neither_key_nor_model_and_leaves_no_trace(probe: Probe, bench: Bench) -> None:
    del bench.environment["BATCHRUNNER_API_KEY"]
    assert "simulated/model at http://127.0.0.1:" in probe("--simulate").stdout
    assert not (bench.folder.parent / "state").exists()


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists, max_leaves=5).map(lambda x: json.dumps(x).encode()))
def test_no_reply_makes_it_stumble(body: bytes) -> None:
    for status in (200, 400):
        reply = HttpReply(status=status, headers={"retry-after": body.decode("latin-1"), "date": "x"}, body=body)
        exchange = exchange_of("x", reply, read(reply, sent_at=0.0, latency_s=1.0), Seen())
        assert limit_headers([exchange], 0.0)[0].name == "retry-after"
        assert limits_told([exchange], 0.0) == []
    failure = read(Failure(kind=Kind.RESET, message="x"), sent_at=0.0, latency_s=1.0)
    assert exchange_of("x", None, failure, Seen()).failure is Kind.RESET
