"""Servers that are not the bottleneck, as processes: nginx with a fixed answer, or one that takes its time."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.benchmarks.fixed_gateway import completion

ROOT = Path(__file__).parents[2]
# An installed program is compiled once, whatever this shell thinks of it.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | {
    "BATCHRUNNER_API_KEY": "benchmark"
}
NGINX = shutil.which("nginx") or next((path for path in ("/usr/sbin/nginx",) if Path(path).exists()), None)
CONF = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; worker_rlimit_nofile 20000;
events {{ worker_connections 16000; multi_accept on; }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout 300; client_body_buffer_size 1m; sendfile on;
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    split_clients $request_id $speed {{ {shares} }}
    server {{
        listen 127.0.0.1:{port} backlog=16384; default_type application/json; root {folder};
        error_page 405 401 =200 /answer.json;
        location / {{ try_files /answer.json =404; }}
        {places}
    }}
}}
"""
SPEEDS = 20  # answers take one of so many times


def gateway(characters: int, latency: float = 0.0, spread: float = 0.0) -> AbstractContextManager[str]:
    """The base URL of a server that answers with so much text, after so many seconds, give or take a share that is
    drawn evenly; nginx where it is there."""
    return _nginx(characters, latency, spread) if NGINX else _own(characters, latency, spread)


@contextmanager
def _nginx(characters: int, latency: float, spread: float) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as free:
        folder, port = Path(name), free.getsockname()[1]
        free.close()
        folder.chmod(0o755)  # nginx's workers are another user
        (folder / "answer.json").write_bytes(completion(characters))
        (folder / "nginx.conf").write_text(_conf(folder, port, latency, spread))
        with subprocess.Popen([str(NGINX), "-e", folder / "error.log", "-c", folder / "nginx.conf"]) as process:
            try:
                _wait_for(port)
                yield f"http://127.0.0.1:{port}/v1"
            finally:
                process.terminate()


@contextmanager
def _own(characters: int, latency: float, spread: float) -> Iterator[str]:
    module = ["-m", "tests.benchmarks.fixed_gateway", str(characters), str(latency), str(spread)]
    with subprocess.Popen(
        [sys.executable, *module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def _conf(folder: Path, port: int, latency: float, spread: float) -> str:
    """nginx has no module for waiting, but takes its time before it refuses a password; its refusal is our answer."""
    times = [int(1000 * latency * (1 - spread + 2 * spread * (place + 0.5) / SPEEDS)) for place in range(SPEEDS)]
    shares = "".join(f"{100 / SPEEDS}% {place}; " for place in range(SPEEDS - 1)) + f"* {SPEEDS - 1};"
    waiting = "internal; auth_basic wait; auth_basic_user_file /dev/null;"
    places = [f"location /{place}/ {{ {waiting} auth_delay {time}ms; }}" for place, time in enumerate(times)]
    places.append("location /v1/ { rewrite ^ /$speed/ last; }")
    return CONF.format(folder=folder, port=port, shares=shares, places="\n        ".join(places if latency else ()))


def _wait_for(port: int) -> None:
    until = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return
