"""Diffusion models as a system: a denoiser, the objective of its denoising, and the model that samples with it."""

from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from sumi.data.spec import DataSpec
from sumi.denoising.binomial import BinomialDenoiser
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.models.diffusion.build import Denoising
from sumi.models.diffusion.config import DiffusionSettings
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import RunDescription
from sumi.objectives.objective import Objective

OBJECTIVES = Denoising
"""One line an objective; its ``build(settings, items)`` makes an `Objective` of a denoiser (`build_denoiser`)."""


@dataclass(frozen=True)
class DiffusionConfig(DiffusionSettings):
    """The full configuration of a diffusion model."""

    objective: OBJECTIVES = field(default_factory=Denoising, metadata={"help": "what the denoiser is trained on"})

    @property
    def identity(self) -> tuple[object, ...]:
        """As of the settings; and the objective, where it is not denoising."""
        return super().identity if self.objective == Denoising() else (*super().identity, self.objective)

    def build(self, items: DataSpec) -> Objective:
        """What the objective makes of the settings. Raises InputError where they do not fit the data."""
        return self.objective.build(self, items)

    def wrap(self, description: RunDescription, module: nn.Module, step: int, folder: Path) -> DiffusionModel:
        """The denoiser with all that is needed to sample."""
        assert isinstance(module, NetworkDenoiser | BinomialDenoiser)
        return DiffusionModel(description, module, step, folder)
