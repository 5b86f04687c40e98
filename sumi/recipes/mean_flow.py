"""Mean flow (Geng et al. 2025, "Mean flows for one-step generative modeling", and "Improved mean flows").

The straight line and velocity of `sumi.recipes.flow`, of a network that knows where its step goes and learns the mean
velocity of the whole way, by a derivative in forward mode: one evaluation makes a sample. From nothing; `sumi distil
--method mean_flow` begins with a trained flow.
"""

from dataclasses import replace

from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.denoising.parameterization import PredictSmoothFlow
from sumi.models.diffusion.few_steps import MeanFlow
from sumi.models.diffusion.system import DiffusionConfig
from sumi.recipes import flow
from sumi.sampling.sampler import Sampling


def recipe(data: DataConfig, spec: DataSpec) -> DiffusionConfig:
    """The improved form; a network that is smooth in time, and two steps."""
    return replace(
        flow.recipe(data, spec),
        recipe="mean-flow",
        parameterization=PredictSmoothFlow(),
        objective=MeanFlow(),
        sampling=Sampling(solver="mean_flow", steps=2, threshold="none"),
    )
