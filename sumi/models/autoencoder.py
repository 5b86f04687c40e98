"""Autoencoders of pictures as a system: configuration, and the trained model, which encodes and decodes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sumi.autoencoders.autoencoder import Autoencoder, AutoencoderNetwork
from sumi.autoencoders.diffusers import DiffusersAutoencoder
from sumi.autoencoders.preview import FITTED, LinearPreview
from sumi.autoencoders.tiling import tiled
from sumi.boundary.arguments import finite, whole
from sumi.boundary.files import write_text
from sumi.boundary.progress import one_shown
from sumi.data.dataset import Dataset, evenly_spaced
from sumi.data.items import Items, read_items
from sumi.data.spec import DataSpec
from sumi.errors import InputError
from sumi.models.model import RunDescription, SystemConfig, TrainedModel
from sumi.models.samples import Samples
from sumi.models.size import bounded
from sumi.objectives.reconstruction import ReconstructionLoss, ReconstructionObjective, Trained
from sumi.training.run_folder import RunFolder

TILE = 512
"""Side of the tiles that larger pictures are encoded and decoded in."""


@dataclass(frozen=True)
class AutoencoderConfig(SystemConfig):
    """The full configuration of an autoencoder."""

    name: ClassVar[str] = "autoencoder"

    network: AutoencoderNetwork | DiffusersAutoencoder = field(
        default_factory=AutoencoderNetwork, metadata={"help": "its shape"}
    )
    loss: ReconstructionLoss = field(default_factory=ReconstructionLoss, metadata={"help": "what counts how much"})

    def of_data(self, data: Dataset) -> Self:
        """With the network of the loss's features. Raises InputError where it is gone, another, or of other images."""
        match data.spec.shape:
            case (channels, height, width):
                return replace(self, loss=self.loss.of_images((channels, height, width)))
            case _:
                return self

    @property
    def identity(self) -> tuple[object, ...]:
        """The settings that the weights depend on: whether there is a discriminator, too."""
        return self.network, self.loss.adversarial > 0

    def build(self, items: DataSpec) -> ReconstructionObjective:
        """A new autoencoder with its loss. Raises InputError for data that it cannot take."""
        latent = self.network.latent_shape(items.shape)
        channels, height, width = items.shape
        autoencoder = bounded(lambda: self.network.build(channels))
        return ReconstructionObjective(autoencoder, self.loss, latent, (channels, height, width), self.training.steps)

    def wrap(self, description: RunDescription, module: nn.Module, step: int, folder: Path) -> "AutoencoderModel":
        """The autoencoder, ready to use."""
        assert isinstance(module, Trained)
        return AutoencoderModel(description, module, step, folder)


class AutoencoderModel(TrainedModel[AutoencoderConfig, Trained]):
    """An autoencoder with what it was trained for."""

    what: ClassVar[str] = "autoencoders"

    @property
    def autoencoder(self) -> Autoencoder:
        return self.module.autoencoder

    @property
    def evaluated_as(self) -> str:
        return "autoencoders"

    def preview(self) -> bytes | None:
        """None: an autoencoder makes no samples."""
        return None

    def finish(self, data: Dataset) -> None:
        """Write the preview of its latents."""
        images = evenly_spaced(data, FITTED)
        found = LinearPreview.fit(self.encode(images), images)
        write_text(RunFolder(self.folder).preview_file, found.to_json())

    @cached_property
    def linear_preview(self) -> LinearPreview | None:
        """A cheap look at its latents; None: its training is not over, or it is older than these.

        Raises InputError where the file is damaged.
        """
        file = RunFolder(self.folder).preview_file
        channels = self.autoencoder.regularizer.channels
        return LinearPreview.read(file, self.images.channels, channels) if file.exists() else None

    def files(self) -> dict[str, str]:
        """Its preview, where there is one."""
        found = self.linear_preview
        return {} if found is None else {RunFolder(self.folder).preview_file.name: found.to_json()}

    @torch.no_grad()
    def posterior(self, images: Items) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each latent of images (N, C, H, W), (N, c, H/f, W/f) each, on the CPU."""
        images = self.read(images)
        self.check(images)
        mean, std = self.autoencoder.posterior(images.to(self.device))
        return mean.cpu(), std.cpu()

    def encode(self, images: Items, *, batch_size: int = 64) -> Tensor:
        """The mean latents of images (N, C, H, W) in [-1, 1]: float32 (N, c, H/f, W/f) on the CPU.

        Of any H and W that the factor f divides. Raises InputError for other images.
        """
        images = self.read(images)
        self.check(images)
        return self._batches(self.autoencoder.encode, images, batch_size, TILE)

    def decode(self, latents: Tensor | NDArray[Any], *, batch_size: int = 64) -> Tensor:
        """The images of latents (N, c, h, w): float32 (N, C, f·h, f·w) in [-1, 1], on the CPU. Raises InputError."""
        latents = finite("latents", latents).cpu()
        channels, tile = self.autoencoder.regularizer.channels, TILE // self.autoencoder.factor
        if latents.ndim != 4 or latents.shape[1] != channels:
            raise InputError(f"latents: are of shape {tuple(latents.shape)}; give (N, {channels}, h, w)")
        return Samples.of(self._batches(self.autoencoder.decode, latents, batch_size, tile), self.items)

    def reconstruct(
        self, images: Items, *, batch_size: int = 64, progress: Callable[[int, int], None] | bool | None = None
    ) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] encoded and decoded; sides are continued by their edge up to the factor.

        Raises InputError for images of other channels, or smaller than the factor.
        """
        images = self.read(images)
        height, width = images.shape[-2:]
        factor = self.autoencoder.factor
        if min(height, width) < factor:
            raise InputError(f"images: are of {height}x{width}, smaller than the factor {factor}; give larger ones")
        padded = F.pad(images, (0, -width % factor, 0, -height % factor), mode="replicate")
        self.check(padded)
        with one_shown(progress, "reconstructing") as count:
            made = self._batches(self.autoencoder.reconstruct, padded, batch_size, TILE, count)
        return Samples.of(made[:, :, :height, :width], self.items)

    def read(self, images: Items) -> Tensor:
        """Images in any form (`sumi.data.items`) as float32 (N, C, H, W) on the CPU. Raises InputError."""
        found = read_items("images", images, self.images.shape, background=self.config.data.background)
        if found.ndim != 4:
            raise InputError(f"images: are of shape {tuple(found.shape)}; give (N, {self.images.channels}, H, W)")
        return found

    def check(self, images: Tensor) -> None:
        """Raises InputError for images of other channels, or sides that the factor does not divide."""
        channels, factor = self.images.channels, self.autoencoder.factor
        if images.ndim != 4 or images.shape[1] != channels:
            raise InputError(f"images: are of shape {tuple(images.shape)}; give (N, {channels}, H, W)")
        height, width = images.shape[2:]
        if height % factor or width % factor:
            raise InputError(
                f"images: are of {height}x{width}, and this autoencoder takes multiples of {factor}; resize them"
            )

    @torch.inference_mode()
    def _batches(
        self,
        function: Callable[[Tensor], Tensor],
        x: Tensor,
        batch_size: int,
        tile: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        made = []
        for part in x.split(whole("batch_size", batch_size, least=1)):
            made.append(tiled(function, part.to(self.device), tile, tile // 4).float().cpu())
            if progress is not None:
                progress(sum(map(len, made)), len(x))
        return torch.cat(made) if made else x
