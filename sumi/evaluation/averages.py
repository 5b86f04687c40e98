"""Averages of another length of a run's weights, from its snapshots (`sumi.training.power_ema`), and their losses."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from sumi.data.dataset import Dataset
from sumi.errors import InputError
from sumi.evaluation.during_training import FEWEST, held_out_errors
from sumi.metrics.intervals import Estimate
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import TrainedModel
from sumi.models.run import load
from sumi.networks.own import Network
from sumi.training.checkpoint import checkpoint_step, find_checkpoints, load_checkpoint
from sumi.training.power_ema import coefficients, exponent
from sumi.training.run_folder import RunFolder

LENGTHS: Final = (0.02, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25)
"""Those that a sweep compares."""


class Averages:
    """Averages of ``lengths``, as shares of the training up to the checkpoint that ``model`` is, of its weights.

    ``distances``: by length, of the profile from the one that is wanted (`coefficients`). Raises InputError where the
    run kept no averages, a length is out of range or a snapshot is damaged.
    """

    def __init__(self, model: TrainedModel[Any], lengths: Sequence[float]) -> None:
        for length in lengths:
            exponent(length)
        folder, kept = RunFolder(model.folder), model.config.training.ema_lengths
        if not kept:
            raise InputError(
                f"training.ema_lengths: {folder.path} was trained without, and has no averages of which another is "
                "made; train with training.ema_lengths=[0.05,0.1]"
            )
        earlier = [path for path in find_checkpoints(folder.averages)[0] if checkpoint_step(path) < model.step]
        self.sources = [*earlier, folder.checkpoints / f"{model.step:08d}"]
        self.model, self.distances = model, dict[float, float]()
        self._weights: dict[float, dict[str, Tensor]] = {length: {} for length in lengths}
        stored = [(length, checkpoint_step(source)) for source in self.sources for length in kept]
        factors: dict[float, list[float]] = {}
        for length in lengths:
            found, self.distances[length] = coefficients(stored, length, model.step)
            factors[length] = found.tolist()
        for number, source in enumerate(self.sources):
            tensors = _averages_in(source, model.description.identity)
            for length, own in self._weights.items():
                for place, profile in enumerate(kept, number * len(kept)):
                    _add(own, factors[length][place], f"average.{profile:g}.", tensors)

    @torch.no_grad()
    def use(self, length: float) -> None:
        """Give the model the average of this length."""
        for name, weight in self.model.module.named_parameters():
            if name in self._weights[length]:
                weight.copy_(self._weights[length][name])


def _averages_in(source: Path, identity: str) -> dict[str, Tensor]:
    found = load_checkpoint(source)
    if found.state.get("identity") != identity or not any(name.startswith("average.") for name in found.optimizer):
        raise InputError(f"{source}: holds no averages of this run; restore it, or take another checkpoint")
    return found.optimizer


def _add(total: dict[str, Tensor], factor: float, prefix: str, tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            own = name.removeprefix(prefix)
            total[own] = total.get(own, torch.zeros((), dtype=torch.float64)) + factor * tensor.double()


def averaged(
    run: Path | str,
    length: float,
    *,
    checkpoint: int | None = None,
    device: str | torch.device | None = None,
    network: Network | None = None,
    parts: Iterable[type] = (),
) -> tuple[TrainedModel[Any], Averages]:
    """The model in a run folder with the average of this ``length``, such as 0.13 (a share of the training).

    Other arguments: see `sumi.load`. Raises InputError as it and `Averages` do.
    """
    model = load(run, TrainedModel, checkpoint=checkpoint, device=device, network=network, parts=parts)
    averages = Averages(model, [length])
    averages.use(length)
    return model, averages


@dataclass(frozen=True)
class LengthLoss:
    """E ‖ε̂ - ε‖²/d on held-out data at one ``length``, the mean over bins of log-SNR, with its 95 % interval.

    ``distance``: see `Averages`.
    """

    length: float
    distance: float
    loss: Estimate


def losses_by_length(
    model: DiffusionModel,
    held_out: Dataset,
    lengths: Sequence[float] = LENGTHS,
    *,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> list[LengthLoss]:
    """The loss of averages of these ``lengths`` on the same held-out items with the same noise.

    ``progress(done, total)`` counts lengths; the model has its own weights again at the end. Raises InputError as
    `Averages`, for a model that denoises no Gaussian noise, and for too few items.
    """
    _ = model.gaussian_denoiser()
    if len(held_out) < FEWEST:
        raise InputError(f"data: {len(held_out)} items are held out, too few to compare lengths by; give a length")
    averages, found = Averages(model, lengths), list[LengthLoss]()
    own = {name: weight.clone() for name, weight in model.module.state_dict().items()}
    try:
        for number, length in enumerate(lengths, 1):
            averages.use(length)
            errors = torch.stack([bin.noise for bin in held_out_errors(model, held_out)], 1).mean(1)
            mean, error = float(errors.mean()), float(errors.std()) / sqrt(len(errors))
            found.append(
                LengthLoss(length, averages.distances[length], Estimate(mean, mean - 1.96 * error, mean + 1.96 * error))
            )
            progress(number, len(lengths))
    finally:
        model.module.load_state_dict(own)
    return found


def has_averages(model: TrainedModel[Any]) -> bool:
    """Whether the run has snapshots of averages; a copy of it (`TrainedModel.save`) has none."""
    return bool(model.config.training.ema_lengths and find_checkpoints(RunFolder(model.folder).averages)[0])
