"""One image emerging from noise: every state of the sampler on the way."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sumi.evaluation.pictures import animation, image_grid, png, strip
from sumi.model import DiffusionModel
from sumi.process.schedule import NoiseLevel, deviation
from sumi.process.schedule import level as level_of
from sumi.run import writing


@dataclass(frozen=True)
class Trajectory:
    """States from the start to the image, ``x`` (K + 1, C, H, W), and the times they were at (K + 1,).

    Where noise explodes, states are shown at unit size: x_t/√(alpha² + sigma²), if that root is above 1.
    """

    x: Tensor
    t: tuple[float, ...]

    def frames(self, model: DiffusionModel, count: int) -> tuple[list[float], Tensor]:
        """Up to ``count`` states, evenly spaced and with both ends: their times, and uint8 images (count, C, H, W)."""
        chosen = torch.linspace(0, len(self.x) - 1, min(count, len(self.x))).round().long()
        return [self.t[k] for k in chosen.tolist()], model.pixels.to_bytes(self.x[chosen])


def trajectory(
    model: DiffusionModel,
    index: int,
    *,
    steps: int | None = None,
    solver: str | None = None,
    eta: float | None = None,
    seed: int = 0,
) -> Trajectory:
    """Image ``index`` of ``seed`` as `DiffusionModel.sample` makes it, with all states on the way."""
    states: list[Tensor] = []
    times: list[float] = []

    def record(step: int, level: NoiseLevel, x: Tensor) -> None:
        del step
        states.append(x[0].cpu() / _size(level))
        times.append(float(level.t))

    model.sample(1, steps=steps, solver=solver, eta=eta, seed=seed, start=index, on_step=record)
    end = level_of(model.network_denoiser.schedule, 1.0)
    start = model.start_noise([index], seed)[0].cpu() / _size(end)
    return Trajectory(torch.stack([start, *states]), (1.0, *times))


def _size(level: NoiseLevel) -> float:
    return max(1.0, float(deviation(level)))


def write_trajectory(model: DiffusionModel, path: Trajectory, folder: Path) -> tuple[Path, Path]:
    """Write strip.png (ten states side by side) and emerging.webp (an animation of up to 60); returns their paths."""
    strip_file, animation_file = folder / "strip.png", folder / "emerging.webp"
    times, few = path.frames(model, 10)
    _, many = path.frames(model, 60)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        strip_file.write_bytes(png(strip(few, labels=[f"{t:.2f}" for t in times])))
        enlarged = [image_grid(frame[None], columns=1, scale=_scale(many)) for frame in many]
        animation_file.write_bytes(animation(enlarged))
    return strip_file, animation_file


def _scale(frames: Tensor) -> int:
    """The whole factor that makes an image about 256 pixels wide."""
    return max(1, 256 // frames.shape[-1])
