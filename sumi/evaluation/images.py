"""All measurements of a model's samples at once.

Every figure of the samples comes with the same figure of real images (``real_distances`` compares training with
held-out images). That is what a perfect model would get; with so few images nothing below it can be resolved.

The Fréchet distance needs only the moments of the features, so it uses any number of images in constant memory. The
kernel distance and nearest-neighbour measures compare all pairs, and use the first ``MOST_PAIRED`` images of each set.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

import torch
from torch import Tensor

from sumi.boundary.progress import Count, counting_one
from sumi.data.dataset import Dataset, every_label, everything
from sumi.errors import InputError
from sumi.evaluation.measures import MOST, Compared, Copies, Measures, Spectra, copies, scores, spectra, variety
from sumi.metrics.classes import Balance, Clarity, ClassAccuracy, balance, clarity, class_accuracy
from sumi.metrics.features.learned import train_classifier, train_rotations
from sumi.metrics.features.network import FEWEST, FeatureFacts, FeatureNetwork, check_values
from sumi.metrics.features.space import FeatureSpace, SpaceFacts
from sumi.metrics.frechet import frechet_of_moments, plug_in_of_moments
from sumi.metrics.inception_score import InceptionScore
from sumi.metrics.intervals import Estimate, share
from sumi.metrics.kernel_distance import kernel_distance
from sumi.metrics.moments import FeatureMoments, Moments
from sumi.metrics.out_of_range import out_of_range, why_unseen
from sumi.metrics.precision_recall import PrecisionRecall

CHUNK = 1000  # images at a time


@dataclass(frozen=True, eq=False)
class SeenFeatures:
    """``kept``: features (K, D), float64, of the first K images; ``moments``: of all."""

    kept: Tensor
    moments: Moments


def look(space: FeatureSpace, images: Iterable[Tensor], keep: int, count: Callable[[int], None]) -> SeenFeatures:
    """Features of ``images``, which come in parts (N, C, H, W); ``count`` is called with the size of each part."""
    dimension = space.space.dimension
    kept, moments = torch.zeros(0, dimension, dtype=torch.float64), Moments.none(dimension)
    for part in chunks(images):
        features = check_values(space.features(part), space.space.name)
        moments = moments.with_vectors(features)
        if len(kept) < keep:
            kept = torch.cat([kept, features[: keep - len(kept)]])
        count(len(part))
    return SeenFeatures(kept, moments)


def finite(samples: Tensor) -> Tensor:
    """The samples (N, C, H, W) on the CPU. Raises InputError for NaN or infinite pixels."""
    if not bool(samples.isfinite().all()):
        raise InputError(
            "samples: some pixels are NaN or infinite; sample again from a checkpoint that did not diverge"
        )
    return samples.cpu()


def chunks(images: Iterable[Tensor]) -> Iterator[Tensor]:
    """The images, at most ``CHUNK`` at a time."""
    for part in images:
        yield from part.split(CHUNK) if len(part) else ()


SIGNIFICANT = 0.01
MOST_PAIRED = 10_000


@dataclass(frozen=True)
class Distances:
    """Distances between the features of ``first`` images and ``second`` others.

    ``kernel`` (KID) and ``frechet`` are unbiased in the sample size; ``frechet_plug_in`` is the usual FID formula, only
    comparable between equal sizes. ``frechet_first``, ``frechet_second``: the number of images in these two.
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
    """What the samples were compared with: ``images`` held-out images of the data ``data_fingerprint``.

    ``sha256``: of the count, mean and scatter in float64, and of the feature space. Evaluations with the same hash
    share the reference (bit for bit on the same machine and number of threads).
    """

    sha256: str
    data_fingerprint: str
    images: int


@dataclass(frozen=True)
class Evaluation:
    """All results, ready for ``dataclasses.asdict`` and JSON.

    Distances, variety and Inception score are measured in ``space``; classes and clarity by ``network`` (hash
    ``network_sha256``), which was trained on the training images. The two may be the same. ``closeness``: the kernel
    distance in features that are centred and scaled like that network's, so that one threshold serves any space.

    ``out_of_range``: the share of samples outside of the range of real images, by statistic of their pixels.
    ``unseen``: why precision and density, which are None then, say nothing of these samples; "" where they do.

    ``distances``: samples against held-out images; ``real_distances``: training against held-out images.
    ``held_out_accuracy``: of the classifier on held-out images; ``label_accuracy``: the share of class-conditional
    samples that it assigns to the requested class. ``balance``: class shares against all real images (training images
    included: the predicted class hardly depends on whether an image was trained on). All None without labels.

    ``variety``: of samples, and of as many training images, against held-out ones. ``inception_score``: of samples and
    of held-out images, None without labels. ``class_accuracy``: ``label_accuracy`` by class, if held-out images have
    labels too. ``left_out``: measures that were impossible (and are None), each with the reason.
    """

    seed: int
    training_images: int
    network: FeatureFacts
    network_sha256: str
    space: SpaceFacts
    reference: Reference
    closeness: float
    out_of_range: dict[str, float]
    unseen: str
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
    """Measure ``samples`` against held-out images in ``space`` (default: the features of ``network``).

    All images are floats (N, C, H, W) in [-1, 1] of one size, at least 4 in each set; ``samples`` rounded to the pixel
    levels of the data. ``sample_labels`` (N,): the requested classes. ``more``: ``more_count`` further samples, in
    parts, used for the Fréchet distance only and then discarded. ``mirrored``: search for mirrored copies too (for
    training with flips). ``data_fingerprint``: of the held-out images. ``seed`` chooses the training images to compare
    with and the permutations: the same input gives the same figures. ``progress(what, done, total)``.

    Raises InputError for images of different shapes, or too few.
    """
    samples, train_images, held_out_images = (x.cpu() for x in (samples, train_images, held_out_images))
    for name, images in (("samples", samples), ("held-out images", held_out_images)):
        if len(images) < FEWEST:
            raise InputError(f"{name}: {len(images)} are too few to measure; give at least {FEWEST}")
        if images.shape[1:] != train_images.shape[1:]:
            raise InputError(
                f"{name} of shape {tuple(images.shape[1:])}, training images of shape {tuple(train_images.shape[1:])}: "
                "give images of one size and number of channels"
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
        progress("computing features", min(looked, total), total)

    measures = Measures()
    where: FeatureSpace = network if space is None else space
    of_samples = look(where, map(finite, chain([samples], more)), len(samples), count)
    of_real = look(where, [all_held_out], len(held_out_images), count)
    of_training = look(where, [train_images[alike[: len(all_held_out)]]], len(held_out_images), count)
    further = train_images[alike[len(all_held_out) : min(len(samples), MOST)]]  # for variety: as many as samples
    training = torch.cat([of_training.kept, look(where, [further], len(further), count).kept])
    if space is not None and not bool(of_real.kept.var(0).any()):
        raise InputError(
            f"features: those of {where.space.name} are the same for all {len(of_real.kept)} held-out images; give a "
            "network that was trained, or use features=learned"
        )
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
    closeness = found.kernel
    if space is not None:
        centre, scale = training.mean(0), training.var(0).mean().sqrt().clamp(min=1e-12)
        a, b = ((x.kept[:MOST_PAIRED] - centre) / scale for x in (of_samples, of_real))
        closeness = kernel_distance(a, b)
    outside = out_of_range(samples[mixed[0][:MOST]], train_images[alike[:MOST]])
    unseen = why_unseen(closeness, outside)
    if unseen and varied is not None:
        varied = replace(varied, samples=replace(varied.samples, precision=None, density=None))
        measures.left_out.append(f"precision and density ({unseen})")
    reference = FeatureMoments(where.space.sha256, data_fingerprint, of_real.moments)

    sample_classes, real_classes = network.probabilities(samples), network.probabilities(held_out_images)
    shares = accuracy = label_accuracy = by_class = score = None
    probabilities, of_reals = (where.classes_of(x.kept) for x in (of_samples, of_real))
    if probabilities is not None and of_reals is not None:
        score = measures.where_possible("Inception score", lambda: scores(probabilities, of_reals))
    elif space is not None:
        measures.left_out.append(f"Inception score ({where.space.name} has no classifier)")
    if network.facts.task == "classes":
        all_real = torch.cat([network.probabilities(train_images), real_classes])
        shares = balance(sample_classes, all_real, seed=seed)
    if held_out_labels is not None and network.facts.task == "classes":
        right = real_classes.argmax(1) == held_out_labels.cpu()
        accuracy = share(int(right.sum()), len(right))
    if sample_labels is not None and network.facts.task == "classes":
        right = sample_classes.argmax(1) == sample_labels.cpu()
        label_accuracy = share(int(right.sum()), len(right))
        if held_out_labels is not None:
            by_class = class_accuracy(sample_classes, sample_labels, real_classes, held_out_labels)
    return Evaluation(
        seed=seed,
        training_images=len(train_images),
        network=network.facts,
        network_sha256=network.sha256,
        space=where.space,
        reference=Reference(reference.sha256, data_fingerprint, reference.count),
        closeness=closeness.value,
        out_of_range=outside,
        unseen=unseen,
        held_out_accuracy=accuracy,
        label_accuracy=label_accuracy,
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
                progress=lambda done, ways: progress("searching for copies", done, ways),
            ),
        ),
        class_accuracy=by_class,
        left_out=tuple(measures.left_out),
    )


def copies_training_images(evaluation: Evaluation) -> bool:
    """Whether significantly many samples are too close to training images, in place, shifted or mirrored."""
    copies = evaluation.copies
    return copies is not None and copies.found.ratios.p_value < SIGNIFICANT


def learn_features(train: Dataset, progress: Count | None = None, *, seed: int = 0) -> FeatureNetwork:
    """The feature network: trained to classify the training images, or their rotations without labels."""
    images = everything(train)
    report = counting_one(progress, "training the feature network on real images")
    if not train.label_names:
        return train_rotations(images, seed=seed, progress=report)
    classes = len(train.label_names)
    return train_classifier(images, every_label(train), classes=classes, seed=seed, progress=report)
