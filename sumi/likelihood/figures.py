"""Likelihood results: figures with standard errors in a stated unit, their JSON file, and a plot of the bound."""

import json
from dataclasses import asdict, dataclass
from math import nan
from pathlib import Path

from torch import Tensor

from sumi.boundary.files import write_text
from sumi.data.spec import Unit
from sumi.figures.canvas import INK, RED, SavedFigure, canvas, name_lines, save
from sumi.likelihood.dequantize import mean_with_error
from sumi.likelihood.estimate import BoundEstimate
from sumi.metrics.intervals import Estimate, heavy_tailed, mean_of


@dataclass(frozen=True)
class Mean:
    """A mean over items, its standard error, and its 95 % interval (`intervals.mean_of`): NaN for a single item.

    ``heavy_tailed``: whether a few items decide it, so that the interval holds less often than stated.
    """

    value: float
    error: float
    low: float
    high: float
    heavy_tailed: bool = False

    @staticmethod
    def of(values: Tensor) -> "Mean":
        """The mean of one value per item, (N,)."""
        value, error = mean_with_error(values)
        found = mean_of(values) if len(values) > 1 else Estimate(value, nan, nan)
        above = (values - values.median()).clamp(min=0)
        return Mean(value, error, found.low, found.high, heavy_tailed(above))

    def __str__(self) -> str:
        return f"{self.value:.4f} ± {self.error:.4f}"

    @property
    def interval(self) -> str:
        """The ends as text."""
        few = ", or wider, as a few items decide it" if self.heavy_tailed else ""
        return f"[{self.low:.4f}, {self.high:.4f}]{few}"


@dataclass(frozen=True)
class BoundFigures:
    """The bound, a description of the method, and its terms, which add up to it."""

    how: str
    total: Mean
    prior: Mean
    between: Mean
    decoder: Mean

    @staticmethod
    def of(estimate: BoundEstimate, unit: Unit, how: str) -> "BoundFigures":
        """A unit's shift is added to the decoder's term, which carries the data's scale."""
        scale = unit.per_item
        return BoundFigures(
            how,
            Mean.of(unit.of_nats(estimate.total)),
            Mean.of(estimate.prior / scale),
            Mean.of(estimate.between / scale),
            Mean.of(unit.of_nats(estimate.decoder)),
        )


@dataclass(frozen=True)
class OdeFigures:
    """The ODE's result, a description of the method, and the mean number of network evaluations per item.

    ``total`` has the error over items, which contains that of the ``probes`` for the trace of each (0: it is exact).
    ``probe_error``: half the 95 % interval of the mean over new probes for the same items, by Student's t with
    items · draws · (probes - 1) degrees of freedom; None for an exact trace and for a single probe.
    """

    how: str
    total: Mean
    evaluations: float
    probes: int
    probe_error: float | None


@dataclass(frozen=True)
class Likelihood:
    """The likelihood of ``items`` held-out items of ``data``; ``note``: a caveat.

    ``by_ode`` is None if not requested or not defined for the model.
    """

    unit: str
    about: str
    data: str
    note: str
    items: int
    seed: int
    checkpoint: int
    bound: BoundFigures
    by_ode: OdeFigures | None

    def write(self, folder: Path) -> Path:
        """Write nll.json in ``folder``. Raises SumiError where it cannot be written."""
        return write_text(folder / "nll.json", json.dumps(asdict(self), indent=2) + "\n")


def draw_bound(estimate: BoundEstimate, figures: BoundFigures, unit: Unit, path: Path, *, steps: bool) -> SavedFigure:
    """Left: the bound's rate over t with its standard error; right: its cumulative sum from the data to the noise.

    ``steps``: whether the rate is per step of a chain instead of per unit of continuous time.
    """
    figure = canvas(11, 3.8)
    left, right = figure.subplots(1, 2)
    rate, error = estimate.rate / unit.per_item, estimate.rate_error / unit.per_item
    t = estimate.centres.clamp(min=1e-9)
    least = float(rate.clamp(min=1e-12).min())
    left.fill_between(t, (rate - error).clamp(min=least / 3), rate + error, color=INK, alpha=0.2, linewidth=0)
    left.plot(t, rate.clamp(min=least / 3), color=INK, marker=".", markersize=3, linewidth=1)
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_title(f"{unit.name} per step" if steps else f"{unit.name} per unit of t", fontsize=10)
    total = (estimate.lengths * rate).cumsum(0) + figures.decoder.value
    right.plot(estimate.times[1:], total, color=INK, label="decoder and the steps up to t")
    right.axhline(figures.total.value, color=RED, linewidth=1, label=f"the bound\n{figures.total}")
    right.axhline(figures.decoder.value, color=INK, linewidth=1, linestyle=":", label=f"decoder\n{figures.decoder}")
    right.set_xscale("log")
    right.set_title(f"{unit.name}, cumulative from the data", fontsize=10)
    name_lines(right)
    for axes in (left, right):
        axes.set_xlabel("t   (0 data, 1 noise)")
        axes.grid(alpha=0.25, which="both")
    shares = rate * estimate.lengths
    half = estimate.centres[int((shares.cumsum(0) < shares.sum() / 2).sum())]
    return save(figure, path, f"half of the bound between decoder and prior comes from t below {float(half):.3g}")
