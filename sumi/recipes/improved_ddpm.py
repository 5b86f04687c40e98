"""Improved DDPM (Nichol & Dhariwal 2021, "Improved denoising diffusion probabilistic models").

The cosine schedule (s = 0.008), and a network that also predicts the variance of its steps, trained on the hybrid loss
L_simple + 0.001 L_vlb, whose second term only trains the variance. ``weighting=likelihood times=importance`` gives the
paper's L_vlb with importance-sampled times.
"""

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.denoising.variance import LearnedVariance
from sumi.models.diffusion.system import DiffusionConfig
from sumi.process.chain import CosineBeta
from sumi.sampling.sampler import Sampling


def recipe(data: DataConfig, _: DataSpec) -> DiffusionConfig:
    """The paper's schedule, variance and hybrid loss; sampled ancestrally with the learned variance."""
    return DiffusionConfig(
        recipe="improved-ddpm",
        data=data,
        schedule=CosineBeta(),
        variance=LearnedVariance(),
        sampling=Sampling(solver="ddpm_learned", steps=100),
    )
