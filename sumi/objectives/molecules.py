"""Denoising of molecules: the error of EDM's F, in the subspace where places have zero mean.

Noise is projected onto that subspace, so x_t = alpha x_0 + sigma P ε has the law of the process there (Hoogeboom et al.
2022, section 3.1). The molecules of a batch are denoised in two groups of similar size, padded with zeros, which
change nothing; the loss of a molecule is the mean over its own numbers.
"""

import torch
from torch import Tensor

from sumi.conditioning.condition import Condition
from sumi.conditioning.conditioner import Conditioners
from sumi.conditioning.sizes import SizeByValues
from sumi.data.batch import Batch
from sumi.data.dataset import Dataset
from sumi.data.molecules import halves, is_atom
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.objectives.objective import Objective
from sumi.objectives.times import TimeSampler, places
from sumi.process.gaussian import add_noise, expand
from sumi.process.schedule import noise_level
from sumi.randomness import Purpose

SIZES = "sizes"
"""The auxiliary module that knows the sizes of molecules by their values."""


class MoleculeObjective(Objective[NetworkDenoiser]):
    """‖F - target‖² of each molecule; the times of a step's ``batch`` are spread evenly."""

    def __init__(self, denoiser: NetworkDenoiser, times: TimeSampler, batch: int) -> None:
        super().__init__(denoiser)
        self.times, self.batch = times, batch

    def fit(self, data: Dataset) -> None:
        """Fit the conditioners, and the sizes by their values. Raises InputError where the data lack a value."""
        if self.model.conditioner is None:
            return
        self.model.conditioner.fit(data)
        match self.model.auxiliary[SIZES]:
            case SizeByValues() as sizes:
                sizes.fit(data)

    @property
    def calls_alike(self) -> bool:
        """No: molecules of one size are computed at once, others in two parts."""
        return False

    def forward(self, batch: Batch) -> Tensor:
        model, x_0 = self.model, batch.x
        with torch.no_grad():
            t = self.times.times(places(batch, self.batch), model.schedule)
        noise = batch.normal(Purpose.TRAINING_NOISE, tuple(x_0.shape[1:])).to(self.device, non_blocking=True)
        condition = None
        match model.conditioner:
            case Conditioners() as conditioners:
                condition = conditioners.of_data(batch, x_0.to(self.device))
            case _:
                pass
        losses = torch.zeros(len(x_0), device=self.device)
        for size, rows in halves(is_atom(x_0).sum(1)):
            there = rows.to(self.device)
            own = None if condition is None else condition.rows(there)
            clean = x_0[rows, :size].to(self.device, non_blocking=True)
            losses = losses.index_copy(0, there, self._losses(clean, noise[there, :size], t[rows], own))
        return losses

    def _losses(self, x_0: Tensor, noise: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        """Of molecules (N, n, C), with ``noise`` that is yet to be projected, at times (N,)."""
        there = is_atom(x_0)[..., None].to(x_0)
        size = there.sum(1, keepdim=True)
        noise = there * noise
        noise = torch.cat([noise[..., :3] - there * noise[..., :3].sum(1, keepdim=True) / size, noise[..., 3:]], 2)
        now = noise_level(self.model.schedule, t)
        c = self.model.parameterization.coefficients(now)
        alpha, sigma = (torch.as_tensor(value).cpu().reshape(-1, 1, 1) for value in (now.alpha, now.sigma))
        output = self.model.predict(add_noise(x_0, noise, now), c, condition).to(x_0.dtype)
        target = expand((1 - c.c_skip * alpha) / c.c_out, x_0) * x_0 - expand(c.c_skip * sigma / c.c_out, x_0) * noise
        return (output - target).square().sum((1, 2)) / (size[:, 0, 0] * x_0.shape[2])
