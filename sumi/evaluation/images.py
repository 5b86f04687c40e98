"""All measurements of a model's samples at once.

Every figure about the samples stands beside the same figure about real images (``real_distances`` compares held-out
images with as many training images): it is the floor that a perfect model would reach, and no model can be told from
perfect below it with so few images.

Measures that look at pairs of images take no more than ``MOST_PAIRED`` of a kind; for the Fréchet distance all count,
however many, as it needs their moments alone (``seen``).

The features of a set of images, in constant memory: of the first ones themselves, of all their moments.

The Fréchet distance needs the moments alone, so any number of images counts for it. A kernel distance and balls around
neighbours look at every pair, and take the ``kept`` ones.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from sumi.data.dataset import Dataset, every_label, everything
from sumi.errors import InputError
from sumi.evaluation.measures import MOST, Compared, Copies, Measures, Spectra, copies, scores, spectra, variety
from sumi.features.learned import train_classifier, train_rotations
from sumi.features.network import FEWEST, FeatureFacts, FeatureNetwork
from sumi.features.space import FeatureSpace, SpaceFacts
from sumi.metrics.classes import Balance, Clarity, ClassAccuracy, balance, clarity, class_accuracy
from sumi.metrics.frechet import frechet_of_moments, plug_in_of_moments
from sumi.metrics.inception_score import InceptionScore
from sumi.metrics.intervals import Estimate, share
from sumi.metrics.kernel_distance import kernel_distance
from sumi.metrics.moments import FeatureMoments, Moments
from sumi.metrics.precision_recall import PrecisionRecall
from sumi.progress import Count, counting_one

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


SIGNIFICANT = 0.01
MOST_PAIRED = 10_000


@dataclass(frozen=True)
class Distances:
    """Distances between the features of ``first`` images and of ``second`` other ones.

    ``kernel`` (KID) and ``frechet`` are free of bias by sample size; ``frechet_plug_in`` is the usual FID formula, to
    be compared only between equal sizes. ``frechet_first`` and ``frechet_second``: how many images these two are of.
    """

    kernel: Estimate
    frechet: Estimate
    frechet_plug_in: float
    first: int
    second: int
    frechet_first: int
    frechet_second: int


@dataclass(frozen=True)
class Reference:
    """What samples were compared with: ``images`` held-out images of the data ``data_fingerprint``.

    ``sha256``: of their statistics, counts, means and scatters in float64, and of the feature space: an evaluation with
    the same hash has the same reference (bit for bit: on the same machine and number of threads).
    """

    sha256: str
    data_fingerprint: str
    images: int


@dataclass(frozen=True)
class Evaluation:
    """What was measured, ready for ``dataclasses.asdict`` and JSON.

    Distances, variety and Inception score are in ``space``; classes and clarity are told by ``network``, with the hash
    ``network_sha256``, which was trained on the training images. They may be one.
    ``closeness``: the kernel distance in features centred and scaled as that network's are, to call near or far in any
    space.

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
    space: SpaceFacts
    reference: Reference
    closeness: float
    held_out_accuracy: Estimate | None
    label_accuracy: Estimate | None
    distances: Distances
    real_distances: Distances
    clarity: Clarity
    balance: Balance | None
    variety: Compared[PrecisionRecall] | None
    inception_score: Compared[InceptionScore] | None
    spectra: Spectra | None
    copies: Copies | None
    class_accuracy: ClassAccuracy | None
    left_out: tuple[str, ...]


def distances(a: SeenFeatures, b: SeenFeatures) -> Distances:
    """All distances between features of m and of n images, m, n ≥ 4."""
    first, second = a.kept[:MOST_PAIRED], b.kept[:MOST_PAIRED]
    frechet, plug_in = frechet_of_moments(a.moments, b.moments), plug_in_of_moments(a.moments, b.moments)
    sizes = len(first), len(second), a.moments.count, b.moments.count
    return Distances(kernel_distance(first, second), frechet, plug_in, *sizes)


def evaluate(
    samples: Tensor,
    train_images: Tensor,
    held_out_images: Tensor,
    network: FeatureNetwork,
    *,
    space: FeatureSpace | None = None,
    more: Iterable[Tensor] = (),
    more_count: int = 0,
    held_out_labels: Tensor | None = None,
    sample_labels: Tensor | None = None,
    mirrored: bool = False,
    data_fingerprint: str = "",
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Evaluation:
    """Measure ``samples`` against held-out images, in ``space``; in that of ``network`` where it is None.

    All images are floats (N, C, H, W) in [-1, 1] of one size, at least 4 of each kind; ``samples`` as they would be
    saved, so rounded to the levels of the data. ``sample_labels`` (N,): the classes that samples were asked to be.
    ``more``: ``more_count`` further samples, in parts, which count for the Fréchet distance alone and are not kept.
    ``mirrored``: look for mirrored copies too, as training on mirrored images makes them. ``data_fingerprint``: of the
    held-out images. ``seed`` chooses the training images to compare with and the permutations: the same input gives the
    same figures. ``progress(what, done, total)`` is told what is going on.

    Raises InputError where the images do not fit together.
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
    generator = torch.Generator().manual_seed(seed)
    alike = torch.randperm(len(train_images), generator=generator)
    all_held_out = held_out_images
    if len(held_out_images) > MOST_PAIRED:
        chosen = torch.randperm(len(held_out_images), generator=generator)
        all_held_out, held_out_images = held_out_images[chosen], held_out_images[chosen[:MOST_PAIRED]]
        held_out_labels = None if held_out_labels is None else held_out_labels.cpu()[chosen[:MOST_PAIRED]]
    mixed = [torch.randperm(len(x), generator=generator) for x in (samples, held_out_images)]

    progress = progress or (lambda *_: None)
    looked, total = 0, len(samples) + more_count + 2 * len(all_held_out)

    def count(images: int) -> None:
        nonlocal looked
        looked += images
        progress("taking features", min(looked, total), total)

    measures = Measures()
    where: FeatureSpace = network if space is None else space
    of_samples = look(where, map(finite, chain([samples], more)), len(samples), count)
    of_real = look(where, [all_held_out], len(held_out_images), count)
    of_training = look(where, [train_images[alike[: len(all_held_out)]]], len(held_out_images), count)
    further = train_images[alike[len(all_held_out) : min(len(samples), MOST)]]  # variety compares as many as samples
    training = torch.cat([of_training.kept, look(where, [further], len(further), count).kept])
    progress("measuring distances", 0, 3)
    found = distances(of_samples, of_real)
    progress("measuring distances", 1, 3)
    real_distances = distances(of_training, of_real)
    progress("measuring distances", 2, 3)
    varied = measures.where_possible(
        "precision and recall",
        lambda: variety(of_samples.kept[mixed[0]], training, of_real.kept[mixed[1]], seed=seed),
    )
    progress("measuring distances", 3, 3)
    closeness = found.kernel.value
    if space is not None:
        centre, scale = training.mean(0), training.var(0).mean().sqrt().clamp(min=1e-12)
        a, b = ((x.kept[:MOST_PAIRED] - centre) / scale for x in (of_samples, of_real))
        closeness = kernel_distance(a, b).value
    reference = FeatureMoments(where.space.sha256, data_fingerprint, of_real.moments)

    sample_classes, real_classes = network.probabilities(samples), network.probabilities(held_out_images)
    shares = accuracy = as_asked = by_class = score = None
    told, told_real = (where.classes_of(x.kept) for x in (of_samples, of_real))
    if told is not None and told_real is not None:
        score = measures.where_possible("Inception score", lambda: scores(told, told_real))
    elif space is not None:
        measures.left_out.append(f"Inception score ({where.space.name} tells no classes)")
    if network.facts.task == "classes":
        all_real = torch.cat([network.probabilities(train_images), real_classes])
        shares = balance(sample_classes, all_real, seed=seed)
    if held_out_labels is not None and network.facts.task == "classes":
        right = real_classes.argmax(1) == held_out_labels.cpu()
        accuracy = share(int(right.sum()), len(right))
    if sample_labels is not None and network.facts.task == "classes":
        right = sample_classes.argmax(1) == sample_labels.cpu()
        as_asked = share(int(right.sum()), len(right))
        if held_out_labels is not None:
            by_class = class_accuracy(sample_classes, sample_labels, real_classes, held_out_labels)
    return Evaluation(
        seed=seed,
        training_images=len(train_images),
        network=network.facts,
        network_sha256=network.sha256,
        space=where.space,
        reference=Reference(reference.sha256, data_fingerprint, reference.count),
        closeness=closeness,
        held_out_accuracy=accuracy,
        label_accuracy=as_asked,
        distances=found,
        real_distances=real_distances,
        clarity=clarity(sample_classes, real_classes),
        balance=shares,
        variety=varied,
        inception_score=score,
        spectra=measures.where_possible(
            "fine detail",
            lambda: spectra(samples[mixed[0][:MOST]], train_images[alike[:MOST]], held_out_images[mixed[1][:MOST]]),
        ),
        copies=measures.where_possible(
            "share of copies",
            lambda: copies(
                samples,
                train_images,
                held_out_images[mixed[1][:MOST]],
                mirrored=mirrored,
                progress=lambda done, ways: progress("looking for copies", done, ways),
            ),
        ),
        class_accuracy=by_class,
        left_out=tuple(measures.left_out),
    )


def copies_training_images(evaluation: Evaluation) -> bool:
    """Whether more samples come too near to training images, in place, moved or mirrored, than chance allows."""
    copies = evaluation.copies
    return copies is not None and copies.found.ratios.p_value < SIGNIFICANT


def learn_features(train: Dataset, progress: Count | None = None, *, seed: int = 0) -> FeatureNetwork:
    """The space in which distances are measured: a classifier of the training images, or of how they are turned."""
    images = everything(train)
    report = counting_one(progress, "learning to tell real images apart")
    if not train.label_names:
        return train_rotations(images, seed=seed, progress=report)
    classes = len(train.label_names)
    return train_classifier(images, every_label(train), classes=classes, seed=seed, progress=report)
