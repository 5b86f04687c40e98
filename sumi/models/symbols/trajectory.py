"""Text emerging from masks: every state of the sampler on the way."""

from pathlib import Path

import torch
from torch import Tensor

from sumi.figures.files import write_picture
from sumi.models.symbols.model import SymbolModel, SymbolOptions
from sumi.process.schedule import NoiseLevel


def trajectory(model: SymbolModel, folder: Path, n: int = 8, options: SymbolOptions | None = None) -> tuple[Path, Path]:
    """Write strip.png (ten states) and emerging.webp (up to 60) of ``n`` samples; returns their paths."""
    found: list[tuple[float, Tensor]] = []

    def record(step: int, level: NoiseLevel, x: Tensor) -> None:
        del step
        found.append((float(level.t), x.cpu()))

    given: SymbolOptions = {**(options or {}), "batch_size": n, "callback": record, "progress": False}
    model.sample(n, **given)
    times, states = [t for t, _ in found], torch.stack([x for _, x in found])
    strip, moving = model.spec.strip(times, states), model.spec.animation(times, states)
    return write_picture(folder / "strip.png", strip), write_picture(folder / "emerging.webp", moving)
