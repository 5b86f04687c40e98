"""Inpainting, trained for (Saharia et al. 2022, "Palette").

The network is told which pixels are kept, beside the noisy image, and learns what else the picture may hold, for
masks of all kinds. ``sumi inpaint`` samples it; with all masked it is a plain model of the data.
"""

from sumi.conditioning.image import MaskedConditioning
from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.diffusion.system import DiffusionConfig
from sumi.process.chain import CosineBeta


def recipe(data: DataConfig, _: DataSpec) -> DiffusionConfig:
    """The kept pixels and their mask as a condition, and the cosine schedule."""
    return DiffusionConfig(recipe="inpaint", data=data, schedule=CosineBeta(), conditioning=(MaskedConditioning(),))
