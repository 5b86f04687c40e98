"""The Inception score: is each sample clearly of one class, and do the samples cover many classes?

    IS = exp I,   I = E_x KL(p(y|x) ‖ p(y)) = H(E_x p(y|x)) - E_x H(p(y|x))          (Salimans et al. 2016, section 4)

I is the mutual information of image and class: log C for C equally frequent classes with certain predictions; 0 if all
images look alike to the classifier. It detects neither other defects nor copies, and uses no real images: compare it
with the score of held-out real images by the same classifier (Barratt and Sharma 2018).

**The bias.** With p(y) estimated from N images, I is too small, by about (C - 1)/(2N) for certain predictions; the
usual ten splits make it ten times worse. The jackknife removes it (Quenouille 1956):

    Î = N I - (N - 1) mean of I without x_i                  Var Î ≈ (N - 1)/N Σ (I without x_i - their mean)²

The remaining bias falls like 1/N². The interval is exp of that of I, Î ± 1.96 standard errors. It is valid if I has a
first-order variance, and up to √2 too wide if not (certain predictions in equal shares: there the jackknife's variance
is twice the true one, Efron and Stein 1981).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.metrics.intervals import Estimate, Z

FEWEST = 4
BLOCK = 2**20
SUMS_TO_ONE = 1e-4  # tolerance for float32 probabilities


@dataclass(frozen=True)
class InceptionScore:
    """``score``: bias-corrected, so by chance slightly outside 1 to ``classes``; ``plug_in``: by the usual formula."""

    score: Estimate
    plug_in: float
    classes: int
    images: int


def _entropy(p: Tensor) -> Tensor:
    """-Σ p log p over the last axis, in nats."""
    return -torch.special.xlogy(p, p).sum(-1)


def inception_score(probabilities: Tensor) -> InceptionScore:
    """From class probabilities (N, C) of images, rows that sum to 1; N ≥ 4, C ≥ 2.

    Raises InputError for other shapes and for rows that are not probabilities.
    """
    check_probabilities(probabilities)
    p = probabilities.double().cpu()
    n, classes = p.shape
    total, entropies = p.sum(0), _entropy(p)
    information = float(_entropy(total / n) - entropies.mean())
    left = torch.cat([_entropy((total - block) / (n - 1)) for block in p.split(max(1, BLOCK // classes))])
    left -= (entropies.sum() - entropies) / (n - 1)
    value = n * information - (n - 1) * float(left.mean())
    error = Z * math.sqrt((n - 1) * float(left.var(correction=0)))
    score = Estimate(*(math.exp(x) for x in (value, value - error, value + error)))
    return InceptionScore(score, math.exp(information), classes, n)


def check_probabilities(probabilities: Tensor) -> None:
    """Raise InputError unless these are class probabilities (N, C) of at least 4 images and 2 classes."""
    if probabilities.ndim != 2 or len(probabilities) < FEWEST or probabilities.shape[1] < 2:
        raise InputError(
            f"probabilities: have shape {tuple(probabilities.shape)}; give (images, classes), "
            f"at least {FEWEST} images and 2 classes"
        )
    # this form refuses NaN too
    if not bool((probabilities >= 0).all() and ((probabilities.sum(1) - 1).abs() < SUMS_TO_ONE).all()):
        raise InputError("probabilities: some are negative, or a row does not sum to 1; give a softmax of the logits")
