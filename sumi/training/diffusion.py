"""The task of a diffusion model: noise images, and score the denoiser on them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sumi.data.dataset import ImageDataset
from sumi.data.pixels import PixelRange
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.objective import DenoisingLoss
from sumi.denoising.time_sampling import TimeSampler
from sumi.errors import SumiError
from sumi.process.noise import Purpose, normal, uniform


@dataclass(frozen=True)
class DiffusionTask:
    """x_0 from the data, t from the time sampler, ε from the counter: one loss a sample.

    ``flip``: mirror images left to right, half of the time.
    """

    data: ImageDataset
    loss_function: DenoisingLoss
    times: TimeSampler
    seed: int
    device: torch.device
    flip: bool = False

    @property
    def items(self) -> int:
        return len(self.data)

    def loss(self, module: nn.Module, step: int, positions: np.ndarray, items: np.ndarray) -> Tensor:
        """The loss of each sample, float32 (n,); a function of (seed, step, positions, items) and the weights."""
        if not isinstance(module, NetworkDenoiser):
            raise SumiError(f"training: a diffusion task trains a NetworkDenoiser, not a {type(module).__name__}")
        where = positions.tolist()
        x_0 = PixelRange(self.data.levels).to_model(self.data.images[items])
        if self.flip:
            mirrored = uniform(self.seed, where, step, Purpose.FLIP) < 0.5
            x_0[mirrored] = x_0[mirrored].flip(-1)
        t = self.times.times(uniform(self.seed, where, step, Purpose.TRAINING_TIME))
        noise = normal(self.seed, where, step, Purpose.TRAINING_NOISE, self.data.shape)
        x_0, noise = (v.to(self.device, non_blocking=True) for v in (x_0, noise))
        return self.loss_function(module, x_0, t, noise)
