"""The real command line against the real simulator: processes, sockets and files, nothing replaced."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from redis_server import RedisServer

from batchrunner.records import Row
from batchrunner.source import open_source

settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")
BATCHRUNNER = (sys.executable, "-m", "batchrunner")
KEY = "sk_canary.0123456789abcdef0123456789"


@dataclass
class Gateway:
    """A running simulator."""

    base_url: str

    def ledger(self) -> dict[str, Any]:
        """What it counted, by its own method."""
        return json.loads(self._get("/simulator/ledger"))

    def entries(self) -> list[dict[str, Any]]:
        """Every arrival."""
        return [json.loads(line) for line in self._get("/simulator/ledger/entries").splitlines()]

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.base_url.removesuffix("/v1") + path) as reply:  # noqa: S310 - loopback
            return reply.read()


Simulate = Callable[..., Gateway]


@contextmanager
def simulating(*options: str) -> Iterator[Gateway]:
    """`batchrunner simulate` on a free port."""
    command = [*BATCHRUNNER, "simulate", "--port", "0", "--until-stdin-closes", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Gateway(process.stdout.readline().removeprefix("listening on ").strip())
        finally:
            process.stdin.close()


@pytest.fixture
def simulate() -> Iterator[Simulate]:
    """Start simulators with these options; all are gone after the test."""
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(simulating(*options))


@dataclass
class Bench:
    """A folder to run in, with a state folder of its own and the key in the environment."""

    folder: Path
    environment: dict[str, str]

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        """`batchrunner ARGUMENTS` as a process."""
        return subprocess.Popen(
            [*BATCHRUNNER, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, *arguments: object, code: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        """`batchrunner run ARGUMENTS` to its end, which must be this exit code."""
        return self.call("run", *arguments, code=code, **options)

    def call(self, *arguments: object, code: int | None = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        """`batchrunner ARGUMENTS` likewise; with None any exit code will do."""
        process = self.start(*arguments, **options)
        stdout, stderr = process.communicate(timeout=100)
        assert code in (None, process.returncode), stdout + stderr
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def python(self, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        """`python ARGUMENTS` in the folder, which must end with this exit code."""
        command = [sys.executable, *map(str, arguments)]
        options = {"cwd": self.folder, "env": self.environment, "capture_output": True, "text": True}
        done = subprocess.run(command, check=False, **options)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def write(self, name: str, *rows: object) -> Path:
        """A JSONL file of these rows; a text stands as it is."""
        path = self.folder / name
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return path

    def prompts(self, count: int, name: str = "in.jsonl") -> Path:
        """An input of so many prompts, each another."""
        return self.write(name, *({"prompt": f"Question {number}?"} for number in range(count)))

    def output(self, name: str = "in.results.jsonl") -> list[dict[str, Any]]:
        """The rows of a JSONL output."""
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]

    def summary(self, name: str = "in.results.jsonl") -> dict[str, Any]:
        """The summary beside an output."""
        return json.loads((self.folder / f"{name}.summary.json").read_text())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """An empty folder to run in."""
    environment = {
        name: value for name, value in os.environ.items() if "KEY" not in name and "proxy" not in name.lower()
    }
    environment |= {"BATCHRUNNER_API_KEY": KEY, "BATCHRUNNER_STATE_DIR": str(tmp_path / "state")}
    environment.pop("BATCHRUNNER_BASE_URL", None)
    folder = tmp_path / "work"
    folder.mkdir()
    return Bench(folder, environment)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 and gateway.invalid that nobody but its maker vouches for, with its private key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    path = tmp_path / "own.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=own"
    names = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:gateway.invalid", "-keyout", f"{path}.key", "-out", str(path)]
    subprocess.run([*make.split(), *names], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.key").read_text())
    return path


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of this test alone."""
    folder = tmp_path / "redis"
    folder.mkdir()
    with RedisServer(folder) as server:
        yield server


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Return as soon as the condition holds; fail when it does not within so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "what was waited for did not happen"
        time.sleep(0.01)


def rows_of(path: Path | str, limit: int | None = None) -> list[Row]:
    """Every row of an input, as its source gives it."""
    return [row for batch in open_source(str(path)).rows(lambda _: False, limit) for row in batch]


def written(folder: Path, content: bytes, name: str = "in.jsonl") -> Path:
    """A file of these bytes."""
    path = folder / name
    path.write_bytes(content)
    return path
