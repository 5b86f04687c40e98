"""Stable Diffusion (Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models", section 4.3;
Esser et al. 2024, "Scaling rectified flow transformers", of version 3).

Words to latents: the U-Net attends to the words of a caption at each level, as in the first version. The process is
that of the third: a straight line, with most training times noisy. It heeds captions after a fraction of the steps
that the first version's chain and ε take (docs/results/conditioning.md, "Emoji"). Captions are dropped for guidance.
The words are read by a small transformer that is trained with it, where the original has CLIP's, and the autoencoder is
trained first, or given. Latents have a fourth of each side and four channels, and from 128 pixels on an eighth and
eight.
"""

from dataclasses import replace
from typing import Final

from sumi.autoencoders.autoencoder import AutoencoderNetwork
from sumi.autoencoders.regularizers import KL
from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.denoising.parameterization import PredictFlow
from sumi.models.diffusion.autoencoder import TrainedAutoencoder
from sumi.models.diffusion.system import DiffusionConfig
from sumi.networks.unet import UNetConfig
from sumi.recipes import text_to_image

LARGE: Final = 128
"""Pixels of the shorter side."""


def autoencoder_of(spec: DataSpec) -> AutoencoderNetwork:
    """16×16×4 of 64 pixels, 16×16×8 of 128."""
    if len(spec.shape) != 3 or min(spec.shape[1:]) < LARGE:
        return AutoencoderNetwork()
    return AutoencoderNetwork(widths=(32, 64, 128), blocks=(1, 2, 2), regularizer=KL(channels=8))


def recipe(data: DataConfig, spec: DataSpec) -> DiffusionConfig:
    """Two levels, each with attention to the words; latents have no threshold."""
    base = text_to_image.recipe(data, spec)
    return replace(
        base,
        recipe="stable-diffusion",
        parameterization=PredictFlow(),
        autoencoder=TrainedAutoencoder(network=autoencoder_of(spec)),
        network=UNetConfig(widths=(64, 128), blocks=(1, 3), attention=(1,), cross_attention=(0, 1)),
        sampling=replace(base.sampling, threshold="none"),
    )
