"""Trainings of seconds: a small DDPM of the digits, and its checkpoints to compare."""

from pathlib import Path

import torch

from sumi import recipes
from sumi.boundary.settings import override
from sumi.data.config import DataConfig
from sumi.models.diffusion.system import DiffusionConfig
from sumi.training.checkpoint import load_checkpoint

SMALL = [
    "network.widths=32",
    "network.blocks=1",
    "network.embedding=32",
    "training.batch_size=8",
    "training.steps=40",
    "training.checkpoint_every=10",
    "training.log_every=5",
    "training.sample_every=0",
    "training.warmup_steps=10",
    "training.decay=cosine",
    "sampling.steps=2",
    "data.flip=true",
]


def config_of(*settings: str) -> DiffusionConfig:
    return override(recipes.build("ddpm", DataConfig(source="digits")), [*SMALL, *settings])


def state_of(run: Path, step: int = 40):
    return load_checkpoint(run / "checkpoints" / f"{step:08d}")


def assert_same(a, b) -> None:
    """Weights, averaged weights and optimizer state, bit for bit."""
    for name in ("model", "ema", "optimizer"):
        mine, other = getattr(a, name), getattr(b, name)
        assert mine.keys() == other.keys()
        for key in mine:
            assert torch.equal(mine[key], other[key]), (name, key)
