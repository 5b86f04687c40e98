"""Consistency tuning (Geng et al. 2025, "Consistency models made easy"): a denoiser becomes a map to the ODE's end.

A consistency function f(x_t, t) is the end of the ODE through x_t, so it is the same at all points of one path, and

    f(x, t) = x at the data.

Two neighbours of a path, x_t and x_r with r < t (`sumi.objectives.direction`, `carried`), should agree, with the later
one learning from the earlier:

    L = ‖D(x_t, t) - sg D(x_r, r)‖ / (σ̂_t - σ̂_r),        σ̂ = sigma/alpha, and D(x_r, r) = x_r where r is the data.

Both pass with the same dropout. The gap closes during training, from one that makes r the data, where D is the
denoiser that it was, in ``stages``, each ``factor`` times finer:

    σ̂_r = σ̂_t max(0, 1 - n(σ̂_t)/factor^stage),        n(σ̂) = 1 + 8 sigmoid(-σ̂)

What neighbours agree on is right only where the data begin it: D(x, 0) = x. Most parameterizations have that built in,
since c_out falls with sigma. A network of x_0 has not, and all its levels together would move away from the data, so
it learns from the data itself wherever σ̂_r is below `ANCHOR`.

The error of D(x_r, r) as a target falls with the gap to the first power. ln σ̂_t is normal; a share of the items is at
t = 1, where sampling begins, with the σ̂ of `LARGEST` if it has more.
"""

from dataclasses import dataclass
from math import log
from typing import Final

import torch
from torch import Tensor

from sumi.conditioning.condition import Condition
from sumi.data.batch import Batch
from sumi.denoising.denoiser import Denoiser, NetworkDenoiser
from sumi.denoising.parameterization import Parameterization
from sumi.networks.dropout import masks_repeated
from sumi.objectives.denoiser import DenoiserObjective
from sumi.objectives.direction import UNTAUGHT, Direction, carried
from sumi.objectives.times import LogNormalTimes
from sumi.process.gaussian import add_noise
from sumi.process.schedule import NoiseLevel, Schedule, noise_level
from sumi.randomness import Purpose
from sumi.sampling.time_grid import LARGEST, SMALLEST

ANCHOR: Final = 0.05
"""σ̂ below which a network of x_0 learns from the data: a tenth of the usual deviation of images."""


@dataclass(frozen=True)
class Gap:
    """How far r is from t, by σ̂; see the module docstring. ``stages``: numbered ``first`` … ``last``."""

    factor: float = 2.0
    first: int = 2
    last: int = 6

    def stage(self, step: int, steps: int) -> int:
        """The stage of a step 1 … steps; all are equally long."""
        count = self.last - self.first + 1
        return self.first + min(count - 1, (step - 1) * count // max(1, steps))

    def earlier(self, ratio: Tensor, stage: int) -> Tensor:
        """σ̂_r of σ̂_t = ``ratio`` (N,): 0 for the data."""
        return ratio * (1 - (1 + 8 * torch.sigmoid(-ratio)) / self.factor**stage).clamp(min=0.0)


@dataclass(frozen=True)
class Pair:
    """t and r of N samples, σ̂_t - σ̂_r, and whether r is the data (then ``r`` is a level just above)."""

    t: NoiseLevel
    r: NoiseLevel
    gap: Tensor
    ends: Tensor


def anchor_of(parameterization: Parameterization, schedule: Schedule) -> float:
    """`ANCHOR` where the network's output still counts in full there; 0 where x̂_0 goes to x_t/alpha whatever it is."""
    little = noise_level(schedule, schedule.time(torch.tensor([-2 * log(ANCHOR)], dtype=torch.float64)))
    counts = torch.as_tensor(parameterization.coefficients(little).c_out).abs().max()
    return ANCHOR if counts > 0.5 else 0.0


def pair_at(
    schedule: Schedule, t: Tensor, stage: int, gap: Gap, grid: int | None = None, *, anchor: float = 0.0
) -> Pair:
    """The levels of times ``t`` (N,) and of the times r before them; on the chain's own times where ``grid`` is T.

    Where σ̂_r would be at most ``anchor``, r is the data.
    """
    if grid is not None:
        t = (t * grid).ceil().clamp(1, grid) / grid
    now = noise_level(schedule, t)
    ratio = (torch.as_tensor(now.log_snr) / -2).exp()
    ratio = torch.where(t == 1, ratio.clamp(max=LARGEST), ratio)
    first = float((torch.as_tensor(noise_level(schedule, torch.zeros(1)).log_snr) / -2).exp())
    least = max(first, SMALLEST, anchor)
    wanted = gap.earlier(ratio, stage)
    times = schedule.time(-2 * wanted.clamp(min=least).log())
    ends = wanted <= least
    if grid is not None:
        times = torch.minimum((times * grid).floor(), t * grid - 1) / grid
        ends = ends | (times <= 0)
        times = times.clamp(min=1 / grid)
    r = noise_level(schedule, times)
    earlier = torch.where(ends, 0.0, (torch.as_tensor(r.log_snr) / -2).exp())
    return Pair(now, r, ratio - earlier, ends)


def consistency_loss(denoiser: Denoiser, x_t: Tensor, clean: Tensor, pair: Pair) -> Tensor:
    """The loss of each sample (N,), in x_t's type; ``clean`` (N, …) is x̂_0 of the direction at x_t."""
    ends = pair.ends.to(x_t.device).view(-1, *(1,) * (x_t.ndim - 1))
    x_r = torch.where(ends, clean, carried(x_t, clean, pair.t, pair.r))
    with masks_repeated():
        found = denoiser(x_t, pair.t).clean
    with torch.no_grad(), masks_repeated():
        target = torch.where(ends, clean, denoiser(x_r, pair.r).clean)
    square = (found - target).square().flatten(1).mean(1)
    return (square + 1e-20).sqrt() / pair.gap.to(square)


class ConsistencyObjective(DenoiserObjective[NetworkDenoiser]):
    """Train ``denoiser`` for ``steps`` to be a consistency function. ``at_end``: the share of items at t = 1."""

    def __init__(
        self, denoiser: NetworkDenoiser, times: LogNormalTimes, gap: Gap, steps: int, *, at_end: float = 0.02
    ) -> None:
        super().__init__(denoiser)
        self.times, self.gap, self.steps, self.at_end = times, gap, steps, at_end
        self.direction: Direction = UNTAUGHT
        self.anchor = anchor_of(denoiser.parameterization, denoiser.schedule)

    def forward(self, batch: Batch) -> Tensor:
        schedule = self.model.schedule
        with torch.no_grad():
            x_0, noise = self.clean(batch).to(self.device, non_blocking=True), self.noise(batch)
            place, end = batch.uniforms(Purpose.TRAINING_TIME, 2).unbind(1)
            t = torch.where(end < self.at_end, 1.0, self.times.times(place, schedule))
            stage = self.gap.stage(batch.step, self.steps)
            pair = pair_at(schedule, t, stage, self.gap, self.model.trained_steps, anchor=self.anchor)
            x_t = add_noise(x_0, noise, pair.t)
        condition: Condition | None = self.condition(batch, x_0)
        denoiser = self.model if condition is None else self.model.bind(condition)
        return consistency_loss(denoiser, x_t, self.direction(x_t, pair.t, x_0, condition), pair)
