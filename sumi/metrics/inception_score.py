"""The Inception score: are the samples clear, each to a class, and are there many classes among them?

    IS = exp I,   I = E_x KL(p(y|x) ‖ p(y)) = H(E_x p(y|x)) - E_x H(p(y|x))          (Salimans et al. 2016, section 4)

I is the information that an image gives about its class: log C for C classes in equal shares, each sure; 0 where all
images look alike to the classifier. It sees neither images that are wrong in other ways nor copies, and no image is
compared with a real one: set it beside the score of held-out real images, by the same classifier (Barratt and Sharma
2018).

**The bias.** With the mean of N images for p(y), I is too small, by about (C - 1)/(2N) for sure images: the usual ten
parts of a tenth of the images each make that ten times worse. The jackknife takes it off (Quenouille 1956):

    Î = N I - (N - 1) mean of I without x_i                  Var Î ≈ (N - 1)/N Σ (I without x_i - their mean)²

What is left falls like 1/N². The interval is that of I, Î ± 1.96 standard errors, its ends made exponentials: it holds
where I has a first-order variance, and is up to √2 too wide where it has none (sure images in equal shares: there the
jackknife's variance is twice the true one, Efron and Stein 1981).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.metrics.intervals import Estimate, Z

FEWEST = 4
BLOCK = 2**20
SUMS_TO_ONE = 1e-4  # what float32 probabilities may be off


@dataclass(frozen=True)
class InceptionScore:
    """``score``: bias taken off, so by chance a little outside 1 to ``classes``; ``plug_in``: the usual formula's."""

    score: Estimate
    plug_in: float
    classes: int
    images: int


def _entropy(p: Tensor) -> Tensor:
    """-Σ p log p over the last axis, in nats."""
    return -torch.special.xlogy(p, p).sum(-1)


def inception_score(probabilities: Tensor) -> InceptionScore:
    """From class probabilities (N, C) of images, rows that sum to 1; N ≥ 4, C ≥ 2.

    Raises InputError for other shapes and for rows that are no probabilities.
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
            f"probabilities of shape {tuple(probabilities.shape)}: give (images, classes), "
            f"at least {FEWEST} images and 2 classes"
        )
    # written so that NaN is refused too
    if not bool((probabilities >= 0).all() and ((probabilities.sum(1) - 1).abs() < SUMS_TO_ONE).all()):
        raise InputError("probabilities: some are negative, or a row does not sum to 1; give a softmax of the logits")
