"""What a classifier sees in the samples: are they clear, and are all classes there in the right shares?

*Clear* is an image whose most probable class has more than 0.9. The share of clear samples is set against the share of
clear images among held-out real ones, as a good classifier doubts some real images too. (For a network that tells
rotations, an image is clear when the network is sure which way is up.)

The *balance* of classes is the total variation between the shares of predicted classes, ½ Σ |p - q|: the least share of
samples that would have to change class. Two sets of real images do not agree exactly either: exchanging images between
the sets at random (a permutation test, exact at every size) gives the value that chance alone brings, and how often it
brings one as large.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from sumi.evaluation.intervals import Estimate, ratio, share

CLEAR = 0.9
PERMUTATIONS = 1999


@dataclass(frozen=True)
class Clarity:
    """Shares of images clear to the classifier; ``relative`` is samples/real, None where no real image is clear."""

    threshold: float
    samples: Estimate
    real: Estimate
    relative: Estimate | None


@dataclass(frozen=True)
class Balance:
    """Images of each predicted class, and the total variation of their shares.

    ``by_chance``: the mean total variation of two sets of these sizes that differ by chance alone; ``p_value``: how
    often chance alone brings one at least as large.
    """

    samples: tuple[int, ...]
    real: tuple[int, ...]
    total_variation: float
    by_chance: float
    p_value: float

    @property
    def missing(self) -> tuple[int, ...]:
        """The classes that real images have and no sample has."""
        pairs = enumerate(zip(self.samples, self.real, strict=True))
        return tuple(label for label, (samples, real) in pairs if real and not samples)


def clarity(samples: Tensor, real: Tensor) -> Clarity:
    """From class probabilities (N, classes) of samples and of held-out real images."""
    a, b = (share(int((p.max(1).values > CLEAR).sum()), len(p)) for p in (samples, real))
    return Clarity(CLEAR, a, b, ratio(a, b) if b.value > 0 else None)


def balance(samples: Tensor, real: Tensor, *, seed: int) -> Balance:
    """From class probabilities (N, classes) of samples and of real images; ``seed`` of the permutations."""
    classes = samples.shape[1]
    a, b = (np.bincount(p.argmax(1).numpy(), minlength=classes) for p in (samples, real))
    observed = _total_variation(a, b)
    shuffled = np.random.default_rng(seed).multivariate_hypergeometric(a + b, len(samples), size=PERMUTATIONS)
    chance = _total_variation(shuffled, a + b - shuffled)
    at_least = int((chance >= observed - 1e-12).sum())
    return Balance(
        tuple(a.tolist()), tuple(b.tolist()), float(observed), float(chance.mean()), (1 + at_least) / (1 + PERMUTATIONS)
    )


def _total_variation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """½ Σ |p - q| over the last axis, of the shares in counts ``a`` and ``b`` (…, classes)."""
    return np.abs(a / a.sum(-1, keepdims=True) - b / b.sum(-1, keepdims=True)).sum(-1) / 2
