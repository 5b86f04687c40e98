"""Variational dequantisation: where in its bin a discrete value is best put (Ho et al. 2019, "Flow++", section 3.2;
Song, Durkan, Murray & Ermon 2021, "Maximum likelihood training", section 5.2).

    z = x + bin · (sigmoid(h) - ½),     h = m(x) + e^s(x) ε,     ε logistic
    log q(z | x) = log f(ε) - log bin - s - log f(h),            f(h) = sigmoid(h) sigmoid(-h)

with f the logistic density and the derivative of the sigmoid at once. m and s come from a small network of x that
begins at 0: then h = ε and q is exactly uniform. (Flow++ has normal ε, with which no m and s give that.)

It is trained with the model frozen, on the bound that the model itself was trained on: with x_t = alpha z + sigma ε'

    -log P(x) ≤ E[log q(z | x) + ∫ -½ dSNR/dt ‖x̂_0(x_t) - z‖² dt] + terms without m and s

estimated at one time a sample, with gradients to z through the model.
"""

from collections.abc import Callable, Sequence
from math import log
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.denoising.denoiser import Denoiser
from sumi.denoising.weighting import LikelihoodWeighting, Weighting
from sumi.errors import InputError
from sumi.likelihood.dequantize import Dequantized, bin_width, uniform_places
from sumi.objectives.times import LogSNRTimes, TimeSampler, stratified
from sumi.process.gaussian import add_noise
from sumi.process.schedule import noise_level
from sumi.randomness import Purpose, normal, permutation, uniform

WIDTH: Final = 32


class LearnedDequantizer(nn.Module):
    """q(z | x) of the module docstring for vectors (D,) or images (C, H, W) on ``levels`` levels; P(x | z) = 1.

    Three layers, 3×3 convolutions for images. ``seed``: of its first weights. Raises InputError for other shapes.
    """

    def __init__(self, shape: Sequence[int], levels: int, *, width: int = WIDTH, seed: int = 0) -> None:
        super().__init__()
        self.bin = bin_width(levels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.first = _layer(shape, shape[0], width)
            self.second = _layer(shape, width, width)
            self.last = _layer(shape, width, 2 * shape[0])
        for weight in self.last.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """z (N, …) in x's type and log q(z | x), nats (N,), from uniform ``places`` in (0, 1), shaped like x."""
        shift, log_scale = self.last(F.silu(self.second(F.silu(self.first(x))))).chunk(2, dim=1)
        epsilon = places.logit().to(x)
        h = shift + log_scale.exp() * epsilon
        log_q = _log_logistic(epsilon) - _log_logistic(h) - log_scale
        return x + self.bin * (h.sigmoid() - 0.5), log_q.flatten(1).sum(1) - x[0].numel() * log(self.bin)

    @torch.no_grad()
    def draw(self, x: Tensor, seed: int, indices: Sequence[int], number: int, /) -> Dequantized:
        """See `sumi.likelihood.dequantize.Dequantizer`."""
        z, log_q = self(x, uniform_places(seed, indices, 0, x.shape[1:], number))
        return Dequantized(z, -log_q.to("cpu", torch.float64))


def _layer(shape: Sequence[int], inputs: int, outputs: int) -> nn.Module:
    if len(shape) == 1:
        return nn.Linear(inputs, outputs)
    if len(shape) == 3:
        return nn.Conv2d(inputs, outputs, 3, padding=1)
    raise InputError(f"shape: {tuple(shape)} is neither a vector's (D,) nor an image's (C, H, W)")


def _log_logistic(h: Tensor) -> Tensor:
    """log (sigmoid(h) sigmoid(-h))."""
    return F.logsigmoid(h) + F.logsigmoid(-h)


def train_dequantizer(
    dequantizer: LearnedDequantizer,
    denoiser: Denoiser,
    x: Tensor,
    *,
    steps: int,
    seed: int = 0,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    times: TimeSampler | None = None,
    weighting: Weighting | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> None:
    """``steps`` of Adam on the bound at the data x (M, …), on the levels; the denoiser stays as it is.

    ``times`` and ``weighting``: `LogSNRTimes` and `LikelihoodWeighting` where None; for a network that knows only the
    times of its chain, `GridTimes` and `StepLikelihood`. ``progress(step, loss)``, from 1, has the batch's mean in nats
    per dimension, without the terms that do not change. All randomness follows from ``seed``. Raises InputError where
    there is nothing to learn from.
    """
    if steps < 1 or batch_size < 1 or not len(x):
        raise InputError(f"steps: {steps} of batches of {batch_size} from {len(x)} samples; each must be 1 or more")
    times, weighting = times or LogSNRTimes(), weighting or LikelihoodWeighting()
    weights = list(dequantizer.parameters())
    optimizer = torch.optim.Adam(weights, lr=learning_rate)
    for step in range(1, steps + 1):
        rows = permutation(seed, step, len(x))[:batch_size].tolist()
        batch = x[rows]
        z, log_q = dequantizer(batch, uniform_places(seed, rows, step, batch.shape[1:], 0))
        first = float(uniform(seed, [0], step, Purpose.TRAINING_TIME))
        u = stratified(first, torch.arange(len(rows)), len(rows))
        now = noise_level(denoiser.schedule, times.times(u, denoiser.schedule))
        noise = normal(
            seed, rows, step, Purpose.TRAINING_NOISE, batch.shape[1:], dtype=batch.dtype, device=batch.device
        )
        error = (denoiser(add_noise(z, noise, now), now).clean - z).square().flatten(1).sum(1)
        rate = (weighting.weight(now) / times.density(now, denoiser.schedule)).detach()
        loss = (log_q + rate.to(error) * error).mean() / batch[0].numel()
        for weight, slope in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.grad = slope
        optimizer.step()
        if progress is not None:
            progress(step, float(loss.detach()))
