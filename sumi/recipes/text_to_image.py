"""Words to pictures: a transformer on patches of pixels, which attends to the words of a caption.

Text conditions by attention (Rombach et al. 2022) and dropped captions for guidance (Ho & Salimans 2022), on the
network and the loss of `sumi.recipes.jit`. The words are read by a small transformer that is trained with it.
"""

from dataclasses import replace

from sumi.conditioning.text import TextConditioning
from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.denoising.parameterization import PredictBoundedClean
from sumi.denoising.weighting import FlowWeighting
from sumi.models.diffusion.system import DiffusionConfig
from sumi.networks.transformer import TransformerConfig
from sumi.objectives.times import LogitNormalTimes
from sumi.process.continuous import Flow
from sumi.sampling.sampler import Guidance, Sampling
from sumi.training.config import TrainingConfig

PATCHES = 8
"""Patches along the shorter side."""
GUIDANCE = 2.0
"""The largest scale that costs a trained model nothing: from 3 on colours and distances are worse
(docs/results/conditioning.md); one that was trained for a few minutes gains by it.
"""


def network_of(spec: DataSpec) -> TransformerConfig:
    """A transformer of words among the keys of attention, which is faster than in the stream."""
    network = TransformerConfig(width=160, blocks=6, tokens="keys", embedding=160)
    if len(spec.shape) != 3:
        return network
    return replace(network, patch=max(2, round(min(spec.shape[1:]) / PATCHES)))


def recipe(data: DataConfig, spec: DataSpec) -> DiffusionConfig:
    """Noisy times, small batches, Muon."""
    return DiffusionConfig(
        recipe="text-to-image",
        data=data,
        schedule=Flow(),
        parameterization=PredictBoundedClean(),
        weighting=FlowWeighting(),
        times=LogitNormalTimes(mean=0.6),
        conditioning=(TextConditioning(),),
        network=network_of(spec),
        sampling=Sampling(steps=20, guidance=Guidance(scale=GUIDANCE)),
        training=TrainingConfig(
            batch_size=32, optimizer="muon", learning_rate=1.5e-3, decay="linear", beta_2=0.99, ema_decay=0.995
        ),
    )
