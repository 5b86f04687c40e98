"""Inpainting, trained for (Saharia et al. 2022, "Palette").

The network is conditioned on the known pixels and their mask, which is random in training. ``sumi inpaint`` samples it;
with everything masked it is an unconditional model of the data.
"""

from sumi.conditioning.image import MaskedConditioning
from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.diffusion.system import DiffusionConfig
from sumi.process.chain import CosineBeta


def recipe(data: DataConfig, _: DataSpec) -> DiffusionConfig:
    """The known pixels and their mask as a condition, and the cosine schedule."""
    return DiffusionConfig(recipe="inpaint", data=data, schedule=CosineBeta(), conditioning=(MaskedConditioning(),))
