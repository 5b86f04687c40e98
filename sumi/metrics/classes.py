"""Metrics from a classifier's predictions: confidence, class balance, and accuracy on class-conditional samples.

An image is *clear* if its most probable class has more than 0.9. The share of clear samples is compared with that of
held-out real images, since a good classifier is unsure of some real images too. (For a network that classifies
rotations, an image is clear if the network is sure which way is up.)

The *balance* of classes is the total variation between the shares of predicted classes, ½ Σ |p - q|: the smallest share
of samples that would have to change class. Two sets of real images do not agree exactly either: a permutation test,
exact at every size, gives the mean value by chance and the p-value.

*Class accuracy* is the share of samples that the classifier assigns to the requested class. A classifier errs on real
images too, and more on some classes than on others. So each share is compared with that of held-out real images,
weighted by the requested classes:

    samples = Σ_c w_c a_c,   real = Σ_c w_c b_c,   w_c = share of samples with class c requested

with a_c, b_c the accuracies in class c. ``relative`` = samples/real: 1 for a perfect model. Above 1 is not better: such
samples are plainer than real images, as with strong guidance (Dhariwal and Nichol 2021, section 4.3). This is the
accuracy of Shmelkov, Schmid and Alahari's GAN-test (2018), for the given classifier.

The samples' share has Wilson's interval. The variance of the weighted share of real images is Σ w_c² b_c(1 - b_c)/n_c,
or, if the classes are alike, b(1 - b) Σ w_c²/n_c, which is not 0 if all happen to be right; ``dependent_share`` gets
the larger.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from sumi.errors import InputError
from sumi.metrics.inception_score import check_probabilities
from sumi.metrics.intervals import Estimate, dependent_share, ratio, share

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
    """The number of images per predicted class, and the total variation of their shares.

    ``by_chance``: the mean total variation of two sets of these sizes that differ only by chance; ``p_value``: the
    probability of one at least as large by chance.
    """

    samples: tuple[int, ...]
    real: tuple[int, ...]
    total_variation: float
    by_chance: float
    p_value: float

    @property
    def missing(self) -> tuple[int, ...]:
        """The classes of real images that no sample has."""
        pairs = enumerate(zip(self.samples, self.real, strict=True))
        return tuple(label for label, (samples, real) in pairs if real and not samples)


def clarity(samples: Tensor, real: Tensor) -> Clarity:
    """From class probabilities (N, classes) of samples and of held-out real images."""
    a, b = (share(int((p.max(1).values > CLEAR).sum()), len(p)) for p in (samples, real))
    return Clarity(CLEAR, a, b, ratio(a, b) if b.value > 0 else None)


def balance(samples: Tensor, real: Tensor, *, seed: int) -> Balance:
    """From class probabilities (N, classes) of samples and of real images; ``seed``: of the permutations."""
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


@dataclass(frozen=True)
class OneClass:
    """The accuracy in class ``label``; None if there are no images of it."""

    label: int
    samples: Estimate | None
    real: Estimate | None


@dataclass(frozen=True)
class ClassAccuracy:
    """The shares that the classifier assigns to the right class.

    ``real``: of held-out images, weighted like the samples; None if a requested class has no real image. ``relative``:
    samples/real; None without ``real``, or if no real image is right. ``taken_for``: [i][j] counts the samples of
    requested class i assigned to class j.
    """

    samples: Estimate
    real: Estimate | None
    relative: Estimate | None
    classes: tuple[OneClass, ...]
    taken_for: tuple[tuple[int, ...], ...]


def class_accuracy(samples: Tensor, requested: Tensor, real: Tensor, labels: Tensor) -> ClassAccuracy:
    """From class probabilities (m, C) of samples and (n, C) of held-out real images, by one classifier.

    ``requested``: int64 (m,), the samples' classes; ``labels``: int64 (n,), of the real images; both in [0, C). Raises
    InputError for shapes, labels or probabilities that do not fit.
    """
    classes = samples.shape[-1]
    for name, probabilities, given in (("samples", samples, requested), ("real images", real, labels)):
        check_probabilities(probabilities)
        if probabilities.shape[1] != classes or given.shape != (len(probabilities),):
            raise InputError(
                f"{name}: probabilities have shape {tuple(probabilities.shape)}, labels {tuple(given.shape)}; "
                f"give (N, {classes}) and (N,)"
            )
        if given.is_floating_point() or not 0 <= int(given.min()) <= int(given.max()) < classes:
            raise InputError(f"{name}: labels are out of range; give whole numbers in 0 to {classes - 1}")
    table, real_table = (_taken_for(p, given, classes) for p, given in ((samples, requested), (real, labels)))
    right, total = table.diagonal().tolist(), table.sum(1).tolist()
    real_right, real_total = real_table.diagonal().tolist(), real_table.sum(1).tolist()
    found = share(sum(right), sum(total))
    held_out = _weighted(real_right, real_total, total)
    relative = ratio(found, held_out) if held_out is not None and held_out.value > 0 else None
    each = tuple(
        OneClass(c, share(right[c], total[c]) if total[c] else None, share(*pair) if pair[1] else None)
        for c, pair in enumerate(zip(real_right, real_total, strict=True))
    )
    return ClassAccuracy(found, held_out, relative, each, tuple(tuple(row) for row in table.tolist()))


def real_accuracy(requested: Tensor, real: Tensor, labels: Tensor) -> Estimate | None:
    """The accuracy on real images with probabilities (n, C), weighted by the class frequencies of ``requested`` (m,).

    ``labels`` (n,): of the real images. None if a requested class has no image.
    """
    table = _taken_for(real, labels, real.shape[1])
    return _weighted(
        table.diagonal().tolist(), table.sum(1).tolist(), requested.bincount(minlength=len(table)).tolist()
    )


def _taken_for(probabilities: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The number of images of class i assigned to class j: int64 (C, C)."""
    answers = probabilities.argmax(1).cpu()
    return (labels.cpu().long() * classes + answers).bincount(minlength=classes**2).reshape(classes, classes)


def _weighted(right: list[int], total: list[int], requested: list[int]) -> Estimate | None:
    """Σ w_c right_c/total_c with its interval, w_c: class c's share of ``requested``; None where one has no images."""
    weights = [count / sum(requested) for count in requested]
    wanted = [(w, r / n, n) for w, r, n in zip(weights, right, total, strict=True) if w > 0 and n > 0]
    if len(wanted) < sum(w > 0 for w in weights):
        return None
    value = min(1.0, sum(w * b for w, b, _ in wanted))  # above 1 by rounding only
    alike = sum(w**2 / n for w, _, n in wanted)
    apart = sum(w**2 * b * (1 - b) / n for w, b, n in wanted)
    spread = value * (1 - value)
    return dependent_share(value, max(alike, apart / spread if spread > 0 else 0.0))
