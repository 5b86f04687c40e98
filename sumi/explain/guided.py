"""Guided samples do not follow the tempered distribution p(x) p(y | x)^w.

Guidance of scale w follows, at each noise level, the score of p(x_t) p(y | x_t)^w. These products are not noised
versions of one distribution, so for w > 1 samples do not follow the tempered distribution. The data here, a mixture of
three Gaussians in the plane of which two form the class, make everything exact: the denoisers, p(y | x) and, on a
lattice, the tempered distribution. Classifier guidance of the unconditional denoiser by the exact classifier has the
same score and samples.

The first coordinates are compared by the Kolmogorov-Smirnov distance, which for n samples of the tempered distribution
itself is below 1.36/√n in 95 of 100 cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from sumi.denoising.exact import mixture_denoiser
from sumi.figures.canvas import INK, RED, SavedFigure, canvas, save
from sumi.guidance.extrapolation import Extrapolation
from sumi.process.continuous import VP
from sumi.randomness import Purpose, normal
from sumi.sampling.sample import sample
from sumi.sampling.solvers.adams import Adams
from sumi.sampling.time_grid import TIME_GRIDS

MEANS: Final = ((-0.7, 0.1), (0.6, -0.5), (0.4, 0.8))
STDS: Final = (0.35, 0.3, 0.25)
SHARES: Final = (0.5, 0.3, 0.2)
OF_CLASS: Final = (1, 2)
SCALES: Final = (0.0, 1.0, 2.0, 4.0)
REACH: Final = 3.0  # of the lattice: at least six standard deviations from every component's mean
STD: Final = 0.5  # rough standard deviation of the data, for the solver


def _mixture() -> tuple[Tensor, Tensor, Tensor]:
    means, stds, shares = (torch.tensor(v, dtype=torch.float64) for v in (MEANS, STDS, SHARES))
    return means, stds, shares


def guided_samples(scale: float, *, n: int, steps: int = 150, seed: int = 0) -> Tensor:
    """Samples of the guided score's exact ODE, float64 (n, 2), from the same noise at every scale."""
    means, stds, shares = _mixture()
    schedule, parts = VP().build(), torch.tensor(OF_CLASS)
    of_class = mixture_denoiser(means[parts], stds[parts], shares[parts] / shares[parts].sum(), schedule)
    denoiser = Extrapolation(of_class, mixture_denoiser(means, stds, shares, schedule), scale)
    x = normal(seed, [0], 0, Purpose.START, (n, 2), dtype=torch.float64)[0]
    return sample(denoiser, Adams(data_std=STD), TIME_GRIDS["log_ratio"](schedule, steps, STD), x)


def tempered(scale: float, axis: Tensor) -> Tensor:
    """p(x) p(y | x)^w, normalised on the lattice of ``axis`` (n,) float64 in both coordinates: (n, n)."""
    means, stds, shares = _mixture()
    x = torch.cartesian_prod(axis, axis)
    squares = (x[:, None] - means).square().sum(-1)
    joint = shares.log() - squares / (2 * stds**2) - 2 * stds.log()
    marginal = joint.logsumexp(1)
    of_class = joint[:, OF_CLASS].logsumexp(1) - marginal
    return (marginal + scale * of_class).softmax(0).reshape(len(axis), len(axis))


@dataclass(frozen=True)
class Guided:
    """Results at one scale: samples (n, 2), the tempered distribution on the lattice (m, m), and a comparison of the
    first coordinates.

    ``mean``, ``std``: of the tempered distribution. ``apart``: Kolmogorov-Smirnov distance; ``bound``: its 95 % limit.
    """

    scale: float
    samples: Tensor
    lattice: Tensor
    mean: float
    std: float
    apart: float
    bound: float


def compare_with_tempered(
    scales: Sequence[float] = SCALES, *, n: int = 4000, places: int = 601, seed: int = 0
) -> tuple[Tensor, list[Guided]]:
    """The lattice's axis (places,), and the results at each scale."""
    axis, found = torch.linspace(-REACH, REACH, places, dtype=torch.float64), list[Guided]()
    for scale in scales:
        made, lattice = guided_samples(scale, n=n, seed=seed), tempered(scale, axis)
        first = lattice.sum(1)
        mean = float(first @ axis)
        std = float(first @ (axis - mean).square()) ** 0.5
        # each lattice point stands for the cell around it
        edges = axis + (axis[1] - axis[0]) / 2
        reached = (made[:, 0].sort().values[:, None] < edges).double().mean(0)
        apart = float((reached - first.cumsum(0)).abs().max())
        found.append(Guided(scale, made, lattice, mean, std, apart, 1.36 / n**0.5))
    return axis, found


def draw_guided(axis: Tensor, found: Sequence[Guided], path: Path) -> SavedFigure:
    """Above: samples on the tempered distribution; below: the first coordinates of both."""
    figure = canvas(3.1 * len(found), 5.6)
    above, below = figure.subplots(2, len(found), sharex=True, sharey="row", height_ratios=(2, 1))
    step = float(axis[1] - axis[0])
    for one, upper, lower in zip(found, above, below, strict=True):
        shown = one.lattice.T / one.lattice.max()
        upper.contourf(axis, axis, shown, levels=(0.02, 0.1, 0.3, 0.6, 1.0), cmap="Greys", alpha=0.7)
        upper.scatter(*one.samples[:1000].T, s=3, color=RED, alpha=0.5, linewidths=0)
        upper.set_xlim(-1.8, 1.8)
        upper.set_ylim(-1.6, 1.6)
        upper.set_aspect("equal")
        upper.set_title(f"w = {one.scale:g}", fontsize=11)
        lower.plot(axis, one.lattice.sum(1) / step, color=INK, linewidth=1.6, label="p(x) p(y | x)ʷ, exact")
        lower.hist(one.samples[:, 0], bins=60, range=(-2, 2), density=True, color=RED, alpha=0.5, label="samples")
        lower.set_xlabel(_caption(one).replace("; ", "\n"), fontsize=9)
    figure.legend(*below[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False, fontsize=10)
    return save(figure, path, ". ".join(f"w = {one.scale:g}: {_caption(one)}" for one in found))


def _caption(one: Guided) -> str:
    first = one.samples[:, 0]
    return (
        f"exact {one.mean:.2f} ± {one.std:.2f}; samples {float(first.mean()):.2f} ± {float(first.std()):.2f}; "
        f"apart by {one.apart:.3f} (by chance {one.bound:.3f})"
    )
