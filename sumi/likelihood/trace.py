"""The trace of a large Jacobian, from vector-Jacobian products.

    tr J = Σ_i e_iᵀ J e_i = E[vᵀ J v]        for any v with E[v vᵀ] = I

The sum over the D unit vectors is exact. The mean over random *probes* v is Hutchinson's estimate (Hutchinson 1990;
Grathwohl et al. 2019, "FFJORD"). With entries ±1 (Rademacher) its variance comes from the off-diagonal part only,
Σ_{i<j} (J_ij + J_ji)², so it is exact for a diagonal J; with normal entries the diagonal adds 2 Σ_i J_ii². Each product
is one backward pass through f, after a single forward pass.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.randomness import Purpose, normal

Function = Callable[[Tensor], Tensor]


class Trace(Protocol):
    """f(x), without a graph, and P estimates of tr ∂f/∂x, to be averaged: float64 (N, P) on the CPU.

    x and f(x): (N, …); each row of f depends on that row of x alone. Works in any autograd mode.
    """

    def __call__(self, f: Function, x: Tensor, /) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class ExactTrace:
    """The trace itself, by D products: for D up to about 64."""

    def __call__(self, f: Function, x: Tensor, /) -> tuple[Tensor, Tensor]:
        units = torch.eye(x[0].numel(), dtype=x.dtype, device=x.device)
        value, forms = _quadratic_forms(f, x, (unit.reshape(x[0].shape).expand_as(x) for unit in units))
        return value, forms.sum(1, keepdim=True)


@dataclass(frozen=True)
class HutchinsonTrace:
    """One estimate per probe, (P, N, …). Probes stay the same in all calls, as an ODE's slope must be a function."""

    probes: Tensor

    def __call__(self, f: Function, x: Tensor, /) -> tuple[Tensor, Tensor]:
        return _quadratic_forms(f, x, self.probes)


def draw_probes(
    seed: int,
    indices: Sequence[int],
    x: Tensor,
    count: int = 1,
    distribution: Literal["rademacher", "normal"] = "rademacher",
    *,
    step: int = 0,
) -> HutchinsonTrace:
    """``count`` probes for each row of x (N, …), in its type; row k depends on ``indices[k]`` alone.

    ``step`` distinguishes several solves for one sample. Raises InputError for fewer than one probe.
    """
    if count < 1:
        raise InputError(f"probes: {count} is not a number of probes; give 1 or more")
    draws = [
        normal(seed, indices, step, Purpose.PROBE, x.shape[1:], draw=k, dtype=x.dtype, device=x.device)
        for k in range(count)
    ]
    probes = torch.stack(draws)
    return HutchinsonTrace(probes if distribution == "normal" else torch.where(probes < 0, -1.0, 1.0).to(x.dtype))


def _quadratic_forms(f: Function, x: Tensor, vectors: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """f(x) and vᵀ J v of every row for each of the vectors, (N, P)."""
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        value = f(point)
    forms = []
    for v in vectors:  # one by one: channels-last convolutions cannot be differentiated for several at once
        (pulled,) = torch.autograd.grad(value, point, v, retain_graph=True)
        forms.append((pulled * v).flatten(1).sum(1))
    return value.detach(), torch.stack(forms, dim=1).to("cpu", torch.float64)
