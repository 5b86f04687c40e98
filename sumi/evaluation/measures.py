"""Variety, scores, fine detail and copies, each for the samples and for real images.

Nearest-neighbour balls and intervals shrink with more images. So as many training images as samples are compared with
the held-out ones, and a perfect model gets the same figure as real images, up to chance. At most ``MOST`` images of
each set are used, as the time grows with the product of their numbers.

A measure that needs more images than there are is None, and its error message is kept in ``Measures.left_out``.
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
MOST_WORK = 2**41  # about two minutes on one processor core
SHOWN = 8  # pairs
T = TypeVar("T")


@dataclass(frozen=True)
class Compared(Generic[T]):
    """A figure of ``samples`` and of ``real`` images."""

    samples: T
    real: T


@dataclass(frozen=True)
class Pair:
    """Sample number ``sample``, its nearest training image number ``training``, and their ``ratio`` (0: a copy)."""

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
    """Takes measures and records why some are ``left_out``."""

    left_out: list[str] = field(default_factory=list)

    def where_possible(self, name: str, measure: Callable[[], T]) -> T | None:
        """The result of ``measure``, or None if it raises InputError, whose message is kept."""
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
    """Inception scores from class probabilities (N, C); unbiased in the sample size."""
    return Compared(inception_score(samples), inception_score(held_out))


def spectra(samples: Tensor, training: Tensor, held_out: Tensor) -> Spectra:
    """Of images (N, C, H, W) in [-1, 1], in random order.

    Raises InputError for too few, and where the real ones have no detail.
    """
    count, real = min(len(samples), len(training), MOST), held_out[:MOST]
    of_samples, of_training = (spectral_distance(x[:count], real) for x in (samples, training))
    return Spectra(Compared(of_samples, of_training), Compared(spectrum(samples[:count]), spectrum(real)))


def search_reach(images: int, training: Tensor, *, mirrored: bool) -> int:
    """The shift in pixels, 0 or 1, within which ``images`` images are searched for copies of ``training`` images."""
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
    """Search images (N, C, H, W) for copies, with ``mirrored`` also for mirrored ones; ``held_out`` in random order.

    Copies shifted by one pixel are also found, unless that takes more than ``MOST_WORK`` multiplications.
    ``progress(done, total)`` counts shifts and reflections. Raises InputError for too few training images, and if all
    held-out images are equally close to one.
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
