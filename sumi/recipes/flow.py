"""Rectified flow, or flow matching (Liu et al. 2023; Lipman et al. 2023; Esser et al. 2024).

A straight line from data to noise, a network that predicts its velocity ε - x_0 with its plain squared error, and
training times concentrated around the middle.
"""

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.denoising.parameterization import PredictFlow
from sumi.denoising.weighting import FlowWeighting
from sumi.models.diffusion.system import DiffusionConfig
from sumi.objectives.times import LogitNormalTimes
from sumi.process.continuous import Flow
from sumi.sampling.sampler import Sampling


def recipe(data: DataConfig, _: DataSpec) -> DiffusionConfig:
    """The line, the velocity and logit-normal times; sampled by the ODE."""
    return DiffusionConfig(
        recipe="flow",
        data=data,
        schedule=Flow(),
        parameterization=PredictFlow(),
        weighting=FlowWeighting(),
        times=LogitNormalTimes(),
        sampling=Sampling(solver="adams", steps=50),
    )
