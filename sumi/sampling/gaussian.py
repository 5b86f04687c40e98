"""A Gaussian fit of data: mean and covariance, as principal directions and an isotropic rest.

    Σ = Q diag(variances) Qᵀ + rest (I - Q Qᵀ),          Q: (D, R) with orthonormal columns

Functions of Σ act on the R directions and on their orthogonal complement; no D × D matrix is formed.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.errors import InputError


@dataclass(frozen=True)
class Gaussian:
    """``mean`` (D,), ``directions`` (D, R), ``variances`` (R,): float64, CPU; ``rest``: variance of the complement."""

    mean: Tensor
    directions: Tensor
    variances: Tensor
    rest: float

    @staticmethod
    def of_moments(mean: Tensor, covariance: Tensor) -> "Gaussian":
        """The Gaussian with a mean (D,) and a covariance (D, D), with all directions."""
        variances, directions = torch.linalg.eigh(covariance.double().cpu())
        return Gaussian(mean.double().cpu(), directions, variances.clamp(min=0), 0.0)

    @staticmethod
    def of_data(x: Tensor, rank: int = 256) -> "Gaussian":
        """The moments of ``x`` (N, …) with its ``rank`` largest directions. Raises InputError for fewer than 2 rows."""
        flat = x.flatten(1).double().cpu()
        if len(flat) < 2:
            raise InputError(f"data: {len(flat)} examples have no covariance; give 2 or more")
        mean = flat.mean(0)
        _, singular, directions = torch.linalg.svd(flat - mean, full_matrices=False)
        variances = singular.square() / (len(flat) - 1)
        kept = min(rank, len(variances))
        others = flat.shape[1] - kept
        rest = float(variances[kept:].sum()) / others if others else 0.0
        return Gaussian(mean, directions[:kept].T.contiguous(), variances[:kept], rest)

    def scaled(self, x: Tensor, of_directions: Tensor, of_rest: float) -> Tensor:
        """x (N, …) with its principal components scaled by ``of_directions`` (R,), and the rest by ``of_rest``."""
        flat = x.flatten(1)
        directions = self.directions.to(flat.device, flat.dtype)
        factors = (of_directions - of_rest).to(flat.device, flat.dtype)
        return (flat * of_rest).addmm_((flat @ directions) * factors, directions.T).view_as(x)
