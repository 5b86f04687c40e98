"""How well an autoencoder gives pictures back, and what its latents are like."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor

from sumi.data.dataset import Dataset, evenly_spaced, everything
from sumi.errors import InputError
from sumi.metrics.features.network import FeatureNetwork
from sumi.metrics.frechet import frechet_distance
from sumi.metrics.intervals import Estimate, positive_mean
from sumi.metrics.perceptual import perceptual_distance
from sumi.metrics.psnr import psnr
from sumi.metrics.spectrum import frequencies, powers
from sumi.models.autoencoder import AutoencoderModel

MOST = 2000
FEWEST = 10
BATCH = 64


@dataclass(frozen=True)
class AutoencoderEvaluation:
    """On ``images`` held-out images.

    ``psnr``: 10 log₁₀ of (range² / squared error), in dB, a mean over images. ``perceptual``: the distance to the
    reconstruction in what ``features`` see. ``frechet`` and ``real``: Fréchet distance in them to the training images,
    of the reconstructions and of the held-out images themselves. ``codes_used``: share of the codes that occur in any
    image, also of those that were trained on, as a few images lack rare codes; None: latents are real numbers.
    ``latent_mean``, ``latent_std``: of each channel. ``fine``: share of the power of the latents above a quarter of a
    cycle a latent; ``fine_pixels``: the same of the pixels. ``compression``: numbers of a picture for one of its
    latents.
    """

    images: int
    features: str
    psnr: Estimate
    perceptual: Estimate
    frechet: Estimate
    real: Estimate
    codes: int
    codes_used: float | None
    latent_mean: tuple[float, ...]
    latent_std: tuple[float, ...]
    fine: float
    fine_pixels: float
    compression: float


def evaluate_reconstruction(
    model: AutoencoderModel,
    train: Dataset,
    held_out: Dataset,
    network: FeatureNetwork,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[AutoencoderEvaluation, Tensor, Tensor, Tensor]:
    """The figures; the held-out images (n, C, H, W), their reconstructions, and the PSNR of each (n,).

    Up to 2000 images are used, evenly spaced. Raises InputError if fewer than 10 are held out.
    """
    if len(held_out) < FEWEST:
        raise InputError(f"data: {len(held_out)} images are held out, too few to measure; at least {FEWEST} are needed")
    images = evenly_spaced(held_out, MOST)
    latents = model.encode(images)
    made = images.new_empty(images.shape)
    total = len(images) + (len(train) + len(held_out) if model.autoencoder.regularizer.count else 0)
    for start in range(0, len(images), BATCH):
        made[start : start + BATCH] = model.decode(latents[start : start + BATCH])
        if progress is not None:
            progress(min(start + BATCH, len(images)), total)
    counted = None if progress is None else partial(_onward, progress, len(images), total)
    decibels = psnr(made, images)
    real = network.features(everything(train))
    found = AutoencoderEvaluation(
        images=len(images),
        features=network.sha256,
        psnr=positive_mean(decibels),
        perceptual=positive_mean(perceptual_distance(network, made, images)),
        frechet=frechet_distance(network.features(made), real),
        real=frechet_distance(network.features(images), real),
        codes=model.autoencoder.regularizer.count,
        codes_used=codes_used(model, (train, held_out), counted),
        latent_mean=tuple(latents.mean((0, 2, 3)).tolist()),
        latent_std=tuple(latents.std((0, 2, 3)).tolist()),
        fine=_fine_share(latents),
        fine_pixels=_fine_share(images),
        compression=images[0].numel() / latents[0].numel(),
    )
    return found, images, made, decibels


def codes_used(
    model: AutoencoderModel, sets: Sequence[Dataset], progress: Callable[[int], None] | None = None
) -> float | None:
    """The share of the codes that occur in any image of ``sets``; None: latents are real numbers.

    ``progress`` gets the number of images so far.
    """
    regularizer = model.autoencoder.regularizer
    if not regularizer.count:
        return None
    found, done = set[int](), 0
    for images in sets:
        for start in range(0, len(images), BATCH):
            latents = model.encode(images.batch(np.arange(start, min(start + BATCH, len(images)))))
            codes = regularizer.codes(latents.to(model.device))
            assert codes is not None
            found.update(codes.unique().tolist())
            done += len(latents)
            if progress is not None:
                progress(done)
    return len(found) / regularizer.count


def _onward(progress: Callable[[int, int], None], before: int, total: int, done: int) -> None:
    progress(before + done, total)


def _fine_share(x: Tensor) -> float:
    """The share of the power of x (n, C, H, W), without that of its mean, above a quarter of a cycle an element."""
    power, frequency = powers(x).mean(0), frequencies(*x.shape[2:])
    return float(power[frequency >= 0.25].sum() / power[frequency > 0].sum())
