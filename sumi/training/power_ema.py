"""Power-function averages of the weights, and an average of any length after training (Karras et al. 2024, EDM2, §3).

    θ_γ(t) = (γ+1)/t^(γ+1) ∫₀ᵗ τ^γ θ(τ) dτ,      θ_γ(t) ← β θ_γ(t-1) + (1-β) θ(t),   β = (1 - 1/t)^(γ+1)

Unlike an average of constant decay it forgets the start at a rate that follows the length of the training so far. Its
length is the standard deviation of its profile as a share of t, σ_rel:

    σ_rel² = (γ+1) / ((γ+2)² (γ+3)),      0 < σ_rel < 1/√3 · 1/2 for γ > 0

In θ_γ(t), the weights after step τ ≤ t count (τ^(γ+1) - (τ-1)^(γ+1))/t^(γ+1): the profile's integral over the step. An
average of another length is the sum of stored ones whose profile is nearest to its own in least squares.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.training.sharding import rows_of

SHORTEST, LONGEST = 0.005, 0.288
"""Of σ_rel; at 1/√12 = 0.2887 all steps count alike (γ = 0)."""
CELLS = 10_000
"""Into so many pieces the steps are divided at most where profiles are compared."""


def exponent(length: float) -> float:
    """γ ≥ 0 of σ_rel = ``length``, the real root of (γ+2)² (γ+3) = (γ+1)/σ_rel². Raises InputError out of range."""
    if not SHORTEST <= length <= LONGEST:
        raise InputError(f"length: {length:g} is not from {SHORTEST} to {LONGEST}; give a share of the training")
    ratio = length**-2
    return float(np.roots([1, 7, 16 - ratio, 12 - ratio]).real.max())


def decay(length: float, step: int) -> float:
    """β of step 1, 2, …: 0 at the first, as nothing was before it."""
    return (1 - 1 / step) ** (exponent(length) + 1)


class PowerEMAs:
    """The averages of these ``lengths`` of the trained parameters of ``source``, whose names they keep."""

    def __init__(self, source: nn.Module, lengths: Sequence[float]) -> None:
        self._source = {name: weight for name, weight in source.named_parameters() if weight.requires_grad}
        self._averages = {
            length: {name: weight.detach().clone() for name, weight in self._source.items()} for length in lengths
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after ``step``, which counts from 1; so do steps that were skipped."""
        for length, average in self._averages.items():
            torch._foreach_lerp_(rows_of(average.values()), rows_of(self._source.values()), 1 - decay(length, step))

    def tensors(self) -> dict[str, Tensor]:
        """All averages, as average.LENGTH.NAME."""
        return {
            f"average.{length:g}.{name}": tensor
            for length, average in self._averages.items()
            for name, tensor in average.items()
        }

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """The averages in ``tensors``; without any, all begin at the present weights."""
        for name, own in self.tensors().items():
            own.copy_(tensors[name] if name in tensors else self._source[name.split(".", 3)[3]])


def profile(length: float, step: int, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much the weights after the steps between ``edges`` count in the average at ``step``; its sum is 1."""
    return np.diff((np.minimum(edges, step) / step) ** (exponent(length) + 1))


def coefficients(stored: Sequence[tuple[float, int]], length: float, step: int) -> tuple[NDArray[np.float64], float]:
    """The factors of the ``stored`` averages, each of a length and a step, that sum to the average at ``step``.

    Also the distance of their profile from its own: half the sum of the differences, 0 (equal) to 1.
    """
    edges = np.unique(np.linspace(0, step, min(step, CELLS) + 1).round())
    wanted, rows = profile(length, step, edges), np.array([profile(*one, edges) for one in stored])
    scale = np.diff(edges) ** -0.5  # so that sums of squares are integrals of squares
    found = np.linalg.lstsq((rows * scale).T, wanted * scale, rcond=1e-12)[0]
    found /= found.sum()  # weights that do not change are their own average
    return found, float(np.abs(found @ rows - wanted).sum()) / 2
