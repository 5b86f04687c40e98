"""What share of the samples are copies of training images, also where they were moved, turned over or made noisy?

Samples are copies where they lie nearer to training images than real ones do (``memorization``). How many are there?
Copies are looked for in the ways in which a model, or the augmentation of its data, may disguise them:

    d(x, y) = least root mean square difference of y from x, over x as it is, mirrored, and moved by up to ``reach``
    r(x)    = d(x, y)/s(y),   y the training image nearest to x
    s(y)    = mean root mean square difference between y and its own k nearest training images, as they are

The division (after Carlini et al. 2023, "Extracting training data from diffusion models", who divide by the mean
distance from x to its 50 nearest) makes plain images, near to everything, and rich ones, near to nothing, comparable: a
copy is far nearer to y than y's own kind is. Only the inner part that every move has in common is compared, so an image
that was moved is at distance 0, not at the distance of an edge that came in.

Held-out real images cannot be copies. The ratio that 1 % of them reach, p_0, counts as near (``memorization.copying``);
p of the samples reach it. If a share π of the samples are copies, all of them near, and the others are like new images,

    p = π + (1 - π) p_0        so        π = 1 - (1 - p)/(1 - p_0)

``rate`` is that, with the interval of a ratio of two independent shares. By chance it may be negative: an interval that
reaches zero says that no copy was found.

**What it cannot find**: copies under other changes (enlarged, turned by an angle, recoloured, in other contrast, moved
further), copies of a part, mixtures of two training images, the same object in another picture, and copies so blurred
or noisy that they are no nearer than another image of the kind; these make the rate too low. Images that the data holds
many times over (k or more) have s = 0, and only exact copies of them are found. Nor does a near image prove copying:
a model whose samples are plainer than real images comes too near as well. Then look at the pairs.

Has the model learned by heart? How near samples lie to training images, with real images as the yardstick.

For every sample the distance to the nearest training image is found (``copy_rate`` says which distance decides). How
near is *too* near depends on the data: twins are common among handwritten ones, rare among photographs. So the same is
done for held-out real images, which nobody can have copied, and the k-th smallest of their n distances, k ≈ n/100, is
the threshold. A sample at or below it counts as a near copy.

If the samples were new images of the same kind, all m + n distances would be exchangeable: any m of the pooled values
are as likely to be the samples'. With C_i values up to the i-th distinct one, c_i of them equal to it, that one is the
threshold if a < k held-out images are nearer and b ≥ k - a are as near, and the J = C_i - a - b others are samples:

    P(J = j) = Σ_i Σ_a C(C_i - c_i, a) C(c_i, C_i - j - a) C(m + n - C_i, n - C_i + j)/C(m + n, m)

the sum over a < k ≤ C_i - j. It takes into account that the threshold comes from few images, and equal distances. Where
none are equal it is the negative hypergeometric law, with E J/m = k/(n + 1). ``p_value`` = P(J ≥ the number counted) is
exact given the pooled distances, not asymptotic. (Meehan, Chaudhuri and Dasgupta 2020, "A non-parametric test to detect
data-copying in generative models", compare the whole of the two sets of distances by ranks; copies show first in this
lower tail.)

A small p-value in plain distances is not yet copying: blurred or empty images are near to everything. By the training
image's own distances they are not (``copy_rate``; figures in docs/results/copies.md).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.metrics.features.network import check_images
from sumi.metrics.intervals import Estimate, ratio, share

YARDSTICK = 0.01
PATCH_BLOCK = 2**24  # numbers in a block of training images: 128 MiB of float64


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
    size = max(1, PATCH_BLOCK // max(1, queries.shape[1], len(queries)))
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
    k = max(1, round(YARDSTICK * (n + 1)))
    threshold = float(held_out.kthvalue(k).values)
    counted = int((samples <= threshold).sum())
    equal = torch.cat([samples, held_out]).unique(return_counts=True)[1].tolist()
    law = count_law(equal, m, k)
    return Copying(
        samples=m,
        real=n,
        threshold=threshold,
        counted=counted,
        share=counted / m,
        expected=int((held_out <= threshold).sum()) / (n + 1),
        p_value=min(1.0, math.fsum(law[counted:])),
        median_distance=float(samples.median()),
        median_distance_real=float(held_out.median()),
    )


def count_law(equal: Sequence[int], m: int, k: int) -> list[float]:
    """P(J = j) for j = 0 … m: how many of m samples are no farther than the k-th nearest of the n other values.

    ``equal``: how often each distinct value of the m + n occurs, from the nearest on; 1 ≤ k ≤ n.
    """
    total = sum(equal)
    n = total - m
    log_factorial = [math.lgamma(i + 1) for i in range(total + 1)]

    def log_choose(whole: int, chosen: int) -> float:
        return log_factorial[whole] - log_factorial[chosen] - log_factorial[whole - chosen]

    law, nearer, all_ways = [0.0] * (m + 1), 0, log_choose(total, m)
    for ties in equal:
        reached = nearer + ties
        for a in range(max(0, k - ties), min(k - 1, nearer) + 1):
            # no more samples than there are, no more held-out images
            for b in range(max(k - a, reached - a - m), min(ties, n - a) + 1):
                ways = log_choose(nearer, a) + log_choose(ties, b) + log_choose(total - reached, n - a - b)
                law[reached - a - b] += math.exp(ways - all_ways)
        nearer = reached
    return law


OWN_NEIGHBOURS = 10
BLOCK = 2**22  # distances held at once: 32 MiB of float64


@dataclass(frozen=True)
class Ratios:
    """Of each of N images: the nearest training image's ``index``, int64 (N,), and r, float64 (N,): 0 is a copy."""

    index: Tensor
    ratio: Tensor


@dataclass(frozen=True)
class CopyRate:
    """The share of samples that are copies, and what it rests on: ``ratios``, counted as distances are."""

    rate: Estimate
    ratios: Copying


def copy_ratios(
    images: Tensor,
    training: Tensor,
    *,
    reach: int = 1,
    mirrored: bool = True,
    neighbours: int = OWN_NEIGHBOURS,
    moved: Callable[[], None] = lambda: None,
) -> Ratios:
    """How near each of ``images`` (N, C, H, W) is to a training image (M, C, H, W), by that one's own measure.

    ``reach``: pixels by which a copy may have been moved; ``mirrored``: whether left and right may have been exchanged
    (turn it off where a mirrored image is another thing, as with letters); ``neighbours``: k. The search takes
    2 (2 reach + 1)² times as long as that for copies in place, and calls ``moved`` that often. Raises InputError for
    shapes that do not fit, and for fewer than k + 1 training images.
    """
    check_images(images)
    check_images(training)
    if images.shape[1:] != training.shape[1:]:
        raise InputError(
            f"images of shape {tuple(images.shape[1:])}, training images of shape {tuple(training.shape[1:])}: "
            "give images of one size and kind"
        )
    if not 0 <= reach < (min(images.shape[2:]) + 1) // 2:
        raise InputError(f"reach: {reach} leaves nothing of images of {tuple(images.shape[2:])}; give less")
    if not 1 <= neighbours < len(training):
        raise InputError(f"neighbours: {neighbours} of {len(training)} training images; give at least 1, and fewer")
    height, width = (side - 2 * reach for side in images.shape[2:])
    inner = training[:, :, reach : reach + height, reach : reach + width]
    best = torch.full((len(images),), torch.inf, dtype=torch.float64)
    index = torch.zeros(len(images), dtype=torch.int64)
    for seen in (images, images.flip(3)) if mirrored else (images,):
        for down in range(2 * reach + 1):
            for right in range(2 * reach + 1):
                found = nearest(seen[:, :, down : down + height, right : right + width], inner)
                index = torch.where(found.distance < best, found.index, index)
                best = torch.minimum(found.distance, best)
                moved()
    scale = _own_distance(inner, index, neighbours)
    # 0/0: an exact copy of an image that the data holds many times
    return Ratios(index, torch.where(best > 0, best / scale, 0.0))


def _own_distance(training: Tensor, index: Tensor, neighbours: int) -> Tensor:
    """s of the training images ``index`` (N,): the mean distance to their k nearest others, float64 (N,)."""
    every = training.flatten(1).double()
    wanted, place = index.unique(return_inverse=True)
    found: list[Tensor] = []
    for chosen in wanted.split(max(1, BLOCK // len(every))):
        distance = torch.cdist(every[chosen], every)
        distance[torch.arange(len(chosen)), chosen] = torch.inf  # not itself
        closest = distance.topk(neighbours, largest=False).indices
        # from differences: a twin is at 0 and not at a rounding error's root
        apart = every[chosen][:, None] - every[closest]
        found.append(apart.square().mean(2).sqrt().mean(1))
    return torch.cat(found)[place]


def copy_rate(samples: Tensor, held_out: Tensor) -> CopyRate:
    """The share of copies among the samples, from their ratios r (m,) and those of held-out real images (n,), found
    alike.

    Raises InputError where one of the two is empty.
    """
    found = copying(samples, held_out)
    near = int((held_out <= found.threshold).sum())
    if near == found.real:
        raise InputError(f"all {near} held-out images are as near as the nearest 1 %: copies do not show in such data")
    apart = ratio(share(found.samples - found.counted, found.samples), share(found.real - near, found.real))
    return CopyRate(Estimate(1 - apart.value, 1 - apart.high, 1 - apart.low), found)
