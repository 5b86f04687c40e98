"""What a VAE, a GAN or a PixelCNN learns: its own loss of images and of noise that is counted."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sumi.data.dataset import Dataset
from sumi.errors import SumiError
from sumi.models.baselines.baseline import Baseline
from sumi.randomness import Purpose, normal
from sumi.training.batch import training_batch


@dataclass(frozen=True)
class BaselineTask:
    """Images from the data, noise from the counter: one loss an image. ``flip``: mirror half of them."""

    data: Dataset
    seed: int
    device: torch.device
    flip: bool = False

    @property
    def items(self) -> int:
        return len(self.data)

    def loss(self, module: nn.Module, step: int, positions: np.ndarray, items: np.ndarray) -> Tensor:
        """The loss of each image, float32 (n,): a function of (seed, step, positions, items) and the module."""
        module, where = baseline(module), positions.tolist()
        x = training_batch(self.data, items, flip=self.flip, seed=self.seed, step=step, positions=where)
        noise = normal(self.seed, where, step, Purpose.TRAINING_NOISE, module.noise_shape)
        return module.losses(x.to(self.device, non_blocking=True), noise.to(self.device, non_blocking=True))

    def beside(self, module: nn.Module) -> list[nn.Module]:
        """What the module has beside: a discriminator."""
        return baseline(module).beside()


def baseline(module: nn.Module) -> Baseline:
    """The module, which is one. Raises SumiError where it is none."""
    if not isinstance(module, Baseline):
        raise SumiError(f"training: a {type(module).__name__} is no baseline; build one of sumi.baselines")
    return module
