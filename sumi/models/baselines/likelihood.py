"""The likelihood of data under a VAE or a PixelCNN: by the bound and by many draws together, or exactly.

Bits per dimension of the original levels, a mean over held-out images with its standard error. A GAN has no likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from sumi.boundary.arguments import MOST_COUNT, torch_defaults, whole
from sumi.boundary.group import group
from sumi.boundary.progress import Count, counting_one
from sumi.data.dataset import evenly_spaced
from sumi.data.items import Items, read_items
from sumi.errors import InputError
from sumi.likelihood import dequantize
from sumi.likelihood.figures import Mean

if TYPE_CHECKING:
    from sumi.models.baselines.model import BaselineModel

BATCH: Final = 64
VAE_DRAWS: Final = 256


@dataclass(frozen=True)
class BaselineLikelihood:
    """Of ``items`` held-out images: each figure with its name, in the unit that ``about`` states."""

    items: int
    unit: str
    about: str
    figures: tuple[tuple[str, Mean], ...]


def likelihood_of_baseline(
    model: BaselineModel,
    *,
    data: str | None = None,
    n: int = 256,
    seed: int = 0,
    draws: int | None = None,
    progress: Count | None = None,
) -> BaselineLikelihood:
    """Of up to ``n`` held-out images of ``data`` (the run's own), evenly spaced.

    ``draws`` of a VAE's latent for each image (256). Raises InputError, and for a GAN always.
    """
    if n < 2 or (draws is not None and draws < 1):
        raise InputError(f"n {n}, draws {draws}: are too few; give 2 or more items, and 1 draw or more")
    count = _draws(model, draws)
    _, held_out = model.load_images(data).split(model.config.data.held_out)
    if len(held_out) < 2:
        raise InputError("data.held_out: keeps a single item, too few for a standard error; give more data")
    x, unit = evenly_spaced(held_out, n).to(model.device), model.items.unit
    weights, dimensions = _log_weights(model, x, seed, count, progress), x[0].numel()
    together = Mean.of(dequantize.importance_weighted_bits(weights, dimensions))
    figures: tuple[tuple[str, Mean], ...] = (("exactly", together),)
    if model.baseline.likelihood == "weights":
        bound = Mean.of(dequantize.bits_per_dim(weights, dimensions))
        figures = (("by the bound", bound), (f"by {count} draws together", together))
    return BaselineLikelihood(len(x), unit.name, unit.about, figures)


@torch_defaults()
def bits_per_dim(
    model: BaselineModel,
    images: Items,
    *,
    seed: int = 0,
    draws: int | None = None,
    progress: Count | None = None,
) -> Tensor:
    """-log₂ p of each of ``images`` (N, C, H, W) for each of its dimensions: float64 (N,), on the CPU.

    They are in the model's range, and rounded to the levels of its data first. Exact for a PixelCNN; for a VAE the
    importance-weighted bound of ``draws`` of its latent for each image (256). Raises InputError for images of another
    shape, and for a GAN.
    """
    shape = model.items.shape
    given = read_items(
        "images", images, shape, frame=model.config.data.fitting(shape), background=model.config.data.background
    )
    if tuple(given.shape[1:]) != shape or not len(given):
        raise InputError(
            f"images: are of shape {tuple(given.shape)}; the model takes (N, {', '.join(map(str, shape))})"
        )
    x = model.items.finish(given).to(model.device)
    weights = _log_weights(model, x, whole("seed", seed), _draws(model, draws), progress)
    return dequantize.importance_weighted_bits(weights, x[0].numel())


def _draws(model: BaselineModel, draws: int | None) -> int:
    """How many draws an image takes. Raises InputError for a model without a likelihood, and fewer than 1."""
    if model.baseline.likelihood == "none":
        raise InputError(f"{model.folder}: a GAN has no likelihood; measure it with `sumi evaluate`")
    if draws is not None and model.baseline.likelihood == "exact":
        raise InputError("draws: the likelihood of a pixelcnn is exact; leave it out")
    return VAE_DRAWS if draws is None else whole("draws", draws, least=1, most=MOST_COUNT)


@torch.inference_mode()
def _log_weights(model: BaselineModel, x: Tensor, seed: int, draws: int, progress: Count | None) -> Tensor:
    """log w of each of x (N, C, H, W): float64 (N, draws), (N, 1) where it is exact, on the CPU."""
    counted = counting_one(progress, "likelihood")

    def rows_of(part: range) -> Tensor:
        rows: list[Tensor] = []
        for first in range(part.start, part.stop, BATCH):
            indices = range(first, min(first + BATCH, part.stop))
            items = x[indices.start : indices.stop]
            rows.append(model.baseline.log_importance_weights(items, seed=seed, indices=indices, draws=draws).cpu())
            if counted is not None:
                counted(indices.stop, len(x))
        return torch.cat(rows)

    return group().shared(rows_of, range(len(x)), BATCH)
