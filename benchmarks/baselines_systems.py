"""The systems of benchmarks/baselines.py, and the real digits that they are measured against."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.equal_time import System
from sumi.data.builtin import load_digits
from sumi.data.config import DataConfig
from sumi.data.pixels import PixelRange
from sumi.evaluation.images import learn_features
from sumi.metrics.features.network import FeatureNetwork
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import GenerativeModel

FOLDER = Path("runs/baselines")
SPEEDS = FOLDER / "cpu-per-step.json"
SAMPLES, BATCH = 500, 64
ALL = (
    "training.batch_size=32",
    "training.warmup_steps=50",
    "training.sample_every=0",
    "training.precision=fp32",
)
DIFFUSION = (
    "network.widths=16,32",
    "network.blocks=1,1",
    "network.embedding=48",
    "training.learning_rate=6e-3",
    "training.decay=linear",
    *ALL,
)
SYSTEMS = {
    "vae": System("vae", ("network.widths=16,32", "network.latent=16", "training.learning_rate=6e-3", *ALL)),
    "gan": System("gan", ("network.widths=16,32", "network.latent=32", "training.learning_rate=2e-3", *ALL)),
    "pixelcnn": System(
        "pixelcnn", ("network.width=16", "network.blocks=4", "network.dropout=0.1", "training.learning_rate=1e-2", *ALL)
    ),
    "ddpm": System("ddpm", DIFFUSION),
    "vdm": System("vdm", DIFFUSION),
    "edm": System("edm", DIFFUSION),
}


@dataclass(frozen=True)
class Digits:
    """Images (N, 1, 8, 8) in [-1, 1], the one ``network`` that looks at all, and what it sees in those held out."""

    training: Tensor
    held_out: Tensor
    pixels: PixelRange
    network: FeatureNetwork
    features: Tensor

    def some(self) -> Tensor:
        """As many training images as there are samples, at random."""
        return self.training[torch.randperm(len(self.training), generator=torch.Generator().manual_seed(0))[:SAMPLES]]

    def pixels_apart(self) -> Tensor:
        """Every pixel from a training image of its own: what is known of digits without how their pixels belong."""
        flat = self.training.flatten(1)
        rows = torch.randint(len(flat), (SAMPLES, flat.shape[1]), generator=torch.Generator().manual_seed(0))
        return flat.gather(0, rows).view(SAMPLES, *self.training.shape[1:])


@cache
def digits() -> Digits:
    """The built-in digits, parted as every run parts them."""
    config = DataConfig("digits")
    train, held_out = load_digits(config).split(config.held_out)
    pixels, network = PixelRange(train.levels), learn_features(train)
    images = pixels.to_model(held_out.images)
    return Digits(pixels.to_model(train.images), images, pixels, network, network.features(images))


def sampled(model: GenerativeModel, n: int = SAMPLES, steps: int | None = None) -> Tensor:
    """Samples 0 … n - 1 of the run's own seed, rounded to levels as they would be saved.

    ``steps`` of a diffusion model's sampler, if not the recipe's own. Raises SumiError for NaN.
    """
    if isinstance(model, DiffusionModel):
        made = model.sample(n, seed=model.config.seed, steps=steps, batch_size=BATCH)
    else:
        made = model.sample(n, seed=model.config.seed, batch_size=BATCH)
    return model.pixels.to_model(model.pixels.to_levels(made))
