"""Samples emerging from noise: every state of the sampler on the way, of one image or of a cloud of vectors."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sumi.conditioning.condition import Condition
from sumi.errors import writing
from sumi.guidance.guidance import Steering
from sumi.models.diffusion.model import DiffusionModel
from sumi.process.schedule import NoiseLevel, deviation
from sumi.process.schedule import level as level_of


@dataclass(frozen=True)
class Trajectory:
    """States from the start to the data, ``x`` (K + 1, …), and the times they were at (K + 1,).

    A state is an image (C, H, W), or many vectors (n, D).

    Where noise explodes, states are shown at unit size: x_t/√(alpha² + sigma²), if that root is above 1.
    """

    x: Tensor
    t: tuple[float, ...]


def trajectory(
    model: DiffusionModel,
    index: int,
    *,
    n: int | None = None,
    steps: int | None = None,
    solver: str | None = None,
    eta: float | None = None,
    seed: int = 0,
    label: str | None = None,
    condition: Condition | None = None,
    guidance: float | None = None,
    steering: Steering | None = None,
    size: tuple[int, int] | None = None,
) -> Trajectory:
    """Item ``index`` of ``seed`` as `DiffusionModel.sample` makes it, with all states on the way.

    ``n``: that many items from ``index`` on, together; None: one, by itself.
    """
    states: list[Tensor] = []
    times: list[float] = []

    def record(step: int, level: NoiseLevel, x: Tensor) -> None:
        del step
        states.append((x[0] if n is None else x).cpu() / _size(level))
        times.append(float(level.t))

    count = n or 1
    model.sample(
        count,
        steps=steps,
        solver=solver,
        eta=eta,
        seed=seed,
        start=index,
        label=label,
        condition=condition,
        guidance=guidance,
        steering=steering,
        size=size,
        batch_size=count,
        on_step=record,
    )
    end = level_of(model.network_denoiser.schedule, 1.0)
    start = model.start_noise(range(index, index + count), seed, model.shape_of(size)).cpu() / _size(end)
    start = start[0] if n is None else start
    return Trajectory(torch.stack([start, *states]), (1.0, *times))


def _size(level: NoiseLevel) -> float:
    return max(1.0, float(deviation(level)))


def write_trajectory(model: DiffusionModel, path: Trajectory, folder: Path) -> tuple[Path, Path]:
    """Write strip.png (ten states side by side) and emerging.webp (an animation of up to 60); returns their paths."""
    items = model.items
    strip, moving = items.strip(path.t, path.x), items.animation(path.t, path.x)
    strip_file, animation_file = folder / "strip.png", folder / "emerging.webp"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        strip_file.write_bytes(strip)
        animation_file.write_bytes(moving)
    return strip_file, animation_file
