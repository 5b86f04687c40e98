"""What a text-to-image model makes of captions that it was not trained on, as a judge reads it and a CLIP scores it.

The captions are those of pictures outside the training split, `n` of each of three groups (`sumi.evaluation.attributes`
says which pairs of attributes are unseen). Beside the samples stand the real pictures of those captions that the judge
was not trained on, and the samples judged by the captions of others.

The CLIP's figures are the mean cosine of a sample and its caption, and retrieval among a hundred
(`sumi.evaluation.retrieval`). A CLIP that is a part of the model scores what it was followed in, so it is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sumi.boundary.progress import Count, counting_one
from sumi.conditioning.prompt import as_text
from sumi.conditioning.text import TextConditioner, captions_of, with_text
from sumi.data.dataset import Dataset, evenly
from sumi.data.image_set import ImageDataset
from sumi.data.spec import expect
from sumi.errors import InputError
from sumi.evaluation.attributes import (
    OF_CLASS,
    OF_PARTS,
    SEEN,
    Readings,
    class_attribute,
    group_of,
    mentioned_in,
    others,
    readings,
    unseen_pairs,
)
from sumi.evaluation.retrieval import Recalls, galleries, recalls
from sumi.metrics.intervals import Estimate, mean_of
from sumi.models.attributes import JudgeModel, attributes_of
from sumi.models.cascade import CascadeModel
from sumi.models.clip import Clip, ClipModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import TrainedModel
from sumi.models.unclip import UnclipModel

EACH: Final = 120
"""Captions of a group, unless another number is given."""
FEWEST: Final = 10


@dataclass(frozen=True)
class Group:
    """Samples of the captions of one group; ``real`` pictures of it; ``shuffled``, and ``within`` each class."""

    name: str
    samples: Readings
    real: Readings | None
    shuffled: Readings
    within: Readings | None


@dataclass(frozen=True)
class ClipScores:
    """The mean cosine of pictures and their captions, and retrieval among ``gallery``; ``shuffled``: of others'."""

    samples: Estimate
    real: Estimate
    shuffled: Estimate
    gallery: int
    found: Recalls
    found_real: Recalls


@dataclass(frozen=True)
class PromptEvaluation:
    """``groups`` as a judge reads them, ``clip`` as a CLIP scores all of them; () and None where none is given."""

    groups: tuple[Group, ...]
    clip: ClipScores | None


@dataclass(frozen=True, eq=False)
class Prompted:
    """Samples (N, C, H, W) of ``captions``, and what the judge read in them; () without a judge."""

    images: Tensor
    captions: Sequence[str]
    wanted: Sequence[Mapping[str, str]]
    read: Sequence[Mapping[str, str]]


def check_judges(
    model: DiffusionModel | CascadeModel | UnclipModel, judge: JudgeModel | None, clip: ClipModel | None
) -> None:
    """Raises InputError for a model without captions, a judge or CLIP of other pictures, and a CLIP of the model."""
    if not model.prompted:
        raise InputError(f"{model.folder}: was trained without captions, and prompts are judged; choose another run")
    for name, other in (("judge", judge), ("clip", clip)):
        if other is not None and other.items.shape != model.items.shape:
            raise InputError(
                f"{name}: {other.folder} sees pictures of {other.items.shape}; train one on the run's data"
            )
    if clip is not None and any(part.digest == clip.digest for part in model.parts().values()):
        raise InputError(f"clip: {clip.folder} is a part of {model.folder}, scoring itself; give one of another seed")


def evaluate_prompts(
    model: DiffusionModel | CascadeModel | UnclipModel,
    data: Dataset,
    *,
    judge: JudgeModel | None,
    clip: ClipModel | None,
    n: int | None = None,
    seed: int = 0,
    progress: Count | None = None,
) -> tuple[PromptEvaluation, Prompted]:
    """Measure samples of the captions of ``data`` outside its training split.

    Raises InputError for a model without captions, and a judge or a CLIP of other pictures.
    """
    images = expect(data, ImageDataset, "data.source: holds no images, and prompts are of images; give images")
    check_judges(model, judge, clip)
    train, _ = images.split(model.config.data.held_out)
    known = frozenset(train.keys)
    outside = images.subset([i for i in with_text(images) if images.keys[i] not in known])
    names = _groups(train, outside) if judge is not None else [SEEN] * len(outside)
    chosen = {one: _places(names, one, EACH if n is None else n) for one in (SEEN, OF_PARTS, OF_CLASS)}
    chosen = {one: places for one, places in chosen.items() if len(places) >= FEWEST}
    if not chosen:
        raise InputError(f"n: fewer than {FEWEST} captions outside the training split can be judged; give more data")
    places = np.concatenate(list(chosen.values()))
    prompted = outside.subset(places)
    captions = as_prompts(model, captions_of(prompted))
    counted = counting_one(progress, "sampling prompts")
    samples = model.sample(len(captions), seed=seed, prompt=captions, progress=counted)
    groups: list[Group] = []
    wanted: list[dict[str, str]] = []
    read: list[dict[str, str]] = []
    if judge is not None:
        wanted, read = mentioned_in(prompted), judge.read(samples)
        begin = 0
        for one, some in chosen.items():
            rows = slice(begin, begin + len(some))
            begin += len(some)
            real = _real(judge, images, outside, [i for i, name in enumerate(names) if name == one])
            classes = None if prompted.labels is None else prompted.labels[rows].tolist()
            groups.append(_group(one, read[rows], wanted[rows], real, classes, seed))
    scores = None if clip is None else _scores(clip, samples, prompted, captions, seed)
    return PromptEvaluation(tuple(groups), scores), Prompted(samples, captions, wanted, read)


def _groups(train: ImageDataset, outside: ImageDataset) -> list[str]:
    pairs = unseen_pairs(attributes_of(train), mentioned_in(outside))
    of_class = class_attribute(train)
    return [group_of(each, of_class) for each in pairs]


def _places(names: Sequence[str], one: str, most: int) -> NDArray[np.int64]:
    places = np.array([i for i, name in enumerate(names) if name == one], np.int64)
    return places[evenly(len(places), most)] if len(places) else places


def _group(
    name: str,
    read: Sequence[Mapping[str, str]],
    wanted: Sequence[Mapping[str, str]],
    real: Readings | None,
    classes: Sequence[int] | None,
    seed: int,
) -> Group:
    def moved(order: Sequence[int]) -> Readings:
        return readings(read, [wanted[i] for i in order])

    within = None if classes is None else moved(others(classes, seed))
    return Group(name, readings(read, wanted), real, moved(others([0] * len(read), seed)), within)


def _real(judge: JudgeModel, whole: ImageDataset, outside: ImageDataset, places: Sequence[int]) -> Readings | None:
    """What the judge reads in the real pictures at ``places`` that it was not trained on; None of fewer than ten."""
    own = judge.config.data
    divided = whole if own.own_splits else replace(whole, splits=None)
    held = frozenset(divided.split(own.held_out)[1].keys)
    real = outside.subset([i for i in places if outside.keys[i] in held])
    if len(real) < FEWEST:
        return None
    return readings(judge.read(real.batch(np.arange(len(real)))), mentioned_in(real))


def as_prompts(model: TrainedModel, captions: Sequence[str]) -> list[str]:
    """The captions as far as the model, and each of its parts, reads them."""
    found = [as_text(caption) for caption in captions]
    for part in (model, *model.parts().values()):
        match part:
            case DiffusionModel(text=TextConditioner(encoder=encoder)) | ClipModel(module=Clip(text=encoder)):
                found = [encoder.shortened(text) for text in found]
            case _:
                pass
    return found


def _scores(clip: ClipModel, samples: Tensor, prompted: ImageDataset, captions: Sequence[str], seed: int) -> ClipScores:
    v = clip.embed_captions(captions)
    u, real = clip.embed_images(samples), clip.embed_images(prompted.batch(np.arange(len(prompted))))
    own, of_real, of_others = (mean_of((a * b).sum(1)) for a, b in ((u, v), (real, v), (u, v.roll(1, 0))))
    lists = [torch.tensor(items) for items in galleries(captions, seed)]
    found, found_real = (recalls([some[items] @ v[items].T for items in lists]) for some in (u, real))
    return ClipScores(own, of_real, of_others, len(lists[0]), found, found_real)
