"""Whether the vectors that a prior makes of texts are those of pictures: in distribution, and in how much they vary.

One vector is drawn for each held-out caption. Their Fréchet distance to the vectors of the real pictures of these
captions stands beside that of real training pictures, and that of the captions' own vectors, which are no pictures'.

The cosine with the caption rewards a prior that always makes the mean. So the spread of a caption's vectors, half the
mean squared distance of two, is measured against that of the real pictures for which the caption is true: those that
have all attributes it mentions, or, of data without attributes, those of the same caption.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from sumi.conditioning.text import captions_of, with_text
from sumi.data.dataset import Dataset, evenly
from sumi.data.image_set import ImageDataset
from sumi.data.spec import expect
from sumi.evaluation.attributes import mentioned_in
from sumi.evaluation.prompts import as_prompts
from sumi.metrics.frechet import frechet_distance
from sumi.metrics.intervals import Estimate, mean_of, positive_mean, ratio
from sumi.models.unclip import UnclipModel

MOST: Final = 1000
EACH: Final = 8
"""Vectors of a caption, of as many real pictures."""
PROMPTS: Final = 40
FEWEST: Final = 4


@dataclass(frozen=True)
class PriorEvaluation:
    """``captions`` held-out ones; squared distances to the vectors of their pictures, and cosines with the captions.

    ``spread``: the mean of those of a caption's vectors, over ``prompts`` captions, in that of their real pictures;
    None where fewer than two captions are true of enough pictures.
    """

    captions: int
    distance: Estimate
    distance_real: Estimate
    distance_texts: Estimate
    cosine: Estimate
    cosine_real: Estimate
    prompts: int
    spread: Estimate | None


def spread(vectors: Tensor) -> float:
    """Half the mean squared distance of two of (K, D), K ≥ 2: the sum of their variances."""
    return float(vectors.double().var(0).sum())


def evaluate_prior(
    model: UnclipModel, data: Dataset, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> PriorEvaluation | None:
    """The measurements; None of fewer than four held-out captions. Raises InputError for data without captions."""
    images = expect(data, ImageDataset, "data.source: holds no images, and captions are of images; give images")
    train, held_out = images.split(model.config.data.held_out)
    prompted = held_out.subset(with_text(held_out))
    prompted = prompted.subset(evenly(len(prompted), MOST)) if len(prompted) else prompted
    if len(prompted) < FEWEST:
        return None
    captions, clip = as_prompts(model, captions_of(prompted)), model.clip
    made, texts = model.vectors(len(captions), captions, seed=seed), clip.embed_captions(captions)
    real, seen = (clip.embed_images(part.batch(evenly(len(part), MOST))) for part in (prompted, train))
    spreads: list[tuple[float, float]] = []
    true = _pictures_of(images, prompted)
    chosen = [i for i, found in enumerate(true) if len(found) >= EACH]
    chosen = [chosen[k] for k in evenly(len(chosen), PROMPTS).tolist()] if chosen else []
    for done, i in enumerate(chosen):
        own = clip.embed_images(images.batch(np.array(true[i])[evenly(len(true[i]), EACH)]))
        several = model.vectors(EACH, captions[i], seed=seed, start=len(captions) + done * EACH)
        spreads.append((spread(several), spread(own)))
        if progress is not None:
            progress(done + 1, len(chosen))
    return PriorEvaluation(
        captions=len(captions),
        distance=frechet_distance(made, real),
        distance_real=frechet_distance(seen, real),
        distance_texts=frechet_distance(texts, real),
        cosine=mean_of((made * texts).sum(1)),
        cosine_real=mean_of((real * texts).sum(1)),
        prompts=len(chosen),
        spread=_of_real(spreads),
    )


def _of_real(spreads: Sequence[tuple[float, float]]) -> Estimate | None:
    """The mean of the first in that of the second; None of fewer than two, or where no real pictures differ."""
    if len(spreads) < 2 or not any(real for _, real in spreads):
        return None
    made, real = (positive_mean(torch.tensor(each)) for each in zip(*spreads, strict=True))
    return ratio(made, real)


def _pictures_of(images: ImageDataset, prompted: ImageDataset) -> list[list[int]]:
    """The places of all pictures of ``images`` for which each caption of ``prompted`` is true."""
    if not images.attributes:
        places: dict[str, list[int]] = {}
        for i, text in enumerate(captions_of(images)):
            places.setdefault(text, []).append(i)
        return [places.get(text, []) for text in captions_of(prompted)]
    of = {pair: set[int]() for row in images.attributes for pair in row.items()}
    for i, row in enumerate(images.attributes):
        for pair in row.items():
            of[pair].add(i)
    rows = [[of[pair] for pair in row.items()] for row in mentioned_in(prompted)]
    return [sorted(set.intersection(*row)) if row else [] for row in rows]
