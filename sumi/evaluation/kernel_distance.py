"""The kernel distance (KID): squared maximum mean discrepancy of two sets of features, without bias.

    k(x, y) = (xᵀy/d + 1)³                                                      (Bińkowski et al. 2018, section 4)
    MMD²    = E k(x, x') + E k(y, y') - 2 E k(x, y)
    KID     = mean of k(x_i, x_j) over i ≠ j + mean of k(y_i, y_j) over i ≠ j - 2 mean of k(x_i, y_j)

It is a U-statistic over all pairs, so its mean is exactly MMD² at every sample size, and it can be negative by chance.
No subsets are drawn: there is no randomness in the value.

Its variance is exact too (Hoeffding's decomposition), and estimated without bias. Split each kernel matrix into row
and column effects and a remainder, as in an analysis of variance:

    k(x_i, x_j) = μ_xx + g_i + g_j + r_ij
    k(y_i, y_j) = μ_yy + h_i + h_j + s_ij
    k(x_i, y_j) = μ_xy + u_i + v_j + q_ij
    Var KID = 4/m Var(g - u) + 4/n Var(h - v) + V_0
    V_0     = 2 E r²/(m(m-1)) + 2 E s²/(n(n-1)) + 4 E q²/(mn)

The remainder of a symmetric matrix without its diagonal has m(m-3)/2 degrees of freedom (the "U-centred" matrix of
Székely and Rizzo 2014), that of the cross matrix (m-1)(n-1). V_0 is all that is left when both distributions are equal;
resampling images with replacement would get it wrong, as a pair made of an image and itself is no pair of the data. The
first two terms vanish with MMD² and are taken in proportion to it: Var = V_0 + c MMD² (see ``intervals``).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.evaluation.feature_network import check_features
from sumi.evaluation.intervals import Estimate, squared_distance

BLOCK = 512


@dataclass(frozen=True)
class _Sums:
    """Of a kernel matrix: the sums of its rows and of its columns, and the sum of its squares (all float64)."""

    rows: Tensor
    columns: Tensor
    squares: Tensor


def _kernel_sums(a: Tensor, b: Tensor) -> _Sums:
    """Sums over k(a_i, b_j), a block of rows at a time."""
    rows: list[Tensor] = []
    columns, squares = a.new_zeros(len(b)), a.new_zeros(())
    for block in a.split(BLOCK):
        k = (block @ b.T / a.shape[1] + 1) ** 3
        rows.append(k.sum(1))
        columns += k.sum(0)
        squares += k.square().sum()
    return _Sums(torch.cat(rows), columns, squares)


def _without_diagonal(a: Tensor) -> _Sums:
    """Sums over k(a_i, a_j), i ≠ j."""
    whole = _kernel_sums(a, a)
    own = (a.square().sum(1) / a.shape[1] + 1) ** 3
    return _Sums(whole.rows - own, whole.columns - own, whole.squares - own.square().sum())


def _mean_and_remainder(sums: _Sums) -> tuple[Tensor, Tensor]:
    """μ and E r² of a symmetric matrix without its diagonal, each without bias."""
    m = len(sums.rows)
    mean = sums.rows.sum() / (m * (m - 1))
    effects = (m - 1) / (m - 2) * (sums.rows / (m - 1) - mean)
    explained = m * (m - 1) * mean**2 + 2 * (m - 2) * effects.square().sum()
    return mean, (sums.squares - explained).clamp(min=0) / (m * (m - 3))


def kernel_distance(a: Tensor, b: Tensor) -> Estimate:
    """KID between features ``a`` (m, D) and ``b`` (n, D), m, n ≥ 4, with its 95 % interval.

    Raises InputError for other shapes and for fewer images.
    """
    check_features(a, b)
    a, b = a.double(), b.double()
    m, n = len(a), len(b)
    within_a, within_b, between = _without_diagonal(a), _without_diagonal(b), _kernel_sums(a, b)
    mean_a, rest_a = _mean_and_remainder(within_a)
    mean_b, rest_b = _mean_and_remainder(within_b)
    mean = between.rows.sum() / (m * n)
    effects = n * (between.rows / n - mean).square().sum() + m * (between.columns / m - mean).square().sum()
    rest = (between.squares - m * n * mean**2 - effects).clamp(min=0) / ((m - 1) * (n - 1))
    at_zero = 2 * rest_a / (m * (m - 1)) + 2 * rest_b / (n * (n - 1)) + 4 * rest / (m * n)
    return squared_distance(
        float(mean_a + mean_b - 2 * mean), float(at_zero), _slope(a, b, within_a, within_b, between)
    )


def _slope(a: Tensor, b: Tensor, within_a: _Sums, within_b: _Sums, between: _Sums) -> float:
    """c = (4/m Var w(x) + 4/n Var w(y))/MMD² with the empirical witness w = mean k(·, x_i) - mean k(·, y_j).

    Both sides are taken between the two empirical distributions (diagonal included): the quotient is then a weighted
    mean of the kernel's eigenvalues, which stays well determined as the distributions approach each other.
    """
    m, n, d = len(a), len(b), a.shape[1]
    own_a, own_b = (a.square().sum(1) / d + 1) ** 3, (b.square().sum(1) / d + 1) ** 3
    witness_a = (within_a.rows + own_a) / m - between.rows / n
    witness_b = between.columns / m - (within_b.rows + own_b) / n
    biased = witness_a.mean() - witness_b.mean()
    if biased <= 0:  # one and the same set twice
        return 0.0
    return float((4 * witness_a.var() / m + 4 * witness_b.var() / n) / biased)
