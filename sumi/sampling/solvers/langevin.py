"""Annealed Langevin dynamics (Song & Ermon 2019, "Generative modeling by estimating gradients", algorithm 1).

At each level, in the paper's variable x̂ = x/alpha with noise σ̂ = sigma/alpha and ŝ = ∇ log p(x̂) = -ε̂/σ̂,

    x̂ ← x̂ + δ/2 ŝ + √δ z,      δ = c σ̂²,      which in x is      x ← x - c/2 · sigma ε̂ + √c · sigma z,

then the same x̂ is taken for a draw of the next level: x_s = (alpha_s/alpha_t) x_t. The paper's δ_i = ε σ_i²/σ_L² with
ε = 2·10⁻⁵ and σ_L = 0.01 is c = 0.2. For Gaussian data of variance V in x̂, k iterations leave a^2k of the start's
excess, a = 1 - δ/2V, and come to rest at V/(1 - δ/4V).

The last level ends with x̂_0, which takes out the noise of size σ̂ that the paper leaves in (Jolicoeur-Martineau et al.
2021, "Adversarial score matching and improved sampling", section 3). From a level without data (alpha_t = 0, x/alpha
infinite) x is taken over as noise of the next one, x_s = (sigma_s/sigma_t) x_t.
"""

from dataclasses import dataclass, field
from math import sqrt

from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError
from sumi.process.schedule import NoiseLevel
from sumi.randomness import Purpose
from sumi.sampling.solvers.solver import StepNoise


@dataclass(frozen=True)
class AnnealedLangevin:
    """Langevin iterations at every level of the grid but the data's: ``corrections`` evaluations a step, one more at
    the end with ``denoise``. Nothing but the iterations moves x between levels, so their σ̂ must be near each other.

    ``order`` 0: at levels ever nearer to each other it comes to rest at V/(1 - δ/4V) (module docstring).
    """

    off_grid = False
    order = 0
    draws_noise = True

    corrections: int = field(
        default=100, metadata={"most": 10**5, "help": "iterations at each level, the paper's T, ≥ 1"}
    )
    step_size: float = field(default=0.2, metadata={"help": "c = δ/σ̂² of an iteration, in (0, 4)"})
    denoise: bool = field(default=True, metadata={"help": "end with x̂_0 instead of a draw of the last level"})

    def __post_init__(self) -> None:
        if self.corrections < 1:
            raise InputError(f"corrections: {self.corrections} is not a number of iterations; give 1 or more")
        if not 0 < self.step_size < 4:
            raise InputError(f"step_size: {self.step_size} is not between 0 and 4, where iterations diverge; try 0.2")

    def init(self) -> None:
        return None

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: None, noise: StepNoise
    ) -> tuple[Tensor, None]:
        """The iterations at t, then x as a draw of s, shape (N, …). Raises InputError where no noise is offered."""
        of_noise, of_draw = self.step_size / 2 * float(t.sigma), sqrt(self.step_size) * float(t.sigma)
        for draw in range(self.corrections):
            x = (x - of_noise * denoiser(x, t).noise).add_(noise(Purpose.STEP, draw), alpha=of_draw)
        if s.sigma == 0 and self.denoise:
            return denoiser(x, t).clean, state
        return x * float(s.alpha / t.alpha if t.alpha else s.sigma / t.sigma), state
