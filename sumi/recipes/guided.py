"""Guided diffusion (Dhariwal & Nichol 2021, "Diffusion models beat GANs on image synthesis").

The class-conditional ADM U-Net with the learned variance, hybrid loss and cosine schedule of improved DDPM. A
classifier of noisy images (`sumi train noisy-classifier`) guides it: ``sumi sample RUN --label L --classifier
CLASSIFIER``. One training sample in ten has no label, which allows classifier-free guidance and unconditional sampling.
"""

from sumi.conditioning.labels import LabelConditioning
from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.denoising.variance import LearnedVariance
from sumi.models.diffusion.system import DiffusionConfig
from sumi.networks.adm import ADMConfig
from sumi.process.chain import CosineBeta
from sumi.sampling.sampler import Sampling


def recipe(data: DataConfig, _: DataSpec) -> DiffusionConfig:
    """The ADM with class labels; sampled ancestrally with the learned variance."""
    return DiffusionConfig(
        recipe="guided",
        data=data,
        schedule=CosineBeta(),
        variance=LearnedVariance(),
        conditioning=(LabelConditioning(),),
        network=ADMConfig(),
        sampling=Sampling(solver="ddpm_learned", steps=100),
    )
