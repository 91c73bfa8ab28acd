"""A Ray cluster on loopback that all tests of one pytest share, whichever of its processes they run in.

`python -m rays FOLDER PID` starts it and ends it when the process PID has gone: starting takes as long as ten tests.
"""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_START_SECONDS = 110.0
_OPTIONS = ("--head", "--block", "--port=0", "--num-cpus=2", "--object-store-memory=100000000")
_LESS = ("--include-dashboard=false", "--no-monitor", "--include-log-monitor=false", "--disable-usage-stats")


def environment_of(folder: Path) -> dict[str, str]:
    """What a process says that talks to it: on loopback, with its token."""
    loopback = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    return loopback | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}


def shared_folder() -> Path:
    """The folder of the cluster that this pytest shares; its name is short, as paths of sockets are."""
    return Path(f"/tmp/rays-{_owner()}")  # noqa: S108 - private


def shared_address(key: str) -> str:
    """The address of the shared cluster, started unless it is there, with this key in its workers' environment."""
    folder = shared_folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "address").exists():
            _start(folder, key)
        return (folder / "address").read_text()


def _owner() -> int:
    """The process with which the cluster ends: the one that started pytest's others."""
    return os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()


def _start(folder: Path, key: str) -> None:
    (folder / "token").write_text("a0" * 32)
    (folder / "out").touch()
    environment = os.environ | environment_of(folder) | {"BATCHRUNNER_API_KEY": key}
    command = [sys.executable, __file__, str(folder), str(_owner())]
    apart = ["sh", "-c", '"$@" > "$0" 2>&1 < /dev/null &', str(folder / "out"), *command]  # nobody's child
    subprocess.run(apart, env=environment, check=True)
    end = time.monotonic() + _START_SECONDS
    while "Ray runtime started" not in (said := (folder / "out").read_text()):
        assert time.monotonic() < end, said
        time.sleep(0.1)
    (folder / "address").write_text(f"127.0.0.1:{_port(folder)}")


def _port(folder: Path) -> str:
    written = min((folder / "ray").glob("session_2*/gcs_server_port_*"), key=lambda path: len(path.name))
    return written.read_text().strip()


@contextmanager
def _cluster(folder: Path) -> Iterator[None]:
    command = [str(Path(sys.executable).with_name("ray")), "start", *_OPTIONS, *_LESS, f"--temp-dir={folder / 'ray'}"]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def workers_of(driver: int) -> list[int]:
    """The workers on this machine that are of a driver's own cluster."""
    return [pid for pid, name in names().items() if name.startswith("ray::Sender") and driver in ancestors(pid)]


def names() -> dict[int, str]:
    """The command lines of all processes."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found[int(path.parent.name)] = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


def listening(pid: int) -> set[tuple[str, str]]:
    """Addresses and ports on which a process listens, as the kernel writes them."""
    sockets = set()
    for path in Path(f"/proc/{pid}/fd").glob("*"):
        with suppress(OSError):
            sockets.add(str(path.readlink()))
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]]
    found = (line.split() for line in lines)
    own = (words[1] for words in found if words[3] == "0A" and f"socket:[{words[9]}]" in sockets)
    return {(address, port) for address, _, port in (place.partition(":") for place in own)}


def ancestors(pid: int) -> set[int]:
    """The processes that started this one."""
    found: set[int] = set()
    with suppress(OSError):
        while pid > 1:
            status = Path(f"/proc/{pid}/status").read_text()
            pid = int(re.findall(r"^PPid:\s+(\d+)", status, re.MULTILINE)[0])
            found.add(pid)
    return found


if __name__ == "__main__":
    with _cluster(Path(sys.argv[1])):
        while Path(f"/proc/{sys.argv[2]}").exists():
            time.sleep(0.5)
