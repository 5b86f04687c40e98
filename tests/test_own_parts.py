"""A toy member of each union, defined outside the package in at most 40 lines: it trains, samples and reloads."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import pi
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sumi
from sumi.conditioning.condition import Condition
from sumi.conditioning.conditioner import Conditioner, Items
from sumi.data.batch import Batch
from sumi.data.config import DataConfig
from sumi.data.spec import DataSpec
from sumi.data.vectors import VectorDataset, VectorSpec, from_numbers
from sumi.denoising.denoiser import Denoiser, NetworkDenoiser
from sumi.errors import InputError
from sumi.models.diffusion.build import build_denoiser
from sumi.models.diffusion.config import DiffusionSettings
from sumi.models.model import GenerativeModel, RunDescription, SystemConfig
from sumi.networks.condition import NOTHING, ConditionShape, NetworkCondition
from sumi.objectives.objective import Objective
from sumi.objectives.times import UniformTimes
from sumi.process.gaussian import add_noise
from sumi.process.schedule import NoiseLevel, Schedule, noise_level
from sumi.randomness import Purpose, normal
from sumi.sampling.solvers.solver import StepNoise

LONGEST = 40


class Arc(Schedule):
    """alpha = cos(1.5 t), sigma = sin(1.5 t)."""

    def noise_level(self, t: Tensor) -> NoiseLevel:
        alpha, sigma = (1.5 * t).cos(), (1.5 * t).sin()
        return NoiseLevel(t, alpha, sigma, 2 * (alpha / sigma).log(), -1.5 * sigma, 1.5 * alpha)

    def time(self, log_snr: Tensor) -> Tensor:
        return ((-log_snr / 2).exp().atan() / 1.5).clamp(0, 1)


@dataclass(frozen=True)
class ArcSchedule:
    name: ClassVar[str] = "arc"
    steps: ClassVar[int | None] = None

    def build(self) -> Arc:
        return Arc()


@dataclass(frozen=True)
class Half:
    """Goes to x̂_0 by way of DDIM, and stops half way to the noise of the next level."""

    order: ClassVar[int] = 1
    off_grid: ClassVar[bool] = False
    draws_noise: ClassVar[bool] = False

    def init(self) -> None:
        return None

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: None, noise: StepNoise
    ) -> tuple[Tensor, None]:
        now = denoiser(x, t)
        return s.alpha * now.clean + s.sigma * now.noise / 2, None


class Blend(nn.Module):
    """A linear network whose answer moves with the noise level."""

    def __init__(self, dimensions: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dimensions + 1, outputs * dimensions)

    def forward(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition = NOTHING) -> Tensor:
        return self.linear(torch.cat([x.flatten(1), c_noise[:, None] / 1000], 1)).view(len(x), -1, *x.shape[2:])


@dataclass(frozen=True)
class BlendConfig:
    name: ClassVar[str] = "blend"
    embedding: int = 8

    def build(self, shape: tuple[int, ...], outputs: int = 1, condition: ConditionShape | None = None) -> Blend:
        return Blend(int(np.prod(shape)), outputs)


@dataclass(frozen=True)
class SideConditioning:
    """On which side of 0 the first number lies."""

    name: ClassVar[str] = "side"
    dropout: float = 0.1

    def build(self, items: Items, width: int) -> "SideConditioner":
        return SideConditioner(width, self.dropout)


class SideConditioner(Conditioner):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.table, self.dropout = nn.Embedding(3, width), dropout

    def parse(self, given: object, indices: Sequence[int]) -> Condition:
        return Condition(side=torch.full((len(indices),), 2 if given == "right" else 1))

    def of_data(self, batch: Batch, x_0: Tensor, draw: int) -> Condition:
        side = (batch.x[:, 0] > 0).long() + 1
        left_out = batch.uniforms(Purpose.CONDITION_DROPOUT, 1, draw)[:, 0] < self.dropout
        return Condition(side=torch.where(left_out, 0, side))

    def null(self, like: Tensor) -> Condition:
        return Condition(side=torch.zeros(len(like), dtype=torch.int64, device=like.device))

    def forward(self, condition: Condition) -> NetworkCondition:
        return NetworkCondition(vector=self.table(condition["side"]))


@dataclass(frozen=True)
class Absolute:
    """The mean absolute error of x̂_0."""

    name: ClassVar[str] = "absolute"

    def build(self, settings: DiffusionSettings, items: DataSpec) -> "AbsoluteObjective":
        return AbsoluteObjective(build_denoiser(settings, items))


class AbsoluteObjective(Objective[NetworkDenoiser]):
    def forward(self, batch: Batch) -> Tensor:
        now = noise_level(self.model.schedule, batch.uniform(Purpose.TRAINING_TIME).clamp(min=1e-3))
        x_t = add_noise(batch.x, batch.normal(Purpose.TRAINING_NOISE, batch.data.shape), now)
        return (self.model(x_t, now).clean - batch.x).abs().flatten(1).mean(1)


@dataclass(frozen=True)
class AngleSpec(VectorSpec):
    """Angles in units of π, which stay on their circle."""

    name: ClassVar[str] = "angles"

    def finish(self, x: Tensor) -> Tensor:
        return (x + 1) % 2 - 1


@dataclass(frozen=True, eq=False)
class Angles(VectorDataset):
    @property
    def spec(self) -> AngleSpec:
        return AngleSpec(*self.shape, self.levels, self.centre, self.scale)


@dataclass(frozen=True)
class BellConfig(SystemConfig):
    """A normal distribution of unit width, of which the mean is learned."""

    name: ClassVar[str] = "bell"

    @property
    def identity(self) -> tuple[object, ...]:
        return ()

    def build(self, items: DataSpec) -> "BellObjective":
        return BellObjective(nn.ParameterDict({"mean": torch.zeros(items.shape)}))

    def wrap(self, description: RunDescription, module: nn.Module, step: int, folder: Path) -> "Bell":
        return Bell(description, module, step, folder)


class BellObjective(Objective):
    def forward(self, batch: Batch) -> Tensor:
        return (batch.x - self.model["mean"]).square().flatten(1).sum(1) / 2


class Bell(GenerativeModel):
    def sample(self, n: int = 16, *, seed: int = 0, start: int = 0, batch_size: int = 64, progress=None) -> Tensor:
        return self.module["mean"] + normal(seed, range(start, start + n), 0, Purpose.START, self.items.shape)

    def how_sampled(self) -> str:
        return "its mean and noise"

    def preview(self) -> None:
        return None


TINY = ("network.width=8", "network.blocks=1", "training.batch_size=32", "training.precision=fp32")
ROLL = DataConfig(source="swiss-roll")


def usual(steps: int = 3) -> SystemConfig:
    return sumi.configure("ddpm", data="swiss-roll", steps=steps, settings=[*TINY, "sampling.steps=3"])


def of_angles() -> Angles:
    rows = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    found = from_numbers(rows, DataConfig(source="memory"), "rows")
    return Angles(found.values, found.keys, found.levels, found.centre, found.scale)


TOYS: dict[str, tuple[tuple[type, ...], Callable[[], SystemConfig], object]] = {
    "schedule": ((ArcSchedule, Arc), lambda: replace(usual(), schedule=ArcSchedule(), times=UniformTimes()), None),
    "network": ((BlendConfig, Blend), lambda: replace(usual(), network=BlendConfig()), None),
    "conditioner": (
        (SideConditioning, SideConditioner),
        lambda: replace(usual(), conditioning=(SideConditioning(),)),
        None,
    ),
    "objective": ((Absolute, AbsoluteObjective), lambda: replace(usual(), objective=Absolute()), None),
    "data": ((AngleSpec, Angles), lambda: usual(), of_angles),
    "system": ((BellConfig, BellObjective, Bell), lambda: BellConfig("bell", ROLL, 0, usual().training), None),
}


@pytest.mark.parametrize("toy", TOYS)
def test_a_part_of_ones_own_trains_samples_goes_on_and_reloads(toy: str, tmp_path: Path) -> None:
    classes, config, data = TOYS[toy]
    assert sum(len(inspect.getsource(one).splitlines()) for one in classes) <= LONGEST
    given = {} if data is None else {"data": data()}
    model = sumi.train(config(), out=tmp_path / "run", **given)
    samples = model.sample(4, seed=1)
    assert samples.shape == (4, 2)
    assert torch.equal(sumi.load(tmp_path / "run", parts=classes).sample(4, seed=1), samples)
    with pytest.raises(InputError, match=r"config\.json: is not what .* there is no '"):
        sumi.load(tmp_path / "run")
    settings = {"settings": "training.steps=5"}
    assert sumi.train(config(), out=tmp_path / "run", resume=True, **given, **settings).step == 5
    begun = sumi.train(config().recipe, out=tmp_path / "run", resume=True, steps=6, parts=classes, **given)
    assert begun.step == 6


def test_a_solver_of_ones_own_is_given_to_whatever_samples(tmp_path: Path) -> None:
    assert len(inspect.getsource(Half).splitlines()) <= LONGEST
    model = sumi.train(usual(), out=tmp_path / "run")
    samples = model.sample(4, solver=Half(), steps=4)
    assert torch.equal(samples, sumi.load(tmp_path / "run").sample(4, solver=Half(), steps=4))
    assert not torch.equal(samples, model.sample(4, solver="ddim@log_ratio", steps=4))
    own = model.sample(4, sampling=replace(model.config.sampling, solver=sumi.solvers.DDIM(eta=0.0)))
    assert torch.equal(own, model.sample(4, solver="ddim"))
    with pytest.raises(InputError, match=r"^sampling\.solver: is an object, and config\.json holds names"):
        replace(model.config, sampling=replace(model.config.sampling, solver=Half()))


def test_the_condition_of_ones_own_counts(tmp_path: Path) -> None:
    config = replace(usual(steps=30), conditioning=(SideConditioning(),))
    model = sumi.train(config, out=tmp_path / "run", settings="training.learning_rate=1e-2")
    left, right = (model.sample(4, condition=Condition(side=torch.full((4,), side)), guidance=3.0) for side in (1, 2))
    assert float((right - left).abs().max()) > 0.01


def test_the_arc_is_a_schedule() -> None:
    t = torch.linspace(0.01, 1, 50, dtype=torch.float64)
    assert torch.allclose(Arc().time(Arc().log_snr(t)), t)
    assert float(Arc().alpha(t[-1]).acos()) == pytest.approx(1.5)
    assert pi / 2 > 1.5
