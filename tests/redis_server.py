"""A real redis-server on a free port, in a folder of its own: started, stopped for a while, ended, begun again."""

import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import redis


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class RedisServer:
    """Keeps nothing over its end, unless `options` say so."""

    folder: Path
    options: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    before: tuple[str, ...] = ()  # of the command line
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What --shared takes."""
        return f"redis://{self.host}:{self.port}/0"

    def start(self) -> None:
        """Return when it answers."""
        program = shutil.which("redis-server")
        assert program is not None, "apt-get install redis-server"
        quiet = ("--save", "", "--appendonly", "no", "--logfile", "log", "--bind", self.host, "--port", str(self.port))
        command = [*self.before, program, *quiet, "--dir", str(self.folder), *self.options]
        self.process = subprocess.Popen(command, cwd=self.folder)
        log, end = self.folder / "log", time.monotonic() + 10
        while time.monotonic() < end:
            lines = log.read_text().splitlines() if log.exists() else []
            if any(line.startswith(f"{self.process.pid}:M") and "Ready to accept" in line for line in lines):
                return
            time.sleep(0.01)
        raise AssertionError("redis-server did not start")

    def end(self) -> None:
        """At once, whatever it holds."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def halt(self, seconds: float) -> None:
        """It does not answer for so long."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(self.process.pid, signal.SIGCONT)

    def client(self) -> redis.Redis:
        """To look into it."""
        return redis.Redis(host=self.host, port=self.port)
