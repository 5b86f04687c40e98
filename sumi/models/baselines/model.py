"""A trained VAE, GAN or PixelCNN, ready to use as a diffusion model is: what a run folder holds."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.models.baselines.baseline import Baseline
from sumi.models.baselines.config import BaselineConfig
from sumi.models.description import RunDescription
from sumi.models.model import GenerativeModel, check_indices


class BaselineModel(GenerativeModel):
    """One of `sumi.baselines` with all that is needed to make images of it."""

    what: ClassVar[str] = "VAEs, GANs and PixelCNNs"

    def __init__(self, description: RunDescription, baseline: Baseline, step: int, folder: Path) -> None:
        if not isinstance(description.config, BaselineConfig):
            raise InputError(f"{folder}: is a run of {description.config.recipe}, and this is for {self.what}")
        super().__init__(description, baseline, step, folder)
        self._config, self.baseline = description.config, baseline

    @property
    def config(self) -> BaselineConfig:
        return self._config

    @torch.inference_mode()
    def sample(
        self,
        n: int = 16,
        *,
        seed: int = 0,
        start: int = 0,
        batch_size: int = 64,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """See `GenerativeModel.sample`."""
        check_indices(n, start, seed, batch_size)
        made = []
        for first in range(start, start + n, batch_size):
            indices = range(first, min(first + batch_size, start + n))
            made.append(self.baseline.generate(seed, indices).cpu())
            if progress is not None:
                progress(indices.stop - start, n)
        return torch.cat(made)

    def how_sampled(self) -> str:
        return f"the {self.config.network.name}"

    def preview(self) -> bytes:
        return self.drawn(self.sample(self.items.previewed, seed=self.config.seed), "")
