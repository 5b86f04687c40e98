"""NCSN as an energy: the score is the gradient of a scalar (Song & Ermon 2019, section 2.1; Salimans & Ho 2021).

As `ncsn`, but the network gives one number E for each x and level, and the score is -∇E. So the score is a gradient
field, and log p is known up to its normalising constant, which sampling never needs. Noise from 0.01 to 3 in continuous
time: the largest noise hides the data, where the constant is known, and the ODE has a density at every level. Sampled
as `ncsn`, on 16 levels.
"""

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.denoising.parameterization import PredictEnergy
from sumi.models.diffusion.system import DiffusionConfig
from sumi.objectives.times import UniformTimes
from sumi.process.exploding import VE
from sumi.sampling.sampler import Sampling


def recipe(data: DataConfig, _: DataSpec) -> DiffusionConfig:
    """Geometric noise, the loss of `ncsn`, a scalar network, and annealed Langevin dynamics."""
    return DiffusionConfig(
        recipe="energy",
        data=data,
        schedule=VE(sigma_max=3.0),
        parameterization=PredictEnergy(),
        times=UniformTimes(),
        sampling=Sampling(solver="langevin", steps=16, threshold="none"),
    )
