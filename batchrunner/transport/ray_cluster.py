"""The Ray that this process is connected to, while a run of it needs one.

Without an address it is one of this process alone, which a hard kill takes along: on loopback only, its ports behind a
token, its files in a private folder that goes with it, and without dashboard, usage statistics or words of its own. One
that was named, or is there already, is only used. `ray` itself is loaded when the environment says so.
"""

import logging
import os
import re
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import anyio
from anyio import to_thread

from batchrunner.errors import UsageError

_FOLDER = "br-ray-"  # short, as the paths of sockets have to be
_OBJECT_STORE_BYTES = 256 * 2**20
_LOOK_SECONDS = 5.0
_TOKEN = secrets.token_hex(32)  # one for the life of this process: Ray reads it once
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_enable_metrics_collection": "0",
}
_ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # by which Ray takes 127.0.0.1 for its address everywhere


@asynccontextmanager
async def connected(address: str | None, workers: int) -> AsyncIterator[None]:
    """Ray is there for the block. UsageError where it can't be."""
    with anyio.CancelScope(shield=True):
        await to_thread.run_sync(_RAY.enter, address, workers)
    try:
        _take_signal_back()
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(_RAY.leave)


def _take_signal_back() -> None:
    """SIGTERM is ours again: Ray would print a stack first. In a thread of a program signals are not our affair."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        signal.siginterrupt(signal.SIGTERM, False)  # noqa: FBT003 - as asyncio has it


class _Ray:
    """The one Ray that a process can be connected to, and how many need it just now.

    A thread keeps it from beginning to end: the kernel ends Ray's processes with the thread that started them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._over = threading.Event()
        self._keeper: threading.Thread
        self._connected_here = False
        self._has_begun = False
        self._folder: Path | None = None

    def enter(self, address: str | None, workers: int) -> None:
        with self._lock:
            if not self._users:
                self._over.clear()
                ready: Future[None] = Future()
                self._keeper = threading.Thread(target=self._keep, args=(address, workers, ready), daemon=True)
                self._keeper.start()
                ready.result()
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._over.set()
                self._keeper.join()

    def _keep(self, address: str | None, workers: int, ready: "Future[None]") -> None:
        try:
            self._connect(address, workers)
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            ready.set_exception(error)
            return
        ready.set_result(None)
        self._over.wait()
        if self._connected_here:
            self._disconnect()

    def _connect(self, address: str | None, workers: int) -> None:
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        if _is_initialized():
            return
        try:
            if address is None:
                self._begin(workers)
            else:
                _join(address)
        except Exception as error:
            self._disconnect()
            where = "of its own" if address is None else f"at {address}"
            words = str(error).strip().partition("\n")[0]
            raise UsageError(f"--engine ray: there is no Ray {where}: {words or type(error).__name__}") from error
        self._connected_here = True

    def _begin(self, workers: int) -> None:
        """One of our own, whose environment has to be there before `ray` is loaded."""
        if "ray" in sys.modules and not self._has_begun:
            raise UsageError("`ray` was imported before: call ray.init() first, or name a cluster as ray_address")
        self._has_begun = True
        _remove_what_is_left()
        self._folder = folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-", dir=_short_folder()))
        with _environment(_QUIET | _ON_LOOPBACK | _token_in(folder)):
            import ray  # noqa: PLC0415 - see above

            ray.init(
                address="local",
                num_cpus=workers,
                num_gpus=0,
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                _temp_dir=str(folder / "r"),  # which Ray itself lets everybody into
            )

    def _disconnect(self) -> None:
        if _is_initialized():
            sys.modules["ray"].shutdown()
        self._connected_here = False
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


_RAY = _Ray()


def _is_initialized() -> bool:
    """Whether the program around us is connected to a Ray."""
    return "ray" in sys.modules and bool(sys.modules["ray"].is_initialized())


def _join(address: str) -> None:
    """Connect to a cluster that is there, as far as its port tells: Ray itself would look for it for minutes."""
    with _environment(_QUIET):
        import ray  # noqa: PLC0415 - see above

    host, colon, port = address.rpartition(":")
    if colon:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_LOOK_SECONDS).close()
    ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)


@contextmanager
def _environment(said: dict[str, str]) -> Iterator[None]:
    """Say this in the environment, for what is started within the block."""
    before = {name: os.environ.get(name) for name in said}
    os.environ.update(said)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _token_in(folder: Path) -> dict[str, str]:
    """The token in a file that nobody else can read, before Ray would write one that everybody can."""
    path = folder / "token"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(_TOKEN)
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path), "RAY_AUTH_TOKEN": ""}


def _short_folder() -> str:
    """Where temporary files are; the paths of Ray's sockets have room for a short name only."""
    return "/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir()  # noqa: S108 - the folder in it is private


def _remove_what_is_left() -> None:
    """The folders of our processes that were killed."""
    for path in Path(_short_folder()).glob(f"{_FOLDER}*"):
        found = re.fullmatch(rf"{_FOLDER}(\d+)-\w+", path.name)
        with suppress(OSError):
            if found and path.lstat().st_uid == os.getuid() and not _is_alive(int(found[1])):
                shutil.rmtree(path, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
