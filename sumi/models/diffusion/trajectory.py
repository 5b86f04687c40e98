"""Samples emerging from noise: every state of the sampler on the way, of one image or of a cloud of vectors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack, cast

import torch
from torch import Tensor

from sumi.boundary.arguments import MOST_COUNT, whole
from sumi.data.files import save_picture
from sumi.data.stated import Facts, summary
from sumi.figures.files import write_picture
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.options import SampleOptions, sampling_options
from sumi.models.samples import Samples, stated_facts
from sumi.process.schedule import NoiseLevel, deviation
from sumi.process.schedule import noise_level as level_of


@dataclass(frozen=True)
class Trajectory:
    """States from the start to the data, ``x`` (K + 1, …), and the times they were at (K + 1,).

    A state is an image (C, H, W) as it is denoised, or many vectors (n, D).

    Where noise explodes, states are shown at unit size: x_t/√(alpha² + sigma²), if that root is above 1. ``stated``: of
    each of its items what it states where an error was given (`sumi.models.samples`).
    """

    x: Tensor
    t: tuple[float, ...]
    stated: Sequence[Facts] = ()


def trajectory(
    model: DiffusionModel, index: int, *, n: int | None = None, **options: Unpack[SampleOptions]
) -> Trajectory:
    """Item ``index`` of a seed as `DiffusionModel.sample` makes it, with all states on the way.

    ``n``: that many items from ``index`` on, together; None: one, by itself. ``options``: those of `sample`. Where an
    error is given, it is the last grid that is followed; of several items, the finest of theirs.
    """
    states: list[Tensor] = []
    times: list[float] = []

    def record(step: int, level: NoiseLevel, x: Tensor) -> None:
        del step
        states.append((x[0] if n is None else x).cpu() / size(level))
        times.append(float(level.t))

    count, index = 1 if n is None else whole("n", n, least=1, most=MOST_COUNT), whole("index", index)
    seed, shape = options.get("seed", 0), model.shape_of(options.get("size"))
    given: SampleOptions = {**options, "start": index, "batch_size": count}
    sampling, stated = model.config.sampling.replaced(sampling_options(options)), list[dict[str, object]]()
    if sampling.error is not None:
        made = cast(Samples, model.sample(count, **given))
        stated = [stated_facts(made, row) for row in range(count)]
        given |= {"solver": sampling.solver, "error": None, "steps": int(cast(Tensor, made.steps).max())}
    given["callback"] = record
    model.sample(count, **given)
    end = level_of(model.network_denoiser.schedule, 1.0)
    start = model.start_noise(range(index, index + count), seed, shape).cpu() / size(end)
    start = start[0] if n is None else start
    return Trajectory(torch.stack([start, *states]), (1.0, *times), stated)


def size(level: NoiseLevel) -> float:
    """What a state at this level is divided by to be shown."""
    return max(1.0, float(deviation(level)))


def write_trajectory(model: DiffusionModel, path: Trajectory, folder: Path) -> tuple[Path, Path]:
    """Write strip.png (ten states side by side) and emerging.webp (an animation of up to 60); returns their paths.

    The strip carries what its item states, and of several the worst and the median.
    """
    items = model.items
    if model.space.factor > 1:  # states are previewed, the last one is decoded
        path = replace(path, x=torch.cat([model.glimpse(path.x[:-1]), model.seen(path.x[-1:])]))
    strip, moving = items.strip(path.t, path.x), items.animation(path.t, path.x)
    strip_file, animation_file = folder / "strip.png", folder / "emerging.webp"
    about = path.stated[0] if len(path.stated) == 1 else summary(path.stated)
    written = save_picture(strip_file, strip, about) if about else write_picture(strip_file, strip)
    return written, write_picture(animation_file, moving)
