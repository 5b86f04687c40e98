"""VDM (Kingma et al. 2021, "Variational diffusion models").

The bound in continuous time depends on the schedule only through its ends, which are learned from it; the monotone
network between them minimises the variance of the bound's estimate. Times are stratified over each batch, and the
network sees Fourier features of its input, needed for the last bits of a pixel.
"""

from math import log2

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.denoising.weighting import LikelihoodWeighting
from sumi.models.diffusion.system import DiffusionConfig
from sumi.networks.unet import UNetConfig
from sumi.objectives.times import UniformTimes
from sumi.process.learned import Learned
from sumi.sampling.sampler import Sampling


def recipe(data: DataConfig, spec: DataSpec) -> DiffusionConfig:
    """The paper's bound, schedule and Fourier features with periods of one and two pixel levels."""
    bits = round(log2(spec.levels or 256))
    return DiffusionConfig(
        recipe="vdm",
        data=data,
        schedule=Learned(learn_ends=True),
        weighting=LikelihoodWeighting(),
        times=UniformTimes(start=1e-5),
        stratified_times=True,
        network=UNetConfig(fourier=(bits - 1, bits)),
        sampling=Sampling(solver="adams", steps=50),
    )
