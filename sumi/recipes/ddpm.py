"""DDPM (Ho et al. 2020, "Denoising diffusion probabilistic models").

Linear β from 1e-4 to 0.02 in T = 1000 steps, a network that predicts ε, the simple loss (the same weight for the error
of ε̂ at all times), and exponentially averaged weights; sampled by `adams` or, as in the paper, ancestrally (solver
``ddpm``).
"""

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.diffusion.system import DiffusionConfig


def recipe(data: DataConfig, _: DataSpec) -> DiffusionConfig:
    """The paper's process, parameterization and loss; a network and a learning rate for two CPU cores."""
    return DiffusionConfig(recipe="ddpm", data=data)
