"""What all objectives of a denoiser share: the data as it denoises them, their noise, and their condition."""

from typing import Any, Final, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from sumi.autoencoders.mdct import BandScale
from sumi.autoencoders.scale import LatentScale
from sumi.conditioning.augmentation import AUGMENTATION, AugmentationConditioner
from sumi.conditioning.conditioner import Conditioners
from sumi.data.batch import Batch
from sumi.data.dataset import Dataset
from sumi.data.latents import LatentDataset
from sumi.denoising.binomial import BinomialDenoiser
from sumi.denoising.denoiser import ConditionedDenoiser, NetworkDenoiser
from sumi.denoising.energy import EnergyGradient
from sumi.likelihood.dequantize import uniform_places
from sumi.objectives.objective import Objective
from sumi.randomness import Purpose

IN_TRAINING: Final = 1
"""The draw number of uniform dequantisation in training; a learned dequantiser uses 0."""

DenoiserT = TypeVar("DenoiserT", bound=NetworkDenoiser | BinomialDenoiser)


class DenoiserObjective(Objective[DenoiserT]):
    """``bin_width``: dequantise uniformly over bins of this width; 0: not at all."""

    def __init__(self, denoiser: DenoiserT, bin_width: float = 0.0) -> None:
        super().__init__(denoiser)
        self.bin_width = bin_width

    def fit(self, data: Dataset) -> None:
        """Fit the conditioners and the scale of latents. Raises InputError where the data lack what they need."""
        match data:
            case LatentDataset():
                self.latents().set(data.mean, data.std_by_channel)
            case _:
                pass
        if (bands := self.bands()) is not None:
            bands.fit(*_squares(bands, data))
        if self.model.conditioner is not None:
            self.model.conditioner.fit(data)

    def clean(self, batch: Batch) -> Tensor:
        """x_0 (n, …): the batch's items, augmented or not, or latents sampled of their posterior."""
        x_0 = batch.x
        if (augmentation := self.augmentation()) is not None:
            x_0 = augmentation.augmented(batch, x_0.to(self.device, non_blocking=True))
        if "latents" in self.model.auxiliary:
            of_latents = batch.normal(Purpose.LATENT, batch.data.shape)
            x_0 = self.latents().sampled(*(v.to(self.device, non_blocking=True) for v in (x_0, of_latents)))
        if (bands := self.bands()) is not None:
            x_0 = bands(x_0.to(self.device, non_blocking=True))
        if self.bin_width:
            places = uniform_places(batch.seed, batch.positions.tolist(), batch.step, batch.data.shape, IN_TRAINING)
            x_0 = x_0 + (self.bin_width * (places - 0.5)).to(x_0)
        return x_0

    def noise(self, batch: Batch) -> Tensor:
        """ε (n, …) of the batch, on the device."""
        bands = self.bands()
        shape = batch.data.shape if bands is None else bands.shape
        return batch.normal(Purpose.TRAINING_NOISE, shape).to(self.device, non_blocking=True)

    def conditioned(self, batch: Batch, x_0: Tensor) -> DenoiserT | ConditionedDenoiser:
        """The denoiser, with the batch's condition bound to it if it takes one."""
        condition = self.condition(batch, x_0)
        match self.model:
            case NetworkDenoiser() as model if condition is not None:
                return model.bind(condition)
            case model:
                return model

    def condition(self, batch: Batch, x_0: Tensor) -> Any:
        """The batch's condition (`sumi.conditioning.condition.Condition`), with dropout; None: the model takes none."""
        return None if self.model.conditioner is None else self.model.conditioner.of_data(batch, x_0)

    def augmentation(self) -> AugmentationConditioner | None:
        """The condition that says how the pictures of a batch are moved, where the model has it."""
        match self.model.conditioner:
            case Conditioners(names=names) as all_of_them if AUGMENTATION in names:
                return cast("AugmentationConditioner", all_of_them[AUGMENTATION])
            case _:
                return None

    def latents(self) -> LatentScale:
        """The scale of what is denoised, where it is latents."""
        scale = self.model.auxiliary["latents"]
        assert isinstance(scale, LatentScale)
        return scale

    def bands(self) -> BandScale | None:
        """The scale of a transform of sound, where that is denoised."""
        match dict(self.model.auxiliary.named_children()).get("bands"):
            case BandScale() as bands:
                return bands
            case _:
                return None

    def blocks(self) -> list[nn.Module]:
        """None of a network that is itself a gradient."""
        return [] if any(isinstance(part, EnergyGradient) for part in self.model.modules()) else super().blocks()

    def auxiliary(self) -> list[nn.Module]:
        """A learned schedule, and the denoiser's auxiliary modules."""
        own = (self.model.network, self.model.conditioner)
        return [part for part in self.model.children() if not any(part is one for one in own)]


def _squares(bands: BandScale, data: Dataset) -> tuple[Tensor, int]:
    """The sum of squares of each band over the data, float64 (bands, 1), and of how many values."""
    total, count = torch.zeros(bands.shape[1], 1, dtype=torch.float64), len(data) * bands.shape[2]
    for first in range(0, len(data), 256):
        items = np.arange(first, min(first + 256, len(data)))
        total += bands.compressed(data.batch(items).double()).square().sum((0, 1, 3))[:, None]
    return total, count
