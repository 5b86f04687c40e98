"""Has the model learned by heart? How near samples lie to training images, with real images as the yardstick.

For every sample the distance to the nearest training image is found (``copy_rate`` says which distance decides). How
near is *too* near depends on the data: twins are common among handwritten ones, rare among photographs. So the same is
done for held-out real images, which nobody can have copied, and the k-th smallest of their n distances, k ≈ n/100, is
the threshold. A sample at or below it counts as a near copy.

If the samples were new images of the same kind, all m + n distances would be exchangeable, and whatever their
distribution, the number J of samples at or below the threshold follows the negative hypergeometric law

    P(J = j) = C(j + k - 1, j) C(m - j + n - k, m - j)/C(m + n, m)          E J/m = k/(n + 1)

which takes into account that the threshold itself comes from few images. ``p_value`` = P(J ≥ the number counted) is
exact, not asymptotic. (Meehan, Chaudhuri and Dasgupta 2020, "A non-parametric test to detect data-copying in generative
models", compare the whole of the two sets of distances by ranks; copies show first in this lower tail.)

A small p-value in plain distances is not yet copying: blurred or empty images are near to everything. By the training
image's own distances they are not (``copy_rate``; figures in docs/evaluation.md).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.errors import InputError

YARDSTICK = 0.01
BLOCK = 2**24  # numbers in a block of training images: 128 MiB of float64


@dataclass(frozen=True)
class Neighbours:
    """Of each of N images, the nearest of a set: its ``index``, int64 (N,), and its ``distance``, float64 (N,)."""

    index: Tensor
    distance: Tensor


@dataclass(frozen=True)
class Copying:
    """How many of ``samples`` samples are at least as near to a training image as the nearest 1 % of real images are.

    ``expected``: the share that new real images would have; ``p_value``: the probability that so many or more of them
    would be counted. ``threshold`` and the medians are distances, in the unit of those given.
    """

    samples: int
    real: int
    threshold: float
    counted: int
    share: float
    expected: float
    p_value: float
    median_distance: float
    median_distance_real: float


def nearest(images: Tensor, among: Tensor) -> Neighbours:
    """The nearest of ``among`` (M, …) to each of ``images`` (N, …), of one shape but for the first axis; M ≥ 1.

    Raises InputError for shapes that differ.
    """
    if images.shape[1:] != among.shape[1:] or not len(among):
        raise InputError(
            f"nothing of shape {tuple(images.shape[1:])} to compare in a set of shape {tuple(among.shape)}: "
            "both must hold images of one size"
        )
    queries = images.flatten(1).double()
    best = torch.full((len(queries),), torch.inf, dtype=torch.float64)
    index = torch.zeros(len(queries), dtype=torch.int64)
    size = max(1, BLOCK // max(1, queries.shape[1], len(queries)))
    for start in range(0, len(among), size):
        block = among[start : start + size].flatten(1).double()
        # ‖q - x‖² but for the constant ‖q‖²: one matrix product instead of all differences
        scores = torch.addmm(block.square().sum(1), queries, block.T, alpha=-2)
        value, place = scores.min(1)
        index = torch.where(value < best, place + start, index)
        best = torch.minimum(value, best)
    # the distance itself is taken from the difference, so that a copy is at 0 and not at a rounding error's root
    chosen = zip(images.split(1024), index.split(1024), strict=True)
    distance = [(x.double() - among[i].double()).flatten(1).square().mean(1).sqrt() for x, i in chosen]
    return Neighbours(index, torch.cat(distance))


def copying(samples: Tensor, held_out: Tensor) -> Copying:
    """From the distances of samples (m,) and of held-out real images (n,) to their nearest training images."""
    if not len(samples) or not len(held_out):
        raise InputError("copying cannot be measured without samples and held-out images: give at least one of each")
    m, n = len(samples), len(held_out)
    ordered = held_out.sort().values
    threshold = float(ordered[max(1, round(YARDSTICK * (n + 1))) - 1])
    k = int((held_out <= threshold).sum())  # more than asked for where distances are equal
    counted = int((samples <= threshold).sum())
    return Copying(
        samples=m,
        real=n,
        threshold=threshold,
        counted=counted,
        share=counted / m,
        expected=k / (n + 1),
        p_value=_upper_tail(counted, m, n, k),
        median_distance=float(samples.median()),
        median_distance_real=float(held_out.median()),
    )


def _upper_tail(j: int, m: int, n: int, k: int) -> float:
    """P(J ≥ j): of m samples, so many come before the k-th of n held-out images in a random order of all."""

    def log_choose(total: int, chosen: int) -> float:
        return math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)

    logs = (log_choose(i + k - 1, i) + log_choose(m - i + n - k, m - i) - log_choose(m + n, m) for i in range(j, m + 1))
    return min(1.0, math.fsum(math.exp(log) for log in logs))
