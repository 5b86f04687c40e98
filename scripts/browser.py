"""Chromium without a window, driven over its DevTools protocol: to test a page, and to photograph it.

with Browser() as browser:
    browser.open("http://127.0.0.1:8917/?token=…")
    browser.until("document.querySelector('.cell img')")
    browser.press("Make four")
    png = browser.picture()
"""

import base64
import json
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import Request, urlopen

from websocket import create_connection


def chromium() -> str | None:
    """The program, if it is here."""
    return next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )


class Browser:
    """One page. Raises RuntimeError for what goes wrong in it, AssertionError where ``until`` waits in vain."""

    def __init__(self, width: int = 1280, height: int = 860, *, dark: bool = False, scale: float = 1) -> None:
        self.width, self.height, self.dark, self.scale = width, height, dark, scale
        self.errors: list[str] = []

    def __enter__(self) -> Self:
        program = chromium()
        assert program is not None, "no Chromium is here"
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        flags += ["--remote-debugging-port=0", "--remote-allow-origins=*", f"--user-data-dir={self.folder.name}"]
        flags += ["--disable-background-networking", "--hide-scrollbars", "--mute-audio"]
        self.process = subprocess.Popen([program, *flags], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        found = Path(self.folder.name) / "DevToolsActivePort"
        _wait(lambda: found.exists() and "\n" in found.read_text(), 30, "Chromium does not start")
        port = found.read_text().splitlines()[0]
        with urlopen(Request(f"http://127.0.0.1:{port}/json/new?about:blank", method="PUT")) as answer:
            page = json.load(answer)
        self.socket, self.number = create_connection(page["webSocketDebuggerUrl"], timeout=60), 0
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.resize(self.width, self.height)
        self.shade(self.dark)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()

    def call(self, method: str, **given: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": given}))
        while True:
            message = json.loads(self.socket.recv())
            match message:
                case {"method": "Runtime.exceptionThrown", "params": {"exceptionDetails": details}}:
                    self.errors.append(details.get("exception", details).get("description", str(details)))
                case {"method": "Log.entryAdded", "params": {"entry": {"level": "error", "text": text, **more}}}:
                    self.errors.append(f"{text} {more.get('url', '')}")
                case {"id": self.number, "error": error}:
                    raise RuntimeError(f"{method}: {error}")
                case {"id": self.number, "result": result}:
                    return result

    def resize(self, width: int, height: int) -> None:
        """The size of the page in CSS pixels; below 600 it is that of a phone."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=self.scale,
            mobile=width < 600,
        )

    def shade(self, dark: bool) -> None:
        """Dark or light."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)

    def reload(self) -> None:
        """Load the page again, and wait until it is there."""

        def there() -> bool:
            with suppress(RuntimeError):  # the former page may go while it is asked
                return bool(self.run("!window.former && document.readyState === 'complete'"))
            return False

        self.run("window.former = true")
        self.call("Page.reload")
        _wait(there, 30, "the page is not loaded again")

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("exception", {}).get("description", script))
        return answer["result"].get("value")

    def until(self, condition: str, seconds: float = 120) -> None:
        """Wait until an expression is true."""
        _wait(lambda: self.run(f"Boolean({condition})"), seconds, condition)

    def press(self, text: str, number: int = 0) -> None:
        """Press the button or link of this text: the first of them, or the one of this ``number``."""
        found = f"[...document.querySelectorAll('button, a')].filter(b => b.textContent.trim() === {json.dumps(text)})"
        self.until(f"{found}.length > {number} && !{found}[{number}].disabled")
        self.run(f"{found}[{number}].click()")

    def write(self, selector: str, text: str) -> None:
        """Put a value into a field, as a person would."""
        place = f"document.querySelector({json.dumps(selector)})"
        variants = "['input', 'change'].forEach(k => e.dispatchEvent(new Event(k, {bubbles: true})))"
        self.run(f"(e => {{ e.value = {json.dumps(text)}; {variants}; }})({place})")

    def picture(self) -> bytes:
        """A PNG of what is seen."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])


def _wait(ready: Any, seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"waited {seconds:g} s in vain for: {what}"
        time.sleep(0.05)
