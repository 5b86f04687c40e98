"""The task of a diffusion model: noise data, and score the denoiser on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from sumi.conditioning.condition import TrainingCondition
from sumi.data.dataset import Dataset
from sumi.denoising.binomial import BinomialDenoiser
from sumi.denoising.denoiser import NetworkDenoiser, ToldDenoiser
from sumi.errors import SumiError
from sumi.likelihood.dequantize import uniform_places
from sumi.objectives.denoising import Loss
from sumi.objectives.times import TimeSampler, stratified
from sumi.process.schedule import level
from sumi.randomness import Purpose, generator, normal, uniform
from sumi.training.batch import training_batch

IN_TRAINING: Final = 1
"""The draw of places in a bin that is training's; 0 is that of a dequantiser that learns."""


@dataclass(frozen=True)
class ConditionDraws:
    """The randomness of what is said in one step, of the samples at ``positions`` of its batch."""

    seed: int
    step: int
    positions: Sequence[int]

    def uniform(self, count: int) -> Tensor:
        """Uniform numbers in [0, 1), float64 (n, count); the first ones are the same whatever the count."""
        rows = [generator(self.seed, i, self.step, Purpose.CONDITION_DROPOUT).random(count) for i in self.positions]
        return torch.from_numpy(np.stack(rows))

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """Standard normal numbers, float32 (n, *shape)."""
        return normal(self.seed, self.positions, self.step, Purpose.CONDITION_NOISE, shape)


@dataclass(frozen=True)
class DiffusionTask:
    """x_0 from the data, t from the time sampler, ε from the counter: one loss a sample.

    ``flip``: mirror images left to right, half of the time. ``bin_width``: spread values evenly over bins that wide; 0
    leaves them as they are. ``condition``: what the network is told of each item. ``divide``: divide each loss by the
    density of its time, so that the mean over the batch estimates the integral over uniform times. ``stratify``: the
    size of the step's whole batch, over which times are spread evenly; None: each sample's time is drawn for itself.
    """

    data: Dataset
    loss_function: Loss[Any]
    times: TimeSampler
    seed: int
    device: torch.device
    flip: bool = False
    bin_width: float = 0.0
    condition: TrainingCondition | None = None
    divide: bool = False
    stratify: int | None = None

    @property
    def items(self) -> int:
        return len(self.data)

    def loss(self, module: nn.Module, step: int, positions: np.ndarray, items: np.ndarray) -> Tensor:
        """The loss of each sample, float32 (n,): a function of (seed, step, positions, items) and the module."""
        module = _denoiser(module)
        where = positions.tolist()
        x_0 = training_batch(self.data, items, flip=self.flip, seed=self.seed, step=step, positions=where)
        if self.bin_width:
            places = uniform_places(self.seed, where, step, self.data.shape, IN_TRAINING)
            x_0 += (self.bin_width * (places - 0.5)).to(x_0)
        self.times.begin(step)
        with torch.no_grad():  # times are drawn, not learned, even where the schedule is
            t = self.times.times(self._places(step, positions), module.schedule)
        noise = normal(self.seed, where, step, Purpose.TRAINING_NOISE, self.data.shape)
        x_0, noise = (v.to(self.device, non_blocking=True) for v in (x_0, noise))
        losses = self.loss_function(self._told(module, step, positions, items, x_0), x_0, t, noise)
        self.times.record(t, losses)
        if self.divide:
            with torch.no_grad():
                density = self.times.density(level(module.schedule, t), module.schedule)
            losses = losses / density.to(losses)
        return losses

    def beside(self, module: nn.Module) -> list[nn.Module]:
        """A learned schedule and the companions."""
        denoiser = _denoiser(module)
        own = denoiser.network, getattr(denoiser, "conditioner", None)
        return [part for part in denoiser.children() if not any(part is one for one in own)]

    def _told(
        self,
        module: NetworkDenoiser | BinomialDenoiser,
        step: int,
        positions: np.ndarray,
        items: np.ndarray,
        x_0: Tensor,
    ) -> ToldDenoiser | NetworkDenoiser | BinomialDenoiser:
        """The denoiser with what is said of its samples bound to it, where it is told anything."""
        if self.condition is None or not isinstance(module, NetworkDenoiser):
            return module
        draws = ConditionDraws(self.seed, step, positions.tolist())
        return module.told(self.condition.of(items, x_0, draws).to(x_0.device))

    def _places(self, step: int, positions: np.ndarray) -> Tensor:
        """u in [0, 1) of each position, float64 (n,)."""
        if self.stratify is None:
            return uniform(self.seed, positions.tolist(), step, Purpose.TRAINING_TIME)
        first = float(uniform(self.seed, [0], step, Purpose.TRAINING_TIME))
        return stratified(first, torch.from_numpy(positions), self.stratify)


def _denoiser(module: nn.Module) -> NetworkDenoiser | BinomialDenoiser:
    if not isinstance(module, NetworkDenoiser | BinomialDenoiser):
        raise SumiError(f"training: a diffusion task trains a denoiser of a network, not a {type(module).__name__}")
    return module
