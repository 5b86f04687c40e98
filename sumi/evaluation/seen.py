"""The features of a set of images, in constant memory: of the first ones themselves, of all their moments.

The Fréchet distance needs the moments alone, so any number of images counts for it. A kernel distance and balls around
neighbours look at every pair, and take the ``kept`` ones.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.evaluation.feature_space import FeatureSpace
from sumi.evaluation.moments import Moments

CHUNK = 1000  # images at a time


@dataclass(frozen=True, eq=False)
class SeenFeatures:
    """``kept``: features (K, D), float64, of the first K images; ``moments``: of all."""

    kept: Tensor
    moments: Moments


def look(space: FeatureSpace, images: Iterable[Tensor], keep: int, count: Callable[[int], None]) -> SeenFeatures:
    """Features of ``images``, which come in parts (N, C, H, W); ``count`` is told how many more were looked at."""
    dimension = space.space.dimension
    kept, moments = torch.zeros(0, dimension, dtype=torch.float64), Moments.none(dimension)
    for part in chunks(images):
        features = space.features(part)
        moments = moments.with_vectors(features)
        if len(kept) < keep:
            kept = torch.cat([kept, features[: keep - len(kept)]])
        count(len(part))
    return SeenFeatures(kept, moments)


def finite(samples: Tensor) -> Tensor:
    """The same samples (N, C, H, W), on the CPU. Raises InputError where one is no image."""
    if not bool(samples.isfinite().all()):
        raise InputError(
            "samples: some pixels are NaN or infinite; sample again from a checkpoint that did not diverge"
        )
    return samples.cpu()


def chunks(images: Iterable[Tensor]) -> Iterator[Tensor]:
    """The same images, no more than ``CHUNK`` at a time."""
    for part in images:
        yield from part.split(CHUNK) if len(part) else ()
