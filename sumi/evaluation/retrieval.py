"""How well a CLIP finds the text of a picture, and the picture of a text, among a hundred.

Held-out pictures of different captions are drawn into galleries of 100, in an order that a seed decides. R@k is the
share whose own counterpart is among the k nearest of its gallery; a tie counts against it. Chance is k in 100; as a
control, the captions of each gallery are moved on by one, and the same is measured.

Zero-shot: a picture is of the class whose name, put into "a …", is its nearest text. Chance is the share of the most
frequent class, and the control is measured against the classes of other pictures, drawn at random.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from sumi.conditioning.text import captions_of
from sumi.data.dataset import Dataset, every_label, everything
from sumi.errors import InputError
from sumi.metrics.intervals import Estimate, share
from sumi.models.clip import ClipModel
from sumi.randomness import Purpose, generator

GALLERY: Final = 100
RANKS: Final = (1, 5)


@dataclass(frozen=True)
class Recalls:
    """R@1 and R@5 with their intervals: ``texts`` of a picture, and ``pictures`` of a text."""

    texts: tuple[Estimate, ...]
    pictures: tuple[Estimate, ...]


@dataclass(frozen=True)
class ZeroShot:
    """``accuracy`` without training on classes; ``guess``: the most frequent class; ``shuffled``: the control."""

    accuracy: Estimate
    guess: float
    shuffled: Estimate


@dataclass(frozen=True)
class ClipEvaluation:
    """``queries`` held-out pairs in galleries of ``gallery``; ``shuffled``: of captions moved on by one."""

    queries: int
    gallery: int
    found: Recalls
    shuffled: Recalls
    zero_shot: ZeroShot | None


def galleries(texts: Sequence[str], seed: int) -> list[list[int]]:
    """Items of different texts in lists of 100; of fewer than 200 different texts, one list.

    Raises InputError for fewer than two texts.
    """
    order = generator(seed, 0, 0, Purpose.EVALUATION).permutation(len(texts)).tolist()
    first = {texts[item]: item for item in reversed(order) if texts[item]}
    items = list(first.values())
    if len(items) < 2:
        raise InputError("data: has no two held-out images of different captions; give more")
    size = min(GALLERY, len(items))
    return [items[k : k + size] for k in range(0, len(items) - size + 1, size)]


def ranks(scores: Tensor) -> Tensor:
    """int64 (N,): how many columns of each row of (N, N) are at least as near as its own, itself included."""
    return (scores >= scores.diagonal()[:, None]).sum(1)


def recalls(scores: Sequence[Tensor]) -> Recalls:
    """Of the scores (N, N), pictures by texts, of each gallery."""
    texts, pictures = (torch.cat([ranks(part) for part in some]) for some in (scores, [s.T for s in scores]))
    return Recalls(*(tuple(share(int((r <= k).sum()), len(r)) for k in RANKS) for r in (texts, pictures)))


@torch.no_grad()
def evaluate_clip(model: ClipModel, held_out: Dataset, seed: int = 0) -> tuple[ClipEvaluation, list[int], Tensor]:
    """The measurements, and the items and the scores of the first gallery.

    Raises InputError for too few captions, and data of other images.
    """
    texts = captions_of(held_out)
    chosen = galleries(texts, seed)
    items = [item for gallery in chosen for item in gallery]
    u, v = model.embed_images(held_out.batch(np.array(items))), model.embed_captions([texts[item] for item in items])
    size = len(chosen[0])
    scores = [a @ b.T for a, b in zip(u.split(size), v.split(size), strict=True)]
    found, control = recalls(scores), recalls([part.roll(1, 1) for part in scores])
    evaluation = ClipEvaluation(len(items), size, found, control, _zero_shot(model, held_out, seed))
    return evaluation, chosen[0], scores[0]


def _zero_shot(model: ClipModel, held_out: Dataset, seed: int) -> ZeroShot | None:
    if not held_out.label_names or held_out.label_names != model.items.label_names:
        return None
    labels, named = every_label(held_out), model.classify(everything(held_out))
    count = len(labels)
    others = labels[torch.from_numpy(generator(seed, 0, 0, Purpose.EVALUATION).permutation(count))]
    right, moved = (int((named == other).sum()) for other in (labels, others))
    return ZeroShot(share(right, count), float(labels.bincount().max()) / count, share(moved, count))
