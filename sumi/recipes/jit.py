"""JiT (Li & He 2025, "Back to basics: let denoising generative models denoise").

A plain transformer on large patches of pixels that predicts the clean picture: pictures lie near a surface of few
dimensions, which a narrow network can hold, and noise does not. The loss is the error of the velocity that this
implies, on the straight line from data to noise, at times that are often noisy.
"""

from dataclasses import replace

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.denoising.parameterization import PredictBoundedClean
from sumi.denoising.weighting import FlowWeighting
from sumi.models.diffusion.system import DiffusionConfig
from sumi.networks.transformer import TransformerConfig
from sumi.objectives.times import LogitNormalTimes
from sumi.process.continuous import Flow
from sumi.sampling.sampler import Sampling

PATCHES = 8
"""Patches along the shorter side, where the paper has 16: a quarter of the tokens, for smaller pictures."""


def recipe(data: DataConfig, spec: DataSpec) -> DiffusionConfig:
    """The paper's loss, its times (0.8 ± 0.8 of the logit, noise at 1) and Heun's solver."""
    network = TransformerConfig()
    if len(spec.shape) == 3:
        network = replace(network, patch=max(2, round(min(spec.shape[1:]) / PATCHES)))
    return DiffusionConfig(
        recipe="jit",
        data=data,
        schedule=Flow(),
        parameterization=PredictBoundedClean(),
        weighting=FlowWeighting(),
        times=LogitNormalTimes(mean=0.8, std=0.8),
        network=network,
        sampling=Sampling(solver="heun", steps=25),
    )
