"""The denoising loss, with one derived target for all parameterizations.

The network's output F should make x̂_0 = c_skip x_t + c_out F equal to x_0. With x_t = alpha x_0 + sigma ε the target
is

    (x_0 - c_skip x_t)/c_out = ((1 - c_skip alpha)/c_out) x_0 - (c_skip sigma/c_out) ε,

with both coefficients computed in float64: for the ε parameterization they are 0 and 1 to within 1e-14, so float32
keeps its precision at small sigma.
"""

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from sumi.data.batch import Batch
from sumi.denoising.binomial import BinomialDenoiser
from sumi.denoising.denoiser import NetworkDenoiser, ReadDenoiser
from sumi.denoising.weighting import Weighting
from sumi.objectives.denoiser import DenoiserObjective
from sumi.objectives.times import TimeSampler, places
from sumi.process.gaussian import add_noise, expand
from sumi.process.schedule import Time, noise_level
from sumi.randomness import Purpose

Trained = TypeVar("Trained", contravariant=True)
"""The type of denoiser that a loss takes."""


class Loss(Protocol[Trained]):
    """A training loss (N,) of clean data and noise (N, …) at times t (N,) in (0, 1]."""

    def __call__(self, denoiser: Trained, x_0: Tensor, t: Time, noise: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class DenoisingLoss:
    """w(t) ‖x̂_0 - x_0‖², averaged over the elements of each sample."""

    weighting: Weighting

    def __call__(self, denoiser: ReadDenoiser, x_0: Tensor, t: Time, noise: Tensor) -> Tensor:
        """The loss of each sample, (N,) in x_0's type.

        x_0 and noise: (N, …). t: (N,) in (0, 1], or the noise level there, with its gradients.
        """
        now = noise_level(denoiser.schedule, t)
        c = denoiser.parameterization.coefficients(now)
        output = denoiser.predict(add_noise(x_0, noise, now), c)
        of_clean = expand((1 - c.c_skip * now.alpha) / c.c_out, x_0)
        of_noise = expand(c.c_skip * now.sigma / c.c_out, x_0)
        target = of_clean * x_0 - of_noise * noise
        weight = torch.as_tensor(self.weighting.weight(now) * c.c_out**2).to(target)
        return weight * (output.to(target.dtype) - target).square().flatten(1).mean(1)


class DenoisingObjective(DenoiserObjective[NetworkDenoiser | BinomialDenoiser]):
    """Denoise noised data: x_0 from the batch, t from the time sampler, ε from the counter-based generator.

    ``bin_width``: dequantise uniformly over bins of this width; 0: not at all. ``divide``: divide each loss by the
    density of its time, so that the batch mean estimates the integral over uniform times. ``stratify``: the size of a
    step's whole batch, over which times are stratified; None: independent times. ``crop``: the side of the squares that
    are seen of images, 0: all of them, and what the places of their corners are multiples of.
    """

    def __init__(
        self,
        denoiser: NetworkDenoiser | BinomialDenoiser,
        loss: Loss[Any],
        times: TimeSampler,
        *,
        bin_width: float = 0.0,
        divide: bool = False,
        stratify: int | None = None,
        crop: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__(denoiser, bin_width)
        self.loss, self.times = loss, times
        self.divide, self.stratify, self.crop = divide, stratify, crop

    def forward(self, batch: Batch) -> Tensor:
        model, x_0 = self.model, self._cropped(batch, self.clean(batch))
        self.times.begin(batch.step)
        with torch.no_grad():  # sampled times carry no gradient, even where the schedule is learned
            t = self.times.times(places(batch, self.stratify), model.schedule)
        noise = batch.normal(Purpose.TRAINING_NOISE, tuple(x_0.shape[1:]))
        x_0, noise = (value.to(self.device, non_blocking=True) for value in (x_0, noise))
        losses = self.loss(self.conditioned(batch, x_0), x_0, t, noise)
        self.times.record(t, losses)
        if self.divide:
            with torch.no_grad():
                density = self.times.density(noise_level(model.schedule, t), model.schedule)
            losses = losses / density.to(losses)
        return losses

    def _cropped(self, batch: Batch, x_0: Tensor) -> Tensor:
        """A square of each image, at a place of its own."""
        side, unit = self.crop
        if not side:
            return x_0
        ways = torch.tensor([(length - side) // unit + 1 for length in x_0.shape[2:]])
        corners = unit * (batch.uniforms(Purpose.CROP, 2) * ways).long()
        rows = zip(x_0, corners.tolist(), strict=True)
        return torch.stack([x[:, top : top + side, left : left + side] for x, (top, left) in rows])
