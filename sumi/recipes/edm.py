"""EDM (Karras et al. 2022, "Elucidating the design space of diffusion-based generative models").

Noise from 0.002 to 80 added to unscaled data, a network whose input and target have unit variance at every level,
log-normally distributed noise levels in training, and Heun's second-order solver on the paper's grid.
"""

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.denoising.parameterization import PredictPreconditioned
from sumi.denoising.weighting import EDMWeighting
from sumi.models.diffusion.system import DiffusionConfig
from sumi.objectives.times import LogNormalTimes
from sumi.process.exploding import EDM
from sumi.sampling.sampler import Sampling


def recipe(data: DataConfig, _: DataSpec) -> DiffusionConfig:
    """Table 1 of the paper; 18 steps of Heun are 35 evaluations, as for CIFAR-10."""
    return DiffusionConfig(
        recipe="edm",
        data=data,
        schedule=EDM(),
        parameterization=PredictPreconditioned(),
        weighting=EDMWeighting(),
        times=LogNormalTimes(),
        sampling=Sampling(solver="heun", steps=18, time_grid="karras", threshold="none"),
    )
