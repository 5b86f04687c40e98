"""The Fréchet distance (FID) between two sets of features, each approximated by a Gaussian.

    F(P, Q) = ‖μ_P - μ_Q‖² + tr Σ_P + tr Σ_Q - 2 tr (Rᵀ Σ_P R)^½,  R Rᵀ = Σ_Q
                                                                       (Dowson and Landau 1982; Heusel et al. 2017)

The inner matrix is symmetric, so two symmetric eigendecompositions give its trace without complex numbers, even for
singular covariances (fewer images than features): R has one column per direction in which Q varies. Only ``moments``
are needed, which take constant memory even for a million images. Everything is float64.

**The bias.** With sample moments, the usual practice, the result is too large: even two halves of the same data are far
apart. The bias falls only like 1/N and depends on the features' covariance, so such numbers compare only at equal
sample sizes. ``plug_in_frechet_distance`` is that number. ``frechet_distance`` removes the bias by leaving out one
group of images at a time (the jackknife: Quenouille 1956; for groups of m_i of n, h_i = n/m_i, Busing, Meijer and van
der Leeden 1999), in each set separately. With F_i the distance without group i of g:

    bias ≈ Σ (1 - 1/h_i) F_i - (g - 1) F
    V_J  = 1/g Σ (h_i F - (h_i - 1) F_i - (F - bias))²/(h_i - 1)

V_J estimates 4 ΔᵀSΔ + 4 tr S² instead of 4 ΔᵀSΔ + 2 tr S² (the jackknife is biased upwards, Efron and Stein 1981),
while the bias is tr S. With c = V_J/F this gives V(θ) = c (θ + bias/2), the form that ``intervals`` turns into an
interval. All this assumes at least twice as many images as features: with fewer images than features the bias does not
fall like 1/N yet and the correction is too small; with about as many it is too large.
"""

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.metrics.features.network import FEWEST, check_features
from sumi.metrics.intervals import Estimate, squared_distance
from sumi.metrics.moments import FeatureMoments, Gaussians, Moments, check_one_space

HELD = 2**22  # numbers in the covariances of one batch: 32 MiB
CHUNK = 4096


def _trace(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1).sum(-1)


def _root(covariance: Tensor) -> Tensor:
    """R (D, r) with R Rᵀ = Σ of a symmetric positive semi-definite matrix (D, D) of rank r, up to rounding."""
    values, vectors = torch.linalg.eigh(covariance)
    varies = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    return vectors[:, varies] * values[varies].sqrt()


def _distance(a: Gaussians, root: Tensor, b: Gaussians) -> Tensor:
    """F between one or many (…) Gaussians ``a`` and one ``b`` with the root of Σ_b; shape (…)."""
    covariance = a.covariance
    inner = torch.linalg.eigvalsh(root.T @ covariance @ root).clamp(min=0).sqrt().sum(-1)
    means = (a.mean - b.mean).square().sum(-1)
    return means + _trace(covariance) + _trace(b.covariance) - 2 * inner


def gaussian_frechet_distance(mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor) -> float:
    """F between N(mean_a, covariance_a) and N(mean_b, covariance_b): means (D,), covariances (D, D)."""
    two = torch.tensor(2.0, dtype=torch.float64)  # for two vectors the scatter equals the covariance
    a, b = (Gaussians(two, m.double(), c.double()) for m, c in ((mean_a, covariance_a), (mean_b, covariance_b)))
    return float(_distance(a, _root(b.covariance), b).clamp(min=0))


def plug_in_of_moments(a: Moments, b: Moments) -> float:
    """F between the moments of m and of n vectors: the usual FID, too large by about 1/m + 1/n.

    Raises InputError for fewer than 2 vectors.
    """
    whole_a, whole_b = a.whole, b.whole
    return gaussian_frechet_distance(whole_a.mean, whole_a.covariance, whole_b.mean, whole_b.covariance)


def plug_in_frechet_distance(a: Tensor, b: Tensor) -> float:
    """F between the sample moments of features (m, D) and (n, D): the usual FID."""
    check_features(a, b)
    return plug_in_of_moments(*(Moments.of(x.split(CHUNK), x.shape[1], groups=1) for x in (a, b)))


def moments_frechet_distance(a: FeatureMoments, b: FeatureMoments) -> Estimate:
    """F between the distributions behind two reference statistics, bias-corrected, with its 95 % interval.

    Raises InputError for different feature spaces, and for fewer than 4 vectors or a single group.
    """
    check_one_space(a, b)
    return frechet_of_moments(a.moments, b.moments)


def frechet_distance(a: Tensor, b: Tensor) -> Estimate:
    """F between the distributions behind features (m, D) and (n, D), bias-corrected, with its 95 % interval.

    Near zero the value may be negative by chance. Raises InputError for other shapes and for fewer than 4 images.
    """
    check_features(a, b)
    return frechet_of_moments(*(Moments.of(x.split(CHUNK), x.shape[1]) for x in (a, b)))


def frechet_of_moments(a: Moments, b: Moments) -> Estimate:
    """``frechet_distance`` from moments. Raises InputError for fewer than 4 vectors, or a single group."""
    for moments in (a, b):
        if moments.count < FEWEST:
            raise InputError(f"images: {moments.count} are too few to measure a distance; give at least {FEWEST}")
        if int((moments.groups.count > 0).sum()) < 2:
            raise InputError("moments: a single group does not give the bias; evaluate again with several groups")
    plug_in = plug_in_of_moments(a, b)
    bias = variance = 0.0
    for x, other in ((a, b.whole), (b, a.whole)):
        root = _root(other.covariance)
        left = [
            (left.count, _distance(left, root, other))
            for left in x.without_each(max(1, HELD // other.covariance.numel()))
        ]
        count, values = (torch.cat(part) for part in zip(*left, strict=True))
        groups, share = len(values), count / x.count  # 1 - 1/h
        excess = float(share @ values) - (groups - 1) * plug_in
        pseudo = (plug_in - share * values) / (1 - share)  # h F - (h - 1) F_i
        bias += excess
        variance += float(((pseudo - plug_in + excess).square() * (1 - share) / share).mean())
    slope = variance / plug_in if plug_in > 0 else 0.0
    return squared_distance(plug_in - bias, slope * max(0.0, bias) / 2, slope)
