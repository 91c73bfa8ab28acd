"""Hostile bytes, found by breaking good ones: no parser of the wire or of files raises what it does not name, hangs,
or eats memory. Each has so much time; SEED=... and SECONDS=... in the environment look elsewhere, and for longer."""

import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import rows_of
from jobs import WHOLE

from batchrunner.chat.reply import understand
from batchrunner.chat.stream import Fold
from batchrunner.errors import InputError, UsageError
from batchrunner.job.load import parse_job
from batchrunner.limits.hints import read_refusal
from batchrunner.records import Broken, Failure, HttpReply, Kind
from batchrunner.transport.connection import Connection, WireError
from batchrunner.transport.secret import Secret

SEED = int(os.environ.get("SEED", "1"))
SECONDS = float(os.environ.get("SECONDS", "2.5"))
LONGEST_SECONDS = 2.0  # for one input of at most LARGEST bytes, on a machine that is busy
LARGEST = 200_000
MOST_MEMORY_KB = 400 * 1024
KEY = "sk-0123456789abcdef0123456789"
MESSAGE = {"role": "assistant", "content": "Hi \u00e9", "tool_calls": [{"id": "a", "function": {"name": "f"}}]}
ANSWER = {"id": "c", "model": "m", "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}]}
ANSWER["usage"] = {"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 1}}
ERROR = {"error": {"message": f"try again in 20s, {KEY}", "code": "rate_limit_exceeded", "retry_after": 3}}
DELTAS = [{"content": "Hi"}, {"tool_calls": [{"index": 0, "id": "a", "function": {"arguments": "{"}}]}, {}]
STREAM = b"".join(
    b"data: %b\n\n" % json.dumps({"choices": [{"delta": delta, "finish_reason": None}]}).encode() for delta in DELTAS
)
BODIES = [json.dumps(body).encode() for body in (ANSWER, ERROR)]
STREAMS = [STREAM + b"data: [DONE]\n\n", b": hi\r\nevent: error\r\ndata: " + BODIES[1] + b"\r\n\r\n", BODIES[0]]
REPLIES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Request-Id: r\r\n\r\n%b" % (len(BODIES[0]), BODIES[0]),
    b"HTTP/1.1 429 No\r\nRetry-After: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 503 No\r\nContent-Encoding: gzip\r\n\r\nrest",
]
LINES = [b'\xef\xbb\xbf{"id": "a", "prompt": "x"}\r\n{"messages": [{"role": "user", "content": "y"}]}\n\n{"id": 7}\n']
TABLES = [b'id,question\r\n1,"a ""quoted""\nline"\r\n2,b\r\n']
HEADS = [
    b"retry-after: 3\nretry-after-ms: 20\nx-ratelimit-limit-requests: 60\nx-ratelimit-reset-requests: 1m3.5s",
    b'ratelimit: "a";r=0;t=30\nratelimit-policy: "a";q=5;w=60\nanthropic-ratelimit-tokens-reset: 2026-01-01T00:00:00Z',
]
WORDS = [b"{", b"[", b'"', b"\\ud800", b"\\", b"\0", b"\r\n", b"\n\n", b"-1", b"1e999", b"9" * 400, b"NaN", b"null"]
WORDS += [
    b"data: ",
    b"\xff",
    b"\xc0\x80",
    b"[" * 2000,
    b'{"a":' * 1500,
    b"%",
    b"0x",
    b"\xe2\x80\xae",
    b'"""',
    b"[[",
    b"=",
]


def broken(seeds: list[bytes]) -> Iterator[bytes]:
    """Good bytes, one to eight times broken, until the time is over."""
    chance, end = random.Random(SEED), time.monotonic() + SECONDS
    while time.monotonic() < end:
        content = chance.choice(seeds)
        for _ in range(chance.randint(1, 8)):
            content = _broken_once(content, seeds, chance)[:LARGEST]
        yield content


def _broken_once(content: bytes, seeds: list[bytes], chance: random.Random) -> bytes:
    one, two = sorted(chance.randint(0, len(content)) for _ in range(2))
    other = chance.choice(seeds)
    return chance.choice(
        [
            lambda: content[:one] + chance.randbytes(chance.randint(1, 4)) + content[one + 1 :],
            lambda: content[:one] + chance.choice(WORDS) + content[one:],
            lambda: content[:one] + chance.choice(WORDS) + content[two:],
            lambda: content[:one] + content[two:],
            lambda: content[:one] + content[one:two] * chance.choice([2, 3, 50]) + content[two:],
            lambda: content[:one] + other[chance.randint(0, len(other)) :],
        ]
    )()


def survives(read: Callable[[bytes], object], seeds: list[bytes], *allowed: type[Exception]) -> None:
    """Read broken bytes: nothing raises but what is allowed, nothing takes long, no memory is eaten."""
    for seed in seeds:
        read(seed)
    before, count = _memory(), 0
    for content in broken(seeds):
        began, count = time.process_time(), count + 1
        with suppress(*allowed):
            try:
                read(content)
            except Exception as error:
                error.add_note(f"SEED={SEED}, input {count}: {content[:500]!r}")
                raise
        assert time.process_time() - began < LONGEST_SECONDS, content[:500]
    assert count > 20
    assert _memory() - before < MOST_MEMORY_KB


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_a_reply_of_any_bytes_is_understood_or_a_failure() -> None:
    def read(content: bytes) -> None:
        for status in (200, 400, 429, 503):
            msgspec.json.encode(understand(HttpReply(status=status, headers={}, body=content)))

    survives(read, BODIES)


def test_a_stream_of_any_bytes_is_an_answer_or_a_failure() -> None:
    def read(content: bytes) -> None:
        fold, half = Fold(), len(content) // 2
        fold.take(content[:half])
        fold.take(content[half:])
        came = fold.came_of(200, {})
        how = came.how if isinstance(came, Broken) else came
        assert isinstance(how, Failure) or msgspec.json.encode(understand(how))

    survives(read, STREAMS)


class Wire(asyncio.Transport):
    """What a connection writes to, which goes nowhere."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Let it go."""

    def abort(self) -> None:
        """Nothing is open."""

    def get_write_buffer_size(self) -> int:
        """All was sent."""
        return 0


async def exchanged(content: bytes) -> None:
    connection = Connection(lambda _: None)
    connection.connection_made(Wire())
    asking = asyncio.ensure_future(connection.exchange(b"", timeout_seconds=9))
    await asyncio.sleep(0)
    for at in range(0, len(content), 50_000):
        connection.data_received(content[at : at + 50_000])
    connection.connection_lost(None)
    with suppress(WireError):
        await asking


def test_a_wire_of_any_bytes_brings_a_reply_or_a_failure() -> None:
    with asyncio.Runner() as runner:
        survives(lambda content: runner.run(exchanged(content)), REPLIES)


def test_hints_of_any_words_are_a_wait_that_can_be_waited_for() -> None:
    def read(content: bytes) -> None:
        named = (line.partition(":") for line in content.decode("latin-1").splitlines())
        told = read_refusal({name.lower(): value.strip() for name, _, value in named}, content, 1.7e9)
        assert told.wait_seconds is None or 0 <= told.wait_seconds < 1e6
        assert isinstance(told.kind, Kind)

    survives(read, [*HEADS, *BODIES])


def test_an_error_of_any_bytes_loses_the_key_and_nothing_raises() -> None:
    secret = Secret(KEY)

    def read(content: bytes) -> None:
        assert KEY.encode() not in secret.redact(content)
        assert KEY.encode() not in secret.redact_exactly(content)

    survives(read, BODIES)


@pytest.mark.parametrize(("name", "seeds"), [("in.jsonl", LINES), ("in.csv", TABLES)])
def test_a_file_of_any_lines_is_rows_and_failed_rows(tmp_path: Path, name: str, seeds: list[bytes]) -> None:
    survives(partial(read_file, tmp_path / name), seeds, InputError)


def test_a_job_file_of_any_bytes_is_a_job_or_wrong() -> None:
    survives(lambda content: parse_job(content, name="job.toml"), [WHOLE.encode()], UsageError)


def read_file(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for row in rows_of(path):
        assert row.failure is not None or msgspec.json.encode(row.columns)


def fuzz_parquet(folder: Path) -> None:
    """For a process of its own, which a broken reader would bring down, and whose memory is bounded."""
    resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))
    table = pa.table({"id": ["a", "b"] * 50, "n": range(100), "x": [[{"y": 1.5}], None] * 50})
    seeds = []
    for options in ({}, {"compression": "zstd", "use_dictionary": False}, {"row_group_size": 10}):
        pq.write_table(table, folder / "seed.parquet", **options)
        seeds.append((folder / "seed.parquet").read_bytes())
    survives(partial(read_file, folder / "in.parquet"), seeds, InputError)


def test_a_parquet_file_of_any_bytes_is_rows_or_refused(tmp_path: Path) -> None:
    command = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_fuzz; from pathlib import Path; "
    )
    command += f"test_fuzz.fuzz_parquet(Path({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
