"""A mixture of Gaussians with its exact denoiser, and the exact end of each path of its probability-flow ODE.

In x̂ = x/alpha and σ = sigma/alpha every schedule has the same ODE, dx̂/dσ = ε(x̂, σ). Everything is float64.
"""

from math import exp, log

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

FAMILIES = {
    "10 modes": {},
    "40 wide modes": {"components": 40, "stds": (0.1, 0.4)},
    "anisotropic": {"stds": (0.005, 0.4)},
    "far modes": {"dimension": 16, "components": 4, "reach": 2.0},
    "rank 4 of 32": {"dimension": 32, "rank": 4},
}
"""Of mixtures: the arguments of each."""


class Mixture:
    """``components`` diagonal Gaussians drawn from ``seed``, with means in [-reach, reach]^dimension and deviations in
    ``stds``; all of a mean of 0 and a deviation of 0.001 in the elements from ``rank`` on.
    """

    def __init__(
        self,
        seed: int,
        dimension: int = 64,
        components: int = 10,
        stds: tuple[float, float] = (0.02, 0.1),
        reach: float = 0.5,
        rank: int | None = None,
    ):
        draw = torch.Generator().manual_seed(seed)
        shape = (components, dimension)
        self.means = (torch.rand(shape, generator=draw, dtype=torch.float64) - 0.5) * (2 * reach)
        part = torch.rand(shape, generator=draw, dtype=torch.float64)
        self.variances = torch.exp(2 * (log(stds[0]) + part * log(stds[1] / stds[0])))
        if rank is not None:
            self.means[:, rank:], self.variances[:, rank:] = 0, 1e-6
        shares = torch.rand(components, generator=draw, dtype=torch.float64) + 0.3
        self.log_shares = (shares / shares.sum()).log()
        shares = self.log_shares.exp()
        self.mean = shares @ self.means
        spread = self.means - self.mean
        self.covariance = torch.diag(shares @ self.variances) + (spread.T * shares) @ spread
        self.std = float(self.covariance.diagonal().mean().sqrt())
        self.evaluations = 0

    def epsilon(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """E[ε | x̂] in the type of x; x (N, D), sigma a number or (N,). Without cancellation at small sigma."""
        self.evaluations += 1
        x_hat, noise = x.double(), torch.as_tensor(sigma, dtype=torch.float64).reshape(-1, 1, 1)
        variance = self.variances + noise**2
        offset = x_hat[:, None] - self.means
        shares = (self.log_shares - (offset**2 / variance + variance.log()).sum(-1) / 2).softmax(-1)
        return (noise[:, 0] * (shares[..., None] * offset / variance).sum(1)).to(x.dtype)

    def clean(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """E[x_0 | x̂] = x̂ - sigma ε."""
        noise = torch.as_tensor(sigma, dtype=torch.float64).reshape(-1, 1)
        return (x.double() - noise * self.epsilon(x.double(), sigma)).to(x.dtype)


class Paths:
    """The paths of the ODE through x̂ = ``start`` (N, D) at ``sigma``, solved by DOP853 to about 1e-11."""

    def __init__(self, mixture: Mixture, start: Tensor, sigma: float) -> None:
        self.mixture, self.known = mixture, {float(sigma): start.double()}

    def at(self, sigma: float) -> Tensor:
        """x̂ at this noise, (N, D)."""
        if sigma not in self.known:
            above = [s for s in self.known if s >= sigma]
            begin = min(above) if above else max(self.known)
            self.known[sigma] = self._solve(self.known[begin], begin, sigma)
        return self.known[sigma]

    def _solve(self, x: Tensor, begin: float, end: float) -> Tensor:
        shift = 0.02

        def slope(place: float, flat: np.ndarray) -> np.ndarray:
            sigma = max(exp(place) - shift, 0.0)
            return (
                (self.mixture.epsilon(torch.from_numpy(flat).view_as(x), sigma) * (sigma + shift)).reshape(-1).numpy()
            )

        span = (log(begin + shift), log(end + shift))
        solution = solve_ivp(slope, span, x.reshape(-1).numpy(), method="DOP853", rtol=1e-11, atol=1e-12)
        if not solution.success:
            raise RuntimeError(solution.message)
        return torch.from_numpy(solution.y[:, -1].copy()).view_as(x)
