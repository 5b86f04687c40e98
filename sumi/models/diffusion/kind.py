"""Diffusion models as a kind of run: a denoiser, the loss of its denoising, and the model that samples with it."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from sumi.conditioning.conditioner import training_condition
from sumi.data.dataset import Dataset
from sumi.denoising.binomial import BinomialDenoiser
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.weighting import LikelihoodWeighting
from sumi.errors import SumiError
from sumi.models.description import RunDescription
from sumi.models.diffusion.build import build_denoiser, build_loss, build_times
from sumi.models.diffusion.config import RunConfig
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.task import DiffusionTask


@dataclass(frozen=True)
class Diffusion:
    """The kind of run of `RunConfig`."""

    config: RunConfig
    description: RunDescription

    def build(self) -> NetworkDenoiser | BinomialDenoiser:
        """As `build_denoiser`."""
        return build_denoiser(self.config, self.description.items)

    def task(self, module: nn.Module, data: Dataset, device: torch.device) -> DiffusionTask:
        """Noise ``data`` and score the denoiser on them. Raises InputError."""
        config, levels = self.config, self.description.items.levels
        denoiser = _denoiser(module)
        times = build_times(config, denoiser)
        return DiffusionTask(
            data,
            build_loss(config, denoiser, None if config.data.dequantize else levels),
            times,
            config.seed,
            device,
            flip=config.data.flip,
            condition=training_condition(config.conditioning, data, getattr(denoiser, "conditioner", None)),
            bin_width=2 / (levels - 1) if config.data.dequantize and levels else 0.0,
            divide=times.divides or isinstance(config.weighting, LikelihoodWeighting),
            stratify=config.training.batch_size if config.stratified_times else None,
        )

    def model(self, module: nn.Module, step: int, folder: Path) -> DiffusionModel:
        """The denoiser with all that is needed to sample."""
        return DiffusionModel(self.description, _denoiser(module), step, folder)


def _denoiser(module: nn.Module) -> NetworkDenoiser | BinomialDenoiser:
    if not isinstance(module, NetworkDenoiser | BinomialDenoiser):
        raise SumiError(f"diffusion: a {type(module).__name__} is no denoiser; build one with build_denoiser")
    return module
