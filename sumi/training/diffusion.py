"""The task of a diffusion model: noise images, and score the denoiser on them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sumi.data.dataset import ImageDataset
from sumi.data.pixels import PixelRange
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.objective import Loss
from sumi.denoising.time_sampling import TimeSampler, stratified
from sumi.errors import SumiError
from sumi.process.noise import Purpose, normal, uniform
from sumi.process.schedule import level


@dataclass(frozen=True)
class DiffusionTask:
    """x_0 from the data, t from the time sampler, ε from the counter: one loss a sample.

    ``flip``: mirror images left to right, half of the time. ``divide``: divide each loss by the density of its time, so
    that the mean over the batch estimates the integral over uniform times. ``stratify``: the size of the step's whole
    batch, over which times are spread evenly; None: each sample's time is drawn for itself.
    """

    data: ImageDataset
    loss_function: Loss
    times: TimeSampler
    seed: int
    device: torch.device
    flip: bool = False
    divide: bool = False
    stratify: int | None = None

    @property
    def items(self) -> int:
        return len(self.data)

    def loss(self, module: nn.Module, step: int, positions: np.ndarray, items: np.ndarray) -> Tensor:
        """The loss of each sample, float32 (n,): a function of (seed, step, positions, items) and the module."""
        module = _denoiser(module)
        where = positions.tolist()
        x_0 = PixelRange(self.data.levels).to_model(self.data.images[items])
        if self.flip:
            mirrored = uniform(self.seed, where, step, Purpose.FLIP) < 0.5
            x_0[mirrored] = x_0[mirrored].flip(-1)
        self.times.begin(step)
        with torch.no_grad():  # times are drawn, not learned, even where the schedule is
            t = self.times.times(self._places(step, positions), module.schedule)
        noise = normal(self.seed, where, step, Purpose.TRAINING_NOISE, self.data.shape)
        x_0, noise = (v.to(self.device, non_blocking=True) for v in (x_0, noise))
        losses = self.loss_function(module, x_0, t, noise)
        self.times.record(t, losses)
        if self.divide:
            with torch.no_grad():
                density = self.times.density(level(module.schedule, t), module.schedule)
            losses = losses / density.to(losses)
        return losses

    def beside(self, module: nn.Module) -> list[nn.Module]:
        """A learned schedule and the companions."""
        denoiser = _denoiser(module)
        return [part for part in denoiser.children() if part is not denoiser.network]

    def _places(self, step: int, positions: np.ndarray) -> Tensor:
        """u in [0, 1) of each position, float64 (n,)."""
        if self.stratify is None:
            return uniform(self.seed, positions.tolist(), step, Purpose.TRAINING_TIME)
        first = float(uniform(self.seed, [0], step, Purpose.TRAINING_TIME))
        return stratified(first, torch.from_numpy(positions), self.stratify)


def _denoiser(module: nn.Module) -> NetworkDenoiser:
    if not isinstance(module, NetworkDenoiser):
        raise SumiError(f"training: a diffusion task trains a NetworkDenoiser, not a {type(module).__name__}")
    return module
