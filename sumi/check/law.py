"""A law: what must hold, how far off it was found, and how far off it may be."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Law:
    """``deviation`` from what ``statement`` says, which passes up to ``bound``.

    ``peer``: the deviation of the same law in diffusers, None where it has no counterpart or is not installed.
    """

    statement: str
    deviation: float
    bound: float
    peer: float | None = None

    @property
    def holds(self) -> bool:
        return self.deviation <= self.bound  # not for NaN
