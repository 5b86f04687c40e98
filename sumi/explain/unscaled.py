"""Why a noising step shrinks x: without the factor √(1 - β) the variance grows without limit.

    scaled      x_k = √(1 - β_k) x_{k-1} + √β_k ε        V_k = (1 - β_k) V_{k-1} + β_k        V = 1 stays 1
    unscaled    x_k =            x_{k-1} + √β_k ε        V_k = V_{k-1} + β_k                  V_T = V_0 + Σ β

For the linear schedule of Ho et al. 2020 and data of variance 1, the second ends at 1 + 1000 (1e-4 + 0.02)/2 = 11.05.
Nor does it lose the data: of those 11.05, the data still have variance 1.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sumi.figures.canvas import INK, RED, SavedFigure, canvas, name_lines, save, show_image
from sumi.process.schedule import Schedule
from sumi.randomness import Purpose, normal

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

POINTS = 20_000
DOTS = 20
SHOWN = 5
SCALED, UNSCALED = "x ← √(1-β) x + √β ε", "x ← x + √β ε"


def carries_unit_variance(schedule: Schedule, steps: int) -> bool:
    """Whether alpha² + sigma² = 1 on the grid and some noise is added, so that β defines each step."""
    t = torch.arange(steps + 1, dtype=torch.float64) / steps
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    return bool(alpha[-1] < 1) and bool(((alpha**2 + sigma**2 - 1).abs() < 1e-9).all())


def variances(betas: Tensor, of_data: float = 1.0, *, scaled: bool) -> Tensor:
    """V_0 … V_T of a chain with β (T,) for data of variance ``of_data``: float64 (T + 1,)."""
    if not scaled:
        return of_data + torch.cat([betas.new_zeros(1), betas.cumsum(0)])
    kept = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])
    return 1 + (of_data - 1) * kept


def walk(x_0: Tensor, betas: Tensor, *, scaled: bool, seed: int = 0) -> list[Tensor]:
    """x_0 of any shape through every step: x_0 … x_T; the noise is the same for scaled and unscaled steps."""
    states = [x_0]
    for k, beta in enumerate(betas.tolist()):
        noise = normal(seed, [0], k, Purpose.STEP, x_0.shape, dtype=x_0.dtype)[0]
        states.append(states[-1] * ((1 - beta) ** 0.5 if scaled else 1.0) + beta**0.5 * noise)
    return states


@dataclass(frozen=True)
class Walked:
    """Measured variance of many points after 0 … T steps, float64 (T + 1,) each, and its relative error."""

    scaled: Tensor
    unscaled: Tensor
    error: float


def walk_points(betas: Tensor, *, points: int = POINTS, seed: int = 0) -> Walked:
    """``points`` samples of N(0, 1), noised both ways; the relative error of their variance is √(2/points)."""
    start = normal(seed, [0], 0, Purpose.START, (points,))[0]
    found = (torch.stack([x.double().var() for x in walk(start, betas, scaled=s, seed=seed)]) for s in (True, False))
    return Walked(*found, error=(2 / points) ** 0.5)


def draw_unscaled(image: Tensor, schedule: Schedule, steps: int, path: Path, *, seed: int = 0) -> SavedFigure:
    """The variance over t, measured and exact, and one image (C, H, W) in [-1, 1] noised both ways."""
    betas = schedule.betas(steps)
    walked = walk_points(betas, seed=seed)
    figure = canvas(11, 3.6)
    ((left, right),) = figure.subfigures(1, 2, squeeze=False, width_ratios=[1, 1.25])
    axes = left.subplots()
    t = torch.arange(steps + 1) / steps
    dots = torch.linspace(0, steps, DOTS + 1).round().long()
    ends = {}
    for kind, found, colour in ((False, walked.unscaled, RED), (True, walked.scaled, INK)):
        exact = variances(betas, scaled=kind)
        ends[kind] = (float(exact[-1]), float(found[-1]), float(found[-1]) * walked.error)
        axes.plot(t, exact, color=colour, label=f"{SCALED if kind else UNSCALED}\n{ends[kind][0]:.2f}")
        axes.plot(t[dots], found[dots], ".", color=colour)
    axes.set_title(f"lines: exact, dots: measured on {POINTS:,} points", fontsize=10)
    axes.set_ylim(0, 1.15 * ends[False][0])
    axes.set_xlabel("t   (0 data, 1 noise)")
    axes.set_ylabel("variance of x, data of variance 1")
    axes.grid(alpha=0.25)
    name_lines(axes)
    _draw_images(right, image, betas, seed)
    (exact, found, error), (kept, found_kept, error_kept) = ends[False], ends[True]
    return save(
        figure,
        path,
        f"without √(1-β) the variance of unit data ends at {exact:.2f} (measured: {found:.2f} ± {error:.2f}), "
        f"with it at {kept:.2f} (measured: {found_kept:.2f} ± {error_kept:.2f})",
    )


def _draw_images(figure: "SubFigure", image: Tensor, betas: Tensor, seed: int) -> None:
    panels = figure.subplots(2, SHOWN)
    shown = torch.linspace(0, len(betas), SHOWN).round().long().tolist()
    for row, (kind, name, colour) in enumerate(((False, UNSCALED, RED), (True, SCALED, INK))):
        states = walk(image, betas, scaled=kind, seed=seed)
        for column, k in enumerate(shown):
            axes = panels[row][column]
            show_image(axes, states[k])
            inside = float((states[k].abs() <= 1).double().mean())
            axes.set_xlabel(f"{100 * inside:.0f} % inside", fontsize=8)
            if row == 0:
                axes.set_title(f"t = {k / len(betas):.2g}", fontsize=9)
        panels[row][0].set_ylabel(name, fontsize=9, color=colour)
    figure.supxlabel("black: ≤ -1, white: ≥ 1; below each: share of pixels inside [-1, 1]", fontsize=9)
