"""VAEs, GANs and PixelCNNs as a system, for the comparison with diffusion: configuration, objective, trained model."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from sumi.boundary.arguments import torch_defaults
from sumi.boundary.progress import Count, count_shown, one_shown
from sumi.data.batch import Batch
from sumi.data.items import Items
from sumi.data.spec import DataSpec
from sumi.errors import InputError
from sumi.models.baselines.baseline import Baseline
from sumi.models.baselines.gan import GANConfig
from sumi.models.baselines.pixelcnn import PixelCNNConfig
from sumi.models.baselines.vae import VAEConfig
from sumi.models.model import GenerativeModel, RunDescription, SystemConfig, finite_samples, read_indices
from sumi.models.samples import Samples
from sumi.models.size import bounded
from sumi.objectives.objective import Objective
from sumi.randomness import Purpose

NetworkConfig = VAEConfig | GANConfig | PixelCNNConfig


@dataclass(frozen=True)
class BaselineConfig(SystemConfig):
    """A VAE, a GAN or a PixelCNN, and how it is trained."""

    name: ClassVar[str] = "baseline"

    network: NetworkConfig = field(
        default_factory=VAEConfig, metadata={"help": "the model: a VAE, a GAN or a PixelCNN"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data.dequantize:
            raise InputError(f"data.dequantize: network={self.network.name} takes levels as they are; set it false")

    @property
    def identity(self) -> tuple[object, ...]:
        """All that the weights mean nothing without."""
        return (self.network,)

    def build(self, items: DataSpec) -> "BaselineObjective":
        """The configured network with its own loss. Raises InputError for data that it cannot take."""
        if len(items.shape) != 3 or items.levels is None:
            raise InputError(f"data.source: {self.data.source} has vectors; a {self.network.name} takes images")
        (channels, height, width), levels = items.shape, items.levels
        return BaselineObjective(bounded(lambda: self.network.build((channels, height, width), levels)))

    def wrap(self, description: RunDescription, module: nn.Module, step: int, folder: Path) -> "BaselineModel":
        """The module with all that is needed to sample."""
        assert isinstance(module, Baseline)
        return BaselineModel(description, module, step, folder)


class BaselineObjective(Objective[Baseline]):
    """The module's own loss of each image, with noise from the counter."""

    def forward(self, batch: Batch) -> Tensor:
        noise = batch.normal(Purpose.TRAINING_NOISE, self.model.noise_shape)
        x, noise = (v.to(self.device, non_blocking=True) for v in (batch.x, noise))
        return self.model.losses(x, noise)

    def blocks(self) -> list[nn.Module]:
        """None with a discriminator, whose gradient is a part of the loss."""
        return [] if self.auxiliary() else super().blocks()

    def auxiliary(self) -> list[nn.Module]:
        """A discriminator."""
        return self.model.auxiliary()


class BaselineModel(GenerativeModel[BaselineConfig, Baseline]):
    """A VAE, a GAN or a PixelCNN with all that is needed to make images of it."""

    what: ClassVar[str] = "VAEs, GANs and PixelCNNs"

    @property
    def baseline(self) -> Baseline:
        return self.module

    @torch_defaults()
    def sample(
        self,
        n: int = 16,
        *,
        seed: int = 0,
        start: int = 0,
        batch_size: int = 64,
        progress: Callable[[int, int], None] | bool | None = None,
    ) -> Tensor:
        """See `GenerativeModel.sample`."""
        n, start, seed, batch_size = read_indices(n, start, seed, batch_size)
        made = []
        with one_shown(progress, "sampling") as count:
            for first in range(start, start + n, batch_size):
                indices = range(first, min(first + batch_size, start + n))
                with torch.inference_mode():
                    generated = self.baseline.generate(seed, indices).cpu()
                made.append(generated)
                if count is not None:
                    count(indices.stop - start, n)
        return Samples.of(torch.cat(made), self.items)

    def bits_per_dim(
        self,
        images: Items,
        *,
        seed: int = 0,
        draws: int | None = None,
        progress: Count | bool | None = None,
    ) -> Tensor:
        """How probable each of ``images`` (N, C, H, W) is: bits per dimension of the data, float64 (N,).

        Less is more probable; see `sumi.models.baselines.likelihood.bits_per_dim`. Raises InputError.
        """
        from sumi.models.baselines.likelihood import bits_per_dim  # its figures are plotted

        with count_shown(progress) as count:
            return bits_per_dim(self, images, seed=seed, draws=draws, progress=count)

    def how_sampled(self) -> str:
        return f"the {self.config.network.name}"

    def preview(self) -> bytes:
        return self.picture(
            finite_samples(self.sample(self.items.previewed, seed=self.config.seed, progress=False)), ""
        )
