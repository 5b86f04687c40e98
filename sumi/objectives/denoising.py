"""The denoising loss, with a target that is derived and never written per case.

The network's output F should make x̂_0 = c_skip x_t + c_out F equal to x_0. With x_t = alpha x_0 + sigma ε that
target is

    (x_0 - c_skip x_t)/c_out = ((1 - c_skip alpha)/c_out) x_0 - (c_skip sigma/c_out) ε,

whose two coefficients are formed in float64: for the ε parameterization they are 0 and 1 to within 1e-14, so no
digits of float32 are lost at small sigma.
"""

from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import torch
from torch import Tensor, nn

from sumi.data.batch import Batch
from sumi.data.dataset import Dataset
from sumi.denoising.binomial import BinomialDenoiser
from sumi.denoising.denoiser import ConditionedDenoiser, NetworkDenoiser, ReadDenoiser
from sumi.denoising.weighting import Weighting
from sumi.likelihood.dequantize import uniform_places
from sumi.objectives.objective import Objective
from sumi.objectives.times import TimeSampler, stratified
from sumi.process.gaussian import add_noise, expand
from sumi.process.schedule import Time, noise_level
from sumi.randomness import Purpose, uniform

IN_TRAINING: Final = 1
"""The draw of places in a bin that is training's; 0 is that of a dequantiser that learns."""

Trained = TypeVar("Trained", contravariant=True)
"""The kind of denoiser that a loss is made for."""


class Loss(Protocol[Trained]):
    """What a denoiser is trained on: a loss (N,) of clean data and noise (N, …) at times t (N,) in (0, 1]."""

    def __call__(self, denoiser: Trained, x_0: Tensor, t: Time, noise: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class DenoisingLoss:
    """w(t) ‖x̂_0 - x_0‖², averaged over the elements of each sample."""

    weighting: Weighting

    def __call__(self, denoiser: ReadDenoiser, x_0: Tensor, t: Time, noise: Tensor) -> Tensor:
        """The loss of each sample, (N,) in x_0's type.

        x_0 and noise: (N, …). t: (N,) in (0, 1], or the level there, whose gradients are kept.
        """
        now = noise_level(denoiser.schedule, t)
        c = denoiser.parameterization.coefficients(now)
        output = denoiser.predict(add_noise(x_0, noise, now), c)
        of_clean = expand((1 - c.c_skip * now.alpha) / c.c_out, x_0)
        of_noise = expand(c.c_skip * now.sigma / c.c_out, x_0)
        target = of_clean * x_0 - of_noise * noise
        weight = torch.as_tensor(self.weighting.weight(now) * c.c_out**2).to(target)
        return weight * (output.to(target.dtype) - target).square().flatten(1).mean(1)


class DenoisingObjective(Objective[NetworkDenoiser | BinomialDenoiser]):
    """Noise the data and score the denoiser on them: x_0 from the batch, t from the time sampler, ε from the counter.

    ``bin_width``: spread values evenly over bins that wide; 0 leaves them as they are. ``divide``: divide each loss by
    the density of its time, so that the mean over the batch estimates the integral over uniform times. ``stratify``:
    the size of a step's whole batch, over which times are spread evenly; None: each item's time is drawn for itself.
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
    ) -> None:
        super().__init__(denoiser)
        self.loss, self.times = loss, times
        self.bin_width, self.divide, self.stratify = bin_width, divide, stratify

    def fit(self, data: Dataset) -> None:
        """Conditioners take the scale of their values. Raises InputError for data without what they need."""
        if self.model.conditioner is not None:
            self.model.conditioner.fit(data)

    def forward(self, batch: Batch) -> Tensor:
        model, x_0 = self.model, batch.x
        if self.bin_width:
            places = uniform_places(batch.seed, batch.positions.tolist(), batch.step, batch.data.shape, IN_TRAINING)
            x_0 = x_0 + (self.bin_width * (places - 0.5)).to(x_0)
        self.times.begin(batch.step)
        with torch.no_grad():  # times are drawn, not learned, even where the schedule is
            t = self.times.times(self._places(batch), model.schedule)
        noise = batch.normal(Purpose.TRAINING_NOISE, batch.data.shape)
        x_0, noise = (v.to(self.device, non_blocking=True) for v in (x_0, noise))
        losses = self.loss(self._conditioned(batch, x_0), x_0, t, noise)
        self.times.record(t, losses)
        if self.divide:
            with torch.no_grad():
                density = self.times.density(noise_level(model.schedule, t), model.schedule)
            losses = losses / density.to(losses)
        return losses

    def auxiliary(self) -> list[nn.Module]:
        """A learned schedule, and the denoiser's own auxiliary parts."""
        own = (self.model.network, self.model.conditioner)
        return [part for part in self.model.children() if not any(part is one for one in own)]

    def _conditioned(self, batch: Batch, x_0: Tensor) -> NetworkDenoiser | BinomialDenoiser | ConditionedDenoiser:
        """The denoiser with the batch's condition bound to it, where it takes any."""
        if self.model.conditioner is None:
            return self.model
        return self.model.bind(self.model.conditioner.of_data(batch, x_0))

    def _places(self, batch: Batch) -> Tensor:
        """u in [0, 1) of each position, float64 (n,)."""
        if self.stratify is None:
            return batch.uniform(Purpose.TRAINING_TIME)
        first = float(uniform(batch.seed, [0], batch.step, Purpose.TRAINING_TIME))
        return stratified(first, torch.from_numpy(batch.positions), self.stratify)
