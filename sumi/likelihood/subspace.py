"""Densities of molecules: of n atoms they lie in a subspace of (n - 1)·3 + n·K dimensions, and have a density there.

Places of zero mean are x = Q z with Q (n, n - 1) orthonormal and every column of it orthogonal to (1, …, 1) (Helmert's
matrix). In z the process is that of a vector: noise is standard normal, and D_z(z, t) = Qᵀ D(Q z, t). So all that is
known of likelihoods of vectors holds, with that number of dimensions; of all n·(3 + K) it would be off by a constant
for every atom (Hoogeboom et al. 2022, appendix A).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.denoising.denoiser import Denoised, Denoiser
from sumi.process.gaussian import expand
from sumi.process.schedule import Schedule, Time, noise_level


def helmert(n: int) -> Tensor:
    """Q of the module docstring, float64 (n, n - 1)."""
    k = torch.arange(1, n, dtype=torch.float64)
    below = torch.arange(n)[:, None] < torch.arange(1, n)
    columns = below / (k * (k + 1)).sqrt()
    columns[range(1, n), range(n - 1)] = -(k / (k + 1)).sqrt()
    return columns


@dataclass(frozen=True)
class InSubspace:
    """``denoiser`` of molecules (N, n, 3 + K) as one of vectors (N, (n - 1)·3 + n·K)."""

    denoiser: Denoiser
    n: int

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def vectors(self, x: Tensor) -> Tensor:
        """z of molecules (N, n, 3 + K), whose mean place does not count."""
        places = helmert(self.n).to(x).T @ x[..., :3]
        return torch.cat([places.flatten(1), x[..., 3:].flatten(1)], 1)

    def molecules(self, z: Tensor) -> Tensor:
        """x (N, n, 3 + K) of vectors."""
        split = 3 * (self.n - 1)
        places = helmert(self.n).to(z) @ z[:, :split].unflatten(1, (self.n - 1, 3))
        return torch.cat([places, z[:, split:].unflatten(1, (self.n, -1))], 2)

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        found, now = self.denoiser(self.molecules(x_t), t), noise_level(self.schedule, t)
        return Denoised(self.vectors(found.clean), x_t, expand(now.alpha, x_t), expand(now.sigma, x_t))
