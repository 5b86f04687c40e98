"""Sumi: train, sample, guide, measure and explain diffusion models.

model = sumi.train("ddpm", data="photos/", steps=20_000)
model = sumi.load("runs/photos")
images = model.sample(16, steps=50, seed=0)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sumi.models.diffusion.model import DiffusionModel
    from sumi.models.run import load
    from sumi.report.evaluate import evaluate
    from sumi.training_run import train

__version__ = "0.1.0"
__all__ = ["DiffusionModel", "evaluate", "load", "train"]

_HOMES = {
    "DiffusionModel": "sumi.models.diffusion.model",
    "load": "sumi.models.run",
    "evaluate": "sumi.report.evaluate",
    "train": "sumi.training_run",
}


def __getattr__(name: str) -> Any:
    """Torch is imported with the first name that needs it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'sumi' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
