"""Debian's Chromium, headless, over its debugging protocol: pages as a person sees them."""

import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.sync.connection import Connection

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--remote-debugging-port=0"),
)


class Page:
    """One tab. `faults` are exceptions and console errors, `requests` all that was asked for.

    Both are those since a page was opened last.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self.faults: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """One command of the protocol and its result; events on the way are noted."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        self._connection.send(json.dumps(message))
        while True:
            answer = json.loads(self._connection.recv(timeout=60))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def open(self, address: str, *, width: int = 1280, height: int = 900) -> None:
        """Load a page at a width, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.faults, self.requests = [], []
        self.call("Page.navigate", url=address)
        deadline = time.monotonic() + 60
        while self.run("document.readyState") != "complete":
            assert time.monotonic() < deadline, "the page does not load"
            time.sleep(0.05)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """A key, down and up, wherever the focus is."""
        codes = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9}
        codes |= {"Enter": 13, "Escape": 27, "Home": 36}
        text = "\r" if key == "Enter" else key if len(key) == 1 else ""
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=codes.get(key) or (ord(key.upper()) if key.isalpha() else 0),
                **more,
            )

    def dark(self) -> None:
        """Prefer dark colours."""
        feature = {"name": "prefers-color-scheme", "value": "dark"}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def _note(self, event: dict[str, Any]) -> None:
        found = event.get("params", {})
        if event["method"] == "Runtime.exceptionThrown":
            self.faults.append(str(found["exceptionDetails"]))
        elif event["method"] == "Log.entryAdded" and found["entry"]["level"] == "error":
            self.faults.append(found["entry"]["text"])
        elif event["method"] == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"])
        elif event["method"] == "Page.javascriptDialogOpening":
            self.faults.append(f"dialog: {found['message']}")


@contextmanager
def browser() -> Iterator[Page]:
    """A tab of a fresh browser."""
    assert CHROMIUM is not None
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            file = Path(profile) / "DevToolsActivePort"
            deadline = time.monotonic() + 60
            while not (file.exists() and len(file.read_text().splitlines()) == 2):
                assert time.monotonic() < deadline and process.poll() is None, "no browser"
                time.sleep(0.1)
            port, path = file.read_text().splitlines()
            with connect(f"ws://127.0.0.1:{port}{path}", max_size=None) as top:
                target = _ask(top, "Target.createTarget", url="about:blank")["targetId"]
            address = f"ws://127.0.0.1:{port}/devtools/page/{target}"
            with connect(address, max_size=None) as connection:
                yield Page(connection)
        finally:
            process.terminate()
            process.wait(timeout=30)


def _ask(connection: Connection, method: str, **parameters: Any) -> Any:
    connection.send(json.dumps({"id": 1, "method": method, "params": parameters}))
    while (answer := json.loads(connection.recv(timeout=60))).get("id") != 1:
        pass
    return answer["result"]
