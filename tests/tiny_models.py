"""Tiny models for tests, untrained and of fixed seeds: of images, of classes, of conditions, and restorers."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sumi import recipes
from sumi.boundary.settings import override
from sumi.data.config import DataConfig
from sumi.data.images import ImageSpec
from sumi.data.load import load
from sumi.data.pixels import PixelRange
from sumi.data.vectors import VectorSpec
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.parameterization import Coefficients, PredictClean
from sumi.metrics.features import network as features
from sumi.models.classifier import ClassifierModel
from sumi.models.diffusion.build import build_denoiser
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.system import DiffusionConfig
from sumi.models.model import RunDescription
from sumi.networks.condition import NetworkCondition
from sumi.process.gaussian import expand
from sumi.process.schedule import NoiseLevel, Schedule, noise_level

TINY = [
    "network.widths=32",
    "network.blocks=1",
    "network.embedding=32",
    "training.batch_size=16",
    "training.steps=12",
    "training.checkpoint_every=4",
    "training.sample_every=0",
    "training.warmup_steps=2",
    "sampling.steps=2",
]


def scrambled(denoiser: NetworkDenoiser) -> NetworkDenoiser:
    """With weights that make every input count."""
    generator = torch.Generator().manual_seed(0)
    for p in denoiser.parameters():
        torch.nn.init.normal_(p, std=0.2, generator=generator)
    return denoiser


def random_model(folder: Path, *settings: str, shape: tuple[int, int, int] = (1, 8, 8)) -> DiffusionModel:
    """An untrained model whose output depends on its input, with the weights of a fixed seed."""
    config = override(
        recipes.build("ddpm", DataConfig(source="digits")),
        ["network.widths=32,32", "network.blocks=1,1", "network.embedding=32", "sampling.steps=5", *settings],
    )
    images = ImageSpec(*shape, 17, ("0", "1"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        denoiser = build_denoiser(config, images)
        for p in denoiser.parameters():
            torch.nn.init.normal_(p, std=0.1)
    return DiffusionModel(RunDescription(config, images, "none", 0.5), denoiser, 7, folder)


def digits_model(folder: Path, *settings: str) -> DiffusionModel:
    """An untrained model of the digits."""
    config = override(recipes.build("ddpm", DataConfig(source="digits")), [*TINY, "sampling.steps=4", *settings])
    dataset = load(config.data)
    spec = dataset.spec
    with torch.random.fork_rng():
        torch.manual_seed(0)
        denoiser = build_denoiser(config, spec)
    return DiffusionModel(RunDescription(config, spec, dataset.fingerprint(), dataset.std()), denoiser, 7, folder)


def training_part(model: DiffusionModel) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and their labels, a random order of them, and the held-out images."""
    dataset = model.load_images()
    train, held_out = dataset.split(model.config.data.held_out)
    assert train.labels is not None
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    pixels = PixelRange(dataset.levels)
    return pixels.to_model(train.images), torch.from_numpy(train.labels), order, pixels.to_model(held_out.images)


def drawing(monkeypatch: pytest.MonkeyPatch, samples: Tensor) -> list[dict]:
    """Models draw ``samples``; what each set was asked for (but an image that is shown emerging)."""
    requested: list[dict] = []
    own = DiffusionModel.sample

    def sample(self: DiffusionModel, n: int = 16, **options) -> Tensor:
        if options.get("callback"):
            return own(self, n, **options)
        requested.append({"n": n, **options})
        progress = options.get("progress")
        if progress is not None:
            progress(n, n)
        return samples[:n]

    monkeypatch.setattr(DiffusionModel, "sample", sample)
    return requested


def random_features() -> features.FeatureNetwork:
    network = features.untrained(1, 8, 10, torch.Generator().manual_seed(0))
    facts = features.FeatureFacts("classes", 10, 1, 8, 0.0, 0)
    return features.FeatureNetwork(network, torch.zeros(features.DIMENSION).double(), torch.ones(()).double(), facts)


NAMES = ("cat", "dog", "fox")


def class_model(folder: Path, *settings: str, recipe: str = "classifier-free") -> DiffusionModel:
    """An untrained model of three classes whose answers depend on its label."""
    config = override(recipes.build(recipe, DataConfig(source="digits")), [*TINY, "sampling.steps=4", *settings])
    images = ImageSpec(1, 8, 8, 17, NAMES)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        denoiser = build_denoiser(config, images)
    assert isinstance(denoiser, NetworkDenoiser)
    return DiffusionModel(RunDescription(config, images, "none", 0.5), scrambled(denoiser), 7, folder)


def edited(config: Path) -> str:
    """The text of a config.json for changes by hand: without its hash, as its reader is told to leave it."""
    return "".join(line for line in config.read_text().splitlines(keepends=True) if '"sha256"' not in line)


def differ(a: torch.Tensor, b: torch.Tensor) -> bool:
    return float((a - b).abs().max()) > 1e-2


CLASSIFIER = [
    *("network.widths=32", "network.blocks=1", "network.attention=", "network.head_width=32", "network.embedding=16"),
]


def new_classifier(folder: Path, names: tuple[str, ...] = NAMES) -> ClassifierModel:
    """An untrained classifier of three classes whose answers depend on everything."""
    config = override(recipes.build("noisy-classifier", DataConfig(source="digits")), CLASSIFIER)
    description = RunDescription(config, ImageSpec(1, 8, 8, 17, names), "none", 0.5)
    module = config.build(description.items).model
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    made = config.wrap(description, module, 5, folder)
    assert isinstance(made, ClassifierModel)
    return made


RGB = ImageSpec(3, 8, 8, 256, ("a", "b", "c"))


def config_with(recipe: str, *settings: str) -> DiffusionConfig:
    return override(recipes.build(recipe, DataConfig(source="digits")), [*TINY, *settings])


def conditioned_model(recipe: str, *settings: str, spec: ImageSpec = RGB) -> DiffusionModel:
    config = config_with(recipe, *settings)
    denoiser = build_denoiser(config, spec)
    return DiffusionModel(RunDescription(config, spec, "none", 0.5), scrambled(denoiser), 1, Path("none"))


SHAPE = (3, 8, 8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Echo(nn.Module):
    """Says that x_0 is what it was told plus a tenth, and at the unknown places a quarter: whatever x_t is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition) -> Tensor:
        there = condition.image[:, -1:]
        shown = condition.image[:, :-1].expand(-1, x.shape[1], -1, -1)
        answer = torch.where(there > 0.5, shown + 0.1, 0.25)
        return answer if condition.vector is None else answer + condition.vector[:, :1, None, None]


def echo(recipe: str, *settings: str) -> DiffusionModel:
    config = override(
        recipes.build(recipe, DataConfig(source="digits")), ["parameterization=clean", "sampling.steps=4", *settings]
    )
    conditioner = build_denoiser(config, ImageSpec(*SHAPE, 256, ())).conditioner
    denoiser = NetworkDenoiser(Echo(), config.schedule.build(), PredictClean(), config.times.grid, False, conditioner)
    return DiffusionModel(RunDescription(config, ImageSpec(*SHAPE, 256, ()), "none", 0.5), denoiser, 1, Path("none"))


def saved(folder: Path, recipe: str, *settings: str) -> Path:
    spec = ImageSpec(*SHAPE, 256, ())
    config = override(recipes.build(recipe, DataConfig(source="digits")), [*TINY, *settings])
    torch.manual_seed(0)
    denoiser = scrambled(build_denoiser(config, spec))
    DiffusionModel(RunDescription(config, spec, "none", 0.5), denoiser, 1, folder).save(folder)
    return folder


MEAN, STD = 0.1, 0.25


class CleanGivenTime:
    """The network returns x̂_0 itself, and its input is t."""

    def coefficients(self, t: NoiseLevel) -> Coefficients:
        return Coefficients(1.0, 0.0 * t.alpha, 0.0 * t.alpha + 1.0, t.t)


class Equicorrelated(nn.Module):
    """E[x_0 | x_t] of pixels N(MEAN, STD²), any two of which have the same correlation."""

    def __init__(self, schedule: Schedule, correlation: float) -> None:
        super().__init__()
        self.schedule, self.correlation = schedule, correlation
        self.anchor = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        x_t, now = x.double(), noise_level(self.schedule, t)
        alpha, sigma = (torch.as_tensor(expand(v, x_t)) for v in (now.alpha, now.sigma))
        common = (x_t - alpha * MEAN).flatten(1).mean(1).view(-1, 1, 1, 1)
        apart = STD**2 * (1 - self.correlation)
        together = apart + STD**2 * self.correlation * x_t[0].numel()

        def gain(variance: float) -> Tensor:
            return alpha * variance / (alpha**2 * variance + sigma**2)

        return (MEAN + gain(together) * common + gain(apart) * (x_t - alpha * MEAN - common)).to(x)


def planted(correlation: float, *settings: str) -> DiffusionModel:
    config = override(recipes.build("ddpm", DataConfig(source="digits")), ["sampling.steps=30", *settings])
    schedule = config.schedule.build()
    network = Equicorrelated(schedule, correlation)
    denoiser = NetworkDenoiser(network, schedule, CleanGivenTime(), config.times.grid)
    return DiffusionModel(RunDescription(config, ImageSpec(1, 8, 8, 17, ()), "none", STD), denoiser, 1, Path("none"))


def untrained(folder: Path, items: ImageSpec | VectorSpec, recipe: str = "ddpm", source: str = "digits") -> Path:
    """A run folder of a model that has learnt nothing."""
    settings = [*TINY, "sampling.steps=3"] if isinstance(items, ImageSpec) else []
    config = override(recipes.build(recipe, DataConfig(source=source)), settings)
    torch.manual_seed(0)
    denoiser = build_denoiser(config, items)
    for parameter in denoiser.parameters():  # the last layer is zero at first, and no gradient would pass
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    DiffusionModel(RunDescription(config, items, "none", 0.5), denoiser, 1, folder).save(folder)
    return folder


HOLE = torch.zeros(8, 8, dtype=torch.bool)
HOLE[2:6, 2:6] = True
