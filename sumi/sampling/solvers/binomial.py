"""Ancestral sampling of bits (Sohl-Dickstein et al. 2015, section 2.2, with the kernels of table App.1).

    x_s ~ Bernoulli with mean  noisy x_t + clean x̂_0,          x̂_0 = E[x_0 | x_t]

The posterior's mean is affine in x_0 (`sumi.process.binomial`), so with the exact x̂_0 each bit of x_s has exactly its
distribution given x_t. Bits of one step are drawn independently of each other, though x_0's are not: for one bit the
result is exact with any number of steps, for dependent ones the distribution has an error of order 1/steps.

At data the kernel's mean is x̂_0 itself.
"""

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError
from sumi.process.binomial import draw, posterior
from sumi.process.schedule import NoiseLevel
from sumi.randomness import Purpose
from sumi.sampling.solvers.solver import StepNoise


@dataclass(frozen=True)
class BinomialAncestral:
    """The reverse chain, for any two times. x: bits ±1; the first of them a fair coin's where alpha(1) = 0."""

    off_grid = False
    order = 1
    draws_noise = True

    last: Literal["draw", "sign"] = field(
        default="draw", metadata={"help": "the bits at data: drawn with mean x̂_0, or the more probable of the two"}
    )

    def __post_init__(self) -> None:
        if self.last not in ("draw", "sign"):
            raise InputError(f"last: {self.last!r} is not one of draw, sign")

    def init(self) -> None:
        return None

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: None, noise: StepNoise
    ) -> tuple[Tensor, None]:
        """One step (module docstring), x of shape (N, …). Raises InputError where no noise is offered."""
        clean = denoiser(x, t).clean
        if s.sigma == 0 and self.last == "sign":
            return draw(clean, clean.new_zeros(clean.shape)), state  # noise at its median
        kernel = posterior(s, t)
        return draw(float(kernel.noisy) * x + float(kernel.clean) * clean, noise(Purpose.STEP)), state
