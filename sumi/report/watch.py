"""A page that shows a run while it is trained: losses, samples as they come, and the time left.

One file, ``watch.html``, which asks every two seconds for what is new. It is served on this machine alone (the loopback
address), from the run's log and its grids of samples, and nothing can be changed through it. Requests that name another
host are refused, as a page of a stranger could make them by a name that leads here (DNS rebinding).
"""

import json
import re
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from sumi.boundary.files import contents
from sumi.boundary.progress import duration
from sumi.errors import InputError, SumiError
from sumi.models.model import SystemConfig
from sumi.models.run import read_run
from sumi.training.lock import trainer_of
from sumi.training.metrics_log import Value, read, seconds_left
from sumi.training.run_folder import RunFolder

HOST: Final = "127.0.0.1"
_GRID: Final = re.compile(r"\d{8,}\.png", re.ASCII)
_POLICY: Final = (
    "default-src 'none'; img-src 'self'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'"
)


def state(run: RunFolder, lines: int = 0, step: int = 0) -> dict[str, Any]:
    """Where a run is, as JSON, for a reader of its log's first ``lines`` lines, the last of which is of ``step``.

    ``lines`` of it: those from number ``first`` on, which is 0 where the log is another one by now. Raises InputError.
    """
    description = read_run(run)
    config, log = description.config, read(run.metrics_file) if run.metrics_file.exists() else []
    known = 0 < lines <= len(log) and log[lines - 1]["step"] == step
    trained = [line for line in log if "items_per_second" in line]
    now = int(str(trained[-1]["step"])) if trained else 0
    return {
        "name": run.path.resolve().name,
        "what": f"{config.recipe} on {Path(config.data.source).name}: {description.items.describe()}",
        "step": now,
        "steps": config.training.steps,
        "status": _status(run, config, trained),
        "samples": sorted(path.name for path in run.samples.glob("*.png") if _GRID.fullmatch(path.name)),
        "first": lines if known else 0,
        "lines": log[lines if known else 0 :],
    }


def _status(run: RunFolder, config: SystemConfig, trained: list[dict[str, Value]]) -> str:
    trains, steps, batch_size = trainer_of(run.path) is not None, config.training.steps, config.training.batch_size
    if not trained:
        return config.phase(run) or "training begins" if trains else "nothing is trained here now"
    left = seconds_left(trained[-1], steps, batch_size)
    match trained[-1]:
        case {"step": int(step), "items_per_second": float(speed)} if left is not None:
            pass
        case line:
            raise InputError(f"{run.metrics_file}: step {line['step']} has no speed; restore the file")
    where = f"step {step:,} of {steps:,}"
    if step >= steps:
        return f"{where}: done"
    if not trains:
        return f"{where}: stopped; sumi train … --resume goes on"
    return f"{where}, {speed:,.0f} items/s, about {duration(left)} left"


class Watch(ThreadingHTTPServer):
    """Serves the page of ``run`` on ``port`` of the loopback address; 0: any that is free. Raises InputError."""

    daemon_threads = True

    def __init__(self, run: RunFolder, port: int = 0) -> None:
        read_run(run)
        if not 0 <= port < 2**16:
            raise InputError(f"port: {port} is none; give one from 1024 to 65535")
        self.run = run
        try:
            super().__init__((HOST, port), _Answer)
        except OSError as error:
            raise InputError(f"port: {port} cannot be used ({error.strerror}); give another one") from None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that is closed while it is sent is no error, and shows no traceback."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def address(self) -> str:
        """What a browser opens."""
        return f"http://{HOST}:{self.server_port}/"


class _Answer(BaseHTTPRequestHandler):
    server: Watch  # pyrefly: ignore[bad-override]
    server_version, sys_version = "sumi", ""

    def do_GET(self) -> None:
        if self.headers.get("Host", "") not in (f"{name}:{self.server.server_port}" for name in (HOST, "localhost")):
            return self._send(HTTPStatus.FORBIDDEN, "text/plain", b"another host")
        url, run = urlsplit(self.path), self.server.run
        match url.path.split("/")[1:]:
            case [""]:
                return self._send(
                    HTTPStatus.OK, "text/html; charset=utf-8", Path(__file__).with_suffix(".html").read_bytes()
                )
            case ["state"]:
                return self._state(parse_qs(url.query))
            case ["samples", name] if _GRID.fullmatch(name):
                try:
                    return self._send(HTTPStatus.OK, "image/png", contents(run.samples / name))
                except OSError:
                    pass
        return self._send(HTTPStatus.NOT_FOUND, "text/plain", b"there is nothing here")

    def _state(self, query: dict[str, list[str]]) -> None:
        try:
            given = [int(query.get(name, ["0"])[0]) for name in ("lines", "step")]
            found, status = state(self.server.run, *given), HTTPStatus.OK
        except (SumiError, ValueError) as error:  # such as a file that is being replaced
            found, status = {"error": str(error)}, HTTPStatus.SERVICE_UNAVAILABLE
        self._send(status, "application/json", json.dumps(found).encode())

    def _send(self, status: HTTPStatus, content: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", _POLICY)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """A terminal is not for every request."""
        del format, args
