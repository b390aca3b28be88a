"""A browser without a driver of its own: Chromium's debugging protocol over its one WebSocket."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
import websocket

_READY_SECONDS = 60.0


def program() -> str | None:
    """Where Chromium is on this machine, if it is; ``EBBTIDE_CHROMIUM`` names another."""
    named = os.environ.get("EBBTIDE_CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def needed() -> str:
    """The same for a test, which is skipped where there is none, or fails where EBBTIDE_BROWSER_TESTS is set."""
    browser = program()
    if browser is None:
        message = "no Chromium here: install it (Debian: apt install chromium), or name one in EBBTIDE_CHROMIUM"
        (pytest.fail if os.environ.get("EBBTIDE_BROWSER_TESTS") else pytest.skip)(message)
    return str(browser)


class Browser:
    """One page. It may not reach any network: what it asks for beside files is counted in ``asked``."""

    def __init__(self, path: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ebbtide-chromium-", ignore_cleanup_errors=True)
        flags = (
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
            *(
                "--remote-allow-origins=*",
                "--host-resolver-rules=MAP * ~NOTFOUND",
                f"--user-data-dir={self._folder.name}",
            ),
        )
        self._process = subprocess.Popen(
            [path, *flags, "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a group of its own, so that all of it can be ended
        )
        self._number = 0
        self.asked: list[str] = []
        self.errors: list[str] = []
        self._socket = websocket.create_connection(self._page(), timeout=_READY_SECONDS)
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def _page(self) -> str:
        import urllib.request

        file = Path(self._folder.name) / "DevToolsActivePort"
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                port = int(file.read_text().splitlines()[0])
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=5) as answer:
                    pages = [each for each in json.load(answer) if each["type"] == "page"]
                if pages:
                    return str(pages[0]["webSocketDebuggerUrl"])
            except (OSError, ValueError, IndexError):
                pass
            time.sleep(0.05)
        raise RuntimeError("Chromium did not come up")

    def call(self, method: str, **parameters: Any) -> Any:
        """One command of the protocol, and its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        return self._until(lambda reply: reply.get("id") == self._number)["result"]

    def _until(self, is_awaited: Any) -> Any:
        while True:
            reply = json.loads(self._socket.recv())
            if "error" in reply:
                raise RuntimeError(reply["error"]["message"])
            if reply.get("method") == "Network.requestWillBeSent":
                self.asked.append(reply["params"]["request"]["url"])
            if reply.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.errors.append(json.dumps(reply["params"]))
            if is_awaited(reply):
                return reply

    def open(self, file: Path, width: int, height: int = 900, dark: bool = False) -> None:
        """Show a file as a window of that width would, in the light or dark scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": "Page.navigate", "params": {"url": file.as_uri()}}))
        self._until(lambda event: event.get("method") == "Page.loadEventFired")

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression on the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """A real click in the middle of an element."""
        place = self.ask(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'});"
            " const r = e.getBoundingClientRect(); return [r.x + Math.min(r.width / 2, 60), r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def picture(self) -> bytes:
        """The whole page as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        # helpers that outlive it by a moment would still write into the folder that goes
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._folder.cleanup()
