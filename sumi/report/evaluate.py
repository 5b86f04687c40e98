"""From a trained model to figures a person can believe, and the report that holds them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sumi.conditioning.labels import LabelConditioning
from sumi.data.dataset import ImageDataset
from sumi.data.pixels import PixelRange
from sumi.data.spec import VectorSpec
from sumi.errors import InputError
from sumi.evaluation.guidance import Kinds, trade_off
from sumi.evaluation.images import CHUNK, MOST_PAIRED, Evaluation, evaluate, learn_features
from sumi.evaluation.loss_by_noise import LossByLogSnr, loss_by_log_snr
from sumi.evaluation.result import Measured
from sumi.evaluation.sweeps import sweep_sampler
from sumi.features.learned import FEWEST_IMAGES
from sumi.features.network import FeatureNetwork
from sumi.features.open import LEARNED, open_space
from sumi.features.space import FeatureSpace
from sumi.models.classifier import ClassifierModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import GenerativeModel
from sumi.progress import Count, counting_one
from sumi.randomness import Purpose, generator
from sumi.report.classifier import measure_classifier
from sumi.report.images import SHOWN, ImageReport
from sumi.report.page import Verdict
from sumi.report.vectors import measure_vectors
from sumi.report.verdict import verdict

FEWEST_SAMPLES, MOST_SAMPLES = 500, 2000
FEWEST_HELD_OUT = 10
MOST_DENOISED = 500


def measure(
    model: GenerativeModel | ClassifierModel,
    *,
    data: str | None = None,
    n: int | None = None,
    seed: int = 0,
    features: str = LEARNED,
    sweeps: bool = False,
    guidance: Kinds | None = None,
    progress: Count | None = None,
) -> Measured:
    """Sample the model, compare with held-out real data, and write ``report/`` in its run folder.

    Of a classifier, how much it recognises (`measure_classifier`).
    ``data``: compare with the held-out part of other images; copies are always looked for in the run's own training
    images. ``n``: how many samples (default: as many as are held out, 500 to 2000); beyond 10,000 they count for the
    Fréchet distance alone, and are not kept. ``features``: the space to measure in, "learned" or the path of a network
    (see `open_space`). ``sweeps``: also by how random sampling is, and by its number of steps, in the learned space.
    ``guidance``: also by these kinds of guidance (`sumi.evaluation.guidance.kinds_of`), in that space.
    ``progress(what, done, total)``. Raises InputError for data that does not fit the model, for a network that cannot
    be read, and for ``sweeps`` or ``guidance`` of vectors or of too few images.
    """
    if isinstance(model, ClassifierModel):
        if features != LEARNED or sweeps or n is not None:
            raise InputError("-n, --features, --sweeps: are of samples, and a classifier makes none; leave them out")
        return measure_classifier(model, data=data, seed=seed, progress=progress)
    if features != LEARNED and isinstance(model.items, VectorSpec):
        raise InputError("--features: networks see images, and this run makes vectors; leave it out")
    if isinstance(model, DiffusionModel) and isinstance(model.items, VectorSpec):
        if sweeps:
            raise InputError("--sweeps: needs a model of images, and this one makes vectors; leave it out")
        return measure_vectors(model, data=data, n=n, seed=seed, progress=progress)
    if sweeps and not isinstance(model, DiffusionModel):
        raise InputError(f"--sweeps: a run of {model.config.recipe} has no steps to change; leave it out")
    known = model.description.data_fingerprint
    other = None if data is None else model.load_images(data)
    dataset = other if other is not None and other.fingerprint() == known else model.load_images()
    train, held_out = dataset.split(model.config.data.held_out)
    if other is not None:
        _, held_out = other.split(model.config.data.held_out)
    enough = len(train) >= FEWEST_IMAGES and len(held_out) >= FEWEST_HELD_OUT
    count = n if n is not None else min(max(FEWEST_SAMPLES, len(held_out)), MOST_SAMPLES) if enough else SHOWN
    measurable = enough and count >= FEWEST_HELD_OUT
    too_few = (
        f"too few to measure distances: {len(train)} to train on, {len(held_out)} held out, {count} samples; "
        f"at least {FEWEST_IMAGES}, {FEWEST_HELD_OUT} and {FEWEST_HELD_OUT} are needed"
    )
    for option, wanted in (("--sweeps", sweeps), ("--trade-off", guidance is not None)):
        if wanted and not measurable:
            raise InputError(f"{option}: {too_few}")
    if guidance is not None and not held_out.label_names == train.label_names == model.items.label_names:
        raise InputError("--trade-off: the images have other classes than the model knows; give those of the run")
    space = open_space(features, model.device)
    begin = time.perf_counter()
    asked = _labels(model, train, count, seed)
    drawn = _sample(model, asked, 0, min(count, MOST_PAIRED), seed, progress)
    labels = None if asked is None else asked[: len(drawn)]
    seconds = time.perf_counter() - begin
    evaluation = swept = traded = None
    words = Verdict(f"{too_few[0].upper()}{too_few[1:]}.")
    if measurable:
        network = learn_features(train, progress)
        starts = range(len(drawn), count, CHUNK)
        more = (_sample(model, asked, start, min(CHUNK, count - start), seed, None) for start in starts)
        parts = _Parts(drawn, more, count, labels, train, held_out)
        evaluation = _evaluate(parts, network, space, model.config.data.flip, seed, progress)
        words = verdict(evaluation, dataset.label_names or None)
        real = [PixelRange(part.levels).to_model(part.images) for part in (train, held_out)]
        if sweeps and isinstance(model, DiffusionModel):
            swept = sweep_sampler(model, network, *real, n=len(drawn), labels=labels, seed=seed, progress=progress)
        if guidance is not None and isinstance(model, DiffusionModel) and labels is not None:
            known_classes = torch.tensor(held_out.labels)
            traded = trade_off(
                model,
                guidance,
                network,
                *real,
                labels=labels,
                held_out_labels=known_classes,
                seed=seed,
                progress=progress,
            )
    if dataset.fingerprint() != known:
        note = "The data has changed since training, so held-out images may have been trained on."
        words = replace(words, points=(*words.points, ("Note", note)))
    report = ImageReport(
        model,
        dataset,
        train,
        held_out,
        drawn,
        labels,
        evaluation,
        swept,
        traded,
        _held_out_loss(model, held_out, progress),
        seed,
        progress,
    )
    made = f"{len(drawn):,} images by {_how(model, labels)} in {seconds:.1f} s on {model.device}"
    files = report.write(words, made if len(drawn) == count else f"{made}, and {count - len(drawn):,} more")
    return Measured(evaluation, str(words), model.folder / "report" / "report.html", files)


def _sample(
    model: GenerativeModel, labels: Tensor | None, start: int, n: int, seed: int, progress: Count | None
) -> Tensor:
    """Samples ``start`` … ``start + n - 1``; ``labels``: the classes that all samples are asked to be, if any."""
    counted = counting_one(progress, "sampling")
    if labels is None or not isinstance(model, DiffusionModel):
        return model.sample(n, seed=seed, start=start, progress=counted)
    return model.sample(n, seed=seed, start=start, label=labels[start : start + n], progress=counted)


def _how(model: GenerativeModel, labels: Tensor | None) -> str:
    """How samples were made, in words."""
    if labels is None or not isinstance(model, DiffusionModel):
        return model.how_sampled()
    return model.how_sampled(labelled=True)


def _labels(model: GenerativeModel, train: ImageDataset, count: int, seed: int) -> Tensor | None:
    """Classes to ask for, as often as training images have them; None where the model is told of none."""
    if not isinstance(model, DiffusionModel) or train.labels is None:
        return None
    if not isinstance(model.config.conditioning, LabelConditioning):
        return None
    if train.label_names != model.items.label_names:  # the data have changed since
        return None
    chosen = generator(seed, 0, 0, Purpose.LABEL).integers(len(train), size=count)
    return torch.from_numpy(train.labels[chosen])


@dataclass(frozen=True)
class _Parts:
    """Samples that are kept, ``more`` that are not (``count`` in all), and the real images they are compared with."""

    drawn: Tensor
    more: Iterator[Tensor]
    count: int
    labels: Tensor | None
    train: ImageDataset
    held_out: ImageDataset


def _evaluate(
    parts: _Parts,
    network: FeatureNetwork,
    space: FeatureSpace | None,
    mirrored: bool,
    seed: int,
    progress: Count | None,
) -> Evaluation:
    train, held_out = parts.train, parts.held_out
    pixels = PixelRange(train.levels)
    same = train.labels is not None and held_out.label_names == train.label_names

    def as_saved(drawn: Tensor) -> Tensor:
        return pixels.to_model(pixels.to_levels(drawn))

    return evaluate(
        as_saved(parts.drawn),
        pixels.to_model(train.images),
        pixels.to_model(held_out.images),
        network,
        space=space,
        more=map(as_saved, parts.more),
        more_count=parts.count - len(parts.drawn),
        held_out_labels=torch.tensor(held_out.labels) if same and held_out.labels is not None else None,
        sample_labels=parts.labels,
        mirrored=mirrored,
        data_fingerprint=held_out.fingerprint(),
        seed=seed,
        progress=progress,
    )


def _held_out_loss(
    model: GenerativeModel, held_out: ImageDataset, progress: Count | None = None
) -> LossByLogSnr | None:
    """The errors of a denoiser, which is told no class, on held-out images; None of other kinds of model."""
    if not isinstance(model, DiffusionModel):
        return None
    # evenly spaced: files are often sorted by class
    chosen = np.linspace(0, len(held_out) - 1, min(MOST_DENOISED, len(held_out))).round().astype(int)
    images = PixelRange(held_out.levels).to_model(held_out.images[chosen]).to(model.device)
    told = counting_one(progress, "taking the loss on held-out images")
    return loss_by_log_snr(
        model.denoiser(), images, grid=model.network_denoiser.grid, seed=model.config.seed, progress=told
    )
