"""All figures of a schedule, of a run, or of a textbook fact about diffusion models."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, get_args

import numpy as np
import torch

from sumi.boundary.config import nearest
from sumi.boundary.progress import Count
from sumi.data.config import DataConfig
from sumi.data.dataset import Dataset, evenly_spaced
from sumi.data.load import load_images
from sumi.errors import InputError
from sumi.explain.correction import draw_correction
from sumi.explain.guided import compare_with_tempered, draw_guided
from sumi.explain.low_density import draw_low_density, measure_low_density
from sumi.explain.noising import draw_noising
from sumi.explain.parameterizations import STEPS, compare, draw_parameterizations
from sumi.explain.recognition import draw_recognition, recognise
from sumi.explain.reverse import draw_loss, draw_reverse, held_out_loss
from sumi.explain.reverse_kernel import draw_one_step, draw_reverse_kernel
from sumi.explain.schedule import draw_schedule
from sumi.explain.systems import draw_accuracy, draw_samples
from sumi.explain.unscaled import carries_unit_variance, draw_unscaled
from sumi.explain.vectors import explain_vectors
from sumi.explain.words import explain_words
from sumi.figures.canvas import SavedFigure
from sumi.models.classifier import ClassifierModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import GenerativeModel, TrainedModel
from sumi.models.run import load
from sumi.pretrained import shipped
from sumi.process.chain import LinearBeta
from sumi.process.schedule import Schedule
from sumi.process.schedules import ScheduleConfig
from sumi.training.run_folder import RunFolder

SCHEDULES: Final[dict[str, ScheduleConfig]] = {cls.name: cls() for cls in get_args(ScheduleConfig)}
MOST_KNOWN: Final = 2_000  # images in the exact denoiser's softmax


def explain(
    subject: str,
    *,
    data: str | None = None,
    out: Path | None = None,
    checkpoint: int | None = None,
    device: str | None = None,
    prompt: str | None = None,
    change: str | None = None,
    seed: int | None = None,
    count: Count | None = None,
) -> Iterator[SavedFigure]:
    """Draw the figures of a schedule or a law (by name) or a run (its folder), one after the other.

    ``data``: the source of the noised image; default: characters (digits where networks are trained), or the run's own.
    ``prompt``: instead, what each of its words did to a picture of ``seed`` (default 0); ``change``: OLD=NEW, the same
    picture with a word replaced. ``checkpoint``: a run's; default: the newest. ``device``: a run's; default: a GPU, if
    there is one. ``count(what, done, total)`` reports progress. Runs of other systems show samples or the accuracy.
    Raises InputError.
    """
    unused = {"checkpoint": checkpoint, "device": device} if subject in (*LAWS, *SCHEDULES) else {}
    unused |= {"data": data} if subject in WITHOUT_DATA or prompt is not None else {}
    unused |= {"prompt": prompt} if subject in (*LAWS, *SCHEDULES) else {}
    for name in (name for name, value in unused.items() if value is not None):
        raise InputError(f"{name}: does not count for {subject}; leave it out")
    without_prompt = {"change": change, "seed": seed} if prompt is None else {}
    for name in (name for name, value in without_prompt.items() if value is not None):
        raise InputError(f"{name}: counts for the picture of a prompt; give a prompt, too")
    if subject in LAWS:
        usual = SMALL if subject in MEASURED else PICTURED
        yield from LAWS[subject](data or usual, out or Path("explain") / subject, count)
        return
    if subject in SCHEDULES:
        config, images = SCHEDULES[subject], load_images(DataConfig(source=data or PICTURED))
        folder = out or Path("explain") / subject
        yield from _explain_schedule(config.build(), config.steps or 1000, images, folder)
        if images.label_names:
            classes = load_images(DataConfig(source=SMALL)) if data is None else images
            yield _recognition(classes, config.build(), folder, count)
        return
    if not RunFolder(subject).config_file.parent.exists():
        known = nearest(subject, (*SCHEDULES, *LAWS, *shipped.names()))
        raise InputError(f"{subject}: is no run folder, schedule, law or model that comes with Sumi; {known}")
    if prompt is not None:
        model = load(subject, DiffusionModel, checkpoint=checkpoint, device=device)
        place = out or RunFolder(model.folder).explain
        yield from explain_words(model, prompt, place, change=change, seed=seed or 0, count=count)
        return
    model = load(subject, TrainedModel, checkpoint=checkpoint, device=device)
    dataset, folder = model.load_data(data), out or RunFolder(model.folder).explain
    _, held_out = dataset.split(model.config.data.held_out)
    match model:
        case DiffusionModel() if dataset.spec.name in RUNS:
            yield from RUNS[dataset.spec.name](model, dataset, folder, count)
        case ClassifierModel():
            yield draw_accuracy(model, held_out, folder, count)
        case GenerativeModel():
            yield draw_samples(model, held_out, folder, count, data)
        case _:
            raise InputError(f"{subject}: there are no figures for {model.what}; measure it with `sumi evaluate`")


def _explain_images(
    model: DiffusionModel, dataset: Dataset, folder: Path, count: Count | None
) -> Iterator[SavedFigure]:
    schedule = model.network_denoiser.schedule  # may be learned
    yield from _explain_schedule(schedule, model.config.schedule.steps or 1000, dataset, folder)
    yield draw_reverse(model, folder / "reverse.png")
    yield draw_loss(held_out_loss(model, dataset, count), folder / "loss_by_noise.png")


@torch.no_grad()
def _explain_schedule(schedule: Schedule, steps: int, dataset: Dataset, folder: Path) -> Iterator[SavedFigure]:
    image = dataset.batch(np.arange(1))[0]
    yield draw_schedule(schedule, steps, folder / "schedule.png")
    yield draw_noising(image, schedule, steps, folder / "noising.png")
    yield draw_correction(schedule, folder / "correction.png")
    if carries_unit_variance(schedule, steps):
        yield draw_unscaled(image, schedule, steps, folder / "unscaled.png")


@torch.no_grad()
def _recognition(images: Dataset, schedule: Schedule, folder: Path, count: Count | None) -> SavedFigure:
    return draw_recognition(recognise(images, schedule, count=count), schedule, folder / "recognition.png")


def _explain_unscaled(data: str, folder: Path, _: Count | None) -> Iterator[SavedFigure]:
    images = load_images(DataConfig(source=data))
    image = images.batch(np.arange(1))[0]
    yield draw_unscaled(image, LinearBeta().build(), LinearBeta().steps, folder / "unscaled.png")


def _explain_reverse_kernel(data: str, folder: Path, _: Count | None) -> Iterator[SavedFigure]:
    images, schedule = load_images(DataConfig(source=data)), LinearBeta().build()
    yield draw_reverse_kernel(schedule, folder / "reverse_kernel.png")
    known = evenly_spaced(images, MOST_KNOWN)
    yield draw_one_step(known, schedule, folder / "one_step.png")


def _explain_recognition(data: str, folder: Path, count: Count | None) -> Iterator[SavedFigure]:
    yield _recognition(load_images(DataConfig(source=data)), LinearBeta().build(), folder, count)


def _explain_parameterizations(data: str, folder: Path, count: Count | None) -> Iterator[SavedFigure]:
    yield draw_parameterizations(compare(data, count=count), STEPS, folder / "parameterizations.png")


def _explain_low_density(_: str, folder: Path, count: Count | None) -> Iterator[SavedFigure]:
    yield draw_low_density(measure_low_density(count=count), folder / "low_density.png")


def _explain_guidance(_: str, folder: Path, __: Count | None) -> Iterator[SavedFigure]:
    yield draw_guided(*compare_with_tempered(), folder / "guided.png")


LAWS: Final[dict[str, Callable[[str, Path, Count | None], Iterator[SavedFigure]]]] = {
    "unscaled": _explain_unscaled,
    "reverse-kernel": _explain_reverse_kernel,
    "recognition": _explain_recognition,
    "parameterizations": _explain_parameterizations,
    "low-density": _explain_low_density,
    "guidance": _explain_guidance,
}
PICTURED: Final = "characters"
"""The data of figures that show pictures."""
MEASURED, SMALL = ("recognition", "parameterizations"), "digits"
"""The laws that networks are trained for, and their data."""
WITHOUT_DATA: Final = ("low-density", "guidance")
RUNS: Final[dict[str, Callable[[DiffusionModel, Dataset, Path, Count | None], Iterator[SavedFigure]]]] = {
    "images": _explain_images,
    "vectors": explain_vectors,
}
"""By the type of data; of others, such as sound, samples are shown."""
