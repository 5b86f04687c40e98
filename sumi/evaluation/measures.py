"""Variety, clarity, detail and copies: each figure of the samples beside the same figure of real images.

Balls shrink where there are more images, and an interval narrows; so samples and training images are compared with the
held-out ones in equal numbers, and a model as good as the data gets the same figure twice, but for chance. No more than
``MOST`` images of a kind are taken: the time grows with the product of their numbers.

A measure that needs more images than there are is left out, as None, and its own words say why (``Measures.left_out``).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.metrics.copies import CopyRate, copy_rate, copy_ratios
from sumi.metrics.inception_score import InceptionScore, inception_score
from sumi.metrics.precision_recall import PrecisionRecall, precision_recall
from sumi.metrics.spectrum import SpectralDistance, Spectrum, spectral_distance, spectrum

MOST = 2000
MOST_WORK = 2**41  # some two minutes of one processor core
SHOWN = 8  # pairs
T = TypeVar("T")


@dataclass(frozen=True)
class Compared(Generic[T]):
    """A figure of ``samples``, and the same of ``real`` images."""

    samples: T
    real: T


@dataclass(frozen=True)
class Pair:
    """Sample number ``sample`` and the training image number ``training`` nearest to it, at ``ratio`` (0: a copy)."""

    sample: int
    training: int
    ratio: float


@dataclass(frozen=True)
class Copies:
    """The share of samples that are copies, searched within ``reach`` pixels, and the ``closest`` pairs."""

    found: CopyRate
    reach: int
    mirrored: bool
    closest: tuple[Pair, ...]


@dataclass(frozen=True)
class Spectra:
    """``distance``: to held-out images, of samples and of training ones. ``power``: of samples and of held-out ones."""

    distance: Compared[SpectralDistance]
    power: Compared[Spectrum]


@dataclass(frozen=True)
class Measures:
    """Measures by name, and why some are ``left_out``."""

    left_out: list[str] = field(default_factory=list)

    def where_possible(self, name: str, measure: Callable[[], T]) -> T | None:
        """What ``measure`` gives; None where it refuses the images, with its reason kept."""
        try:
            return measure()
        except InputError as error:
            self.left_out.append(f"{name} ({error})")
            return None


def variety(samples: Tensor, training: Tensor, held_out: Tensor, *, seed: int) -> Compared[PrecisionRecall]:
    """Precision, recall, density and coverage, from features (m, D), (M, D), (n, D), in random order.

    Raises InputError where min(m, M) or n are too few.
    """
    count, real = min(len(samples), len(training), MOST), held_out[:MOST]
    of_samples, of_training = (precision_recall(x[:count], real, seed=seed) for x in (samples, training))
    return Compared(of_samples, of_training)


def scores(samples: Tensor, held_out: Tensor) -> Compared[InceptionScore]:
    """Inception scores, from class probabilities (N, C) by the feature network's classifier; free of bias by size."""
    return Compared(inception_score(samples), inception_score(held_out))


def spectra(samples: Tensor, training: Tensor, held_out: Tensor) -> Spectra:
    """Of images (N, C, H, W) in [-1, 1], in random order.

    Raises InputError for too few, and where the real ones have no detail.
    """
    count, real = min(len(samples), len(training), MOST), held_out[:MOST]
    of_samples, of_training = (spectral_distance(x[:count], real) for x in (samples, training))
    return Spectra(Compared(of_samples, of_training), Compared(spectrum(samples[:count]), spectrum(real)))


def search_reach(images: int, training: Tensor, *, mirrored: bool) -> int:
    """Within how many pixels copies of ``training`` images are looked for among so many ``images``: 1, or 0."""
    places = 9 * (1 + mirrored)  # of the search within one pixel
    return 1 if places * images * training.numel() <= MOST_WORK else 0


def copies(
    samples: Tensor,
    training: Tensor,
    held_out: Tensor,
    *,
    mirrored: bool,
    progress: Callable[[int, int], None] | None = None,
) -> Copies:
    """Of images (N, C, H, W). ``mirrored``: whether mirrored copies are looked for; ``held_out`` in random order.

    Copies moved by one pixel are looked for, too, unless that takes more than ``MOST_WORK`` multiplications.
    ``progress(done, total)`` counts the ways in which they may be. Raises InputError for too few training images, and
    where all held-out images are equally near to one.
    """
    reach = search_reach(len(samples) + min(len(held_out), MOST), training, mirrored=mirrored)
    done, ways = count(1), 2 * (2 * reach + 1) ** 2 * (1 + mirrored)

    def moved() -> None:
        if progress is not None:
            progress(next(done), ways)

    ratios, real = (
        copy_ratios(x, training, reach=reach, mirrored=mirrored, moved=moved) for x in (samples, held_out[:MOST])
    )
    first = torch.argsort(ratios.ratio, stable=True)[:SHOWN].tolist()
    closest = tuple(Pair(i, int(ratios.index[i]), float(ratios.ratio[i])) for i in first)
    return Copies(copy_rate(ratios.ratio, real.ratio), reach, mirrored, closest)
