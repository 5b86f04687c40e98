"""From a configuration to an untrained denoiser: which parts a run is made of."""

from typing import Final

import torch

from sumi.conditioning.configs import build_conditioner
from sumi.denoising.binomial import BinomialDenoiser
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.energy import EnergyGradient
from sumi.denoising.parameterization import PredictEnergy
from sumi.denoising.time_sampling import ImportanceTimes
from sumi.denoising.uncertainty import Uncertainty
from sumi.denoising.variance import LearnedVariance
from sumi.denoising.weighting import LearnedUncertainty
from sumi.errors import InputError
from sumi.process.schedule import level
from sumi.run import ImageSpec, ItemSpec, RunConfig

LARGEST_COEFFICIENT: Final = 1e9  # 1/alpha at t = 1 is 157 for linear β, 2e4 for cosine; float32 holds 7 digits


def build_denoiser(config: RunConfig, items: ItemSpec) -> NetworkDenoiser | BinomialDenoiser:
    """A new, untrained denoiser: network, schedule and parameterization as configured.

    What is trained or kept count of beside them (`NetworkDenoiser.companions`) is there too. Raises InputError where
    they do not fit: data that the network or the process cannot take, or a schedule that ends with so little data that
    what the network predicts there says nothing of it in float32.
    """
    schedule = config.schedule.build()
    if config.process == "binomial":
        if items.levels != 2 or isinstance(items, ImageSpec):
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
