"""CFG++: denoise with guidance, renoise without (Chung et al. 2024, "CFG++: manifold-constrained classifier free
guidance", algorithm 2).

    x_s = alpha_s x̂_0 + sigma_s ε̂(worse),         x̂_0 = x̂_0(worse) + λ (x̂_0(better) - x̂_0(worse)),     λ in [0, 1]

Here for every solver, which takes its own step with the worse denoiser alone, and is moved once:

    x_s = step(worse) + alpha_s λ (x̂_0(better) - x̂_0(worse)),        both at x_t

With DDIM that is the paper's, and classifier-free guidance with the scale

    w = λ/(1 - σ̂_s/σ̂_t),         σ̂ = sigma/alpha

of each step. So λ is that of a number of steps: with more of them w grows without bound, and there is no ODE that
samples come near to. λ = 0 is the worse denoiser alone. In a step to the data w = λ.
"""

from dataclasses import dataclass, field, replace

from torch import Tensor

from sumi.denoising.denoiser import Denoised, Denoiser
from sumi.errors import InputError
from sumi.guidance.extrapolation import Extrapolation
from sumi.process.gaussian import expand
from sumi.process.schedule import NoiseLevel, Schedule, Time, noise_level
from sumi.sampling.solvers.solver import AroundSolver, Solver, State, StepNoise


@dataclass(frozen=True)
class PlusPlus(Extrapolation):
    """x̂_0 with guidance by λ = ``scale``, and as ``unguided`` the worse one's; for `UnguidedNoise`.

    Outside of the interval it is the better denoiser, which is renoised by itself.
    """

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        now = noise_level(self.schedule, t)
        counts = self.interval.choose(now, 1.0, 0.0)
        match counts, self.scale:
            case float(0.0), _:
                return self.better(x_t, now)
            case float(1.0), 0:
                return self.worse(x_t, now)
        better, worse, share = self.better(x_t, now), self.worse(x_t, now).clean, expand(counts, x_t)
        away = worse - better.clean
        clean = self.rescaled(better.clean + (1 - self.scale) * share * away, better.clean)
        return replace(better, clean=clean, unguided=better.clean + share * away)


@dataclass
class _Unguided:
    """A denoiser without guidance, and the ``shift`` of x̂_0 with it at the first evaluation; None: there was none."""

    denoiser: Denoiser
    evaluations: int = 0
    shift: Tensor | None = None

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        found, self.evaluations = self.denoiser(x_t, t), self.evaluations + 1
        if found.unguided is None:
            return found
        if self.evaluations == 1:
            self.shift = found.clean - found.unguided
        return replace(found, clean=found.unguided, unguided=None)


@dataclass(frozen=True)
class UnguidedNoise(AroundSolver[State]):
    """A solver whose steps end with the shift of guidance (module docstring); of other denoisers it changes nothing.

    ``order`` 0: the shift of a step does not shrink with it.
    """

    order: int = field(default=0, init=False)

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: State, noise: StepNoise
    ) -> tuple[Tensor, State]:
        """x (N, …) from t to s."""
        unguided = _Unguided(denoiser)
        x_s, state = self.solver.step(unguided, x, t, s, state, noise)
        return x_s if unguided.shift is None else x_s + float(s.alpha) * unguided.shift, state


def renoised_unguided(name: str, solver: Solver[State]) -> UnguidedNoise[State]:
    """The solver called ``name`` with CFG++. Raises InputError for one that follows no ODE or SDE."""
    if solver.order == 0:
        raise InputError(f"guidance.method: cfg++ changes the steps of an ODE's or SDE's solver, and {name} is none")
    return UnguidedNoise(solver)
