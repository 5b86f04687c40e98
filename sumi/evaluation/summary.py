"""All measurements of a model's samples at once.

Every figure about the samples stands beside the same figure about real images (``real_distances`` compares held-out
images with as many training images): it is the floor that a perfect model would reach, and no model can be told from
perfect below it with so few images.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.evaluation.beside_real import MOST, Compared, Copies, Measures, Spectra, copies, scores, spectra, variety
from sumi.evaluation.class_accuracy import ClassAccuracy, class_accuracy
from sumi.evaluation.classes import Balance, Clarity, balance, clarity
from sumi.evaluation.feature_network import FEWEST, FeatureFacts, FeatureNetwork
from sumi.evaluation.frechet import frechet_distance, plug_in_frechet_distance
from sumi.evaluation.inception_score import InceptionScore
from sumi.evaluation.intervals import Estimate, share
from sumi.evaluation.kernel_distance import kernel_distance
from sumi.evaluation.memorization import Copying, copying, nearest
from sumi.evaluation.precision_recall import PrecisionRecall

SIGNIFICANT = 0.01


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

    ``variety``: of samples and of as many training images against held-out ones. ``inception_score``: of samples and of
    held-out images, None without labels. ``class_accuracy``: ``label_accuracy`` by class, where held-out images have
    labels too. ``left_out``: measures that could not be taken, each with the reason; they are None.
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
    variety: Compared[PrecisionRecall] | None
    inception_score: Compared[InceptionScore] | None
    spectra: Spectra | None
    copies: Copies | None
    class_accuracy: ClassAccuracy | None
    left_out: tuple[str, ...]


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
    mirrored: bool = False,
    seed: int = 0,
) -> Evaluation:
    """Measure ``samples`` against held-out images, in the feature space that ``network`` learned on training images.

    All images are floats (N, C, H, W) in [-1, 1] of one size, at least 4 of each kind; ``samples`` as they would be
    saved, so rounded to the levels of the data. ``sample_labels`` (N,): the classes that samples were asked to be.
    ``mirrored``: look for mirrored copies too, as training on mirrored images makes them. ``seed`` chooses the training
    images to compare with and the permutations: the same input gives the same figures.
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
    alike = torch.randperm(len(train_images), generator=generator)
    measures = Measures()
    mixed = [torch.randperm(len(x), generator=generator) for x in (samples, held_out_images)]
    shares = accuracy = as_asked = by_class = score = None
    if network.facts.task == "classes":
        all_real = torch.cat([network.probabilities(train_images), real_classes])
        shares = balance(sample_classes, all_real, seed=seed)
        score = measures.where_possible("Inception score", lambda: scores(sample_classes, real_classes))
    if held_out_labels is not None and network.facts.task == "classes":
        right = real_classes.argmax(1) == held_out_labels.cpu()
        accuracy = share(int(right.sum()), len(right))
    if sample_labels is not None and network.facts.task == "classes":
        right = sample_classes.argmax(1) == sample_labels.cpu()
        as_asked = share(int(right.sum()), len(right))
        if held_out_labels is not None:
            by_class = class_accuracy(sample_classes, sample_labels, real_classes, held_out_labels)
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
        real_distances=distances(of_training[alike[: len(of_real)]], of_real),
        clarity=clarity(sample_classes, real_classes),
        balance=shares,
        pixel_copying=copying(*pixels),
        feature_copying=copying(*features),
        variety=measures.where_possible(
            "precision and recall",
            lambda: variety(of_samples[mixed[0]], of_training[alike], of_real[mixed[1]], seed=seed),
        ),
        inception_score=score,
        spectra=measures.where_possible(
            "fine detail",
            lambda: spectra(samples[mixed[0][:MOST]], train_images[alike[:MOST]], held_out_images[mixed[1][:MOST]]),
        ),
        copies=measures.where_possible(
            "share of copies",
            lambda: copies(samples, train_images, held_out_images[mixed[1][:MOST]], mirrored=mirrored),
        ),
        class_accuracy=by_class,
        left_out=tuple(measures.left_out),
    )


def copies_training_images(evaluation: Evaluation) -> bool:
    """Whether samples lie nearer to training images than chance allows, in pixels and in features alike."""
    both = (evaluation.pixel_copying, evaluation.feature_copying)
    return all(c.p_value < SIGNIFICANT and c.share >= 2 * c.expected for c in both)
