"""Checkpoints as the trainer of denoising-diffusion-pytorch saves them."""

from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from tests.toolkits import shaken

SIZE = ["shape=1,8,8"]
"""Of the images, which is in no tensor."""


def saved(library: ModuleType, diffusion: Any, place: Path) -> tuple[Path, Any]:
    """The file of its trainer after some steps, and the average, which is not what was trained last."""
    average = import_module("ema_pytorch").EMA(diffusion)
    shaken(diffusion)
    accelerator = SimpleNamespace(is_local_main_process=True, get_state_dict=lambda m: m.state_dict(), scaler=None)
    optimizer = torch.optim.Adam(diffusion.parameters())
    parts = {"accelerator": accelerator, "model": diffusion, "opt": optimizer, "ema": average}
    library.Trainer.save(SimpleNamespace(step=7, results_folder=place, **parts), 1)
    return place / "model-1.pt", average.ema_model
