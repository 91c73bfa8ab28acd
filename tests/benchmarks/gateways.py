"""Servers that are not the bottleneck, as processes: nginx with a fixed answer, or one that takes its time."""

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
NGINX = shutil.which("nginx") or next((path for path in ("/usr/sbin/nginx",) if Path(path).exists()), None)
CONF = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; worker_rlimit_nofile 20000;
events {{ worker_connections 16000; multi_accept on; }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout 300; client_body_buffer_size 1m; sendfile on;
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    server {{
        listen 127.0.0.1:{port} backlog=16384; default_type application/json; root {folder};
        error_page 405 =200 /answer.json;
        location / {{ try_files /answer.json =404; }}
    }}
}}
"""


def gateway(characters: int, latency: float = 0.0, spread: float = 0.0) -> AbstractContextManager[str]:
    """The base URL of a server that answers with so much text; nginx where it is there and nobody waits."""
    return _nginx(characters) if NGINX and not latency else _slow(characters, latency, spread)


@contextmanager
def _nginx(characters: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as free:
        folder, port = Path(name), free.getsockname()[1]
        free.close()
        folder.chmod(0o755)  # nginx's workers are another user
        (folder / "answer.json").write_bytes(completion(characters))
        (folder / "nginx.conf").write_text(CONF.format(folder=folder, port=port))
        with subprocess.Popen([str(NGINX), "-e", folder / "error.log", "-c", folder / "nginx.conf"]) as process:
            try:
                _wait_for(port)
                yield f"http://127.0.0.1:{port}/v1"
            finally:
                process.terminate()


@contextmanager
def _slow(characters: int, latency: float, spread: float) -> Iterator[str]:
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
