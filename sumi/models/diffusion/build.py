"""From a configuration to an untrained denoiser, its loss and its times: which parts a run is made of."""

from typing import Any, Final

import torch

from sumi.conditioning.conditioner import build_conditioner
from sumi.data.spec import DataSpec
from sumi.denoising.binomial import BinomialDenoiser, BinomialLoss
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.energy import EnergyGradient
from sumi.denoising.parameterization import PredictEnergy
from sumi.denoising.variance import LearnedVariance
from sumi.denoising.weighting import (
    LearnedUncertainty,
    LikelihoodWeighting,
    OutputWeighting,
    StepLikelihood,
    Weighting,
)
from sumi.errors import InputError, SumiError
from sumi.likelihood.variational import VARIANCES, VariationalBound, even_times
from sumi.models.diffusion.config import RunConfig
from sumi.objectives.bound import ChainBoundLoss, HybridLoss, WholeBoundLoss
from sumi.objectives.denoising import DenoisingLoss, Loss
from sumi.objectives.schedule import VarianceMinimisingLoss
from sumi.objectives.times import ImportanceSampler, ImportanceTimes, TimeSampler
from sumi.objectives.uncertainty import UncertainLoss, Uncertainty
from sumi.process.learned import Learned
from sumi.process.schedule import level

LARGEST_COEFFICIENT: Final = 1e9  # 1/alpha at t = 1 is 157 for linear β, 2e4 for cosine; float32 holds 7 digits


def build_denoiser(config: RunConfig, items: DataSpec) -> NetworkDenoiser | BinomialDenoiser:
    """A new, untrained denoiser: network, schedule and parameterization as configured.

    What is trained or kept count of beside them (`NetworkDenoiser.companions`) is there too. Raises InputError where
    they do not fit: data that the network or the process cannot take, or a schedule that ends with so little data that
    what the network predicts there says nothing of it in float32.
    """
    schedule = config.schedule.build()
    if config.process == "binomial":
        if items.levels != 2 or len(items.shape) != 1:
            raise InputError("process: binomial noises bits, and these data are none; set process=gaussian")
        return BinomialDenoiser(config.network.build(items.shape), schedule, config.times.grid)
    with torch.no_grad():
        end = level(schedule, torch.ones(1))  # a tensor: where alpha is 0, its inverse is infinite and no error
    c = config.parameterization.coefficients(end)
    if not all(abs(float(value)) <= LARGEST_COEFFICIENT for value in (c.c_in, c.c_skip, c.c_out, c.c_noise)):
        raise InputError(
            f"schedule: at t = 1 no data is left (alpha = {float(end.alpha):.1e}, sigma = "
            f"{float(end.sigma):.1e}), and parameterization={config.parameterization.name} is singular there; set "
            "parameterization=velocity, or end the schedule with less noise"
        )
    learned_variance = isinstance(config.variance, LearnedVariance)
    conditioner, told = build_conditioner(config.conditioning, items, config.network.embedding)
    network = config.network.build(items.shape, 2 if learned_variance else 1, told)
    if isinstance(config.parameterization, PredictEnergy):
        network = EnergyGradient(network)
    denoiser = NetworkDenoiser(
        network, schedule, config.parameterization, config.times.grid, learned_variance, conditioner
    )
    if isinstance(config.weighting, LearnedUncertainty):
        denoiser.companions["uncertainty"] = Uncertainty()
    if isinstance(config.times, ImportanceTimes):
        denoiser.companions["times"] = config.times.sampler()
    return denoiser


def build_loss(config: RunConfig, denoiser: NetworkDenoiser | BinomialDenoiser, levels: int | None = None) -> Loss[Any]:
    """The loss with the configured weighting; on a grid, a likelihood is that of the chain's steps.

    ``levels``: how many values an element of the data takes, for losses that have a decoder; None for real numbers,
    which values spread over their bins are too.
    """
    if isinstance(denoiser, BinomialDenoiser):
        return BinomialLoss(config.times.grid or 1)
    if isinstance(config.schedule, Learned):
        return WholeBoundLoss(levels) if config.schedule.learn_ends else VarianceMinimisingLoss()
    if isinstance(config.variance, LearnedVariance) and config.times.grid is not None:
        bound = VariationalBound(denoiser.schedule, even_times(config.times.grid), VARIANCES["learned"], levels)
        if isinstance(config.weighting, LikelihoodWeighting):
            return ChainBoundLoss(bound)
        if not isinstance(config.weighting, LearnedUncertainty):
            return HybridLoss(config.weighting, bound, config.variance.bound_weight)
    for companion in denoiser.companions.values():
        if isinstance(companion, Uncertainty):
            return UncertainLoss(DenoisingLoss(OutputWeighting(config.parameterization)), companion)
    if isinstance(config.weighting, LearnedUncertainty):
        raise SumiError("training: weighting=uncertainty needs a denoiser that holds it; make it with build_denoiser")
    weighting: Weighting = config.weighting
    if isinstance(weighting, LikelihoodWeighting) and config.times.grid is not None:
        weighting = StepLikelihood(denoiser.schedule, config.times.grid)
    return DenoisingLoss(weighting)


def build_times(config: RunConfig, denoiser: NetworkDenoiser | BinomialDenoiser) -> TimeSampler:
    """The configured time sampler, or the denoiser's module that is one. Raises InputError where it has no times."""
    for companion in denoiser.companions.values():
        if isinstance(companion, ImportanceSampler):
            return companion
    if isinstance(config.times, ImportanceTimes):
        return config.times.sampler()
    config.times.times(torch.zeros(1, dtype=torch.float64), denoiser.schedule)
    return config.times
