"""A finding: what was measured, in plain words, and whether something is wrong."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """``says``: what was measured, with its number; ``facts``: the numbers.

    ``fault``: the mistake, by its short name, and ``change``: what to do about it; None where all is well.
    """

    name: str
    says: str
    fault: str | None = None
    change: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def percent(share: float) -> str:
    """A share as a percentage of two digits; from ten times on as a multiple."""
    if share >= 10:
        return f"{share:.2g} times" if share < 100 else f"{share:,.0f} times"
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"
