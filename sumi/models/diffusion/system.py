"""Diffusion models as a system: a denoiser, the objective of its denoising, and the model that samples with it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from sumi.data.dataset import Dataset
from sumi.data.latents import encoded
from sumi.data.spec import DataSpec
from sumi.denoising.binomial import BinomialDenoiser
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.models.diffusion.autoencoder import NoAutoencoder, TrainedAutoencoder
from sumi.models.diffusion.build import Denoising
from sumi.models.diffusion.config import DiffusionSettings
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.parts import autoencoder_of, with_autoencoder
from sumi.models.model import RunDescription, SystemConfig, TrainedModel
from sumi.objectives.objective import Objective
from sumi.training.run_folder import RunFolder

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

    def with_parts(
        self, items: DataSpec, run: RunFolder, train: Callable[[SystemConfig, RunFolder], TrainedModel]
    ) -> "DiffusionConfig":
        """With the autoencoder whose latents it is of in ``run``: the one there, a copy of ``source``, or a new one."""
        match self.autoencoder:
            case NoAutoencoder():
                return self
            case TrainedAutoencoder() as chosen:
                return replace(self, autoencoder=with_autoencoder(chosen, self, items, run, train))

    def std_of(self, data: Dataset) -> float:
        """1 for latents, which are standardised."""
        return data.std() if self.autoencoder == NoAutoencoder() else 1.0

    def training_data(
        self, data: Dataset, run: RunFolder, device: torch.device, progress: Callable[[int, int], None] | None
    ) -> Dataset:
        """The images, or their latents."""
        match self.autoencoder:
            case NoAutoencoder():
                return data
            case TrainedAutoencoder(weights=weights):
                model = autoencoder_of(run.path, weights, device)
                return encoded(
                    data,
                    model.posterior,
                    run.latents / "training.npy",
                    {"autoencoder": weights},
                    mirrored=self.data.flip,
                    progress=progress,
                )

    def wrap(self, description: RunDescription, module: nn.Module, step: int, folder: Path) -> DiffusionModel:
        """The denoiser with all that is needed to sample."""
        assert isinstance(module, NetworkDenoiser | BinomialDenoiser)
        return DiffusionModel(description, module, step, folder)
