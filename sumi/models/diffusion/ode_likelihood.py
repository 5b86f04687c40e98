"""The probability-flow ODE of a trained model as a likelihood: which integrator, which trace, which dequantiser.

A model that was trained on discrete values has a density that is all in narrow peaks at them. Evenly spread over their
bins, values lie mostly between the peaks; with Gaussian noise of an eighth of a bin they lie where the peak of that
noise level is. So that is the default, and the even one for a model that was trained on values so spread
(``data.dequantize``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log, prod
from typing import TYPE_CHECKING, Final, Literal

import torch
from torch import Tensor

from sumi.boundary.group import group
from sumi.boundary.progress import Count, counting_one
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.weighting import StepLikelihood
from sumi.errors import InputError
from sumi.likelihood.dequantize import (
    Dequantizer,
    GaussianDequantizer,
    UniformDequantizer,
    importance_weighted_bits,
    log_weights,
)
from sumi.likelihood.figures import Mean, OdeFigures, Unit
from sumi.likelihood.grid_flow import integrator
from sumi.likelihood.probability_flow import SMALLEST, Flow
from sumi.likelihood.trace import ExactTrace, draw_probes
from sumi.metrics.intervals import t_quantile
from sumi.models.diffusion.dequantizer import LearnedDequantizer, train_dequantizer
from sumi.objectives.times import GridTimes
from sumi.process.schedule import NoiseLevel, noise_level

if TYPE_CHECKING:
    from sumi.models.diffusion.model import DiffusionModel

Dequantization = Literal["uniform", "variational", "gaussian"]

EXACT_TRACE: Final = 16
"""Up to so many dimensions the trace is exact."""
BATCH: Final = 64
DEQUANTIZER_STEPS: Final = 400
LONG_CHAIN: Final = 500
"""A chain of so many steps is walked in every second of its times."""
BINS_IN_NOISE: Final = 8


@dataclass(frozen=True)
class OdeEstimate:
    """-log p of M items in ``nats``, float64 (M,), and its standard ``error`` over probes, NaN where there is one.

    ``evaluations``: of the network, the mean for an item.
    """

    nats: Tensor
    error: Tensor
    evaluations: float


@dataclass(frozen=True)
class OdeLikelihood:
    """-log p by the ODE of ``model``; all randomness follows from ``seed``.

    ``start``: the level that the density is of. ``dequantizer`` None: the data are points. ``draws`` of it are taken
    together (importance weighted) where the trace is exact; else they are averaged, since with ``probes`` that only
    estimate the trace the weights' mean would be no bound.
    """

    model: DiffusionModel
    flow: Flow
    start: NoiseLevel
    dequantizer: Dequantizer | None
    how: str
    seed: int = 0
    draws: int = 1
    probes: int = 1

    def figures(self, x_0: Tensor, unit: Unit, progress: Callable[[int, int], None] | None = None) -> OdeFigures:
        """The mean over items x_0 (M, …), on the model's device, in ``unit``. ``progress`` counts items."""
        found, probes = self.estimate(x_0, progress), 0 if x_0[0].numel() <= EXACT_TRACE else self.probes
        probe_error = None
        if probes > 1:
            error = float(found.error.square().sum().sqrt()) / len(x_0) / unit.per_item
            probe_error = t_quantile(len(x_0) * self.draws * (probes - 1)) * error
        return OdeFigures(self.how, Mean.of(unit.of_nats(found.nats)), found.evaluations, probes, probe_error)

    def estimate(self, x_0: Tensor, progress: Callable[[int, int], None] | None = None) -> OdeEstimate:
        """-log p of items x_0 (M, …)."""

        def rows_of(part: range) -> Tensor:
            """Of these items nats, error and evaluations of all draws: float64 (n, 3)."""
            batches = (part[first : first + BATCH] for first in range(0, len(part), BATCH))
            return torch.cat([self._rows(x_0, indices, progress) for indices in batches])

        nats, error, evaluations = group().shared(rows_of, range(len(x_0)), BATCH).to(x_0.device).unbind(1)
        return OdeEstimate(nats, error, float(evaluations.sum()) / len(x_0))

    def _rows(self, x_0: Tensor, indices: range, progress: Callable[[int, int], None] | None) -> Tensor:
        """As `estimate` has them, of the items ``indices`` of x_0, on the CPU."""
        x = x_0[indices.start : indices.stop]
        squares: list[Tensor] = []
        evaluations: list[Tensor] = []
        exact = x[0].numel() <= EXACT_TRACE

        def log_density(z: Tensor, number: int) -> Tensor:
            trace = ExactTrace() if exact else draw_probes(self.seed, indices, z, self.probes, step=number)
            denoiser = self.model.gaussian_denoiser()  # unclamped: a clamp has no slope
            found = self.flow.log_density(denoiser, z, trace, start=self.start, prior_std=self.model.prior_std)
            evaluations.append(found.evaluations)
            squares.append(found.standard_error.square())
            return found.log_density

        if self.dequantizer is None:
            nats = -log_density(x, 0)
        else:
            weights = log_weights(self.dequantizer, log_density, x, seed=self.seed, indices=indices, draws=self.draws)
            nats = importance_weighted_nats(weights) if exact else -weights.mean(1)
        error = torch.stack(squares).sum(0).sqrt() / len(squares)
        if progress is not None:
            progress(indices.stop, len(x_0))
        return torch.stack([nats.cpu(), error.cpu(), torch.stack(evaluations).sum(0).double().cpu()], 1)


def first_time(network: NetworkDenoiser, levels: int | None) -> float:
    """Where the network's part ends: at sigma/alpha of an eighth of a bin, 0.001 for points, or the schedule's least.

    The next time of its chain, where it knows no others.
    """
    ratio = SMALLEST if levels is None else 2 / (levels - 1) / BINS_IN_NOISE
    t = float(network.schedule.time(-2 * torch.tensor(ratio, dtype=torch.float64).log()))
    return (
        t if network.trained_steps is None else max(1, ceil(t * network.trained_steps - 1e-9)) / network.trained_steps
    )


def importance_weighted_nats(weights: Tensor) -> Tensor:
    """-log of the mean weight, nats (N,), of log weights (N, K)."""
    return importance_weighted_bits(weights, 1) * log(2)


def ode_likelihood(
    model: DiffusionModel,
    known: Tensor,
    *,
    dequantization: Dequantization | None = None,
    seed: int = 0,
    draws: int | None = None,
    probes: int | None = None,
    progress: Count | None = None,
) -> OdeLikelihood:
    """How the ODE of ``model`` tells a likelihood; a variational dequantiser is trained on ``known`` items (M, …).

    ``dequantization`` None: gaussian, or uniform where the model was trained on values so spread. Raises InputError
    where points are to be dequantised.
    """
    model.space.refuse("the likelihood")
    network, levels = model.gaussian_denoiser(), model.items.levels
    if probes is not None and prod(model.items.shape) <= EXACT_TRACE:
        raise InputError(f"probes: the trace is exact in {prod(model.items.shape)} dimensions; leave it out")
    flow = integrator(network.trained_steps, stride=2 if (network.trained_steps or 0) >= LONG_CHAIN else 1)
    dequantizer: Dequantizer | None = None
    start = flow.first(network.schedule)
    if levels is None:
        if dequantization is not None:
            raise InputError("dequantization: the data are real numbers already; leave it out")
        if draws is not None:
            raise InputError("draws: the data are real numbers, which need no dequantization; leave it out")
        how = flow.how
    else:
        name = dequantization or ("uniform" if model.config.data.dequantize else "gaussian")
        if name == "gaussian":
            start = noise_level(network.schedule, first_time(network, levels))
        dequantizer = _dequantizer(name, model, network, start, levels, known, seed, progress)
        how = f"{flow.how}, {name} dequantisation" + (f", {draws} draws" if (draws or 1) > 1 else "")
    return OdeLikelihood(model, flow, start, dequantizer, how, seed, draws or 1, probes or 1)


def _dequantizer(
    name: Dequantization,
    model: DiffusionModel,
    network: NetworkDenoiser,
    start: NoiseLevel,
    levels: int,
    known: Tensor,
    seed: int,
    progress: Count | None,
) -> Dequantizer:
    if name == "uniform":
        return UniformDequantizer(levels)
    if name == "gaussian":
        return GaussianDequantizer(model.denoiser(), start, levels)
    learned = LearnedDequantizer(model.items.shape, levels, seed=seed).to(model.device)
    on_grid = network.trained_steps is not None
    counted = counting_one(progress, "learning to dequantise")
    train_dequantizer(
        learned,
        network,
        known,
        steps=DEQUANTIZER_STEPS,
        seed=seed,
        times=GridTimes(network.trained_steps or 1) if on_grid else None,
        weighting=StepLikelihood(network.schedule, network.trained_steps or 1) if on_grid else None,
        progress=None if counted is None else lambda step, _: counted(step, DEQUANTIZER_STEPS),
    )
    return learned
