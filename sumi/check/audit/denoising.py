"""Is x̂_0 the mean of x_0 given x_t, level by level? Its error, split; and what is left of the data at the last time.

    E‖x̂_0 - x_0‖² = ‖E(x̂_0 - x_0)‖² + the rest        bias, of each element over the items, and variance

The residual x_0 - E[x_0 | x_t] is orthogonal to every function of x_t. So no a x̂_0 + b x_t + c can be nearer to x_0
than x̂_0 = E[x_0 | x_t] itself; the share of the error that the best one removes (a, b and c fitted to one half of the
items, the error taken on the other) is what is *wrong* with x̂_0, as opposed to what nobody can know.
"""

from dataclasses import dataclass
from math import log10
from typing import Final

import torch
from torch import Tensor

from sumi.check.audit.finding import Finding, percent
from sumi.check.audit.reading import Reading
from sumi.check.audit.search import Probe
from sumi.process.schedule import noise_level

REMOVABLE: Final = 0.25
"""Share of the error that a linear correction may remove: 6 % of the shipped models' at most, and over 90 % of one
whose x̂_0 is a half of what it should be."""
SEEN: Final = 0.01
"""Share of the data's variance that it must be at least: less is 32 dB below the data's range, and hardly seen. So
rough are networks that predict x_0 of large patches, where there is little noise."""
LEAST_LEVELS: Final = 2
VISIBLE: Final = 2.0
"""Standard deviations by which the last x_T may tell a dark picture from a bright one. Sampling begins without that
trace, so every sample gets the same mean brightness (Lin et al. 2024, "Common diffusion noise schedules and sample
steps are flawed"): the schedule of Stable Diffusion has about 4, linear β at 32 x 32 pixels 0.2."""


@dataclass(frozen=True)
class Row:
    """One level: all but ``ratio`` = σ/α and ``slope`` (of x_0 on x̂_0) are shares; of the data's variance, or of the
    error (``removable``)."""

    ratio: float
    error: float
    bias: float
    slope: float
    removable: float


def table(probe: Probe, reading: Reading) -> list[Row]:
    """The error of one step at each noise level."""
    variance, found = probe.rows.std**2, list[Row]()
    for number, ratio in enumerate(probe.ratios):
        views = probe.clean(reading, number)
        if views is None:
            continue
        x_0, x_t, clean = (view.double().flatten(1) / reading.frame.scale for view in views)
        residual = clean - x_0
        error = float(residual.square().mean())
        bias = float((residual.mean(0).square() - residual.var(0) / len(residual)).mean())
        centred = clean - clean.mean()
        slope = float((centred * (x_0 - x_0.mean())).sum() / centred.square().sum().clamp(min=1e-30))
        left = sum(_left(x_0, x_t, clean, half) for half in (0, 1)) / 2
        found.append(Row(ratio, error / variance, max(bias, 0.0) / variance, slope, 1 - left / max(error, 1e-30)))
    return found


def _left(x_0: Tensor, x_t: Tensor, clean: Tensor, half: int) -> float:
    """The error of the best a x̂_0 + b x_t + c on one half of the items, fitted to the other."""
    parts = torch.stack([clean, x_t, torch.ones_like(clean)], -1)
    seen, unseen = parts[half::2].flatten(0, 1), parts[1 - half :: 2].flatten(0, 1)
    wanted, test = x_0[half::2].reshape(-1, 1), x_0[1 - half :: 2].reshape(-1, 1)
    gram = seen.T @ seen + 1e-9 * len(seen) * torch.eye(3, dtype=seen.dtype)  # x_t and x̂_0 are alike at little noise
    return float((unseen @ torch.linalg.solve(gram, seen.T @ wanted) - test).square().mean())


def denoising(probe: Probe, reading: Reading) -> Finding:
    """Whether x̂_0 is a conditional mean, in words."""
    rows = table(probe, reading)
    facts = {"levels": [vars(row) for row in rows], "items": len(probe.rows.x), "of": probe.rows.origin}
    shown = [rows[0], rows[len(rows) // 2], rows[-1]]
    errors = ", ".join(f"{percent(row.error)} at σ/α = {row.ratio:.2g}" for row in shown)
    worst = max(rows, key=lambda row: row.removable * row.error)
    says = (
        f"the error of one step, of the data's variance: {errors} (on {probe.rows.origin}). At most "
        f"{percent(max(row.bias / max(row.error, 1e-30) for row in rows))} of it is bias, and a linear correction "
        f"would remove {percent(max(worst.removable, 0.0))} where that is most"
    )
    bad = [row for row in rows if row.removable > REMOVABLE and row.removable * row.error > SEEN]
    if len(bad) < LEAST_LEVELS or not probe.subject.estimates_means:
        return Finding("denoising", says, facts=facts)
    return Finding(
        "denoising",
        f"{says} (at σ/α = {worst.ratio:.2g}): x̂_0 is not the mean of x_0 given x_t",
        "denoising",
        "train it longer, or read it otherwise: see --json for every level",
        facts,
    )


def terminal(probe: Probe, reading: Reading) -> Finding:
    """How much of the data is left at t = 1."""
    end = noise_level(reading.schedule, 1.0)
    alpha, ratio = float(end.alpha), float(end.alpha) / float(end.sigma)
    x = probe.rows.x.double()
    x = x.flatten(2) if x.ndim > 2 else x[:, None]
    trace = ratio * float(x.mean(2).std(0).max()) * x.shape[2] ** 0.5  # of the mean of a channel
    facts = {"alpha": alpha, "signal_to_noise": ratio**2, "trace": trace}
    if not alpha:
        return Finding("last noise level", "at t = 1 nothing is left of the data: alpha = 0 exactly", facts=facts)
    says = (
        f"at t = 1 alpha = √ᾱ_T = {alpha:.2g} of the data is left, a signal-to-noise ratio of "
        f"{20 * log10(ratio):.0f} dB"
    )
    if trace < VISIBLE:
        return Finding("last noise level", f"{says}: too little to tell a bright picture from a dark one", facts=facts)
    return Finding(
        "last noise level",
        f"{says}: enough to tell bright from dark by {trace:.2g} standard deviations. Sampling begins without it, so "
        "that all samples get much the same brightness",
        "terminal signal",
        "rescale the schedule to end with no signal (`sumi mend` does, for networks that predict v, x_0 or u)",
        facts,
    )
