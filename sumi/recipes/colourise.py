"""Colourisation (Saharia et al. 2022, "Palette", section 4.1).

The network is conditioned on the luma of the image that it denoises. ``sumi restore RUN IMAGE --operator grey`` samples
it.
"""

from dataclasses import replace

from sumi.conditioning.image import GreyConditioning
from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.diffusion.system import DiffusionConfig
from sumi.process.chain import CosineBeta


def recipe(data: DataConfig, _: DataSpec) -> DiffusionConfig:
    """The grey image as a condition, and the cosine schedule; images have three channels."""
    data = replace(data, channels=data.channels or 3)
    return DiffusionConfig(recipe="colourise", data=data, schedule=CosineBeta(), conditioning=(GreyConditioning(),))
