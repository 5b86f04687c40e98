"""All figures of a schedule, or of a run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

import torch

from sumi.config import nearest
from sumi.data.config import DataConfig
from sumi.data.dataset import ImageDataset
from sumi.data.load import load as load_data
from sumi.data.pixels import PixelRange
from sumi.errors import InputError
from sumi.evaluation.loss_by_noise import LossByNoise, loss_by_noise
from sumi.explain.correction import draw_correction
from sumi.explain.figure import Drawn
from sumi.explain.loss import draw_loss
from sumi.explain.noising import draw_noising
from sumi.explain.reverse import draw_reverse
from sumi.explain.schedule import draw_schedule
from sumi.model import DiffusionModel, load
from sumi.process.configs import ScheduleConfig
from sumi.process.schedule import Schedule

SCHEDULES: Final[dict[str, ScheduleConfig]] = {cls.name: cls() for cls in get_args(ScheduleConfig)}


def explain(
    subject: str, *, data: str | None = None, out: Path | None = None, checkpoint: int | None = None
) -> Iterator[Drawn]:
    """Draw what there is to see of a schedule (by name) or a run (its folder), one figure after the other.

    ``data``: where the noised image comes from; the digits, or the run's own; ``checkpoint``: of a run, the
    newest for None. Raises InputError.
    """
    if subject in SCHEDULES:
        config, images = SCHEDULES[subject], load_data(DataConfig(source=data or "digits"))
        yield from _explain_schedule(config.build(), config.steps or 1000, images, out or Path("explain") / subject)
        return
    if not Path(subject).exists():
        raise InputError(f"{subject}: is neither a run folder nor a schedule; {nearest(subject, SCHEDULES)}")
    model = load(subject, checkpoint=checkpoint)
    dataset, folder = model.load_data(data), out or model.folder / "explain"
    schedule = model.network_denoiser.schedule  # as it was learned, where it was
    yield from _explain_schedule(schedule, model.config.schedule.steps or 1000, dataset, folder)
    yield draw_reverse(model, folder / "reverse.png")
    yield draw_loss(held_out_loss(model, dataset), folder / "loss_by_noise.png")


def held_out_loss(model: DiffusionModel, dataset: ImageDataset, *, limit: int = 500) -> LossByNoise:
    """The model's errors on up to ``limit`` held-out images at 20 times."""
    _, held_out = dataset.split(model.config.data.held_out)
    images = PixelRange(held_out.levels).to_model(held_out.images[:limit]).to(model.device)
    grid = model.network_denoiser.grid or 1000
    times = (torch.linspace(0.02, 1, 20, dtype=torch.float64) * grid).round().clamp(min=1).unique() / grid
    return loss_by_noise(model.denoiser(), images, times, seed=model.config.seed)


@torch.no_grad()
def _explain_schedule(schedule: Schedule, steps: int, dataset: ImageDataset, folder: Path) -> Iterator[Drawn]:
    image = PixelRange(dataset.levels).to_model(dataset.images[0])
    yield draw_schedule(schedule, steps, folder / "schedule.png")
    yield draw_noising(image, schedule, steps, folder / "noising.png")
    yield draw_correction(schedule, folder / "correction.png")
