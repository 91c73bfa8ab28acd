"""A real Chromium, driven over its own pipe: what a page complains of, and what it asks the network for."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--remote-debugging-pipe"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
)
_GOES_ON = "Inspected target navigated"  # to another page, of which the same is asked


class Tab:
    """One tab. `events`: what it has told of so far, as the DevTools protocol names it."""

    def __init__(self, write: int, read: int) -> None:
        self._write = write
        self._read = os.fdopen(read, "rb", buffering=0)
        self._left = b""
        self._asked = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: object) -> dict[str, Any]:
        """Call a method of the protocol; its result."""
        self._asked += 1
        message: dict[str, Any] = {"id": self._asked, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            came = self._next()
            if came.get("id") == self._asked and _GOES_ON in str(came.get("error")):
                return self.ask(method, **params)
            if came.get("id") == self._asked:
                assert "error" not in came, came
                return came["result"]

    def open(self, url: str) -> None:
        """Go there, and wait until all of the page has come."""
        self.events.clear()
        self.ask("Page.navigate", url=url)
        self._wait_for_load(0)

    def press(self, key: str, *, leads_on: bool = False) -> None:
        """A key; where it leads to another page, until all of that has come."""
        loads = self._loads
        text = {"text": "\r" if key == "Enter" else key} if key == "Enter" or len(key) == 1 else {}
        code = {"windowsVirtualKeyCode": 13} if key == "Enter" else {}
        self.ask("Input.dispatchKeyEvent", type="keyDown", key=key, **text, **code)
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key, **code)
        if leads_on:
            self._wait_for_load(loads)

    @property
    def _loads(self) -> int:
        return len(self._of("Page.loadEventFired"))

    def _wait_for_load(self, loads: int) -> None:
        while self._loads <= loads:
            self._next()
        self.value("new Promise(done => setTimeout(done, 200))")  # and what it begins to do then

    def value(self, expression: str) -> Any:
        """What an expression is in the page."""
        result = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        return result["result"].get("value")

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings on the console since the page was opened, and whatever it wrote there."""
        entries = [event["params"]["entry"]["text"] for event in self._of("Log.entryAdded")]
        written = [str(event["params"]) for event in self._of("Runtime.consoleAPICalled")]
        return entries + written + [str(event["params"]) for event in self._of("Runtime.exceptionThrown")]

    @property
    def requests(self) -> list[str]:
        """The addresses that it asked for since then and was let ask for; its own is the first."""
        forbidden = {
            event["params"]["requestId"]
            for event in self._of("Network.loadingFailed")
            if event["params"].get("blockedReason") == "csp"
        }
        asked = [event["params"] for event in self._of("Network.requestWillBeSent")]
        return [one["request"]["url"] for one in asked if one["requestId"] not in forbidden]

    def _of(self, method: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["method"] == method]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            piece = self._read.read(1 << 16)
            assert piece, "Chromium is gone"
            self._left += piece
        message, _, self._left = self._left.partition(b"\0")
        came = json.loads(message)
        if "method" in came:
            self.events.append(came)
        return came

    def close(self) -> None:
        """Let the pipe go, at which Chromium ends."""
        self._read.close()
        os.close(self._write)


@contextmanager
def browsing(profile: Path) -> Iterator[Tab]:
    """An empty tab of a Chromium of its own."""
    chromium = shutil.which("chromium")
    assert chromium is not None, "apt-get install chromium"
    (to_read, write), (read, to_write) = os.pipe(), os.pipe()
    command = f'exec "$@" 3<&{to_read} 4>&{to_write}'
    arguments = ["bash", "-c", command, "bash", chromium, *QUIET, f"--user-data-dir={profile}", "about:blank"]
    options = {"pass_fds": (to_read, to_write), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(arguments, **options) as process:
        os.close(to_read)
        os.close(to_write)
        tab = Tab(write, read)
        try:
            yield tab
        finally:
            tab.close()
            process.wait(timeout=30)
