"""Samples emerging from noise: every state of the sampler on the way, of one image or of a cloud of vectors."""

import io
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from sumi.conditioning.condition import Condition
from sumi.data.spec import ImageSpec
from sumi.errors import writing
from sumi.figures.pictures import animation, image_grid, png, strip
from sumi.figures.vectors import picture, reach_of
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

    def states(self, count: int) -> tuple[list[float], Tensor]:
        """Up to ``count`` states, evenly spaced and with both ends, and their times."""
        chosen = torch.linspace(0, len(self.x) - 1, min(count, len(self.x))).round().long()
        return [self.t[k] for k in chosen.tolist()], self.x[chosen]


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
    if isinstance(model.items, ImageSpec):
        times, few = path.states(10)
        many = model.pixels.to_bytes(path.states(60)[1])
        beside = png(strip(model.pixels.to_bytes(few), labels=[f"{t:.2f}" for t in times]))
        frames = [image_grid(frame[None], columns=1, scale=_scale(many)) for frame in many]
    else:
        beside = _panels(path, model.items.levels, 10)
        reach = reach_of([*path.x])
        frames = [
            Image.open(io.BytesIO(picture([(f"t = {t:.2f}", x)], model.items.levels, reach=reach)))
            for t, x in zip(*path.states(30), strict=True)
        ]
    strip_file, animation_file = folder / "strip.png", folder / "emerging.webp"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        strip_file.write_bytes(beside)
        animation_file.write_bytes(animation(frames))
    return strip_file, animation_file


def _panels(path: Trajectory, levels: int | None, count: int) -> bytes:
    times, states = path.states(count)
    panels = [(f"t = {t:.2f}", x) for t, x in zip(times, states, strict=True)]
    return picture(panels, levels, columns=(count + 1) // 2, together=False)


def _scale(frames: Tensor) -> int:
    """The whole factor that makes an image about 256 pixels wide."""
    return max(1, 256 // frames.shape[-1])
