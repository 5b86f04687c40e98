"""How probable a VAE or a PixelCNN holds data: by the bound and by many draws together, or exactly.

Bits per dimension of the original levels, a mean over held-out images with its standard error. A GAN has no likelihood.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.data.dataset import evenly_spaced
from sumi.errors import InputError
from sumi.likelihood.dequantize import bits_per_dim, importance_weighted_bits
from sumi.likelihood.figures import Mean
from sumi.models.baselines.model import BaselineModel
from sumi.progress import Count, counting_one

BATCH = 64
VAE_DRAWS = 256


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
    baseline = model.baseline
    if baseline.likelihood == "none":
        raise InputError(f"{model.folder}: a GAN has no likelihood; measure it with `sumi evaluate`")
    if draws is not None and baseline.likelihood == "exact":
        raise InputError("draws: the likelihood of a pixelcnn is exact; leave it out")
    dataset = model.load_images(data)
    _, held_out = dataset.split(model.config.data.held_out)
    if len(held_out) < 2:
        raise InputError("data.held_out: keeps a single item, too few for a standard error; give more data")
    x, unit = evenly_spaced(held_out, n).to(model.device), model.items.unit
    counted = counting_one(progress, "likelihood")
    rows: list[Tensor] = []
    count = draws or VAE_DRAWS
    for first in range(0, len(x), BATCH):
        part = x[first : first + BATCH]
        indices = range(first, first + len(part))
        with torch.inference_mode():
            rows.append(baseline.log_importance_weights(part, seed=seed, indices=indices, draws=count))
        if counted is not None:
            counted(first + len(part), len(x))
    weights, dimensions = torch.cat(rows).cpu(), x[0].numel()
    if baseline.likelihood == "exact":
        figures: tuple[tuple[str, Mean], ...] = (("exactly", Mean.of(unit.of_nats(-weights[:, 0]))),)
    else:
        figures = (
            ("by the bound", Mean.of(bits_per_dim(weights, dimensions))),
            (f"by {count} draws together", Mean.of(importance_weighted_bits(weights, dimensions))),
        )
    return BaselineLikelihood(len(x), unit.name, unit.about, figures)
