"""Refuse, before reading, a set that does not fit into memory, and bound what threads decode at a time.

Peak use of a set is twice the pixels: once as loaded, and once more while the set is divided into training and held-out
items.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from threading import Condition

from sumi.errors import InputError

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Bytes that this process may still take (the machine's or its control group's, the smaller); None if unknown."""
    rooms: list[int] = []
    try:
        fields = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        rooms.append(int(fields["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError):
        pass
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        rooms.append(max(0, limit - int(used["anon"])))  # the rest of what a group holds is cache, given back on demand
    except (OSError, KeyError, ValueError):
        pass
    return min(rooms, default=None)


def require_memory(count: int, shape: tuple[int, ...], source: str, *, itemsize: int = 1) -> None:
    """Raises InputError if ``count`` images of ``shape``, ``itemsize`` bytes a value, twice, are more than the memory
    available."""
    needed, available = 2 * count * prod(shape) * itemsize, available_memory()
    if available is not None and needed > available:
        raise InputError(
            f"data.source: {source}: {count} images of {'x'.join(map(str, shape))} take {needed / 1e9:.1f} GB "
            f"with their division, and {available / 1e9:.1f} GB are available; lower data.size or use fewer images"
        )


def require_batch(count: int, shape: tuple[int, ...]) -> None:
    """Raises InputError if a float32 batch of ``count`` items of ``shape``, its noise and their sum do not fit."""
    needed, available = 3 * 4 * count * prod(shape), available_memory()
    if available is not None and needed > available:
        raise InputError(
            f"training.batch_size: {count} items at once take more than {needed / 1e9:.1f} GB, and "
            f"{available / 1e9:.1f} GB are available; lower it, or raise training.accumulation"
        )


def give_back() -> None:
    """Hand memory that was freed back to the system: the C library of Linux keeps what threads have used."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


class Room:
    """A bound on what threads use at the same time: ``size`` of it in all, or one that takes more alone."""

    def __init__(self, size: int) -> None:
        self._size, self._used, self._changed = size, 0, Condition()

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Wait until ``amount`` is free, and hold it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + amount <= self._size)
            self._used += amount
        try:
            yield
        finally:
            with self._changed:
                self._used -= amount
                self._changed.notify_all()
