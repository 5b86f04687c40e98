"""What is audited: a network, how it is stated to be read, and items to try it on."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import Final, cast

import numpy as np
import torch
from torch import Tensor, nn

from sumi.check.audit.reading import Reading
from sumi.conditioning.condition import Condition
from sumi.conditioning.conditioner import Conditioners
from sumi.conditioning.image import ImageConditioner
from sumi.data.batch import Batch, batch_of
from sumi.data.config import DataConfig
from sumi.data.dataset import Dataset, evenly
from sumi.data.load import is_there
from sumi.data.open import open_data
from sumi.data.spec import expect
from sumi.denoising.denoiser import Denoised
from sumi.denoising.parameterization import Coefficients, Parameterization, PredictNoise
from sumi.errors import InputError
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.parts import is_student
from sumi.process.chain import LinearBeta
from sumi.process.gaussian import expand
from sumi.process.schedule import NoiseLevel, Schedule, Time, deviation, noise_level
from sumi.process.schedules import ScheduleConfig
from sumi.randomness import Purpose, normal
from sumi.sampling.sample import sample
from sumi.sampling.sampler import LEAST_STD, build_method

LINEAR: Final = LinearBeta()
NOISE: Final = PredictNoise()
WHITE: Final = "white noise"
HELD_OUT: Final = "held-out data"
MOST_NOISE: Final = 200.0
"""Deviations of the data at which its own samples begin, where the schedule goes further."""

Predict = Callable[[Tensor, Coefficients, Condition | None], Tensor]
"""F(c_in x, c_noise, condition); the condition None: no condition."""


@dataclass(frozen=True)
class Subject:
    """A network and its stated reading.

    Attributes:
        steps: of the grid of times that it was trained at; None: any time.
        shape: of one item as it is denoised.
        bounded: whether items are limited to [-1, 1].
        conditions: of n items, as it knows any; None: it knows none.
        classes: how many classes it knows, 0 for none.
        module: its layers, where they can be seen into.
        model: the run that it is of.
    """

    name: str
    predict: Predict
    reading: Reading
    steps: int | None
    shape: tuple[int, ...]
    data_std: float
    bounded: bool = True
    conditions: Callable[[int], Condition | None] = lambda _n: None
    classes: int = 0
    module: nn.Module | None = None
    model: DiffusionModel | None = None

    @property
    def grid(self) -> int:
        """How finely its times are probed."""
        return self.steps or 1000

    @property
    def estimates_means(self) -> bool:
        """Whether its x̂_0 should be E[x_0 | x_t]: that of a student of few steps goes further, or is guided."""
        return self.model is None or not is_student(self.model)

    def denoise(self, reading: Reading, x: Tensor, level: NoiseLevel, condition: Condition | None) -> Tensor:
        """x̂_0 in the frame of the reading."""
        c = reading.coefficients(level)
        return expand(c.c_skip, x) * x + expand(c.c_out, x) * self.predict(x, c, condition)

    @torch.inference_mode()
    def samples(self, reading: Reading, n: int, seed: int, steps: int = 20) -> "Rows":
        """Its own samples by this reading, each of a condition that it knows, without guidance.

        Where they are not finite, or far out of the data's range, white noise of the data's deviation: any data do to
        tell what a network predicts where noise prevails.
        """
        condition, std = self.conditions(n), max(self.data_std, LEAST_STD)
        grid = self.steps if reading.schedule is self.reading.schedule else None
        method = build_method("adams", min(steps, grid or steps), reading.schedule, data_std=std, grid=grid)
        last = float(reading.schedule.time(torch.tensor(-2 * log(MOST_NOISE * std), dtype=torch.float64)))
        times = method.times.clamp(
            max=round(last * self.grid) / self.grid
        )  # a prediction of ε is singular at alpha = 0
        x = normal(seed, range(n), 0, Purpose.START, self.shape)
        x = x * float(deviation(noise_level(reading.schedule, float(times[0])), std))
        end = sample(ReadDenoiser(self, reading, condition), method.solver, times.unique().flip(0), x)
        end = end.clamp(-1, 1) if self.bounded else end
        if not bool(end.isfinite().all()) or float(end.std()) > 10 * std:
            return Rows(std * normal(seed, range(n), 1, Purpose.START, self.shape), condition, WHITE)
        return Rows(end, condition, "its own samples")


@dataclass(frozen=True)
class Rows:
    """Items x (N, …) as they are denoised, with their conditions; ``origin``: what they are, in words."""

    x: Tensor
    condition: Condition | None
    origin: str

    def chosen(self, which: Tensor) -> "Rows":
        """Some of them, by their indices (M,)."""
        return Rows(self.x[which], None if self.condition is None else self.condition.rows(which), self.origin)

    @property
    def real(self) -> bool:
        """Whether they are data, and not made by the network."""
        return "data" in self.origin

    @property
    def std(self) -> float:
        """Root of the mean variance of an element."""
        return max(float(self.x.double().var(0).mean().sqrt()), LEAST_STD)


@dataclass(frozen=True)
class ReadDenoiser:
    """A subject's denoiser by a reading, with the condition of N samples."""

    subject: Subject
    reading: Reading
    condition: Condition | None

    @property
    def schedule(self) -> Schedule:
        return self.reading.schedule

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        now = noise_level(self.schedule, t)
        clean = self.subject.denoise(self.reading, x_t, now, self.condition)
        return Denoised(clean, x_t, expand(now.alpha, x_t), expand(now.sigma, x_t))


def of_model(model: DiffusionModel) -> Subject:
    """A run's network. Raises InputError where its process is not Gaussian."""
    denoiser = model.gaussian_denoiser()
    names = model.items.label_names if model.config.condition("labels") is not None else ()

    def conditions(n: int) -> Condition | None:
        if names:
            return model.condition_of(range(n), "all")
        if model.text is not None:
            return model.condition_of(range(n), None, prompt=model.text.examples(n))
        return None

    return Subject(
        str(model.folder),
        denoiser.predict,
        Reading(denoiser.schedule, denoiser.parameterization),
        denoiser.trained_steps,
        model.space.shape,
        model.description.data_std,
        model.space.bounded,
        conditions,
        len(names),
        denoiser,
        model,
    )


def of_function(
    function: Callable[..., Tensor],
    shape: tuple[int, ...],
    schedule: ScheduleConfig = LINEAR,
    parameterization: Parameterization = NOISE,
    *,
    classes: int = 0,
    data_std: float = 0.5,
    name: str = "function",
) -> Subject:
    """Any callable ``function(x, t)``, or with ``classes`` ``function(x, t, label)``, for items of ``shape``.

    t (N,) is the stated c_noise, 1000 t - 1; label (N,) is None for no class. ``schedule`` and ``parameterization`` are
    what is stated of it, ``data_std`` the deviation of its data.
    """

    def predict(x: Tensor, c: Coefficients, condition: Condition | None) -> Tensor:
        each = torch.as_tensor(c.c_noise, dtype=x.dtype).expand(len(x))
        label = () if not classes else (None if condition is None else condition["labels"],)
        found = function(expand(c.c_in, x) * x, each, *label)
        if found.shape != x.shape:
            raise InputError(f"{name}: gave {tuple(found.shape)} for x of {tuple(x.shape)}; it must be of one shape")
        return found

    def conditions(n: int) -> Condition | None:
        return Condition(labels=torch.arange(n) % classes) if classes else None

    return Subject(
        name,
        predict,
        Reading(schedule.build(), parameterization),
        schedule.steps,
        shape,
        data_std,
        len(shape) == 3,
        conditions,
        classes,
        function if isinstance(function, nn.Module) else None,
    )


def rows_of_model(model: DiffusionModel, data: object, n: int) -> tuple[Rows, Dataset] | None:
    """Held-out items of ``data``, or of the run's own data, with all that the run knows to the conditions.

    None where nothing is given and the run's own data are gone.
    """
    if data is None and not is_there(model.config.data):
        return None
    dataset = model.load_data(data)
    _, held_out = dataset.split(model.config.data.held_out)
    rows = held_out if len(held_out) else dataset
    places = evenly(len(rows), n)
    batch = batch_of(rows, places, np.arange(len(places)), step=1, seed=0)
    with torch.inference_mode():
        x = model.space.encode(batch.x.to(model.device)).cpu()
    return Rows(x, _condition_of(model, batch, x), HELD_OUT if len(held_out) else "data"), dataset


def _condition_of(model: DiffusionModel, batch: Batch, x: Tensor) -> Condition | None:
    """Of items of data: their classes, or the pictures that a restorer is given; None where they have no such."""
    conditioner = cast("Conditioners | None", model.module.conditioner)
    if conditioner is None:
        return None
    found: dict[str, Tensor] = {}
    if model.config.condition("labels") is not None and batch.data.spec.label_names == model.items.label_names:
        found["labels"] = batch.data.labels_of(batch.items)
    for draw, each in enumerate(conditioner):
        match each:
            case ImageConditioner():
                found |= each.of_data(batch, x, draw)
            case _:
                pass
    if not found:
        return None
    return expect(conditioner.checked(Condition(found), tuple(x.shape[1:]), x.device), Condition, "condition")


def rows_of_data(subject: Subject, data: object, n: int) -> Rows:
    """Items of any data, with their classes where the network knows any. Raises InputError where they do not fit."""
    size = subject.shape[-1] if len(subject.shape) == 3 else None
    dataset = open_data(data, DataConfig(source=str(data), size=size))
    if dataset.shape != subject.shape:
        raise InputError(f"data: are of shape {dataset.shape}, and the network takes {subject.shape}; give such data")
    places = evenly(len(dataset), n)
    return Rows(dataset.batch(places), Condition(labels=dataset.labels_of(places)) if subject.classes else None, "data")
