"""What happens, as numbered events for any number of open pages.

The last `KEPT` events are held. A page that reads more slowly than that, or comes back with a number that is no longer
held, gets one event ``reset`` and asks for the whole state instead: nothing is lost without notice.
"""

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

KEPT: Final = 2048
BEAT: Final = 15.0
"""Seconds after which a silent stream says that it is there."""


class Events:
    """`emit` may be called from any thread, `follow` from the loop that was named by `bind`."""

    def __init__(self, last: int = 0) -> None:
        self._events: deque[tuple[int, str, str]] = deque(maxlen=KEPT)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bells: set[asyncio.Event] = set()
        self.last = last

    def bind(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """The loop in which pages are served; None: it is closing, and every stream ends."""
        self._loop, former = loop, self._loop
        if loop is None and former is not None:
            former.call_soon_threadsafe(self._ring)

    def emit(self, name: str, data: object) -> None:
        """Add an event whose ``data`` become JSON."""
        text = json.dumps(data)
        with self._lock:
            self.last += 1
            self._events.append((self.last, name, text))
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        for bell in self._bells:
            bell.set()

    def _since(self, number: int) -> list[tuple[int, str, str]]:
        with self._lock:
            first = self._events[0][0] if self._events else self.last + 1
            if number > self.last or number < first - 1:
                return [(self.last, "reset", "{}")]
            return [event for event in self._events if event[0] > number]

    async def follow(self, after: int) -> AsyncIterator[str]:
        """The events ``after`` a number, as text/event-stream; ends when the loop closes."""
        bell = asyncio.Event()
        self._bells.add(bell)
        try:
            yield ": here\n\n"
            while self._loop is not None:
                bell.clear()
                for number, name, text in self._since(after):
                    after = number
                    yield f"id: {number}\nevent: {name}\ndata: {text}\n\n"
                try:
                    await asyncio.wait_for(bell.wait(), BEAT)
                except TimeoutError:
                    yield ": here\n\n"
        finally:
            self._bells.discard(bell)

    @property
    def followers(self) -> int:
        """How many streams are open."""
        return len(self._bells)
