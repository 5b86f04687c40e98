"""DALL-E 2 (Ramesh et al. 2022, "Hierarchical text-conditional image generation with CLIP latents").

A prior makes the CLIP's vector of a picture from that of a text, and a decoder the picture from its vector. The decoder
is the network of `sumi.recipes.text_to_image`; the prior a perceptron, as its items are vectors.
"""

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.unclip import UnclipConfig
from sumi.recipes import text_to_image


def recipe(data: DataConfig, spec: DataSpec) -> UnclipConfig:
    """The decoder as text-to-image; a prior of six layers."""
    base, network = text_to_image.recipe(data, spec), text_to_image.network_of(spec)
    return UnclipConfig(recipe="unclip", data=data, network=network, training=base.training, sampling=base.sampling)
