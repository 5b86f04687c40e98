"""Shares, p-values and lists as text for a sentence."""

from collections.abc import Sequence

from sumi.metrics.intervals import Estimate


def percent(share: float) -> str:
    """A share as a whole percentage."""
    return f"{100 * share + 0.0:.0f}\N{NO-BREAK SPACE}%"  # + 0.0 makes a negative zero positive


def amount(estimate: Estimate) -> str:
    """A share with its 95 % interval, in whole percent."""
    return (
        f"{percent(estimate.value)} [{100 * estimate.low + 0.0:.0f},\N{NO-BREAK SPACE}{100 * estimate.high + 0.0:.0f}]"
    )


def chance(p_value: float) -> str:
    """A p-value in brackets."""
    return f"(p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{p_value:.2g})"


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
