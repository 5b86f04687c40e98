"""Adams-Bashforth on ε: the probability-flow ODE with one evaluation a step, to any order.

In x̂ = x/alpha and σ̂ = sigma/alpha every schedule has the same ODE, dx̂/dσ̂ = ε(x̂, σ̂), smooth down to σ̂ = 0. The last
evaluations ε_j are interpolated by a polynomial, which is integrated exactly, also to σ̂ = 0 itself:

    x_s/alpha_s = x̂_0 + σ̂_s ε_t + Σ_j w_j (ε_j - ε_t),         w_j = ∫ l_j(v(σ̂)) dσ̂  from σ̂_t to σ̂_s

with the Lagrange polynomials l_j of the nodes. The first two terms are DDIM, and finite also where no data is left in
x_t. What matters is the variable v that the polynomial is in. Classical choices are σ̂ itself ("linear multistep" of
k-diffusion, Katherine Crowson 2022) or log σ̂ (DEIS, Zhang & Chen 2023), in which ε runs away at one end. Here

    v = log (σ̂ + near)/(σ̂ + far)

is regular at both: ε is a smooth function of σ̂ where σ̂ is below all scales of the data, and of 1/σ̂ where it is above.
The grid `log_ratio` is uniform in a v of its own. Where a schedule stops at σ̂(0) > 0, the grid's last step but one ends
there, closer to those before it than to σ̂ = 0: the last step then has the node (σ̂ = 0, ε = 0), too. ``near`` and
``far`` are in units of the data's standard deviation; the defaults were found on mixtures of Gaussians
(benchmarks/solver_accuracy.py).
"""

from dataclasses import dataclass, field
from functools import lru_cache
from math import inf, log
from typing import Final

import numpy as np
from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.errors import InputError
from sumi.process.schedule import NoiseLevel, noise_ratio
from sumi.sampling.solvers.solver import StepNoise

History = tuple[tuple[float, Tensor], ...]
"""The last evaluations, newest first: σ̂ and ε."""

CUT: Final = 1e-6
"""Times below are t = 0 but for rounding."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)


@dataclass(frozen=True)
class Adams:
    """Adams-Bashforth of ``order`` 1 … 8 on ε, polynomials in v (module docstring); ``order`` 1 is DDIM.

    The first steps have the orders 1, 2, … that their history allows. ``far`` = infinity makes v = log(σ̂ + near), and
    ``near`` = infinity v = σ̂.
    """

    off_grid = False
    draws_noise = False

    order: int = field(default=4, metadata={"help": "evaluations that a step uses, 1 to 8"})
    data_std: float = field(default=0.5, metadata={"help": "the data's standard deviation, > 0"})
    near: float = field(default=0.3, metadata={"help": "σ̂ in units of data_std below which ε is smooth in σ̂, > 0"})
    far: float = field(default=100.0, metadata={"help": "σ̂ in units of data_std above which it is smooth in 1/σ̂"})

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 8:
            raise InputError(f"order: {self.order} is not a whole number from 1 to 8")
        if not 0 < self.data_std < inf:
            raise InputError(f"data_std: {self.data_std} is not positive; give the data's standard deviation")
        if not self.near > 0 or not (self.near < self.far or self.near == inf):
            raise InputError(f"near: {self.near} and far = {self.far} must be positive and rising")

    def init(self) -> History:
        return ()

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: History, noise: StepNoise
    ) -> tuple[Tensor, History]:
        """One step and one evaluation; x of shape (N, …). ``noise`` is not used."""
        del noise
        now, after, alpha = noise_ratio(t), noise_ratio(s), float(s.alpha)
        denoised = denoiser(x, t)
        epsilon = denoised.noise
        nodes = (now, *(node for node, _ in state), *known_end(t, s))
        weights = self.weights(nodes, after)[1:] if after < inf else (0.0,) * len(state)  # DDIM to pure noise
        x_s = (denoised.clean * alpha).add_(epsilon, alpha=float(s.sigma) - alpha * sum(weights))
        for w, (_, past) in zip(weights, state, strict=False):
            x_s.add_(past, alpha=alpha * w)
        return x_s, self.remembered(((now, epsilon), *state))

    def remembered(self, history: History) -> History:
        """What later steps use: the last order - 1 evaluations, without one at an infinite v, which is no node."""
        return tuple(past for past in history if self.far < inf or past[0] < inf)[: self.order - 1]

    def weights(self, nodes: tuple[float, ...], after: float) -> tuple[float, ...]:
        """w_j of the evaluations at these σ̂, the first of them where the step begins, for a step to σ̂ = ``after``."""
        return _weights(nodes, after, self.near * self.data_std, self.far * self.data_std)


def known_end(t: NoiseLevel, s: NoiseLevel) -> tuple[float, ...]:
    """The node σ̂ = 0, where ε = 0, of a step to the data from where the schedule stops; no node in other steps."""
    return (0.0,) if s.sigma == 0 and t.t < CUT else ()


def lagrange(nodes: tuple[float, ...], at: np.ndarray, near: float, far: float) -> np.ndarray:
    """The Lagrange polynomials in v of these σ̂, at the σ̂ of ``at`` (M,): (len(nodes), M)."""
    places, v = _variable(np.array(nodes), near, far), _variable(at, near, far)
    rows = []
    for j, place in enumerate(places):
        others = np.delete(places, j)
        rows.append(np.prod((v - others[:, None]) / (place - others)[:, None], axis=0))
    return np.stack(rows)


def quadrature(start: float, end: float, near: float) -> tuple[np.ndarray, np.ndarray]:
    """σ̂ and weights (48,) that integrate dσ̂ from start to end: Gauss-Legendre in log(σ̂ + near)."""
    if near == inf:
        return (start + end + (end - start) * _NODES) / 2, (end - start) / 2 * _WEIGHTS
    first, last = log(start + near), log(end + near)
    shifted = np.exp((first + last + (last - first) * _NODES) / 2)
    return shifted - near, (last - first) / 2 * shifted * _WEIGHTS


@lru_cache(maxsize=4096)
def _weights(nodes: tuple[float, ...], after: float, near: float, far: float) -> tuple[float, ...]:
    if len(nodes) == 1:
        return (after - nodes[0],)
    at, weight = quadrature(nodes[0], after, near)
    return tuple((lagrange(nodes, at, near, far) @ weight).tolist())


def _variable(noise: np.ndarray, near: float, far: float) -> np.ndarray:
    if near == inf:
        return noise
    if far == inf:
        return np.log(noise + near)
    return np.log1p((near - far) / (noise + far))  # log (σ̂ + near)/(σ̂ + far), 0 at infinity
