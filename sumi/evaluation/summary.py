"""All measurements of a model's samples at once, and what they come to in a sentence or two.

Every figure about the samples stands beside the same figure about real images (``real_distances`` compares held-out
images with as many training images): it is the floor that a perfect model would reach, and no model can be told from
perfect below it with so few images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.evaluation.classes import Balance, Clarity, balance, clarity
from sumi.evaluation.feature_network import FEWEST, FeatureFacts, FeatureNetwork
from sumi.evaluation.frechet import frechet_distance, plug_in_frechet_distance
from sumi.evaluation.intervals import Estimate, share
from sumi.evaluation.kernel_distance import kernel_distance
from sumi.evaluation.memorization import Copying, copying, nearest

SIGNIFICANT = 0.01
VERY_CLOSE, CLOSE, SOME_WAY = 0.03, 0.12, 0.5  # kernel distances; blurred digits are near 1, pure noise above
MANY = 3


@dataclass(frozen=True)
class Distances:
    """Distances between the features of ``first`` images and of ``second`` other ones.

    ``kernel`` (KID) and ``frechet`` are free of bias by sample size; ``frechet_plug_in`` is the usual FID formula, to
    be compared only between equal sizes.
    """

    kernel: Estimate
    frechet: Estimate
    frechet_plug_in: float
    first: int
    second: int


@dataclass(frozen=True)
class Evaluation:
    """What was measured, ready for ``dataclasses.asdict`` and JSON. Distances are in the space ``network_sha256``.

    ``distances``: samples against held-out images; ``real_distances``: training against held-out images.
    ``held_out_accuracy``: of the classifier on labelled held-out images, else None; ``label_accuracy``: how many
    samples it takes for what they were asked to be, else None. ``balance``: of classes, against all real images (which
    class is the likeliest hardly depends on having been learned from); None without labels.
    """

    seed: int
    training_images: int
    network: FeatureFacts
    network_sha256: str
    held_out_accuracy: Estimate | None
    label_accuracy: Estimate | None
    distances: Distances
    real_distances: Distances
    clarity: Clarity
    balance: Balance | None
    pixel_copying: Copying
    feature_copying: Copying


def distances(a: Tensor, b: Tensor) -> Distances:
    """All distances between features ``a`` (m, D) and ``b`` (n, D), m, n ≥ 4."""
    return Distances(kernel_distance(a, b), frechet_distance(a, b), plug_in_frechet_distance(a, b), len(a), len(b))


def evaluate(
    samples: Tensor,
    train_images: Tensor,
    held_out_images: Tensor,
    network: FeatureNetwork,
    *,
    held_out_labels: Tensor | None = None,
    sample_labels: Tensor | None = None,
    seed: int = 0,
) -> Evaluation:
    """Measure ``samples`` against held-out images, in the feature space that ``network`` learned on training images.

    All images are floats (N, C, H, W) in [-1, 1] of one size, at least 4 of each kind; ``samples`` as they would be
    saved, so rounded to the levels of the data. ``sample_labels`` (N,): the classes that samples were asked to be.
    ``seed`` chooses the training images to compare with and the permutations: the same input gives the same figures.
    All is computed on the CPU. Raises InputError where the images do not fit together.
    """
    samples, train_images, held_out_images = (x.cpu() for x in (samples, train_images, held_out_images))
    for name, images in (("samples", samples), ("held-out images", held_out_images)):
        if len(images) < FEWEST:
            raise InputError(f"{name}: {len(images)} are too few to measure; give at least {FEWEST}")
        if images.shape[1:] != train_images.shape[1:]:
            raise InputError(
                f"{name} of shape {tuple(images.shape[1:])}, training images of shape {tuple(train_images.shape[1:])}: "
                "give images of one size and kind"
            )
    if not bool(samples.isfinite().all()):
        raise InputError(
            "samples: some pixels are NaN or infinite; sample again from a checkpoint that did not diverge"
        )
    of_samples, of_training, of_real = (network.features(x) for x in (samples, train_images, held_out_images))
    sample_classes, real_classes = network.probabilities(samples), network.probabilities(held_out_images)
    generator = torch.Generator().manual_seed(seed)
    alike = torch.randperm(len(train_images), generator=generator)[: len(held_out_images)]
    shares = accuracy = as_asked = None
    if network.facts.task == "classes":
        all_real = torch.cat([network.probabilities(train_images), real_classes])
        shares = balance(sample_classes, all_real, seed=seed)
    if held_out_labels is not None and network.facts.task == "classes":
        right = real_classes.argmax(1) == held_out_labels.cpu()
        accuracy = share(int(right.sum()), len(right))
    if sample_labels is not None and network.facts.task == "classes":
        right = sample_classes.argmax(1) == sample_labels.cpu()
        as_asked = share(int(right.sum()), len(right))
    pixels = (nearest(x, train_images).distance for x in (samples, held_out_images))
    features = (nearest(x, of_training).distance for x in (of_samples, of_real))
    return Evaluation(
        seed=seed,
        training_images=len(train_images),
        network=network.facts,
        network_sha256=network.sha256,
        held_out_accuracy=accuracy,
        label_accuracy=as_asked,
        distances=distances(of_samples, of_real),
        real_distances=distances(of_training[alike], of_real),
        clarity=clarity(sample_classes, real_classes),
        balance=shares,
        pixel_copying=copying(*pixels),
        feature_copying=copying(*features),
    )


def copies_training_images(evaluation: Evaluation) -> bool:
    """Whether samples lie nearer to training images than chance allows, in pixels and in features alike."""
    both = (evaluation.pixel_copying, evaluation.feature_copying)
    return all(c.p_value < SIGNIFICANT and c.share >= 2 * c.expected for c in both)


def verdict(evaluation: Evaluation, class_names: Sequence[str] | None = None) -> str:
    """One or two plain sentences: how close, how clear, whether copied; and which classes are missing or too rare.

    ``class_names``: what to call the classes; their numbers otherwise.
    """
    kernel, floor = evaluation.distances.kernel, evaluation.real_distances.kernel
    first = (
        f"The samples {_closeness(evaluation)}: kernel distance {_number(kernel.value)} "
        f"[{_number(kernel.low)}, {_number(kernel.high)}] against {_number(floor.value)} for real against real; "
        f"{_clearness(evaluation)}; {_copying(evaluation)}."
    )
    return " ".join([first, *_as_asked(evaluation), *_classes(evaluation, class_names)])


def _closeness(evaluation: Evaluation) -> str:
    kernel = evaluation.distances.kernel
    if kernel.low <= 0:
        return f"cannot be told from the real data with {evaluation.distances.second} held-out images"
    if kernel.value < VERY_CLOSE:
        return "are very close to the real data"
    if kernel.value < CLOSE:
        return "are close to the real data"
    return "are some way from the real data" if kernel.value < SOME_WAY else "are far from the real data"


def _clearness(evaluation: Evaluation) -> str:
    samples, real = _percent(evaluation.clarity.samples.value), _percent(evaluation.clarity.real.value)
    if evaluation.network.task == "rotations":
        return f"a network is sure which way up {samples} of them are, and {real} of real images"
    return f"{samples} are clear to a classifier, and {real} of real images"


def _copying(evaluation: Evaluation) -> str:
    if not copies_training_images(evaluation):
        return "no sign of copying"
    pixels = evaluation.pixel_copying
    return f"{_percent(pixels.share)} are near copies of training images, where {_percent(pixels.expected)} would be so"


def _as_asked(evaluation: Evaluation) -> list[str]:
    """Nothing, or one sentence, on samples that were asked to be of a class."""
    asked, real = evaluation.label_accuracy, evaluation.held_out_accuracy
    if asked is None:
        return []
    beside = "" if real is None else f", where {_percent(real.value)} of real ones are told right"
    return [f"{_percent(asked.value)} are the class asked for{beside}."]


def _classes(evaluation: Evaluation, class_names: Sequence[str] | None) -> list[str]:
    """Nothing, or one sentence, on classes that are missing or whose shares differ by more than chance."""
    balance = evaluation.balance
    if balance is None or balance.p_value >= SIGNIFICANT:
        return []
    if not balance.missing:
        return [f"The shares of the classes differ from the real ones by {_percent(balance.total_variation)}."]
    if len(balance.missing) > MANY:
        return [f"{len(balance.missing)} of {len(balance.real)} classes are missing among the samples."]
    names = [class_names[label] if class_names else str(label) for label in balance.missing]
    return [f"Missing among the samples: class {', '.join(names)}."]


def _number(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}"  # + 0.0 makes a negative zero positive


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
