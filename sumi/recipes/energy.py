"""NCSN as an energy: the score is the gradient of a scalar (Song & Ermon 2019, section 2.1; Salimans & Ho 2021).

What `ncsn` is, but the network gives one number for each x and level, E, and the score is -∇E: a field that is a
gradient indeed, so that log p is known up to its normalising constant, which sampling never needs. Noise from 0.01 to 3
in continuous time: the most of it hides the data, so that the constant can be found from there on, and the ODE has
its density at every level. Sampled as `ncsn` is, on 16 levels.
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
