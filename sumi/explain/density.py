"""The learned density of a model of points in the plane, and its integral, which should be one.

The probability-flow ODE gives log p at every point of a lattice (`sumi.likelihood.plane`). If the network is an energy,
its normalising constant at the smallest noise is computed three ways (`sumi.likelihood.partition`): by annealed
importance sampling down the noise levels, by quadrature of exp(-U), and by comparison with the ODE.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.parameterization import PredictEnergy
from sumi.figures.canvas import DATA, INK, RED, SavedFigure, canvas, name_lines, save
from sumi.likelihood.grid_flow import integrator
from sumi.likelihood.partition import (
    LogPartition,
    anneal,
    annealing_times,
    energy,
    partition_by_flow,
    partition_on_plane,
)
from sumi.likelihood.plane import Interval, Plane, density_on_plane
from sumi.likelihood.probability_flow import Flow
from sumi.likelihood.trace import ExactTrace
from sumi.models.diffusion.model import DiffusionModel
from sumi.process.gaussian import add_noise
from sumi.process.schedule import NoiseLevel
from sumi.randomness import Purpose, normal

POINTS: Final = 129
FEWER_POINTS: Final = 49
"""Lattice points per side for an energy, whose Jacobian takes a second backward pass."""
MARGIN: Final = 1.3
LEAST_NOISE: Final = 0.02
"""σ̂ of the plotted density: two lattice points of the figure."""
CHAINS: Final = 256

Count = Callable[[int, int], None]


def flow_of(denoiser: NetworkDenoiser) -> tuple[Flow, NoiseLevel]:
    """The ODE's integrator for this network, and the noise level of its density."""
    flow = integrator(denoiser.trained_steps, smallest=LEAST_NOISE)
    return flow, flow.first(denoiser.schedule)


def learned_density(
    model: DiffusionModel, x_0: Tensor, *, points: int = POINTS, progress: Count | None = None
) -> Plane:
    """log p of the model on a lattice around the data x_0 (M, 2), nats in the model's units. Raises InputError."""
    denoiser = model.gaussian_denoiser()
    flow, start = flow_of(denoiser)

    def log_density(x: Tensor) -> Tensor:
        found = flow.log_density(denoiser, x, ExactTrace(), start=start, prior_std=model.prior_std)
        return found.log_density

    samples = model.sample(1000, batch_size=1000)
    return density_on_plane(
        log_density,
        _rectangle(x_0),
        samples,
        points=points,
        dtype=torch.float32,
        device=model.device,
        progress=progress,
    )


def draw_density(model: DiffusionModel, x_0: Tensor, path: Path, *, progress: Count | None = None) -> SavedFigure:
    """The learned density as a map, next to the data x_0 (M, 2). Raises InputError."""
    points = FEWER_POINTS if is_energy(model) else POINTS
    plane = learned_density(model, x_0, points=points, progress=progress)
    figure = canvas(9.5, 4.4)
    data, learned = figure.subplots(1, 2)
    (left, right), (low, high) = ((float(c[0]), float(c[-1])) for c in (plane.first, plane.second))
    data.scatter(x_0[:4000, 0], x_0[:4000, 1], s=1.5, color=DATA, alpha=0.4, linewidths=0)
    data.set_title("the data", fontsize=10)
    image = learned.imshow(
        plane.log_density.T.clamp(min=float(plane.log_density.max()) - 8),
        origin="lower",
        extent=(left, right, low, high),
        cmap="magma",
    )
    learned.set_title("log p by the probability-flow ODE, nats", fontsize=10)
    figure.colorbar(image, ax=learned, shrink=0.85)
    for axes in (data, learned):
        axes.set_xlim(left, right)
        axes.set_ylim(low, high)
        axes.set_aspect("equal")
    says = f"the learned density integrates to {plane.integral:.4f} ± {plane.error:.4f} on {len(plane.first)}² points"
    return save(figure, path, says)


@dataclass(frozen=True)
class Constants:
    """log Z of an energy at one level, three ways, and the effective number of annealed chains."""

    level: NoiseLevel
    annealed: LogPartition
    effective: float
    on_plane: LogPartition
    by_flow: LogPartition


def constants(model: DiffusionModel, x_0: Tensor) -> Constants:
    """The normalising constant of an energy of points at its smallest noise; x_0 (M, 2). Raises InputError."""
    denoiser, x_0 = model.gaussian_denoiser(), x_0.to(model.device)
    flow, start = flow_of(denoiser)
    noise = normal(model.config.seed, range(len(x_0)), 0, Purpose.EVALUATION, x_0.shape[1:], device=x_0.device)
    x_t = add_noise(x_0, noise, start)
    steps = denoiser.trained_steps
    down = (
        torch.arange(steps, 0, -1, dtype=torch.float64) / steps
        if steps
        else annealing_times(denoiser.schedule, float(start.t), 64)
    )
    chains = anneal(
        denoiser, x_0.shape[1:], down, chains=CHAINS, moves=10, prior_std=model.prior_std, device=model.device
    )
    on_plane, _ = partition_on_plane(denoiser, start, _rectangle(x_t), x_t, points=2 * POINTS - 1)
    by_flow = partition_by_flow(denoiser, flow, ExactTrace(), x_t[:200], start, prior_std=model.prior_std)
    return Constants(start, chains.log_partition, chains.effective, on_plane, by_flow)


def is_energy(model: DiffusionModel) -> bool:
    """Whether the model's network is the gradient of an energy."""
    return model.config.parameterization == PredictEnergy()


def draw_energy(model: DiffusionModel, x_0: Tensor, path: Path) -> SavedFigure:
    """-U at the smallest noise and log p of the ODE along the plane's diagonal; and log Z three ways."""
    found = constants(model, x_0)
    denoiser = model.gaussian_denoiser()
    flow, start = flow_of(denoiser)
    line = torch.linspace(-MARGIN, MARGIN, 400)[:, None] * float(x_0.abs().max()) * torch.ones(1, 2) / MARGIN
    points = line.to(model.device)
    with torch.no_grad():
        below = -energy(denoiser, float(start.alpha) * points, start).cpu()
    by_ode = flow.log_density(denoiser, points, ExactTrace(), start=start, prior_std=model.prior_std).log_density
    figure = canvas(9.5, 3.8)
    left, right = figure.subplots(1, 2, width_ratios=[2, 1])
    along = line[:, 0]
    left.plot(along, below - found.on_plane.value, color=INK, label="-U - log Z: the energy")
    left.plot(along, by_ode, color=RED, linewidth=1, label="log p: the ODE")
    left.set_ylim(float(by_ode.max()) - 14, float(by_ode.max()) + 2)
    left.set_xlabel("along the diagonal of the plane")
    left.set_ylabel("nats")
    ways = (("annealing", found.annealed), ("lattice", found.on_plane), ("ODE", found.by_flow))
    right.errorbar(
        range(3), [w.value for _, w in ways], yerr=[2 * w.error for _, w in ways], fmt="o", color=INK, capsize=4
    )
    right.set_xticks(range(3), [name for name, _ in ways])
    right.set_xlim(-0.5, 2.5)
    right.set_title("log Z, ± 2 errors", fontsize=10)
    for axes in (left, right):
        axes.grid(alpha=0.25)
    name_lines(left)
    values = ", ".join(f"{w.value:.3f} ± {w.error:.3f} by {name}" for name, w in ways)
    return save(
        figure,
        path,
        f"log Z at sigma = {float(found.level.sigma):.3g}: {values} ({found.effective:.0f} effective chains)",
    )


def _rectangle(x: Tensor) -> tuple[Interval, Interval]:
    low, high = x.amin(0).cpu().double(), x.amax(0).cpu().double()
    middle, half = (low + high) / 2, (high - low) / 2 * MARGIN
    (left, bottom), (right, top) = (middle - half).tolist(), (middle + half).tolist()
    return (left, right), (bottom, top)
