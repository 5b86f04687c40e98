"""Imagen (Saharia et al. 2022, "Photorealistic text-to-image diffusion models"; Ho et al. 2022, "Cascaded diffusion").

A small picture is made from words, and enlarged by models that see it noised a little, and the words too. The small
one is that of `sumi.recipes.text_to_image`. x̂_0 are thresholded dynamically, at their 99.5th percentile.
"""

from math import gcd

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.cascade import CascadeConfig
from sumi.networks.transformer import TransformerConfig
from sumi.recipes import text_to_image


def recipe(data: DataConfig, spec: DataSpec) -> CascadeConfig:
    """16 pixels, 64, and 128 where the pictures are as large; of smaller ones half the side, and all of it."""
    base = text_to_image.recipe(data, spec)
    side = min(spec.shape[1:], default=2)
    below = [side // k for k in (8, 2) if side >= 128] or [side // (4 if side >= 64 else 2)]
    return CascadeConfig(
        recipe="imagen",
        data=data,
        sizes=(*below, side),
        crop=32 if side >= 64 else 0,
        network=TransformerConfig(patch=gcd(below[0], 2), width=160, blocks=6, tokens="keys", embedding=160),
        training=base.training,
    )
