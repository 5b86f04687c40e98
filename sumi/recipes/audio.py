"""Sound by the tools of pictures: its MDCT (`sumi.autoencoders.mdct`), a U-Net, and the noise levels of EDM.

A transform with as many numbers as samples, whose inverse is exact, needs no vocoder and no phases. The preconditioning
and the noise levels are those of Karras et al. 2022, whose deviation of data, 0.5, the transform has. Where the data
have classes the network knows them, one in ten is left out, and samples are guided (Ho & Salimans 2022).
"""

from sumi.conditioning.labels import LabelConditioning
from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.denoising.parameterization import PredictPreconditioned
from sumi.denoising.weighting import EDMWeighting
from sumi.models.diffusion.autoencoder import MDCTBands
from sumi.models.diffusion.system import DiffusionConfig
from sumi.objectives.times import LogNormalTimes
from sumi.process.exploding import EDM
from sumi.sampling.sampler import Guidance, Sampling
from sumi.training.config import TrainingConfig


def recipe(data: DataConfig, spec: DataSpec) -> DiffusionConfig:
    """64 bands of 8 ms each at 8 kHz; batches of 32, and a rate that falls to 0."""
    return DiffusionConfig(
        recipe="audio",
        data=data,
        autoencoder=MDCTBands(),
        schedule=EDM(),
        parameterization=PredictPreconditioned(),
        weighting=EDMWeighting(),
        times=LogNormalTimes(),
        conditioning=(LabelConditioning(),) if spec.label_names else (),
        sampling=Sampling(
            solver="heun",
            steps=32,
            time_grid="karras",
            guidance=Guidance(scale=2.0 if spec.label_names else 1.0),
            threshold="none",
        ),
        training=TrainingConfig(batch_size=32, learning_rate=1e-3, decay="cosine", ema_decay=0.995),
    )
