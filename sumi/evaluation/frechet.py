"""The Fréchet distance (FID): how far apart two clouds of features are, if each were a Gaussian.

    F(P, Q) = ‖μ_P - μ_Q‖² + tr Σ_P + tr Σ_Q - 2 tr (Σ_P^½ Σ_Q Σ_P^½)^½    (Dowson and Landau 1982; Heusel et al. 2017)

The inner matrix is symmetric, so two symmetric eigen-decompositions give its trace: no complex numbers appear, and
singular covariances (fewer images than features) are no trouble. Everything is float64.

**The bias.** Put the sample moments in, as everybody does, and the result is too large: two halves of the same data are
far apart. The excess falls only like 1/N and depends on the features' covariance, so such numbers compare only between
equal sample sizes. ``plug_in_frechet_distance`` is that number. ``frechet_distance`` takes the excess off by leaving
out one image after the other (the jackknife: Quenouille 1956; Miller 1974, section 2), in each set separately:

    bias ≈ (m - 1)(mean of F without x_i - F) + (n - 1)(mean of F without y_j - F)

and uses the same values for the variance V_J. The jackknife's V_J estimates 4 ΔᵀSΔ + 4 tr S² where the truth is
4 ΔᵀSΔ + 2 tr S² (Efron and Stein 1981: it is biased upwards), while the bias is tr S. With c = V_J/F that gives
V(θ) = c (θ + bias/2), the form that ``intervals`` turns into an interval.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.evaluation.feature_network import check_features
from sumi.evaluation.intervals import Estimate, squared_distance

GROUPS = 256  # with more images than this, equal groups are left out: so many values settle a variance to a tenth
BATCH = 32


@dataclass(frozen=True)
class _Moments:
    """Mean (…, D) and unbiased covariance (…, D, D) of a set of features, or of each of many sets."""

    mean: Tensor
    covariance: Tensor


def _moments(count: Tensor, total: Tensor, products: Tensor) -> _Moments:
    """From Σ 1, Σ x and Σ x xᵀ, of shapes (…), (…, D) and (…, D, D)."""
    mean = total / count[..., None]
    covariance = products - count[..., None, None] * mean[..., :, None] * mean[..., None, :]
    return _Moments(mean, covariance / (count[..., None, None] - 1))


def _trace(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1).sum(-1)


def _root(covariance: Tensor) -> Tensor:
    """Σ^½ of a symmetric positive semi-definite matrix (D, D)."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def _distance(a: _Moments, root: Tensor, b: _Moments) -> Tensor:
    """F between one or many (…) Gaussians ``a`` and one ``b`` with the given Σ_b^½; shape (…)."""
    inner = torch.linalg.eigvalsh(root @ a.covariance @ root).clamp(min=0).sqrt().sum(-1)
    means = (a.mean - b.mean).square().sum(-1)
    return means + _trace(a.covariance) + _trace(b.covariance) - 2 * inner


def gaussian_frechet_distance(mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor) -> float:
    """F between N(mean_a, covariance_a) and N(mean_b, covariance_b): means (D,), covariances (D, D)."""
    a = _Moments(mean_a.double(), covariance_a.double())
    b = _Moments(mean_b.double(), covariance_b.double())
    return float(_distance(a, _root(b.covariance), b).clamp(min=0))


def plug_in_frechet_distance(a: Tensor, b: Tensor) -> float:
    """F between the sample moments of features (m, D) and (n, D): the usual FID, too large by about 1/m + 1/n."""
    check_features(a, b)
    a, b = a.double(), b.double()
    return gaussian_frechet_distance(a.mean(0), torch.cov(a.T), b.mean(0), torch.cov(b.T))


def _left_out(x: Tensor) -> _Moments:
    """The moments of x (N, D) without its i-th group of images, for every group i."""
    size = -(-len(x) // GROUPS)
    groups = len(x) // size
    # group i holds the images i, i + groups, i + 2 groups, …; fewer than ``size`` images at the end are never left out
    parts = x[: groups * size].reshape(size, groups, x.shape[1]).transpose(0, 1)
    count = x.new_full((groups,), len(x) - size)
    return _moments(count, x.sum(0) - parts.sum(1), x.T @ x - parts.mT @ parts)


def frechet_distance(a: Tensor, b: Tensor) -> Estimate:
    """F between the distributions behind features (m, D) and (n, D), bias taken off, with its 95 % interval.

    Near zero the value may be negative by chance. Raises InputError for other shapes and for fewer than 4 images.
    """
    check_features(a, b)
    centre = b.double().mean(0)  # F does not see a shift; small numbers lose less in Σ x xᵀ
    a, b = a.double() - centre, b.double() - centre
    moments = [_Moments(x.mean(0), torch.cov(x.T)) for x in (a, b)]
    plug_in = plug_in_frechet_distance(a, b)
    bias = variance = 0.0
    for x, other in ((a, moments[1]), (b, moments[0])):
        left, root = _left_out(x), _root(other.covariance)
        batches = zip(left.mean.split(BATCH), left.covariance.split(BATCH), strict=True)
        values = torch.cat([_distance(_Moments(mean, covariance), root, other) for mean, covariance in batches])
        bias += (len(values) - 1) * float(values.mean() - plug_in)
        variance += (len(values) - 1) * float(values.var(correction=0))
    slope = variance / plug_in if plug_in > 0 else 0.0
    return squared_distance(plug_in - bias, slope * max(0.0, bias) / 2, slope)
