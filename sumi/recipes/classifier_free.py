"""Classifier-free guidance (Ho & Salimans 2022).

One network learns p(x | y) and p(x): one training sample in ten has no label. Sampling extrapolates the conditional
denoiser away from the unconditional one; ``--guidance 1`` is the plain conditional model.
"""

from sumi.conditioning.labels import LabelConditioning
from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.diffusion.system import DiffusionConfig
from sumi.process.chain import CosineBeta
from sumi.sampling.sampler import Guidance, Sampling


def recipe(data: DataConfig, _: DataSpec) -> DiffusionConfig:
    """Class labels with dropout 0.1, the cosine schedule, and guidance scale 2 by default."""
    return DiffusionConfig(
        recipe="classifier-free",
        data=data,
        schedule=CosineBeta(),
        conditioning=(LabelConditioning(),),
        sampling=Sampling(guidance=Guidance(2.0)),
    )
