"""Ctrl-C and SIGTERM stop a run after its current step, with a checkpoint."""

import signal
import threading
from types import FrameType, TracebackType

from sumi.errors import SumiError


class Interrupted(SumiError):
    """The run was interrupted, finished its step and saved. ``exit_code`` is 128 + the signal: 130 or 143."""

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class StopRequest:
    """A context in which SIGINT and SIGTERM only set ``signal_number``; a second SIGINT stops at once."""

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._previous: dict[int, signal._HANDLER] = {}

    def _request(self, signal_number: int, frame: FrameType | None) -> None:
        del frame
        if self.signal_number is not None and signal_number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_number = signal_number

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # Python delivers signals to no other thread
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
