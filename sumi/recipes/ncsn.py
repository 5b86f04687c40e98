"""NCSN (Song & Ermon 2019, "Generative modeling by estimating gradients of the data distribution").

Ten noise levels in a geometric ladder from 2 to 0.02 (1 to 0.01 for pixels in [0, 1]), denoising score matching with
weight sigma² at each level, and annealed Langevin dynamics: 100 small steps per level, each starting from the previous
level's result. The network predicts the score times -sigma (Song & Ermon 2020, technique 3), so its output has unit
size at every level. `energy` is the same with the score as the gradient of a scalar.
"""

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.diffusion.system import DiffusionConfig
from sumi.objectives.times import GridTimes
from sumi.process.exploding import Ladder
from sumi.sampling.sampler import Sampling


def recipe(data: DataConfig, _: DataSpec) -> DiffusionConfig:
    """The paper's ladder, loss and sampler."""
    return DiffusionConfig(
        recipe="ncsn",
        data=data,
        schedule=Ladder(sigma_min=0.02, sigma_max=2.0),
        times=GridTimes(10),
        sampling=Sampling(solver="langevin", steps=10, threshold="none"),
    )
