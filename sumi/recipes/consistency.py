"""Consistency training from nothing (Song & Dhariwal 2024, "Improved techniques for training consistency models"; Geng
et al. 2025, "Consistency models made easy").

The noise, network and preconditioning of `sumi.recipes.edm`. Neighbours on a path, at first far from each other and
then ever nearer, learn to have one end. `sumi distil` begins with a trained model instead.
"""

from dataclasses import replace

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.models.diffusion.few_steps import Consistency
from sumi.models.diffusion.system import DiffusionConfig
from sumi.recipes import edm
from sumi.sampling.sampler import Sampling


def recipe(data: DataConfig, spec: DataSpec) -> DiffusionConfig:
    """Gaps from the whole way to the data down to a hundredth of it; two steps."""
    return replace(
        edm.recipe(data, spec),
        recipe="consistency",
        objective=Consistency(first_stage=1, last_stage=7),
        sampling=Sampling(solver="consistency", steps=2),
    )
