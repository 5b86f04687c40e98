"""Latent diffusion (Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models").

An autoencoder, trained first, makes a grid of a quarter of each side of a picture, and a diffusion model learns that.
The diffusion is that of `sumi.recipes.flow`.
"""

from dataclasses import replace

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.diffusion.autoencoder import TrainedAutoencoder
from sumi.models.diffusion.system import DiffusionConfig
from sumi.networks.unet import UNetConfig
from sumi.recipes import flow


def recipe(data: DataConfig, spec: DataSpec) -> DiffusionConfig:
    """A U-Net of two levels with attention at the lower, the straight line, the velocity; latents have no threshold."""
    base = flow.recipe(data, spec)
    return replace(
        base,
        recipe="latent",
        autoencoder=TrainedAutoencoder(),
        network=UNetConfig(widths=(64, 128), blocks=(1, 3), attention=(1,)),
        sampling=replace(base.sampling, threshold="none"),
    )
