"""Evaluate a trained model and write its report."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from torch import Tensor

from sumi.boundary.arguments import MOST_COUNT, listed, path, real, shown, torch_defaults, whole
from sumi.boundary.group import Group, entered, group
from sumi.boundary.progress import Count, count_shown, counting_one
from sumi.data.dataset import Dataset, evenly_spaced, every_label, everything, split_role
from sumi.data.image_set import ImageDataset
from sumi.data.spec import expect
from sumi.errors import InputError
from sumi.evaluation import images
from sumi.evaluation.averages import LengthLoss, has_averages, losses_by_length
from sumi.evaluation.during_training import FEWEST
from sumi.evaluation.generalization import generalization
from sumi.evaluation.guidance import GuidanceSweep, trade_off
from sumi.evaluation.images import CHUNK, MOST_PAIRED, Evaluation, learn_features
from sumi.evaluation.loss_by_noise import ITEMS, LossByLogSnr, loss_by_log_snr
from sumi.evaluation.options import Options
from sumi.evaluation.prior import evaluate_prior
from sumi.evaluation.prompts import check_judges, evaluate_prompts
from sumi.evaluation.result import Measured
from sumi.evaluation.sweeps import sweep_sampler
from sumi.interop.card import CARD, write_card
from sumi.metrics.features.learned import FEWEST_IMAGES
from sumi.metrics.features.network import FeatureNetwork
from sumi.metrics.features.open import LEARNED, open_space
from sumi.metrics.features.space import FeatureSpace
from sumi.models.attributes import JudgeModel
from sumi.models.cascade import CascadeModel
from sumi.models.clip import ClipModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import GenerativeModel, TrainedModel
from sumi.models.run import load
from sumi.models.symbols.classifier import SymbolClassifierModel
from sumi.models.unclip import UnclipModel
from sumi.randomness import Purpose, generator
from sumi.report.audio import evaluate_audio
from sumi.report.autoencoder import evaluate_autoencoder
from sumi.report.classifier import evaluate_classifier
from sumi.report.clip import evaluate_clips
from sumi.report.commands import evaluated
from sumi.report.images import SHOWN, ImageReport
from sumi.report.judge import evaluate_judge
from sumi.report.made import noted
from sumi.report.molecules import evaluate_molecules
from sumi.report.page import Verdict
from sumi.report.prior import prior_point
from sumi.report.sets import evaluate_sets
from sumi.report.symbol_classifier import evaluate_symbol_classifier
from sumi.report.symbols import evaluate_symbols
from sumi.report.unfinished import short_of
from sumi.report.vectors import evaluate_vectors
from sumi.report.verdict import verdict
from sumi.training.run_folder import RunFolder

Guide = TypeVar("Guide", bound=TrainedModel)
FEWEST_SAMPLES, MOST_SAMPLES = 500, 2000
FEWEST_HELD_OUT = 10
QUICK_ITEMS: Final = 128
"""Items of the held-out loss of a quick report."""
SHARED: Final = 64
"""Samples at a time, as a model makes them by itself; of several processes each makes every so many-th of these."""


@torch_defaults()
def evaluate(
    model: object,
    against: object = None,
    *,
    data: object = None,
    n: int | None = None,
    seed: int = 0,
    features: str | Path = LEARNED,
    sweeps: bool = False,
    guidance: GuidanceSweep | None = None,
    out: str | Path | None = None,
    device: str | None = None,
    range: Sequence[float] | None = None,
    progress: Count | bool | None = None,
    quick: bool = False,
    judge: TrainedModel | str | Path | None = None,
    clip: TrainedModel | str | Path | None = None,
    split: str | None = None,
) -> Measured:
    """Evaluate the model as suits what it makes (`EVALUATIONS`), and write ``report/`` in its run folder.

    ``model``: one, a run folder, or the name of one that comes with Sumi. ``quick``: of a model that makes images,
    without a feature network and distances. ``judge`` and ``clip``: runs that read what a text-to-image model makes of
    captions. ``split``: the name of a split of the data's own.

    With ``against``, ``model`` and it are two sets of images, which `evaluate_sets` measures against each other on
    ``device``, writing its report into ``out``; ``range`` is the lowest and highest possible value of float arrays.

    The options are those of `Options`; ``progress``: True shows it, None only in a notebook. Raises InputError for data
    that do not fit the model, and for an option that its evaluation does not have.
    """
    n, seed = None if n is None else whole("n", n, least=1, most=MOST_COUNT), whole("seed", seed)
    if guidance is not None:
        expect(guidance, GuidanceSweep, f"guidance: {shown(guidance)} is no sweep; see sumi.evaluation.guidance")
    if against is not None:
        with count_shown(progress) as count:
            options = Options(
                data,
                n,
                seed,
                path("features", features),
                sweeps,
                guidance,
                count,
                quick,
                range=_ends(range),
                split=split,
            )
            return evaluate_sets(model, against, options, out=out, device=device)
    for field, value in (("out", out), ("device", device), ("range", range)):
        if value is not None:
            raise InputError(f"{field}: is of the evaluation of two sets of images; leave it out")
    match model:
        case str() | Path():
            model = load(model)
        case _:
            model = expect(model, TrainedModel, f"model: {shown(model)} is no model; give one, or a run folder")
    reads = SymbolClassifierModel if model.evaluated_as == "symbols" else JudgeModel
    judge, clip = _loaded("judge", judge, reads), _loaded("clip", clip, ClipModel)
    if model.evaluated_as not in EVALUATIONS:
        raise InputError(f"{model.folder}: there is no evaluation of {model.evaluated_as}; add one to EVALUATIONS")
    if model.evaluated_as != "images" and not group().first:  # others are measured by one process
        return Measured(None, "", RunFolder(model.folder).report / "report.html", ())
    alone = nullcontext() if model.evaluated_as == "images" else entered(Group())
    with count_shown(progress) as count, alone:
        measured = EVALUATIONS[model.evaluated_as](
            model,
            Options(
                data, n, seed, path("features", features), sweeps, guidance, count, quick, judge, clip, split=split
            ),
        )
    if group().first and (model.folder / CARD).exists():
        write_card(model)  # with these figures
    return measured


def _ends(given: Sequence[float] | None) -> tuple[float, float] | None:
    """Raises InputError for what is no lowest and highest value."""
    if given is None:
        return None
    with suppress(InputError, ValueError):
        low, high = (real("range", end) for end in listed("range", given))
        if low < high:
            return low, high
    raise InputError(f"range: {shown(given)} is no lowest and highest value; give two, such as (0, 1)")


def _loaded(name: str, given: object, wanted: type[Guide]) -> Guide | None:
    match given:
        case None:
            return None
        case str() | Path():
            return load(given, wanted)
        case _:
            return expect(given, wanted, f"{name}: {shown(given)} is none; give a run of {wanted.what}")


def evaluate_images(model: GenerativeModel, options: Options) -> Measured:
    """Sample the model, compare with held-out real data, and write ``report/`` in its run folder.

    Copies are always searched for among the run's own training images. By default there are as many samples as held-out
    images, but 500 to 2000; samples beyond 10,000 are used for the Fréchet distance only, and discarded. Sweeps and
    guidance are measured in the learned space; with ``sweeps`` also averages of the weights of other lengths, where the
    run has any. Raises InputError for data that do not fit the model, for an unreadable
    network, and for ``sweeps`` or ``guidance`` with too few images.
    """
    data, n, seed, progress = options.data, options.n, options.seed, options.progress
    sweeps, guidance = options.sweeps, options.guidance
    diffusion = words_to_pictures = unclip = None
    match model:
        case DiffusionModel():
            diffusion = words_to_pictures = model
        case CascadeModel():
            words_to_pictures = model
        case UnclipModel():
            words_to_pictures = unclip = model
        case _:
            options.refuse(f"a {model.config.recipe}", "judge", "clip")
    if diffusion is None:
        options.refuse(f"a {model.config.recipe}", "sweeps", "guidance")
    judge = None if options.judge is None else expect(options.judge, JudgeModel, "judge: reads no pictures")
    judging = words_to_pictures is not None and (options.judge is not None or options.clip is not None)
    if options.split is not None and judging:
        raise InputError("split: a judge and a clip read captions of each split by themselves; leave it out")
    if words_to_pictures is not None and judging:
        check_judges(words_to_pictures, judge, options.clip)
    known = model.description.data_fingerprint
    other = None if data is None else model.load_images(data)
    own = other is not None and (not known or other.fingerprint() == known)  # of an imported run none are known
    dataset = other if own and other is not None else model.load_images()
    train, held_out = dataset.split(model.config.data.held_out)
    if other is not None:
        _, held_out = other.split(model.config.data.held_out)
    if options.split is not None:
        held_out = _of_split(dataset if other is None else other, options.split)
    enough = len(train) >= FEWEST_IMAGES and len(held_out) >= FEWEST_HELD_OUT
    count = n if n is not None else min(max(FEWEST_SAMPLES, len(held_out)), MOST_SAMPLES) if enough else SHOWN
    if options.quick:
        options.refuse("images with quick", "sweeps", "guidance")
        count = SHOWN if n is None else n
    measurable = enough and count >= FEWEST_HELD_OUT and not options.quick
    too_few = (
        f"too few images to measure distances: {len(train)} for training, {len(held_out)} held out, {count} samples; "
        f"at least {FEWEST_IMAGES}, {FEWEST_HELD_OUT} and {FEWEST_HELD_OUT} are needed"
    )
    for field, wanted in (("sweeps", sweeps), ("trade_off", guidance is not None)):
        if wanted and not measurable:
            raise InputError(f"{field}: {too_few}")
    if guidance is not None and not held_out.label_names == train.label_names == model.items.label_names:
        raise InputError("trade_off: the images have other classes than the model; give the run's own data")
    space = open_space(options.features, model.device)
    begin = time.perf_counter()
    classes = None
    if diffusion is not None:
        classes = _labels(diffusion, train if options.split is None else held_out, count, seed)

    def sample(start: int, n: int, progress: Count | None = None) -> Tensor:
        counted = counting_one(progress, "sampling")

        def make(part: range) -> Tensor:
            if diffusion is None or classes is None:
                return model.sample(len(part), seed=seed, start=part.start, progress=counted)
            label = classes[part.start : part.stop]
            return diffusion.sample(len(part), seed=seed, start=part.start, label=label, progress=counted)

        return group().shared(make, range(start, start + n), SHARED)

    samples = sample(0, min(count, MOST_PAIRED), progress)
    if not group().first:  # it helps the first process, which measures, to sample
        for start in range(len(samples), count, CHUNK) if measurable else ():
            sample(start, min(CHUNK, count - start))
        return Measured(None, "", RunFolder(model.folder).report / "report.html", ())
    labels = None if classes is None else classes[: len(samples)]
    seconds = time.perf_counter() - begin
    evaluation = swept = traded = general = None
    lengths: list[LengthLoss] = []
    held_out_loss = learned_loss = None
    if diffusion is not None:
        items = QUICK_ITEMS if options.quick else ITEMS
        held_out_loss = _loss(diffusion, held_out, "held-out", items, progress)
        learned_loss = _loss(diffusion, train, "training", items, progress) if measurable else None
    why = f"no distances were measured; `{evaluated(model)}` measures them" if options.quick else too_few
    words = Verdict(f"{why[0].upper()}{why[1:]}.")
    if measurable:
        network = learn_features(train, progress)
        starts = range(len(samples), count, CHUNK)
        more = (sample(start, min(CHUNK, count - start)) for start in starts)
        parts = _Parts(samples, more, count, labels, train, held_out)
        evaluation = _evaluate(parts, network, space, model.config.data.flip, seed, progress)
        general = generalization(evaluation, learned_loss, held_out_loss)
        words = verdict(evaluation, dataset.label_names or None, model=general)
        real = [everything(part) for part in (train, held_out)]
        if diffusion is not None and sweeps:
            swept = sweep_sampler(
                diffusion, network, *real, n=len(samples), labels=labels, seed=seed, progress=progress
            )
            if has_averages(diffusion) and len(held_out) >= FEWEST:
                counted = counting_one(progress, "comparing lengths") or (lambda *_: None)
                lengths = losses_by_length(diffusion, held_out, progress=counted)
        if diffusion is not None and guidance is not None and labels is not None:
            of_real = every_label(held_out)
            traded = trade_off(
                diffusion,
                guidance,
                network,
                *real,
                labels=labels,
                held_out_labels=of_real,
                seed=seed,
                progress=progress,
            )
    words = noted(words, model, dataset, "images")
    if options.split is not None:
        same = "" if classes is None else "; samples are of their classes, as often"
        named = f"{len(held_out):,} of the split {options.split}, with which samples are compared{same}"
        words = replace(words, points=[("Real images", f"{named}."), *words.points])
    judged = None
    if words_to_pictures is not None and judging:
        judged = evaluate_prompts(
            words_to_pictures, dataset, judge=judge, clip=options.clip, n=n, seed=seed, progress=progress
        )
    prior = None if unclip is None else evaluate_prior(unclip, dataset, seed, counting_one(progress, "drawing vectors"))
    if prior is not None:
        words = replace(words, points=[*words.points, prior_point(prior)])
    unfinished = "" if diffusion is None else short_of(diffusion)
    if unfinished:
        words = replace(words, headline=f"{words.headline} {unfinished}")
    report = ImageReport(
        model,
        diffusion,
        dataset,
        train,
        held_out,
        samples,
        labels,
        evaluation,
        swept,
        lengths,
        traded,
        judged,
        prior,
        held_out_loss,
        learned_loss,
        general,
        seed,
        progress,
    )
    guided = diffusion is not None and labels is not None
    how = diffusion.how_sampled(labelled=True) if guided else model.how_sampled()
    made = f"{len(samples):,} images by {how} in {seconds:.1f} s on {model.device}"
    files = report.write(words, made if len(samples) == count else f"{made}, and {count - len(samples):,} more")
    return Measured(evaluation, str(words), RunFolder(model.folder).report / "report.html", files)


def _of_split(data: Dataset, name: str) -> Dataset:
    """The images of the split ``name``. Raises InputError where there are none, and for those that are trained on."""
    found = expect(data, ImageDataset, "split: the data are no images with splits; leave it out").of_split(name)
    if split_role(name) == "train":
        raise InputError(f"split: {name} is what models are trained on, not what they are compared with; give another")
    return found


def _labels(model: DiffusionModel, real: Dataset, count: int, seed: int) -> Tensor | None:
    """Class labels, as frequent as among these ``real`` images; None for an unconditional model."""
    conditioned = model.config.condition("labels") is not None
    if not conditioned or not real.label_names or real.label_names != model.items.label_names:  # the data changed since
        return None
    chosen = generator(seed, 0, 0, Purpose.LABEL).integers(len(real), size=count)
    return real.labels_of(chosen)


@dataclass(frozen=True)
class _Parts:
    """Samples in memory, ``more`` that are not (``count`` in all), and the real images to compare with."""

    samples: Tensor
    more: Iterator[Tensor]
    count: int
    labels: Tensor | None
    train: Dataset
    held_out: Dataset


def _evaluate(
    parts: _Parts,
    network: FeatureNetwork,
    space: FeatureSpace | None,
    mirrored: bool,
    seed: int,
    progress: Count | None,
) -> Evaluation:
    train, held_out = parts.train, parts.held_out
    same = bool(train.label_names) and held_out.label_names == train.label_names
    return images.evaluate(
        train.spec.finish(parts.samples),
        everything(train),
        everything(held_out),
        network,
        space=space,
        more=map(train.spec.finish, parts.more),
        more_count=parts.count - len(parts.samples),
        held_out_labels=every_label(held_out) if same else None,
        sample_labels=parts.labels,
        mirrored=mirrored,
        data_fingerprint=held_out.fingerprint(),
        seed=seed,
        progress=progress,
    )


def _loss(model: DiffusionModel, data: Dataset, which: str, items: int, progress: Count | None = None) -> LossByLogSnr:
    """The denoiser's errors on up to so many ``items`` of the ``which`` images, unconditional."""
    images = evenly_spaced(data, items).to(model.device)
    with torch.no_grad():
        images = model.space.encode(images)
    counted = counting_one(progress, f"computing the loss on {which} images")
    return loss_by_log_snr(
        model.denoiser(),
        images,
        grid=model.network_denoiser.trained_steps,
        seed=model.config.seed,
        progress=counted,
    )


EVALUATIONS: Final[dict[str, Callable[[Any, Options], Measured]]] = {
    "images": evaluate_images,
    "vectors": evaluate_vectors,
    "molecules": evaluate_molecules,
    "audio": evaluate_audio,
    "symbols": evaluate_symbols,
    "classifiers": evaluate_classifier,
    "symbol classifiers": evaluate_symbol_classifier,
    "autoencoders": evaluate_autoencoder,
    "clips": evaluate_clips,
    "judges": evaluate_judge,
}
"""By `TrainedModel.evaluated_as`."""
