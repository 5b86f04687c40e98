"""Does a model make new images, or its training images again? It generalises, it copies, or that is undecided.

Two pieces of evidence. The share π of the samples that are copies, with its interval (``metrics.copies``), and, where
the model has a denoising loss, how much larger that is on held-out images than on as many training images:

    g = mean over bins k of log-SNR of log(L_k on held-out images / L_k on training images)

0 for a model that treats new images like those it learned from. The losses at different noise levels are of the same
images, so their errors are taken to move together, which makes the interval of g rather too wide than too short.

    copies        significantly many samples are copies
    undecided     copies cannot be ruled out: the interval of π reaches above `MOST_COPIES`, or there are fewer than
                  `FEWEST_HELD_OUT` held-out images, of which the nearest 1 % is what counts as near
                  the samples are far from real images: that they are no copies says nothing
                  g > `LARGEST_GAP` beyond chance: what it learned holds for its training images alone
    generalises   none of these

How often this is right for planted cases, and how the two limits were chosen: docs/results/copies.md.
"""

from dataclasses import dataclass
from math import exp, hypot, log
from typing import Final, Literal

from sumi.evaluation.images import Evaluation, copies_training_images
from sumi.evaluation.loss_by_noise import LossByLogSnr
from sumi.metrics.intervals import Estimate
from sumi.metrics.out_of_range import FAR

MOST_COPIES: Final = 0.1
FEWEST_HELD_OUT: Final = 50
LARGEST_GAP: Final = log(1.25)


@dataclass(frozen=True)
class Generalization:
    """The ``verdict``, the ``reason`` in words, and g where it was measured."""

    verdict: Literal["generalises", "copies", "undecided"]
    reason: str
    gap: Estimate | None


def generalization(
    evaluation: Evaluation, training: LossByLogSnr | None = None, held_out: LossByLogSnr | None = None
) -> Generalization:
    """The verdict of the module docstring; the losses are of training and of held-out images, in the same bins."""
    gap = None if training is None or held_out is None else loss_gap(training, held_out)
    copies = evaluation.copies
    if copies is None:
        return Generalization("undecided", "there are too few images to search for copies", gap)
    if copies_training_images(evaluation):
        return Generalization("copies", "significantly many samples are copies of training images", gap)
    counts = f"{copies.found.ratios.samples:,} samples and {copies.found.ratios.real:,} held-out images"
    if copies.found.ratios.real < FEWEST_HELD_OUT:
        return Generalization("undecided", f"{counts} do not tell how near new images come to training images", gap)
    if copies.found.rate.high > MOST_COPIES:
        most = f"up to {copies.found.rate.high:.0%} of the samples may be copies"
        return Generalization("undecided", f"with {counts}, {most}", gap)
    if evaluation.closeness >= FAR:
        return Generalization("undecided", "the samples are too far from real images to tell", gap)
    if gap is not None and gap.low > LARGEST_GAP:
        larger = f"the loss on held-out images is {exp(gap.value):.2f} times that on training images"
        return Generalization("undecided", f"{larger}, though no copies stand out", gap)
    return Generalization("generalises", f"at most {max(copies.found.rate.high, 0):.1%} of the samples are copies", gap)


def loss_gap(training: LossByLogSnr, held_out: LossByLogSnr) -> Estimate:
    """g of the module docstring, with its 95 % interval; 0 where a loss is."""
    pairs = [(a.mse_clean, b.mse_clean) for a, b in zip(training.bins, held_out.bins, strict=True)]
    pairs = [(a, b) for a, b in pairs if a.value > 0 and b.value > 0]
    if not pairs:
        return Estimate(0.0, 0.0, 0.0)
    value = sum(log(b.value / a.value) for a, b in pairs) / len(pairs)
    error = hypot(*(sum((x.high - x.low) / x.value for x in side) / len(pairs) for side in zip(*pairs, strict=True)))
    return Estimate(value, value - error / 2, value + error / 2)
