"""While a model is trained: its loss on held-out images by noise level, and how many of its samples are copies.

At each check the averaged weights denoise the same held-out images with the same noise (`errors_by_log_snr`), so that
two checks differ by what was learned between them alone. With e_ik the error of image i in bin k, and L_k its mean at
the best check so far,

    r_i = mean over bins k of (e_ik now - e_ik then)/L_k

is by how much image i has become worse, as a share. The loss rises where the mean of r is above 0 by more than `BEYOND`
standard errors of it, at two checks in a row. From there on the model learns its training images by heart
(docs/how-to/small-data.md), and the weights of the best check are the ones to keep.

Copies are samples at least as near to a training image as the nearest 1 % of held-out images are
(`sumi.metrics.copies`, in pixels, among up to `AMONG` training images); with few samples they tell of much copying.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from sumi.boundary.files import write_text
from sumi.data.dataset import Dataset, evenly_spaced
from sumi.evaluation.loss_by_noise import Errors, errors_by_log_snr
from sumi.metrics.copies import copying, nearest
from sumi.metrics.intervals import Estimate
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import TrainedModel
from sumi.training.metrics_log import Value

ITEMS: Final = 100
"""Held-out images that are denoised at each check."""
FEWEST: Final = 16
BINS: Final = 8
AMONG: Final = 5_000
SAMPLES: Final = 16
BEYOND: Final = 2.33
"""One in a hundred of means without a change lies above."""
REMEMBERED: Final = 8
"""The last checks that are kept for a run that is resumed."""
RISES: Final = "rises_since"
"""The entry of a check's line that says since which step the loss on held-out images has risen."""
_OF_BIN: Final = re.compile(r"held_out_([+-][\d.]+)")


def held_out_losses(line: Mapping[str, Value]) -> dict[float, Estimate]:
    """By log-SNR, from noise to data, E ‖ε̂ - ε‖²/d on held-out images with its 95 % interval, of a check's ``line``."""
    found: dict[float, Estimate] = {}
    for name, value in line.items():
        match _OF_BIN.fullmatch(name), value, line.get(f"{name}_error"):
            case re.Match() as bin, float(), float(error):
                found[float(bin[1])] = Estimate(value, value - 1.96 * error, value + 1.96 * error)
            case _:
                pass
    return found


@dataclass(frozen=True)
class _Best:
    step: int
    errors: Tensor


class Checks:
    """The checks of one training, on ``held_out`` images, for models of images alone; ``say`` gets what a person is to
    know. ``memory``: the file that keeps the last checks for a run that is resumed."""

    def __init__(
        self, train: Dataset, held_out: Dataset, say: Callable[[str], None], memory: Path | None = None
    ) -> None:
        self.train, self.held_out, self.say, self.memory = train, held_out, say, memory
        self.best: _Best | None = None
        self.risen = 0
        self.last: list[tuple[int, _Best, int]] = []
        self._distances: Tensor | None = None

    def __call__(self, model: TrainedModel, resumed: int = 0) -> dict[str, Value]:
        """The line of the log of a check of ``model``; {} for a model that has no such loss, or too few images.

        ``resumed``: the step at which the training was, 0 for one that was not.
        """
        match model:
            case DiffusionModel() if model.evaluated_as == "images" and len(self.held_out) >= FEWEST:
                return {**self._losses(model, resumed), **self._copies(model)}
        return {}

    def _losses(self, model: DiffusionModel, resumed: int) -> dict[str, Value]:
        found = held_out_errors(model, self.held_out)
        line: dict[str, Value] = self._compare(model.step, torch.stack([bin.clean for bin in found], 1), resumed)
        for bin in found:
            name = f"held_out_{(bin.low + bin.high) / 2:+.1f}"
            line[name] = float(bin.noise.mean())
            line[f"{name}_error"] = float(bin.noise.std()) / sqrt(len(bin.noise))
        return line

    def _compare(self, step: int, errors: Tensor, resumed: int) -> dict[str, Value]:
        if self.best is None:
            self._remember(resumed, errors)
        if self.best is None:
            self.best = _Best(step, errors)
        change, error = worse_by(self.best.errors, errors)
        self.risen = self.risen + 1 if change > BEYOND * error else 0
        if change < 0:
            self.best = _Best(step, errors)
        if self.risen == 2:
            self.say(
                f"step {step}: the loss on held-out images is {change:.1%} (± {1.96 * error:.1%}) above that of step "
                f"{self.best.step}: from there on it learns its training images by heart; stop here and use "
                f"--checkpoint {self.best.step}, if it is kept"
            )
        self._keep(step)
        return {RISES: self.best.step} if self.risen >= 2 else {}

    def _keep(self, step: int) -> None:
        """The last checks, as a run may be resumed at any of them, and the errors of those that were the best then."""
        if self.memory is None or self.best is None:
            return
        self.last = [*self.last[1 - REMEMBERED :], (step, self.best, self.risen)]
        checks = [{"step": at, "best": best.step, "risen": risen} for at, best, risen in self.last]
        errors = {best.step: best.errors.tolist() for _, best, _ in self.last}
        write_text(self.memory, json.dumps({"checks": checks, "errors": errors}))

    def _remember(self, resumed: int, errors: Tensor) -> None:
        """The checks before a run was ``resumed`` at a step, if they were of as many images and bins."""
        try:
            found = json.loads("" if self.memory is None else self.memory.read_text())
            kept = {step: torch.tensor(each, dtype=errors.dtype) for step, each in found["errors"].items()}
            for one in found["checks"]:
                before = kept[str(one["best"])]
                if one["step"] <= resumed and before.shape == errors.shape:
                    self.best, self.risen = _Best(int(one["best"]), before), int(one["risen"])
                    self.last.append((int(one["step"]), self.best, self.risen))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # there is none, or it is damaged
            pass

    def _copies(self, model: DiffusionModel) -> dict[str, Value]:
        learned = evenly_spaced(self.train, AMONG)
        if self._distances is None:
            self._distances = nearest(evenly_spaced(self.held_out, AMONG), learned).distance
        label = "all" if model.config.condition("labels") else None
        prompt = None if model.text is None else model.text.examples(SAMPLES)
        samples = model.sample(SAMPLES, seed=model.config.seed, label=label, prompt=prompt, progress=False)
        found = copying(nearest(samples, learned).distance, self._distances)
        if found.p_value < 0.01:
            self.say(f"step {model.step}: {found.counted} of {found.samples} samples are copies of training images")
        return {"copies": found.counted, "samples": found.samples}


def held_out_errors(model: DiffusionModel, held_out: Dataset) -> list[Errors]:
    """The errors of ``model`` on up to `ITEMS` held-out items, always with the same noise."""
    images = evenly_spaced(held_out, ITEMS).to(model.device)
    with torch.no_grad():
        images = model.space.encode(images)
    grid, seed = model.network_denoiser.trained_steps, model.config.seed
    return errors_by_log_snr(model.denoiser(), images, grid=grid, seed=seed, bins=BINS)


def worse_by(before: Tensor, now: Tensor) -> tuple[float, float]:
    """The mean of r of the module docstring and its standard error; errors (N, K) of the same images and bins."""
    rise = ((now - before) / before.mean(0)).mean(1)
    return float(rise.mean()), float(rise.std()) / sqrt(len(rise))
