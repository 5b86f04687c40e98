"""Classifier-free guidance (Ho & Salimans 2022).

One network learns p(x | y) and p(x): the label is left out of one training sample in ten. In sampling the conditional
denoiser is extrapolated away from the unconditional one; ``--guidance 1`` is the plain conditional model.
"""

from sumi.conditioning.labels import LabelConditioning
from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.diffusion.system import DiffusionConfig
from sumi.process.chain import CosineBeta
from sumi.sampling.sampler import Guidance, Sampling


def recipe(data: DataConfig, _: DataSpec) -> DiffusionConfig:
    """Class labels with dropout 0.1 and the cosine schedule; guided by 2 unless told otherwise."""
    return DiffusionConfig(
        recipe="classifier-free",
        data=data,
        schedule=CosineBeta(),
        conditioning=(LabelConditioning(),),
        sampling=Sampling(guidance=Guidance(2.0)),
    )
