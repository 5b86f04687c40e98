"""Diffusion models as a system: a denoiser, the objective of its denoising, and the model that samples with it."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from sumi.data.spec import DataSpec
from sumi.denoising.binomial import BinomialDenoiser
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.models.diffusion.build import build_objective
from sumi.models.diffusion.config import DiffusionSettings
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import RunDescription
from sumi.objectives.denoising import DenoisingObjective


@dataclass(frozen=True)
class DiffusionConfig(DiffusionSettings):
    """The full configuration of a diffusion model."""

    def build(self, items: DataSpec) -> DenoisingObjective:
        """As `sumi.models.diffusion.build.build_objective`."""
        return build_objective(self, items)

    def wrap(self, description: RunDescription, module: nn.Module, step: int, folder: Path) -> DiffusionModel:
        """The denoiser with all that is needed to sample."""
        assert isinstance(module, NetworkDenoiser | BinomialDenoiser)
        return DiffusionModel(description, module, step, folder)
