"""Progress of long work, as a callback: what is running, items done, items in total."""

from collections.abc import Callable

Count = Callable[[str, int, int], None]
"""Told what is being done, and done of total."""


def counting_one(progress: Count | None, what: str) -> Callable[[int, int], None] | None:
    """``progress`` for one thing of that name."""
    return None if progress is None else lambda done, total: progress(what, done, total)
