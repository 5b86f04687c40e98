"""Kernel distances: unbiased squared maximum mean discrepancies of two sets of vectors.

    k(x, y) = (xᵀy/d + 1)³                                                      (Bińkowski et al. 2018, section 4)
    k(x, y) = -‖x - y‖                                                              (Székely and Rizzo 2013)
    MMD²    = E k(x, x') + E k(y, y') - 2 E k(x, y)
    KID     = mean of k(x_i, x_j) over i ≠ j + mean of k(y_i, y_j) over i ≠ j - 2 mean of k(x_i, y_j)

The first kernel, on image features, gives the KID; the second the energy distance, for points in few dimensions, which
is 0 only for equal distributions.

The KID is a U-statistic over all pairs, so its mean is exactly MMD² at every sample size, and it can be negative by
chance. It uses no random subsets, so the value is deterministic.

Its variance is exact too (Hoeffding's decomposition), and estimated without bias. Each kernel matrix is split into row
and column effects and a remainder, as in an analysis of variance:

    k(x_i, x_j) = μ_xx + g_i + g_j + r_ij
    k(y_i, y_j) = μ_yy + h_i + h_j + s_ij
    k(x_i, y_j) = μ_xy + u_i + v_j + q_ij
    Var KID = 4/m Var(g - u) + 4/n Var(h - v) + V_0
    V_0     = 2 E r²/(m(m-1)) + 2 E s²/(n(n-1)) + 4 E q²/(mn)

The remainder of a symmetric matrix without its diagonal has m(m-3)/2 degrees of freedom (the "U-centred" matrix of
Székely and Rizzo 2014), that of the cross matrix (m-1)(n-1). For equal distributions only V_0 remains; the bootstrap
would get it wrong, since it pairs images with themselves. The first two terms vanish with MMD² and are modelled as
proportional to it: Var = V_0 + c MMD² (see ``intervals``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from sumi.metrics.features.network import check_features
from sumi.metrics.intervals import Estimate, squared_distance

BLOCK = 512


@dataclass(frozen=True)
class Kernel:
    """k(a_i, b_j) of vectors (m, D) and (n, D): (m, n); and ``own``, k(a_i, a_i): (m,)."""

    pairs: Callable[[Tensor, Tensor], Tensor]
    own: Callable[[Tensor], Tensor]


CUBIC: Final = Kernel(lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3, lambda a: (a.square().sum(1) / a.shape[1] + 1) ** 3)
DISTANCE: Final = Kernel(
    lambda a, b: -torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist"), lambda a: a.new_zeros(len(a))
)


@dataclass(frozen=True)
class _Sums:
    """The row sums, column sums and sum of squares of a kernel matrix (all float64)."""

    rows: Tensor
    columns: Tensor
    squares: Tensor


def _kernel_sums(kernel: Kernel, a: Tensor, b: Tensor) -> _Sums:
    """Sums over k(a_i, b_j), by blocks of rows."""
    rows: list[Tensor] = []
    columns, squares = a.new_zeros(len(b)), a.new_zeros(())
    for block in a.split(BLOCK):
        k = kernel.pairs(block, b)
        rows.append(k.sum(1))
        columns += k.sum(0)
        squares += k.square().sum()
    return _Sums(torch.cat(rows), columns, squares)


def _without_diagonal(kernel: Kernel, a: Tensor) -> _Sums:
    """Sums over k(a_i, a_j), i ≠ j."""
    whole = _kernel_sums(kernel, a, a)
    own = kernel.own(a)
    return _Sums(whole.rows - own, whole.columns - own, whole.squares - own.square().sum())


def _mean_and_remainder(sums: _Sums) -> tuple[Tensor, Tensor]:
    """Unbiased μ and E r² of a symmetric matrix without its diagonal."""
    m = len(sums.rows)
    mean = sums.rows.sum() / (m * (m - 1))
    effects = (m - 1) / (m - 2) * (sums.rows / (m - 1) - mean)
    explained = m * (m - 1) * mean**2 + 2 * (m - 2) * effects.square().sum()
    return mean, (sums.squares - explained).clamp(min=0) / (m * (m - 3))


def energy_distance(a: Tensor, b: Tensor) -> Estimate:
    """2 E‖x - y‖ - E‖x - x'‖ - E‖y - y'‖ between points ``a`` (m, D) and ``b`` (n, D), with its 95 % interval.

    Raises InputError for other shapes and for fewer than 4 points of either kind.
    """
    return kernel_distance(a, b, DISTANCE)


def kernel_distance(a: Tensor, b: Tensor, kernel: Kernel = CUBIC) -> Estimate:
    """MMD² (KID) between features ``a`` (m, D) and ``b`` (n, D), m, n ≥ 4, with its 95 % interval.

    Raises InputError for other shapes and for fewer images.
    """
    check_features(a, b)
    a, b = a.double(), b.double()
    m, n = len(a), len(b)
    within_a, within_b = (_without_diagonal(kernel, x) for x in (a, b))
    between = _kernel_sums(kernel, a, b)
    mean_a, rest_a = _mean_and_remainder(within_a)
    mean_b, rest_b = _mean_and_remainder(within_b)
    mean = between.rows.sum() / (m * n)
    effects = n * (between.rows / n - mean).square().sum() + m * (between.columns / m - mean).square().sum()
    rest = (between.squares - m * n * mean**2 - effects).clamp(min=0) / ((m - 1) * (n - 1))
    at_zero = 2 * rest_a / (m * (m - 1)) + 2 * rest_b / (n * (n - 1)) + 4 * rest / (m * n)
    return squared_distance(
        float(mean_a + mean_b - 2 * mean),
        float(at_zero),
        _slope(kernel.own(a), kernel.own(b), within_a, within_b, between),
    )


def _slope(own_a: Tensor, own_b: Tensor, within_a: _Sums, within_b: _Sums, between: _Sums) -> float:
    """c = (4/m Var w(x) + 4/n Var w(y))/MMD² with the empirical witness w = mean k(·, x_i) - mean k(·, y_j).

    Numerator and denominator are of the empirical distributions (diagonal included): the quotient is then a weighted
    mean of the kernel's eigenvalues, which stays well determined as the distributions approach each other.
    """
    m, n = len(own_a), len(own_b)
    witness_a = (within_a.rows + own_a) / m - between.rows / n
    witness_b = between.columns / m - (within_b.rows + own_b) / n
    biased = witness_a.mean() - witness_b.mean()
    if biased <= 0:  # the same set twice
        return 0.0
    return float((4 * witness_a.var() / m + 4 * witness_b.var() / n) / biased)
