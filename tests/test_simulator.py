"""The simulated gateway over real sockets: what a client sees of it, and what its ledger knows afterwards."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import anyio
import pytest
from click.testing import CliRunner

from batchrunner.cli.simulate import simulate
from batchrunner.cli.types import parse_amount
from batchrunner.simulator.access import Access, AuthScheme, hash_keys
from batchrunner.simulator.desk import Setup
from batchrunner.simulator.dialect import HeaderDialect
from batchrunner.simulator.meter import DAY_SECONDS, Dimension, Limit, Rules, TokenAccounting
from batchrunner.simulator.script import Fault, Script
from batchrunner.simulator.server import Gateway, serve

pytestmark = pytest.mark.anyio
MIDNIGHT = 1_800_057_600.0  # 2027-01-16 00:00 UTC
LONG_SECONDS = 60.0  # a latency that no test waits for


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever clients do, the server stays quiet."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An answer as the client sees it."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return str(self.json["choices"][0]["message"]["content"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Asks a gateway over real connections."""

    session: aiohttp.ClientSession
    gateway: Gateway

    async def ask(self, text: str, *, auth: str = "Api-Key k", model: str = "acme/small", **params: Any) -> Seen:
        body = {"model": model, "messages": [{"role": "user", "content": text}], **params}
        return await self.post(json.dumps(body).encode(), auth=auth)

    async def post(self, body: bytes | AsyncIterator[bytes], *, auth: str = "Api-Key k") -> Seen:
        url = f"{self.gateway.base_url}/chat/completions"
        async with self.session.post(
            url, data=body, headers={"Authorization": auth}, allow_redirects=False
        ) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Seen(status=response.status, headers=headers, body=await response.read())

    async def get(self, path: str) -> bytes:
        root = self.gateway.base_url.removesuffix("/v1")
        async with self.session.get(root + path, headers={"Authorization": "Api-Key k"}) as response:
            return await response.read()


@asynccontextmanager
async def client_of(setup: Setup, **options: Any) -> AsyncIterator[Client]:
    async with serve(setup, **options) as gateway, aiohttp.ClientSession() as session:
        yield Client(session=session, gateway=gateway)


def limited(amount: int, window_seconds: int, dimension: Dimension = Dimension.REQUESTS) -> Limit:
    return Limit(dimension=dimension, window_seconds=window_seconds, amount=amount)


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 (the state of a server has no event to wait for)
            await anyio.sleep(0.005)


async def test_an_answer_belongs_to_its_prompt_and_says_what_it_cost() -> None:
    async with client_of(Setup(script=Script(completion_tokens=20))) as client:
        seen = await client.ask("What is two and two?")
    assert (seen.status, seen.text) == (200, "Simulated answer to: What is two and two?")
    assert seen.json["object"] == "chat.completion"
    assert seen.json["model"] == "acme/small"
    assert seen.json["choices"][0]["finish_reason"] == "stop"
    usage = seen.json["usage"]
    assert usage["prompt_tokens"] == 5 + 4
    assert usage["completion_tokens"] >= 1
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


async def test_the_same_prompt_is_always_answered_alike() -> None:
    async with client_of(Setup()) as client:
        first, second = [(await client.ask("Again?")).json for _ in range(2)]
    assert first["choices"] == second["choices"]
    assert first["usage"] == second["usage"]
    assert first["id"] != second["id"]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_an_answer_is_cut_at_the_cap_and_says_so(name: str) -> None:
    async with client_of(Setup(script=Script(completion_tokens=500))) as client:
        seen = await client.ask("At length, please.", **{name: 7})
    assert seen.json["usage"]["completion_tokens"] == 7
    assert seen.json["choices"][0]["finish_reason"] == "length"


async def test_content_may_come_in_parts_and_the_last_user_message_counts() -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None},
    ]
    async with client_of(Setup()) as client:
        seen = await client.post(json.dumps({"model": "m", "messages": messages}).encode())
    assert seen.text == "Simulated answer to: Hello"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"model":"m"}', b'{"messages":[]}', b'{"model":"m","messages":[]}', b"\xff\xfe",
     b'{"model":"m","messages":[{"role":"user","content":"a"}],"max_tokens":0}',
     b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
     b'{"model":"m","messages":[{"role":"user","content":"a"}],"stream":7}'],
)  # fmt: skip
async def test_a_request_that_makes_no_sense_is_refused_in_openai_shape(body: bytes) -> None:
    async with client_of(Setup()) as client:
        seen = await client.post(body)
        assert client.gateway.summary().outcomes == {"400": 1}
    assert seen.status == 400
    assert set(seen.json["error"]) == {"message", "type", "param", "code"}


async def test_a_wrong_key_or_scheme_is_refused_as_the_real_gateway_does() -> None:
    access = Access(scheme=AuthScheme.API_KEY, key_hashes=hash_keys(["k"]))
    async with client_of(Setup(access=access)) as client:
        refused = [await client.ask("hi", auth=auth) for auth in ("Bearer k", "Api-Key x", "")]
        taken = await client.ask("hi")
    assert [(seen.status, seen.body) for seen in refused] == [
        (403, b'{"error":"please check the api-key you provided"}')
    ] * 3
    assert taken.status == 200


async def test_an_unknown_model_is_not_found_and_the_known_ones_are_listed() -> None:
    async with client_of(Setup(access=Access(models=frozenset({"acme/small"})))) as client:
        assert (await client.ask("hi", model="acme/large")).status == 404
        assert (await client.ask("hi")).status == 200
        models = json.loads(await client.get("/v1/models"))
    assert [model["id"] for model in models["data"]] == ["acme/small"]


async def test_a_body_above_the_edge_limit_is_too_large() -> None:
    async with client_of(Setup()) as client:
        with suppress(aiohttp.ClientConnectionError):  # the server need not read it all
            assert (await client.post(_megabytes(101))).status == 413
        await until(lambda: client.gateway.summary().arrivals == 1)
        assert set(client.gateway.summary().outcomes) == {"413"}


async def _megabytes(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * 1024 * 1024


async def test_by_default_a_429_gives_no_hint_and_a_daily_one_looks_the_same() -> None:
    seen = []
    for window_seconds in (60, DAY_SECONDS):
        async with client_of(Setup(rules=Rules(limits=(limited(2, window_seconds),)))) as client:
            statuses = [(await client.ask("hi")).status for _ in range(2)]
            assert statuses == [200, 200]
            seen.append(await client.ask("hi"))
            assert client.gateway.summary().limits[0].worst == 2
            assert client.gateway.summary().limits[0].refused == 1
    assert [answer.status for answer in seen] == [429, 429]
    assert seen[0].body == seen[1].body == b'{"error":"Rate limit exceeded"}'
    assert set(seen[0].headers) == set(seen[1].headers) == {"content-type", "date", "content-length", "server"}


async def test_retry_after_names_the_seconds_until_midnight_utc_for_a_daily_limit() -> None:
    setup = Setup(rules=Rules(limits=(limited(1, DAY_SECONDS),)), headers=HeaderDialect.RETRY_AFTER)
    async with client_of(setup, wall=lambda: MIDNIGHT - 89.5) as client:
        await client.ask("hi")
        assert (await client.ask("hi")).headers["retry-after"] == "90"


async def test_retry_after_may_be_a_date() -> None:
    setup = Setup(rules=Rules(limits=(limited(1, DAY_SECONDS),)), headers=HeaderDialect.RETRY_AFTER_DATE)
    async with client_of(setup, wall=lambda: MIDNIGHT - 89.5) as client:
        await client.ask("hi")
        seen = await client.ask("hi")
    assert parsedate_to_datetime(seen.headers["retry-after"]).timestamp() == MIDNIGHT


async def test_the_openai_dialect_tells_the_state_of_the_limits_on_every_reply() -> None:
    limits = (limited(2, 60), limited(100_000, 60, Dimension.TOKENS), limited(50, DAY_SECONDS))
    async with client_of(Setup(rules=Rules(limits=limits), headers=HeaderDialect.OPENAI)) as client:
        first, _, refused = [await client.ask("hi") for _ in range(3)]
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert first.headers["x-ratelimit-limit-tokens"] == "100000"
    assert int(first.headers["x-ratelimit-remaining-tokens"]) == 100_000 - first.json["usage"]["total_tokens"]
    assert refused.status == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert 0 < int(refused.headers["retry-after-ms"]) <= 60_000
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.json["error"]["code"] == "rate_limit_exceeded"


async def test_the_openai_dialect_names_the_daily_usage_limit() -> None:
    setup = Setup(rules=Rules(limits=(limited(1, DAY_SECONDS),)), headers=HeaderDialect.OPENAI)
    async with client_of(setup, wall=lambda: MIDNIGHT - 10) as client:
        await client.ask("hi")
        seen = await client.ask("hi")
    assert seen.headers["retry-after"] == "10"
    assert "daily usage limit" in seen.json["error"]["message"]


async def test_a_day_begins_anew_at_midnight_utc_and_the_date_header_agrees() -> None:
    now = [MIDNIGHT - 1]
    async with client_of(Setup(rules=Rules(limits=(limited(1, DAY_SECONDS),))), wall=lambda: now[0]) as client:
        assert [(await client.ask("hi")).status for _ in range(2)] == [200, 429]
        now[0] = MIDNIGHT
        seen = await client.ask("hi")
        assert client.gateway.summary().limits[0].worst == 1
    assert seen.status == 200
    assert parsedate_to_datetime(seen.headers["date"]).timestamp() == MIDNIGHT


async def test_accounts_have_limits_of_their_own_unless_they_share_one() -> None:
    for one_account, second in ((False, 200), (True, 429)):
        setup = Setup(rules=Rules(limits=(limited(1, 60),)), access=Access(one_account=one_account))
        async with client_of(setup) as client:
            statuses = [(await client.ask("hi", auth=f"Api-Key {key}")).status for key in "ab"]
        assert statuses == [200, second]


async def test_without_enforcement_nothing_is_refused_and_the_worst_window_is_told() -> None:
    rules = Rules(limits=(limited(1, 60),), max_concurrency=1, enforce=False)
    async with client_of(Setup(rules=rules)) as client:
        assert {(await client.ask("hi")).status for _ in range(4)} == {200}
        assert client.gateway.summary().limits[0].worst == 4


async def test_too_many_at_once_is_a_429_that_says_concurrency() -> None:
    setup = Setup(rules=Rules(max_concurrency=2), script=Script(latency_seconds=LONG_SECONDS))
    async with client_of(setup) as client, anyio.create_task_group() as tasks:
        for text in ("one", "two"):
            tasks.start_soon(client.ask, text)
        await until(lambda: client.gateway.summary().max_in_flight == 2)
        refused = await client.ask("three")
        other = Client(session=client.session, gateway=client.gateway)
        with anyio.move_on_after(0.05):
            await other.ask("another account waits for its answer", auth="Api-Key other")
        tasks.cancel_scope.cancel()
    assert refused.status == 429
    assert b"oncurrency" in refused.body
    assert client.gateway.summary().max_in_flight == 3


async def test_tokens_of_an_answer_may_count_only_when_it_is_done() -> None:
    limits = (limited(10, 60, Dimension.TOKENS),)
    rules = Rules(limits=limits, token_accounting=TokenAccounting.COMPLETION)
    async with client_of(Setup(rules=rules)) as client:
        first, second = [await client.ask("hi") for _ in range(2)]
        worst = client.gateway.summary().limits[0].worst
    assert (first.status, second.status) == (200, 429)
    assert worst == first.json["usage"]["total_tokens"] > 10


async def test_tokens_may_count_up_front_by_the_cap_of_the_request() -> None:
    limits = (limited(100, 60, Dimension.TOKENS),)
    async with client_of(Setup(rules=Rules(limits=limits, token_accounting=TokenAccounting.UPFRONT))) as client:
        statuses = [(await client.ask("hi", max_tokens=45)).status for _ in range(3)]
        assert client.gateway.summary().limits[0].worst == 2 * (45 + 5)
    assert statuses == [200, 200, 429]


async def _raw_answer(gateway: Gateway, text: str) -> bytes | str:
    """What arrives at a bare socket: the bytes up to the end, or "reset"."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Api-Key k\r\nContent-Length: {len(body)}"
    port = int(gateway.base_url.removesuffix("/v1").rpartition(":")[2])
    received = b""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(head.encode() + b"\r\nConnection: close\r\n\r\n" + body)
        try:
            while True:
                received += await stream.receive()
        except anyio.EndOfStream:
            return received
        except anyio.BrokenResourceError as error:
            return "reset" if isinstance(error.__cause__, ConnectionResetError) and not received else repr(error)


@pytest.mark.parametrize(("fault", "paid"), [(Fault.RESET_BEFORE, 0), (Fault.RESET_AFTER, 1)], ids=["before", "after"])
async def test_a_reset_is_a_real_one_and_paid_only_when_the_request_was_taken(fault: Fault, paid: int) -> None:
    rules = Rules(limits=(limited(9, 60),))
    async with serve(Setup(script=Script(faults={fault: 1.0}), rules=rules)) as gateway:
        assert await _raw_answer(gateway, "hi") == "reset"
        summary = gateway.summary()
    assert summary.outcomes == {str(fault): 1}
    assert (summary.paid, summary.admitted, summary.limits[0].worst) == (paid, paid, paid)
    assert summary.client_left == 0


async def test_a_truncated_answer_promises_more_than_it_gives() -> None:
    async with serve(Setup(script=Script(faults={Fault.TRUNCATED: 1.0}))) as gateway:
        received = await _raw_answer(gateway, "hi")
        assert gateway.summary().outcomes == {"truncated": 1}
        assert gateway.summary().paid == 1
    assert isinstance(received, bytes)
    head, _, body = received.partition(b"\r\n\r\n")
    promised = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    assert 0 < len(body) == promised // 2


async def test_a_server_error_has_a_status_of_the_list_and_is_not_paid() -> None:
    setup = Setup(script=Script(faults={Fault.SERVER_ERROR: 1.0}, statuses_5xx=(502, 529)))
    async with client_of(setup) as client:
        seen = [await client.ask("hi") for _ in range(12)]
        summary = client.gateway.summary()
    assert {answer.status for answer in seen} == {502, 529}
    assert all(isinstance(answer.json["error"], str) for answer in seen)
    assert (summary.outcomes, summary.admitted, summary.paid) == ({"5xx": 12}, 12, 0)


async def test_an_answer_may_be_html_or_empty() -> None:
    async with client_of(Setup()) as client:
        html, empty = await client.ask("[[html]]"), await client.ask("[[empty]]")
        assert client.gateway.summary().outcomes == {"not_json": 1, "empty": 1}
    assert (html.status, html.headers["content-type"], html.body[:9]) == (200, "text/html", b"<!doctype")
    assert (empty.status, empty.text) == (200, "")


async def test_a_hang_is_paid_and_lasts_until_the_client_leaves() -> None:
    async with client_of(Setup()) as client:
        with anyio.move_on_after(0.2) as patience:
            await client.ask("[[hang]]")
        assert patience.cancelled_caught
        await until(lambda: client.gateway.summary().outcomes == {"hang": 1})
        summary = client.gateway.summary()
    assert (summary.paid, summary.client_left) == (1, 1)


async def test_a_client_killed_before_its_answer_has_paid_and_no_fault_explains_it() -> None:
    async with client_of(Setup(script=Script(latency_seconds=LONG_SECONDS))) as client:
        for _ in range(2):
            with anyio.move_on_after(0.1):
                await client.ask("once")
        await until(lambda: client.gateway.summary().outcomes == {"client_left": 2})
        summary = client.gateway.summary()
    assert (summary.paid, summary.client_left) == (2, 2)
    assert (summary.servings.extra_paid, summary.servings.extra_paid_without_fault) == (1, 1)


async def test_a_client_that_leaves_while_it_sends_its_request_was_not_served() -> None:
    async with serve(Setup()) as gateway:
        port = int(gateway.base_url.removesuffix("/v1").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{")
            await anyio.sleep(0.05)
        await until(lambda: gateway.summary().outcomes == {"client_left": 1})
        assert (gateway.summary().admitted, gateway.summary().paid) == (0, 0)


async def test_a_retry_after_a_fault_may_succeed_and_its_cost_is_explained() -> None:
    script = Script(faults={Fault.NOT_JSON: 0.3, Fault.TRUNCATED: 0.3}, seed=1)
    async with client_of(Setup(script=script)) as client:
        for number in range(20):
            served = False
            while not served:
                with suppress(aiohttp.ClientPayloadError, json.JSONDecodeError):
                    served = (await client.ask(f"row {number}")).text != ""
        summary = client.gateway.summary()
    assert summary.outcomes["ok"] == 20
    assert summary.servings.extra_paid == summary.arrivals - 20 > 0
    assert summary.servings.extra_paid_without_fault == 0


@pytest.mark.parametrize(
    ("text", "statuses"),
    [("[[429x2]]", [429, 429, 200, 200]), ("[[5xxx1]]", [500, 200, 200, 200]), ("[[status:422]]", [422] * 4)],
)
async def test_a_prompt_may_ask_to_fail_at_first_or_for_ever(text: str, statuses: list[int]) -> None:
    async with client_of(Setup()) as client:
        assert [(await client.ask(text)).status for _ in range(4)] == statuses
        assert [(await client.ask(text, model="m")).status for _ in range(1)] == statuses[-1:]


async def test_during_an_outage_nobody_is_served() -> None:
    async with serve(Setup(script=Script(outages=((0, 3600),)))) as gateway:
        answers = [await _raw_answer(gateway, "hi") for _ in range(20)]
        summary = gateway.summary()
    assert {answer if isinstance(answer, str) else answer[9:12] for answer in answers} == {"reset", b"503"}
    assert set(summary.outcomes) == {"5xx", "reset_before"}
    assert (summary.admitted, summary.paid) == (0, 0)


async def test_the_ledger_is_open_to_all_and_counts_itself_not() -> None:
    async with client_of(Setup(rules=Rules(limits=(limited(2, 60),)))) as client:
        for _ in range(3):
            await client.ask("hi", auth="Api-Key secret-key")
        summary = json.loads(await client.get("/simulator/ledger"))
        lines = (await client.get("/simulator/ledger/entries")).splitlines()
        arrivals = client.gateway.summary().arrivals
    assert (summary["arrivals"], summary["outcomes"], arrivals) == (3, {"ok": 2, "429": 1}, 3)
    assert summary["limits"] == [{"dimension": "requests", "window_seconds": 60, "limit": 2, "worst": 2, "refused": 1}]
    entries = [json.loads(line) for line in lines]
    assert [entry["outcome"] for entry in entries] == ["ok", "ok", "429"]
    assert {entry["prompt"] for entry in entries} == {"8f434346648f6b96"}
    assert b"secret-key" not in b"".join(lines)


async def test_hundreds_of_connections_at_once_are_all_answered() -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with serve(Setup(script=Script(latency_seconds=0.2))) as gateway:
        async with aiohttp.ClientSession(connector=connector) as session, anyio.create_task_group() as tasks:
            client = Client(session=session, gateway=gateway)
            for number in range(300):
                tasks.start_soon(client.ask, f"row {number}")
        assert gateway.summary().outcomes == {"ok": 300}
        assert gateway.summary().servings.once == 300


async def test_a_gateway_with_hanging_clients_stops_at_once() -> None:
    with anyio.fail_after(10):
        async with aiohttp.ClientSession() as session, anyio.create_task_group() as tasks, serve(Setup()) as gateway:
            tasks.start_soon(_ask_in_vain, Client(session=session, gateway=gateway))
            await until(lambda: gateway.summary().outcomes == {"in_flight": 1})


async def _ask_in_vain(client: Client) -> None:
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.ask("[[hang]]")


# The command, in a process of its own.


@contextmanager
def running(*options: str, env: dict[str, str] | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-c", "from batchrunner.cli.simulate import simulate; simulate()", "--port", "0"]
    with subprocess.Popen(
        [*command, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            assert line.startswith("listening on http://127.0.0.1:"), process.stderr and process.stderr.read()
            yield process, line.removeprefix("listening on ")
        finally:
            process.kill()


def ask_once(base_url: str, key: str) -> int:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
    request = urllib.request.Request(  # noqa: S310 (our own loopback address)
        f"{base_url}/chat/completions", data=body, headers={"Authorization": f"Api-Key {key}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_told_to_stop(number: signal.Signals) -> None:
    options = [
        "--rpm",
        "2",
        "--tpd",
        "1M",
        "--key-env",
        "SIMULATED_KEY",
        "--clock",
        "2027-01-15T23:59:00",
        "--until-stdin-closes",
    ]
    with running(*options, env={"SIMULATED_KEY": "right"}) as (process, base_url):
        statuses = [ask_once(base_url, key) for key in ("wrong", "right", "right", "right")]
        ledger_url = base_url.removesuffix("/v1") + "/simulator/ledger"
        with urllib.request.urlopen(ledger_url, timeout=10) as response:  # noqa: S310
            limits = json.loads(response.read())["limits"]
        process.send_signal(number)
        assert process.wait(timeout=10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert statuses == [403, 200, 200, 429]
    assert [(use["dimension"], use["limit"]) for use in limits] == [("requests", 2), ("tokens", 1_000_000)]


def test_the_command_goes_when_its_parent_does() -> None:
    with running("--until-stdin-closes") as (process, base_url):
        assert ask_once(base_url, "k") == 200
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=10) == 0


def test_the_command_without_a_stdin_to_wait_for_ends_at_once() -> None:
    command = [sys.executable, "-c", "from batchrunner.cli.simulate import simulate; simulate()", "--port", "0"]
    done = subprocess.run(
        [*command, "--until-stdin-closes"], stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--fault", "5xx"], "5xx=0.03"),
        (["--fault", "gremlins=0.1"], "choose from"),
        (["--fault", "5xx=1.5"], "between 0 and 1"),
        (["--fault", "empty=0.6", "--fault", "hang=0.6"], "sum up"),
        (["--outage", "30-20"], "20-35"),
        (["--status-5xx", "500,404"], "500,503"),
        (["--rpm", "many"], "500k"),
        (["--rpm", "0"], "500k"),
        (["--key-env", "NO_SUCH_VARIABLE"], "NO_SUCH_VARIABLE is not set"),
    ],
)
def test_wrong_options_are_explained(options: list[str], complaint: str) -> None:
    result = CliRunner().invoke(simulate, ["--port", "0", *options])
    assert result.exit_code == 2
    assert complaint in result.output


def test_a_port_that_is_taken_is_an_error_without_a_traceback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = CliRunner().invoke(simulate, ["--port", str(taken.getsockname()[1])])
    assert result.exit_code == 2
    assert "can't listen on" in result.output


@pytest.mark.parametrize(
    ("text", "amount"),
    [("1", 1), ("3000", 3000), ("1_000", 1000), ("500k", 500_000), ("1M", 1_000_000), ("1.5M", 1_500_000),
     ("2G", 2_000_000_000), ("0.5k", 500), ("1.5", None), ("-1", None), ("k", None), ("", None), ("1 M", None),
     ("1.2345k", None), ("1MM", None)],
)  # fmt: skip
def test_amounts_are_written_as_people_do(text: str, amount: int | None) -> None:
    assert parse_amount(text) == amount
