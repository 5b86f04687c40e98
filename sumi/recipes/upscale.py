"""Super-resolution, trained for (Saharia et al. 2021, "SR3"; Ho et al. 2022, "Cascaded diffusion models").

The network is conditioned on the enlarged small image. With ``conditioning.noise`` the small image is noised in
training, so that the model can follow another model whose images are imperfect. ``sumi upscale`` samples it.
"""

from sumi.conditioning.image import SmallConditioning
from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.diffusion.system import DiffusionConfig
from sumi.process.chain import CosineBeta


def recipe(data: DataConfig, _: DataSpec) -> DiffusionConfig:
    """The image at half its size as a condition, and the cosine schedule."""
    return DiffusionConfig(recipe="upscale", data=data, schedule=CosineBeta(), conditioning=(SmallConditioning(),))
