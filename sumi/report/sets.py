"""Evaluate one set of images against another, and write the report; no generative model is trained.

A is taken for samples and B for real images. B is divided in two by a hash of its items' names: the feature network
learns from one half, distances are to the other, and the distance between the halves is what a perfect A would get.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from sumi.boundary.files import given_path, refuse_folder, short_name, write_text
from sumi.boundary.progress import counting_one
from sumi.data.config import DataConfig
from sumi.data.dataset import Dataset, Progress, divide, escaped, evenly_spaced, every_label, everything
from sumi.data.folder import load_folder
from sumi.data.frame import in_words
from sumi.data.idx import find_idx
from sumi.data.image_set import ImageDataset
from sumi.data.images import ImageSpec
from sumi.data.listing import list_images
from sumi.data.open import open_data
from sumi.data.pixels import PixelRange
from sumi.data.spec import expect
from sumi.errors import InputError
from sumi.evaluation.images import CHUNK, MOST_PAIRED, evaluate, learn_features
from sumi.evaluation.options import Options
from sumi.evaluation.result import Measured
from sumi.figures.files import is_own, write_picture
from sumi.figures.pictures import png, side_by_side
from sumi.metrics.features.learned import FEWEST_IMAGES
from sumi.metrics.features.open import open_space
from sumi.models.model import GenerativeModel, pick_device
from sumi.models.run import load
from sumi.report.images import SHOWN, copying, nearest_pairs
from sumi.report.page import Figure, Section, write_report
from sumi.report.sections import classes, fine_detail
from sumi.report.tables import measurements
from sumi.report.verdict import verdict
from sumi.training.checkpoint import holds_checkpoints
from sumi.training.run_folder import RunFolder

FROM_A_RUN: Final = 1000
"""Samples of a run, unless ``n`` says otherwise."""
FIGURES: Final = "evaluation.json"


def evaluate_sets(
    a: object, b: object, options: Options, *, out: str | Path | None = None, device: str | None = None
) -> Measured:
    """Measure the images ``a`` against ``b``, and write the report into ``out`` (default: ``evaluate-A-B``).

    Each is a folder, an array or a .npy file of images (as `sumi.data.open_data` takes them, in their own size), or a
    run folder, of which ``n`` samples of ``seed`` are made. Raises InputError for too few images, for unlike ones, and
    for a folder that holds something else.
    """
    options.refuse("two sets of images", "data", "split", "sweeps", "guidance", "quick")
    if not (_is_model(a) or _is_model(b)):
        options.refuse("two sets that are both there", "n")
    names = _name("a", a), _name("b", b)
    folder = Path(out) if out is not None else Path(short_name("evaluate-" + "-".join(names)))
    _refuse_out(folder, a, b)
    seed, progress = options.seed, options.progress
    space = open_space(options.features, pick_device(device))
    first, second = _read("a", a, options, device), _read("b", b, options, device)
    if first.shape != second.shape:
        sizes = " and ".join("{} of {}x{}".format(*x.shape) for x in (first, second))
        raise InputError(f"a, b: images of {sizes} (channels of height x width); give images of one size and channels")
    one, other = (expect(x.spec, ImageSpec, "a, b: hold no images; give images").ends for x in (first, second))
    if one != other and (options.range is None or options.range not in (one, other)):
        ranges = " and ".join(f"{x[0]:g} to {x[1]:g}" if x else "all of their type" for x in (one, other))
        raise InputError(f"a, b: images with values of {ranges}; give both in one range")
    train, held_out = map(second.subset, divide(second.keys, 0.5))
    for field, count in (("a", len(first)), ("b", min(len(train), len(held_out)))):
        if count < FEWEST_IMAGES:
            part = "" if field == "a" else " in one of its halves"
            raise InputError(f"{field}: {count} images{part} are too few; at least {FEWEST_IMAGES} are needed")
    order = torch.randperm(len(first), generator=torch.Generator().manual_seed(seed)).numpy()  # may be sorted by class
    samples = first.batch(order[:MOST_PAIRED])
    same = bool(first.label_names) and first.label_names == second.label_names
    network = learn_features(train, progress, seed=seed)
    evaluation = evaluate(
        samples,
        everything(train),
        everything(held_out),
        network,
        space=space,
        more=_further(first, order[MOST_PAIRED:]),
        more_count=len(order[MOST_PAIRED:]),
        held_out_labels=every_label(held_out) if same else None,
        sample_labels=first.labels_of(order[:MOST_PAIRED]) if same else None,
        data_fingerprint=held_out.fingerprint(),
        seed=seed,
        progress=progress,
    )
    compared = (
        f"The samples are {len(first):,} images of A, {names[0]}. Real images are {len(second):,} of B, {names[1]}, "
        f"divided by a hash of their names: {len(train):,} training images, among which copies are searched for, and "
        f"{len(held_out):,} held-out images."
    )
    words = verdict(evaluation, second.label_names or None)
    words = replace(words, points=(*words.points, ("What was compared", compared)))
    write_text(folder / FIGURES, json.dumps(asdict(evaluation), indent=2) + "\n")  # first: it marks the folder as ours
    to_bytes, real = PixelRange().to_bytes, evenly_spaced(held_out, SHOWN)
    grid = side_by_side([("A", to_bytes(samples[:SHOWN])), ("B, held out", to_bytes(real))])
    write_picture(folder / "samples.png", png(grid))
    write_picture(folder / "neighbours.png", nearest_pairs(samples, train, to_bytes))
    caption = f"Of A, {min(SHOWN, len(samples))} at random. Right: {len(real)} of B, held out."
    sections = [
        Section("Samples", figures=[Figure(folder / "samples.png", caption, True)]),
        *classes(evaluation, second.label_names),
        *fine_detail(evaluation),
        copying(folder / "neighbours.png", samples, train, evaluation, to_bytes),
        Section("All figures", tables=[measurements(evaluation)]),
    ]
    page = folder / "report.html"
    write_report(page, title=f"{names[0]} against {names[1]}", verdict=words, sections=sections, subtitle=compared)
    return Measured(evaluation, str(words), page, (folder / "samples.png", folder / "neighbours.png", page))


def _name(field: str, given: object) -> str:
    """The last part of a path, without .npy; the field's name for what is in memory."""
    match given:
        case str() | Path():
            return given_path(given).resolve().name.removesuffix(".npy") or field
        case _:
            return field


def _refuse_out(folder: Path, *sets: object) -> None:
    """Raises InputError where the report would be mixed with somebody else's files, or with the images."""
    refuse_folder(folder)
    if folder.is_dir() and any(folder.iterdir()) and not _is_evaluation(folder / FIGURES):
        raise InputError(f"out: {folder} holds files that are not of an evaluation; give another folder")
    for given in sets:
        match given:
            case str() | Path() if folder.resolve().is_relative_to(given_path(given).resolve()):
                raise InputError(f"out: {folder} is inside {given}, whose images the report would join; give another")
            case _:
                pass


def _is_evaluation(file: Path) -> bool:
    """Whether the file holds figures of `evaluate`, which begin with its seed."""
    return file.is_file() and file.read_bytes()[:64].split()[:2] == [b"{", b'"seed":']


def _is_model(given: object) -> bool:
    """Whether it is a model, or a run, of which samples are made."""
    match given:
        case GenerativeModel():
            return True
        case str() | Path():
            return holds_checkpoints(RunFolder(given_path(given)).checkpoints)
        case _:
            return False


def _read(field: str, given: object, options: Options, device: str | None) -> Dataset:
    """The images of one of the two sets. Raises InputError, which begins with ``field``."""
    progress = counting_one(options.progress, f"reading {field.upper()}")
    try:
        match given:
            case GenerativeModel():
                return _sampled(given, options)
            case str() | Path() if _is_model(given):
                return _sampled(load(given, GenerativeModel, device=device), options)
            case str() | Path() if given_path(given).is_dir() and find_idx(given_path(given)) is None:
                data = _folder(given_path(given), progress)
            case _:
                data = _opened(given, options.range, progress)
    except InputError as error:
        why = str(error).removeprefix("data.source: ").removeprefix("data.").replace("such as data.range=", "such as ")
        raise InputError(f"{field}: {why}") from error
    expect(data.spec, ImageSpec, f"{field}: holds {data.spec.name}, and images are needed here; give a set of those")
    return data


def _opened(given: object, ends: tuple[float, float] | None, progress: Progress | None) -> Dataset:
    """The images of an array or file, with values between these ``ends`` where their type does not say."""
    try:
        return open_data(given, progress=progress)
    except InputError as error:
        if ends is None or not str(error).startswith("data.range: "):
            raise
    return open_data(given, DataConfig("memory", range=ends), progress=progress)


def _folder(folder: Path, progress: Progress | None) -> Dataset:
    """The images of a folder in their own size, which all share; the grid that samples come with is left out."""
    sizes: dict[tuple[int, int], str] = {}
    grids = set()
    for key, path in list_images(folder).images:
        if path.name == "grid.png" and is_own(path):
            grids.add(key)
            continue
        with suppress(UnidentifiedImageError, OSError, ValueError, SyntaxError), Image.open(path) as picture:
            sizes.setdefault(picture.size, key)  # a damaged file is left to the reader, which skips and lists it
    match list(sizes.items()):
        case [((width, height), _)]:
            data = load_folder(folder, DataConfig(str(folder), size=(height, width)), progress=progress)
        case [((width, height), key), ((other, another), second), *_]:
            sides = f"{escaped(key)} of {in_words(height, width)} and {escaped(second)} of {in_words(another, other)}"
            raise InputError(f"{folder} holds {sides}; make all images of one size")
        case _:
            raise InputError(f"{folder} holds no readable image; give a folder of images")
    return data.subset([i for i, key in enumerate(data.keys) if key not in grids])


def _sampled(model: GenerativeModel, options: Options) -> Dataset:
    """Samples of a run, rounded as they would be saved."""
    spec = model.images
    count = FROM_A_RUN if options.n is None else options.n
    samples = model.sample(count, seed=options.seed, progress=counting_one(options.progress, "sampling"))
    keys = tuple(f"sample/{i:07d}" for i in range(count))
    return ImageDataset(spec.pixels.to_levels(samples).numpy(), None, (), None, keys, spec.levels, ends=spec.ends)


def _further(data: Dataset, places: NDArray[np.int64]) -> Iterator[Tensor]:
    return (data.batch(places[i : i + CHUNK]) for i in range(0, len(places), CHUNK))
