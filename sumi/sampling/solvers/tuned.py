"""A multistep method whose coefficients were fitted to one model, one number of steps and one grid.

    x_s = (1 + a) alpha_s x̂_0 + (sigma_s + b) ε_t + alpha_s Σ_j w_j (ε_j - ε_t) + m

With a = b = m = 0 it is the form of every linear multistep method on ε (`sumi.sampling.solvers.adams`), here with all
evaluations of the way so far and the numbers that `sumi.sampling.tuning` found. Each band of an image's frequencies
(`sumi.sampling.bands`) has its own w, a and b, so that Gaussian data are followed exactly where their variance is the
same throughout a band; m is of the lowest frequencies.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError
from sumi.process.schedule import NoiseLevel
from sumi.sampling.bands import Bands
from sumi.sampling.solvers.solver import StepNoise

Evaluations = tuple[Tensor, ...]
"""ε of every step so far, in frequencies, newest first."""
Row = tuple[float, ...]
"""w_j of the evaluations before a step, newest first, then a and b."""


@dataclass(frozen=True)
class Tuned:
    """``weights[k]``: the rows of step k, of k + 2 numbers, one for each band; ``means[k]``: m of step k, or none.

    ``order`` 0: it is fitted to one number of steps, and there are no more to take.
    """

    off_grid = False
    order = 0
    draws_noise = False

    weights: tuple[tuple[Row, ...], ...]
    means: tuple[Row, ...] = ()

    def __post_init__(self) -> None:
        for k, rows in enumerate(self.weights):
            for row in rows:
                if len(row) != k + 2:
                    raise InputError(f"weights: step {k} has {len(row)} of them, not {k + 2}; tune again")
        if len({len(rows) for rows in self.weights}) != 1 or not self.weights[0]:
            raise InputError("weights: steps have not as many bands; tune again")
        if len(self.means) not in {0, len(self.weights)}:
            raise InputError(f"means: there are {len(self.means)}, not {len(self.weights)}; tune again")

    def init(self) -> Evaluations:
        return ()

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: Evaluations, noise: StepNoise
    ) -> tuple[Tensor, Evaluations]:
        """One step and one evaluation; x of shape (N, …). Raises InputError for more steps than were fitted."""
        del noise
        k = len(state)
        if k >= len(self.weights):
            raise InputError(f"steps: this solver was fitted to {len(self.weights)}; give it its own times")
        bands = Bands(tuple(x.shape[1:]), len(self.weights[k]))
        plain, terms, epsilon = evaluated(denoiser, x, t, s, state, bands)
        mean = self.means[k] if self.means else ()
        return bands.restored(moved(plain, terms, self.weights[k], mean, bands)), (epsilon, *state)


def evaluated(
    denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: Evaluations, bands: Bands
) -> tuple[Tensor, list[Tensor], Tensor]:
    """DDIM's x_s, what the numbers of a row are factors of, and ε_t; all in frequencies, of one evaluation."""
    denoised, alpha = denoiser(x, t), float(s.alpha)
    clean, epsilon = bands.transformed(denoised.clean) * alpha, bands.transformed(denoised.noise)
    plain = clean.add(epsilon, alpha=float(s.sigma))
    return plain, [*((past - epsilon) * alpha for past in state), clean, epsilon], epsilon


def moved(plain: Tensor, terms: list[Tensor], rows: tuple[Row, ...], mean: Row, bands: Bands) -> Tensor:
    """``plain`` with the terms and the mean added, in place."""
    factors = torch.tensor(rows, dtype=torch.float64)
    for number, term in enumerate(terms):
        plain.addcmul_(term, bands.spread(factors[:, number]).to(plain))
    if mean:
        lowest = bands.lowest(plain)
        lowest.add_(torch.tensor(mean, dtype=torch.float64).to(plain).reshape(lowest.shape[1:]))
    return plain
