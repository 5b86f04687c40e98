"""Are the samples real, and do they cover all real images? Precision and recall, density and coverage.

The places where real images y_1 … y_n may lie are guessed by balls, each as wide as the way to the k-th nearest other:

    B(y_j) = {x : ‖x - y_j‖ ≤ r_j},   r_j = ‖y_j - its k-th nearest among the other y‖

With samples x_1 … x_m and balls B(x_i) made in the same way (Kynkäänniemi et al. 2019, eqs. 1-2; Naeem et al. 2020,
section 3):

    precision = share of the x_i that lie in some B(y_j)            recall   = share of the y_j that lie in some B(x_i)
    density   = 1/(k m) Σ_i Σ_j [x_i in B(y_j)]                     coverage = share of the B(y_j) that hold some x_i

One far outlier among the y has a huge ball, in which every sample counts as real; density and coverage suffer less.

**What a perfect model would get.** If all x and y come from one continuous distribution, ranks of distances are
exchangeable, and two of the four have the same mean for every distribution and dimension (``expected_coverage``):

    E density = 1                  E coverage = 1 - C(n - 1, k)/C(m + n - 1, k)

Precision and recall have no such value: compare them with those of real images against real images, and all four only
between equal numbers of images, as balls shrink where there are more.

**The intervals** are for the mean of each figure at these numbers of images. The things counted are not independent
(one ball holds many samples), so Wilson's interval for n things can be far too narrow. The images are divided at random
into G groups of samples and G of real images, and each pair of groups is measured like the whole. Groups share no
image, so the variance between them is that of a figure at a G-th of the size, without bias. Means over neighbourhoods
vary like one over the size (Penrose and Yukich 2001), but not where few balls at the edge of a distribution decide, so
the rate is measured too, with groups of half the size:

    c(n) = c(n/G) G^-a,    a = log2 c(n/2G)/c(n/G) in [0, 1],    variance = c p(1 - p) of a share, c times a density

(``dependent_share``; a density is a mean of counts). Over repeated data from Gaussians, of 100 to 400 images in 2 to 64
dimensions, the intervals hold the mean in 91 to 100 of 100 cases. They are too narrow, 80 to 87 of 100, for two sets
that hardly meet in few dimensions (three deviations apart in the plane), where the ball of one outlier decides.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.metrics.features.network import check_features
from sumi.metrics.intervals import Estimate, dependent_share, squared_distance

BLOCK = 2**22  # distances held at once: 32 MiB of float64
NEIGHBOURS = 5
FEWEST_GROUPS, GROUP = 3, 1000  # groups of a thousand images, or three of them
DEGREES_OF_FREEDOM = 24  # so many settle a variance to a third, its root to a seventh


@dataclass(frozen=True)
class PrecisionRecall:
    """The four figures for balls to the ``neighbours``-th nearest, each with its 95 % interval.

    ``expected_coverage``: the mean coverage of new real images; their mean density is 1. ``precision`` and ``density``
    are None where they say nothing (`sumi.metrics.out_of_range`).
    """

    neighbours: int
    precision: Estimate | None
    recall: Estimate
    density: Estimate | None
    coverage: Estimate
    expected_coverage: float
    samples: int
    real: int


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """(m, n), from differences: a pair of images has the same distance in every block, so ties stay ties."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _rows(across: int) -> int:
    return max(1, BLOCK // across)


def _radii(x: Tensor, k: int) -> Tensor:
    """From each of x (N, D) to its k-th nearest other: (N,)."""
    # an image is its own nearest, at 0: one more is asked for
    return torch.cat([_distances(block, x).kthvalue(k + 1, dim=1).values for block in x.split(_rows(len(x)))])


def figures(samples: Tensor, real: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Precision, recall, density and coverage of float64 features (m, D) and (n, D), m, n > k: (4,)."""
    radius_real, radius_samples = _radii(real, k), _radii(samples, k)
    size = _rows(len(real))
    held, precise = 0, 0
    recalled, covered = torch.zeros(len(real), dtype=torch.bool), torch.zeros(len(real), dtype=torch.bool)
    for block, radius in zip(samples.split(size), radius_samples.split(size), strict=True):
        distance = _distances(block, real)
        inside = distance <= radius_real
        held += int(inside.sum())
        precise += int(inside.any(1).sum())
        covered |= inside.any(0)
        recalled |= (distance <= radius[:, None]).any(0)
    m, n = len(samples), len(real)
    found = [precise / m, int(recalled.sum()) / n, held / (k * m), int(covered.sum()) / n]
    return torch.tensor(found, dtype=torch.float64)


def expected_coverage(samples: int, real: int, neighbours: int = NEIGHBOURS) -> float:
    """The mean coverage where m samples and n real images come from one continuous distribution, whichever it is.

    A ball holds no sample where the k images nearest to its centre, of the m + n - 1 others, are all real ones.
    """
    return 1 - math.comb(real - 1, neighbours) / math.comb(samples + real - 1, neighbours)


def precision_recall(samples: Tensor, real: Tensor, *, neighbours: int = NEIGHBOURS, seed: int = 0) -> PrecisionRecall:
    """The four figures of features of ``samples`` (m, D) and of ``real`` images (n, D), with their intervals.

    The values depend on no chance; ``seed`` divides the images for the intervals. Memory is bounded: a block of
    distances at a time. Raises InputError for other shapes, for ``neighbours`` below 1, and for fewer than
    6 (neighbours + 1) images of either kind.
    """
    check_features(samples, real)
    if neighbours < 1:
        raise InputError(f"neighbours: {neighbours} is none; give at least 1")
    fewest, needed = min(len(samples), len(real)), 2 * FEWEST_GROUPS * (neighbours + 1)
    if fewest < needed:
        raise InputError(
            f"{fewest} images are too few for balls to neighbour number {neighbours}: "
            f"give at least {needed}, or fewer neighbours"
        )
    samples, real = samples.double().cpu(), real.double().cpu()
    values = figures(samples, real, neighbours).tolist()
    factors = _variance_factors(samples, real, neighbours, seed)
    m, n = len(samples), len(real)
    # given the real images, samples fall into their balls independently: precision is never surer than that, nor recall
    precision = dependent_share(values[0], max(factors[0], 1 / m))
    recall = dependent_share(values[1], max(factors[1], 1 / n))
    density = squared_distance(values[2], 0.0, factors[2] or 1 / m)
    coverage = dependent_share(values[3], factors[3] or 1 / n)
    expected = expected_coverage(m, n, neighbours)
    return PrecisionRecall(neighbours, precision, recall, density, coverage, expected, m, n)


def _variance_factors(samples: Tensor, real: Tensor, k: int, seed: int) -> list[float]:
    """c of each of the four figures at the whole size; 0 where no group differs from another."""
    groups = max(FEWEST_GROUPS, min(len(samples), len(real)) // GROUP)
    generator = torch.Generator().manual_seed(seed)
    larger, smaller = (_factors_of_groups(samples, real, k, count, generator) for count in (groups, 2 * groups))
    rate = (smaller / larger).log2().nan_to_num().clamp(0, 1)
    return (larger * groups**-rate).tolist()


def _factors_of_groups(samples: Tensor, real: Tensor, k: int, groups: int, generator: torch.Generator) -> Tensor:
    """c of each of the four figures (4,) at a ``groups``-th of the size."""
    means, variances = torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    divisions = math.ceil(DEGREES_OF_FREEDOM / (groups - 1))
    for _ in range(divisions):
        order = [torch.randperm(len(x), generator=generator)[: len(x) // groups * groups] for x in (samples, real)]
        pairs = zip(samples[order[0]].chunk(groups), real[order[1]].chunk(groups), strict=True)
        found = torch.stack([figures(a, b, k) for a, b in pairs])
        means += found.mean(0) / divisions
        variances += found.var(0) / divisions
    scale = means * (1 - means)
    scale[2] = means[2]
    return (variances / scale).nan_to_num()
