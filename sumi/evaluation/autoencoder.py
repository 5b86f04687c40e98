"""How well an autoencoder gives pictures back, and what its latents are like."""

from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass(frozen=True)
class AutoencoderEvaluation:
    """On ``images`` held-out images.

    ``psnr``: 10 log₁₀ of (range² / squared error), in dB, a mean over images. ``perceptual``: the distance to the
    reconstruction in what ``features`` see. ``frechet`` and ``real``: Fréchet distance in them to the training images,
    of the reconstructions and of the held-out images themselves. ``codes_used``: share of the codes that occur; None:
    latents are real numbers. ``latent_mean``, ``latent_std``: of each channel. ``fine``: share of the power of the
    latents above a quarter of a cycle a latent; ``fine_pixels``: the same of the pixels. ``compression``: numbers of a
    picture for one of its latents.
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
    for start in range(0, len(images), 64):
        made[start : start + 64] = model.decode(latents[start : start + 64])
        if progress is not None:
            progress(min(start + 64, len(images)), len(images))
    decibels = psnr(made, images)
    real = network.features(everything(train))
    regularizer = model.autoencoder.regularizer
    used = regularizer.codes(latents.to(model.device))
    found = AutoencoderEvaluation(
        images=len(images),
        features=network.sha256,
        psnr=positive_mean(decibels),
        perceptual=positive_mean(perceptual_distance(network, made, images)),
        frechet=frechet_distance(network.features(made), real),
        real=frechet_distance(network.features(images), real),
        codes=regularizer.count,
        codes_used=None if used is None else len(used.unique()) / regularizer.count,
        latent_mean=tuple(latents.mean((0, 2, 3)).tolist()),
        latent_std=tuple(latents.std((0, 2, 3)).tolist()),
        fine=_fine_share(latents),
        fine_pixels=_fine_share(images),
        compression=images[0].numel() / latents[0].numel(),
    )
    return found, images, made, decibels


def _fine_share(x: Tensor) -> float:
    """The share of the power of x (n, C, H, W), without that of its mean, above a quarter of a cycle an element."""
    power, frequency = powers(x).mean(0), frequencies(*x.shape[2:])
    return float(power[frequency >= 0.25].sum() / power[frequency > 0].sum())
