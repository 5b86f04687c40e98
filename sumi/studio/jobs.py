"""Work that takes seconds, one after the other: torch takes all cores for each.

A job is a function of itself. It calls `Job.check` often, which ends it once it is cancelled, and `Job.show` with a
preview, or `Job.counted`; at most `PREVIEWS` a second become events.
"""

import gc
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

from sumi.data import memory
from sumi.errors import SumiError
from sumi.studio.events import Events
from sumi.studio.folder import one_line

MOST_WAITING: Final = 10
IDLE: Final = 120.0
"""Seconds without a job after which what was kept for the next one is let go."""
FINISHED_KEPT: Final = 64
PREVIEWS: Final = 12.0


class Cancelled(SumiError):
    """A person cancelled the job."""


class Full(SumiError):
    """As many jobs wait as may."""


class Job:
    """``about``: what is known of it; ``result``: what it returned; ``preview``: the newest picture, as a file."""

    def __init__(self, kind: str, about: Mapping[str, Any], work: Callable[["Job"], Mapping[str, Any]]) -> None:
        self.id, self.kind, self.about, self.work = secrets.token_hex(6), kind, about, work
        self.state = "waiting"
        self.message = ""
        self.result: Mapping[str, Any] = {}
        self.done, self.total = 0, 0
        self.preview: bytes = b""
        self.lines: list[Mapping[str, Any]] = []
        self.cancelled, self.ended = threading.Event(), threading.Event()
        self.emit: Callable[[str, object], None] = lambda _name, _data: None
        self._next = 0.0

    def check(self) -> None:
        """Raises Cancelled once it was."""
        if self.cancelled.is_set():
            raise Cancelled("cancelled")

    def counted(self, done: int, total: int, what: str = "") -> None:
        """How far it is, in steps of its own, and what it does, where no preview shows it. Raises Cancelled."""
        self.check()
        self.done, self.total = done, total
        if what and self._due():
            self.emit("progress", {"id": self.id, "what": what, "done": done, "total": total})

    def _due(self) -> bool:
        """Whether it is time for a page to see something new."""
        now = time.monotonic()
        due = now >= self._next
        self._next = now + 1 / PREVIEWS if due else self._next
        return due

    def show(self, preview: Callable[[], bytes]) -> None:
        """A new preview, which is made only where it will be seen. Raises Cancelled."""
        self.check()
        if self._due():
            self.preview = preview()
            self.emit("preview", {"id": self.id, "done": self.done, "total": self.total})

    def say(self, line: Mapping[str, Any]) -> None:
        """Something that it found on the way."""
        self.check()
        self.lines.append(line)
        self.emit("line", {"id": self.id, "line": line})

    def outline(self) -> dict[str, Any]:
        """It as JSON."""
        names = ("id", "kind", "about", "state", "message", "result", "done", "total", "lines")
        return {name: getattr(self, name) for name in names}


class Jobs:
    """The queue, and the thread that works it off; ``idle`` is called where it has had nothing to do for a while."""

    def __init__(self, events: Events, idle: Callable[[], None] = lambda: None) -> None:
        self.events, self.idle = events, idle
        self._all: OrderedDict[str, Job] = OrderedDict()
        self._change = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._work, name="studio jobs", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> Job:
        """Let it wait for its turn. Raises Full."""
        with self._change:
            if sum(one.state == "waiting" for one in self._all.values()) >= MOST_WAITING:
                raise Full(f"queue: {MOST_WAITING} jobs wait already; wait for one, or cancel it")
            job.emit = self.events.emit
            self._all[job.id] = job
            finished = [one.id for one in self._all.values() if one.state not in ("waiting", "running")]
            for id in finished[:-FINISHED_KEPT]:
                del self._all[id]
            self.events.emit("job", job.outline())
            self._change.notify_all()
        return job

    def find(self, id: str) -> Job | None:
        return self._all.get(id)

    def all(self) -> list[dict[str, Any]]:
        """All that wait, run, or ended not long ago, as JSON, oldest first."""
        with self._change:
            return [job.outline() for job in self._all.values()]

    def cancel(self, job: Job) -> None:
        """End it at its next step, or before it begins."""
        with self._change:
            job.cancelled.set()
            if job.state == "waiting":
                self._end(job, "cancelled", "cancelled")

    def close(self) -> None:
        """Cancel everything, and wait for the thread."""
        with self._change:
            self._open = False
            for job in self._all.values():
                job.cancelled.set()
            self._change.notify_all()
        self._thread.join(5)

    def _end(self, job: Job, state: str, message: str) -> None:
        job.state, job.message = state, message
        self.events.emit("job", job.outline())
        job.ended.set()

    def _next(self) -> Job | None:
        with self._change:
            while self._open:
                for job in self._all.values():
                    if job.state == "waiting":
                        job.state = "running"
                        self.events.emit("job", job.outline())
                        return job
                if not self._change.wait(IDLE):
                    self.idle()
        return None

    def _work(self) -> None:
        while (job := self._next()) is not None:
            state, message = "done", ""
            try:
                job.result = job.work(job)
            except Cancelled:
                state, message = "cancelled", "cancelled"
            except Exception as error:  # the thread goes on, and the page says what happened
                state, message = "failed", one_line(error)
            self._end(job, state, message)
            give_back()


def give_back() -> None:
    """Return memory that is not in use to the system."""
    gc.collect()
    memory.give_back()
