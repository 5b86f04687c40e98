"""A law: a statement, its measured deviation, and the allowed deviation."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Law:
    """``statement`` holds if its ``deviation`` is at most ``bound``.

    ``peer``: the same law's deviation in diffusers; None if it has no counterpart or is not installed.
    """

    statement: str
    deviation: float
    bound: float
    peer: float | None = None

    @property
    def holds(self) -> bool:
        return self.deviation <= self.bound  # False for NaN
