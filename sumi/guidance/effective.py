"""How strongly samples were guided, whatever by: the effective scale of a method along its own samples.

Let Δ = x̂_0(y) - x̂_0(no condition). Guidance moves a step from t to s, in x/alpha, by D; with classifier-free guidance
of scale w that is D = c w Δ with c = 1 - σ̂_s/σ̂_t. The scale that moves as far along Δ over all steps is

    w = Σ b D·Δ / Σ b c ‖Δ‖²,         b = 1/(1 + σ̂_t²)

where √b Δ is a difference of velocities, which is bounded at all levels; Δ of a network that predicts noise is not.

("Guidance matters", 2026, calibrates methods to an equal effective scale before it compares them). Where guidance is
off it is 1, and with CFG++ D = λ Δ.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic

from torch import Tensor

from sumi.denoising.denoiser import Denoiser, Evaluated
from sumi.process.schedule import NoiseLevel, noise_ratio
from sumi.sampling.solvers.solver import AroundSolver, State, StepNoise


@dataclass
class Strength:
    """Both sums so far."""

    along: float = 0.0
    square: float = 0.0

    @property
    def scale(self) -> float:
        """The effective scale; 1 where nothing is to be guided."""
        return self.along / self.square if self.square else 1.0


@dataclass(frozen=True)
class Measured(AroundSolver[State], Generic[State]):
    """``solver``, of which ``strength`` sums up what guidance does (module docstring).

    ``better``, ``worse``: with and without the condition. They are evaluated in addition.
    """

    better: Denoiser
    worse: Denoiser
    strength: Strength = field(default_factory=Strength)

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: State, noise: StepNoise
    ) -> tuple[Tensor, State]:
        found, worse = denoiser(x, t), self.worse(x, t).clean
        difference, share = self.better(x, t).clean - worse, 1 - noise_ratio(s) / noise_ratio(t)
        moved = share * (found.clean - worse) if found.unguided is None else found.clean - found.unguided
        bounded = 1 / (1 + noise_ratio(t) ** 2)
        self.strength.along += bounded * float((moved * difference).sum())
        self.strength.square += bounded * share * float(difference.square().sum())
        return self.solver.step(Evaluated(denoiser, found, t), x, t, s, state, noise)


def calibrated(measure: Callable[[float], float], wanted: float, first: float, none: float, most: float) -> float:
    """The scale at which ``measure`` gives about what is ``wanted``, within 2 % where it can be had.

    ``first``: where to begin; ``none``: what neither guides nor measures anything but itself (1; 0 of CFG++); ``most``:
    the largest that is allowed.
    """
    scale = first
    for _ in range(5):
        found = measure(scale)
        if abs(found - wanted) <= 0.02 * abs(wanted) or found == none:
            return scale
        scale = min(none + (scale - none) * (wanted - none) / (found - none), most)
    return scale
