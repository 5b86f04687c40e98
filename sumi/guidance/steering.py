"""Feynman-Kac steering towards any reward (Singhal et al. 2025, "A general framework for inference-time scaling and
steering of diffusion models", algorithm 1).

K particles follow a stochastic sampler. At each level r_t = r(x̂_0(x_t)) says how promising one is, and its weight gets
the factor G_t, of the rewards of its own path from T to t:

    difference    G_t = exp(λ (r_t - r_{t+1})),         r_{T+1} = 0
    max           G_t = exp(λ max_{s ≥ t} r_s)
    sum           G_t = exp(λ Σ_{s ≥ t} r_s)            and at the data  G_0 = exp(λ r(x_0))/Π_{t > 0} G_t  of all three

so that the product of all is exp(λ r(x_0)). Where few of them have all the weight, particles are resampled
(`sumi.sampling.particles`). With K → ∞ they are samples of the sampler's p(x_0) exp(λ r(x_0))/Z, for any reward: no
gradient is taken. One particle is the sampler itself. Of many steps, max and sum have factors whose product is far
from exp(λ r) until the last, so they follow rewards greedily unless particles are very many; difference does not.

`sumi.restoration.twisted` also moves the particles, which needs the gradient of a measurement.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor

from sumi.boundary.arguments import MOST_COUNT, real, whole
from sumi.denoising.denoiser import Denoised, Denoiser, Evaluated
from sumi.errors import InputError
from sumi.process.schedule import NoiseLevel
from sumi.sampling.particles import effective_number, resampled
from sumi.sampling.solvers.solver import Solver, StepNoise

Reward = Callable[[Tensor], Tensor]
"""r of each x_0 (N, …): (N,), the more the better."""
Potential = Literal["difference", "max", "sum"]
PARTICLES: Final = 4
"""The usual K."""
EVERY: Final = 0.5
"""The part of K below which the effective number of particles has them resampled."""


@dataclass(frozen=True)
class Weighed:
    """Of M K particles ``log_weight`` (M, K) since they were resampled, ``spent`` = Σ log G (M K,), and ``known``
    (M K,): the last, largest or summed reward of each one's path."""

    log_weight: Tensor
    spent: Tensor
    known: Tensor | None


@dataclass(frozen=True)
class FeynmanKac:
    """``solver`` with ``particles`` = K for each of M samples: x is (M K, …), each sample's K side by side.

    At the end every particle is a sample, but those of one group are not independent: use any one. ``scale``: λ. No
    evaluation of the denoiser is added; the reward is evaluated once a step, and at the end. Raises InputError for a
    solver that draws no noise, or remembers evaluations.
    """

    solver: Solver[None]
    reward: Reward
    particles: int
    scale: float = field(default=1.0, metadata={"help": "λ: 0 is no reward"})
    potential: Potential = "difference"
    threshold: float = EVERY

    order = 0
    draws_noise = True

    def __post_init__(self) -> None:
        whole("particles", self.particles, least=1, most=MOST_COUNT)
        real("reward_scale", self.scale)
        if self.potential not in get_args(Potential):
            known = ", ".join(get_args(Potential))
            raise InputError(f"potential: there is no {self.potential!r}; choose from {known}")

    @property
    def off_grid(self) -> bool:
        """As the solver's."""
        return self.solver.off_grid

    def init(self) -> Weighed | None:
        return None

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: Weighed | None, noise: StepNoise
    ) -> tuple[Tensor, Weighed]:
        """One step of all. Raises InputError for other than M K particles, and a reward that is not of each."""
        if len(x) % self.particles:
            raise InputError(f"particles: {len(x)} samples are not groups of {self.particles}; give so many")
        if state is None:
            nothing = torch.zeros(len(x), dtype=torch.float64, device=x.device)
            state = Weighed(nothing.view(-1, self.particles), nothing, None)
        found = denoiser(x, t)
        state = self._weighed(state, found.clean)
        poor = effective_number(state.log_weight) < self.threshold * self.particles
        if bool(poor.any()):
            rows, log_weight = resampled(state.log_weight, poor, noise)
            state = Weighed(log_weight, state.spent[rows], None if state.known is None else state.known[rows])
            x = x[rows]
            found = _chosen(found, rows, x)
        x, _ = self.solver.step(Evaluated(denoiser, found, t), x, t, s, self.solver.init(), noise)
        if s.sigma == 0:
            last = self.scale * self._rewards(x) - state.spent
            log_weight = state.log_weight + last.view_as(state.log_weight)
            rows, log_weight = resampled(log_weight, torch.ones_like(poor), noise, draw=2)
            return x[rows], Weighed(log_weight, state.spent[rows], None)
        return x, state

    def _weighed(self, state: Weighed, clean: Tensor) -> Weighed:
        """With G_t of each path that comes to these x̂_0."""
        reward, before = self._rewards(clean), state.known
        match self.potential:
            case "difference":
                known, counts = reward, reward if before is None else reward - before
            case "max":
                known = counts = reward if before is None else torch.maximum(before, reward)
            case "sum":
                known = counts = reward if before is None else before + reward
        added = self.scale * counts
        return Weighed(state.log_weight + added.view_as(state.log_weight), state.spent + added, known)

    def _rewards(self, clean: Tensor) -> Tensor:
        """r of each, float64. Raises InputError where it is not one finite number for each."""
        found = torch.as_tensor(self.reward(clean), device=clean.device).double()
        if found.shape != (len(clean),):
            raise InputError(f"reward: is of shape {tuple(found.shape)} for {len(clean)} samples; give one for each")
        if not bool(found.isfinite().all()):
            raise InputError("reward: is not finite for some samples; give finite numbers")
        return found


def _chosen(found: Denoised, rows: Tensor, x: Tensor) -> Denoised:
    """What was found, of these rows, which are ``x``."""
    variance = found.clean_variance
    match variance:
        case Tensor() if len(variance) == len(rows):
            variance = variance[rows]
    return replace(found.mapped(lambda clean: clean[rows]), x_t=x, clean_variance=variance)


def feynman_kac(
    name: str, solver: Solver[Any], reward: Reward, particles: int, scale: float, potential: Potential
) -> FeynmanKac:
    """The solver called ``name`` with particles. Raises InputError for one without noise, or with a memory."""
    if not solver.draws_noise:
        raise InputError(f"solver: {name} draws no noise, so copies of a particle stay alike; choose ddpm")
    if solver.init() is not None:
        raise InputError(f"solver: {name} remembers what particles had before they were resampled; choose ddpm")
    return FeynmanKac(solver, reward, particles, scale, potential)
