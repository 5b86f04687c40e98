"""`sumi nll` on models that are exact: its figures are the truth, in the stated unit, and no bound lies below it.

The network is replaced by E[x_0 | x_t] of the data it is shown: points of a Gaussian, pixels whose levels have known
probabilities, independent bits. What the figures should be is then known for every single held-out item.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from math import log, log2
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from sumi import recipes
from sumi.boundary.settings import override
from sumi.cli.main import main
from sumi.data.config import DataConfig
from sumi.data.image_set import ImageDataset
from sumi.data.images import ImageSpec
from sumi.data.load import load
from sumi.data.vectors import VectorDataset, VectorSpec
from sumi.denoising.binomial import BinomialDenoiser
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.parameterization import Coefficients
from sumi.errors import InputError
from sumi.likelihood.dequantize import Dequantized
from sumi.likelihood.figures import Mean, Unit
from sumi.likelihood.probability_flow import LogDensity
from sumi.likelihood.variational import VARIANCES
from sumi.models.diffusion.likelihood import likelihood
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.ode_likelihood import OdeLikelihood
from sumi.models.model import RunDescription
from sumi.process.gaussian import expand, posterior, transition
from sumi.process.schedule import NoiseLevel, Schedule, noise_level

Rule = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""E[x_0 | x_t] and Var(x_0 | x_t) of each element, from x_t, alpha and sigma."""


def gaussian(mean: Tensor | float, std: float) -> Rule:
    def rule(x_t: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        power = alpha**2 * std**2 + sigma**2
        return mean + alpha * std**2 / power * (x_t - alpha * mean), std**2 * sigma**2 / power + 0 * x_t

    return rule


def discrete(values: Tensor, probabilities: Tensor) -> Rule:
    def rule(x_t: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        offset = x_t[..., None] - alpha[..., None] * values
        each = (probabilities.log() - offset.square() / (2 * sigma[..., None] ** 2)).softmax(-1)
        clean = (each * values).sum(-1)
        return clean, (each * (values - clean[..., None]).square()).sum(-1)

    return rule


class DataPrediction:
    """The network returns x̂_0 itself, and c_noise is t."""

    def coefficients(self, t: NoiseLevel) -> Coefficients:
        return Coefficients(1.0, 0.0 * t.alpha, 0.0 * t.alpha + 1.0, t.t)


class Exact(nn.Module):
    """x̂_0, and with ``steps`` the variance of the chain's steps, as Nichol & Dhariwal's networks say it."""

    def __init__(self, schedule: Schedule, rule: Rule, steps: int | None) -> None:
        super().__init__()
        self.schedule, self.rule, self.steps = schedule, rule, steps
        self.anchor = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        x_t, now = x.double(), noise_level(self.schedule, t)
        clean, variance = self.rule(x_t, *(torch.as_tensor(expand(v, x_t)) for v in (now.alpha, now.sigma)))
        if self.steps is None:
            return clean.to(x)
        return torch.cat([clean, 2 * self.mixed(variance, t.double()) - 1], 1).to(x)

    def mixed(self, variance: Tensor, t: Tensor) -> Tensor:
        """v of eq. 15 at times i/T, i > 1 (at the first: of the second step's β̃ and sigma²)."""
        first = (t * self.steps).round() == 1
        later, earlier = (noise_level(self.schedule, t + (first.double() - k) / self.steps) for k in (0, 1))
        small = torch.as_tensor(posterior(earlier, later).variance)
        large = torch.as_tensor(transition(earlier, later).variance)
        large = torch.where(first, torch.as_tensor(noise_level(self.schedule, t).sigma) ** 2, large)
        of_clean = torch.as_tensor(posterior(earlier, later).clean) ** 2
        step = expand(small, variance) + expand(of_clean, variance) * variance
        # to the data it is Var(x_0 | x_1) itself, which for pixels that are certain is nothing: v would be infinite
        step = torch.where(expand(first.double(), variance) == 1, variance.clamp(min=1e-6), step)
        return (step / expand(small, variance)).log() / expand((large / small).log(), variance)


def exact_model(
    folder: Path, recipe: str, data: DataConfig, items: ImageSpec | VectorSpec, rule: Rule, *settings: str, std: float
) -> DiffusionModel:
    config = override(recipes.build(recipe, data), settings)
    schedule = config.schedule.build()
    learned = config.variance.name == "learned"
    network = Exact(schedule, rule, config.times.grid if learned else None)
    denoiser = NetworkDenoiser(network, schedule, DataPrediction(), config.times.grid, learned)
    return DiffusionModel(RunDescription(config, items, "none", std), denoiser, 7, folder)


def chain(steps: int, end: float) -> list[str]:
    fields = {"schedule.steps": steps, "schedule.beta_end": end, "times.steps": steps, "sampling.steps": 10}
    return [f"{name}={value}" for name, value in fields.items()]


CHAINS = {"linear": chain(1000, 0.02), "short": chain(100, 0.2)}
LEARNED = ["variance=learned"]


@pytest.fixture(autouse=True)
def _fast(request, monkeypatch) -> None:
    """All items together, and no plot where it is not asked for; marked ``whole`` are those that need them."""
    if "whole" not in request.fixturenames:
        monkeypatch.setattr("sumi.models.diffusion.ode_likelihood.BATCH", 5000)
        monkeypatch.setattr("sumi.models.diffusion.likelihood.draw_bound", lambda *_, **__: None)


@pytest.fixture
def whole() -> None:
    """Nothing is left out."""


# points, in a unit of their own

CENTRE, DEVIATION, COUNT = (30.0, -5.0), 4.0, 1200
CLOUD = np.array(CENTRE) + DEVIATION * np.random.default_rng(1).standard_normal((COUNT, 2))
ENTROPY = float(stats.norm(0, DEVIATION).entropy())  # nats for each number


@pytest.fixture
def cloud(tmp_path: Path) -> DataConfig:
    np.save(tmp_path / "cloud.npy", CLOUD)
    return DataConfig(source=str(tmp_path / "cloud.npy"), held_out=0.5)


def cloud_model(folder: Path, data: DataConfig, recipe: str, *settings: str) -> tuple[DiffusionModel, float]:
    """An exact model of the cloud in its own units, and the true mean of -log p of its held-out points."""
    dataset = load(data)
    centre = torch.tensor(dataset.centre, dtype=torch.float64)
    rule = gaussian((torch.tensor(CENTRE, dtype=torch.float64) - centre) / dataset.scale, DEVIATION / dataset.scale)
    model = exact_model(folder, recipe, data, dataset.spec, rule, *settings, std=dataset.std())
    held_out = model.items.to_units(dataset.split(0.5)[1].batch(np.arange(len(dataset.split(0.5)[1]))))
    return model, float(-stats.norm(CENTRE, DEVIATION).logpdf(held_out).mean())


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [
        pytest.param("ddpm", [*CHAINS["linear"], *LEARNED], marks=pytest.mark.slow),
        ("ddpm", [*CHAINS["short"], *LEARNED]),
        pytest.param("score-sde", [], marks=pytest.mark.slow),
        ("score-sde", ["schedule=sub_vp"]),
        pytest.param("score-sde", ["schedule=ve", "schedule.sigma_max=20"], marks=pytest.mark.slow),
        ("flow", []),
        ("edm", []),
        ("vdm", ["schedule.width=8"]),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, list) else v,
)
def test_points_have_their_density_in_their_own_units(recipe: str, settings, tmp_path: Path, cloud) -> None:
    """Nats for each number, log(scale) included; over the same points the ODE is exact to 0.003 (noise of σ̂ ≤ 0.01
    is added, and a chain's walk has an error), and the bound to what ε and t scatter: 4 of its standard errors."""
    model, truth = cloud_model(tmp_path, cloud, recipe, *settings)
    found, _ = likelihood(model, n=COUNT, evaluations=50)
    assert found.unit == "nats/dim"
    assert found.items == COUNT - len(load(cloud).split(0.5)[0])
    assert found.by_ode is not None
    assert found.by_ode.total.value == pytest.approx(truth, abs=0.03 if "schedule.steps=100" in settings else 0.003)
    for total in (found.bound.total, found.by_ode.total):
        assert 0 < total.error < 0.05
        assert abs(total.value - ENTROPY) < 4 * total.error
    assert abs(found.bound.total.value - truth) < 4 * found.bound.total.error


def test_a_scale_moves_the_figure_by_its_logarithm(tmp_path: Path, cloud) -> None:
    """The same points in a unit a hundred times as large: log 100 nats for each number."""
    model, _ = cloud_model(tmp_path, cloud, "score-sde")
    np.save(tmp_path / "larger.npy", 100 * CLOUD)
    larger = exact_model(
        tmp_path / "larger",
        "score-sde",
        DataConfig(source=str(tmp_path / "larger.npy"), held_out=0.5),
        load(DataConfig(source=str(tmp_path / "larger.npy"))).spec,
        model.network_denoiser.network.rule,
        std=0.5,
    )
    one, hundred = (likelihood(m, evaluations=5)[0] for m in (model, larger))
    for a, b in ((one.bound.total, hundred.bound.total), (one.by_ode.total, hundred.by_ode.total)):
        assert b.value - a.value == pytest.approx(log(100), abs=1e-4)
        assert b.error == pytest.approx(a.error, rel=1e-3)
    assert hundred.bound.between.value == pytest.approx(one.bound.between.value, abs=1e-4)
    assert hundred.bound.decoder.value - one.bound.decoder.value == pytest.approx(log(100), abs=1e-4)


# pixels, whose levels have known probabilities

LEVELS, SHAPE = 5, (1, 2, 2)
VALUES = torch.linspace(-1, 1, LEVELS, dtype=torch.float64)
CHANCES = torch.tensor([0.1, 0.05, 0.5, 0.25, 0.1], dtype=torch.float64)
PIXELS = discrete(VALUES, CHANCES)
ENTROPY_BITS = float(-(CHANCES * CHANCES.log2()).sum())


def images(levels: int, chances: Tensor, count: int = 400, shape: tuple[int, int, int] = SHAPE) -> ImageDataset:
    sampled = np.random.default_rng(2).choice(levels, (count, *shape), p=chances.numpy())
    keys = tuple(f"drawn/{k}" for k in range(count))
    return ImageDataset(sampled.astype(np.uint8), None, (), None, keys, levels)


def pixel_model(
    folder: Path, monkeypatch, recipe: str, *settings: str, rule: Rule = PIXELS, dataset: ImageDataset | None = None
) -> DiffusionModel:
    """An exact model of five levels, or of other images; its data are these, whatever their source is called."""
    shown = dataset or images(LEVELS, CHANCES)
    monkeypatch.setattr("sumi.models.model.open_data", lambda *_: shown)
    data = DataConfig(source="digits", held_out=0.5)
    return exact_model(folder, recipe, data, shown.spec, rule, *settings, std=shown.std())


def true_bits(chances: Tensor, dataset: ImageDataset) -> float:
    """Of its held-out images, for each pixel."""
    return float(-chances.log2()[torch.from_numpy(dataset.split(0.5)[1].images).long()].mean())


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [
        pytest.param("score-sde", [], marks=pytest.mark.slow),
        ("score-sde", ["schedule=ve"]),
        ("flow", []),
        pytest.param("edm", [], marks=pytest.mark.slow),
        pytest.param("vdm", ["schedule.width=8"], marks=pytest.mark.slow),
        ("ddpm", [*CHAINS["linear"], *LEARNED]),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, list) else v,
)
def test_the_bits_of_pixels_are_those_of_their_levels(recipe: str, settings, tmp_path: Path, monkeypatch) -> None:
    """In continuous time bound and ODE *are* -log2 P; a chain's steps are not quite Gaussian, and it lies above."""
    model = pixel_model(tmp_path, monkeypatch, recipe, *settings)
    truth = true_bits(CHANCES, images(LEVELS, CHANCES))
    found, _ = likelihood(model, evaluations=100)
    assert found.unit == "bits/dim"
    assert "4 dimensions, bins of width 2/4" in found.about
    bound, ode = found.bound.total, found.by_ode.total
    for total in (bound, ode):
        assert abs(total.value - ENTROPY_BITS) < 4 * total.error + (0.05 if recipe == "ddpm" else 0)
    assert truth - 4 * bound.error / 3 < bound.value < truth + 4 * bound.error / 3 + (0.05 if recipe == "ddpm" else 0)
    assert truth - 0.01 < ode.value < truth + (0.05 if recipe == "ddpm" else 0.02)
    parts = [v.value for v in (found.bound.prior, found.bound.between, found.bound.decoder)]
    assert sum(parts) == pytest.approx(bound.value, rel=1e-12)
    assert parts[1] > 0.9 * ENTROPY_BITS


@pytest.mark.parametrize(
    "settings",
    [pytest.param(c, marks=[pytest.mark.slow] * (name == "short")) for name, c in CHAINS.items()],
    ids=CHAINS,
)
def test_the_better_variance_has_the_lower_bound(settings, tmp_path: Path, monkeypatch) -> None:
    """Of the exact mean: learned (exact, of each x_t) ≤ measured (the best that is the same for all) ≤ both fixed
    ones; all with the same noise, and none below the truth."""
    model = pixel_model(tmp_path, monkeypatch, "ddpm", *settings, *LEARNED)
    truth = true_bits(CHANCES, images(LEVELS, CHANCES))
    found = {
        name: likelihood(model, evaluations=50, n=120, variance=name, ode=False)[0]
        for name in ("small", "large", "learned", "measured")
    }
    value = {name: one.bound.total.value for name, one in found.items()}
    assert set(VARIANCES) | {"measured"} == set(value)
    slack = 0.005  # the measured one is measured on 200 images
    assert truth - 2 * found["learned"].bound.total.error < value["learned"] < value["measured"] + slack
    assert value["measured"] < value["small"] + slack
    assert value["measured"] < value["large"] + slack
    assert min(value["small"], value["large"]) > value["learned"] + 0.01
    assert likelihood(model, evaluations=50, n=120, ode=False)[0].bound == found["learned"].bound  # the default
    for name, one in found.items():
        assert one.bound.how == f"chain of {settings[0].split('=')[1]} steps, variance {name}"


def test_a_measured_variance_is_measured_where_the_bound_is(tmp_path: Path, monkeypatch) -> None:
    """Of 1000 steps 100 are measured, and those next to the data are among them: there most of the bound is."""
    model = pixel_model(tmp_path, monkeypatch, "ddpm", *CHAINS["linear"])
    requested: list[Tensor] = []

    def measure(denoiser, known: Tensor, times: Tensor, **_):
        requested.extend((known, times))
        return denoiser

    monkeypatch.setattr("sumi.models.diffusion.likelihood.measure_variance", measure)
    monkeypatch.setattr("sumi.models.diffusion.likelihood.MEASURED_ON", 10)
    with pytest.raises(InputError, match="this denoiser has learned none"):
        likelihood(model, variance="measured", ode=False)
    known, times = requested
    assert len(times) == len(times.unique()) == 100
    assert (times[0], times[-1]) == (1.0, 1 / 1000)
    assert (times * 1000).round()[-10:].tolist() == list(range(10, 0, -1))
    every = images(LEVELS, CHANCES).split(0.5)[0]
    assert torch.equal(known[[0, -1]], every.batch(np.array([0, len(every) - 1])))  # from all of them, evenly


# a density that is smooth over bins

FINE = 33
FINE_VALUES = torch.linspace(-1, 1, FINE, dtype=torch.float64)
SMOOTH_STD = 0.3


def fine_chances() -> Tensor:
    """Of N(0, SMOOTH_STD²) in bins of which those at the ends are open."""
    edges = torch.cat([torch.tensor([-torch.inf]), (FINE_VALUES[1:] + FINE_VALUES[:-1]) / 2, torch.tensor([torch.inf])])
    return torch.special.ndtr(edges.double() / SMOOTH_STD).diff()


def smooth_model(folder: Path, monkeypatch, *settings: str, shape=SHAPE, recipe: str = "score-sde") -> DiffusionModel:
    dataset = images(FINE, fine_chances(), 200, shape)
    return pixel_model(folder, monkeypatch, recipe, *settings, rule=gaussian(0.0, SMOOTH_STD), dataset=dataset)


@pytest.mark.parametrize("name", ["uniform", "variational", "gaussian"])
def test_each_dequantisation_is_a_bound_on_the_bits_of_levels(name: str, tmp_path: Path, monkeypatch) -> None:
    """Of a density that is smooth over bins. Spread evenly over them, values cost next to nothing (0.002 bits); with
    Gaussian noise of an eighth of a bin, log2(8/4.13) = 0.95 bits (`sumi.likelihood.dequantize`)."""
    monkeypatch.setattr("sumi.models.diffusion.ode_likelihood.DEQUANTIZER_STEPS", 30)
    model = smooth_model(tmp_path, monkeypatch)
    truth = true_bits(fine_chances(), images(FINE, fine_chances(), 200))
    found, _ = likelihood(model, evaluations=2, dequantization=name)
    assert f"{name} dequantisation" in found.by_ode.how
    extra = found.by_ode.total.value - truth
    expected = {"uniform": (-0.005, 0.02), "variational": (-0.005, 0.05), "gaussian": (0.9, 1.0)}[name]
    assert expected[0] < extra < expected[1]


def test_draws_together_come_nearer_and_cost_evaluations(tmp_path: Path, monkeypatch) -> None:
    """Importance weighted: the gaussian dequantiser's excess falls, and four solves are four times the evaluations."""
    model = smooth_model(tmp_path, monkeypatch)
    truth = true_bits(fine_chances(), images(FINE, fine_chances(), 200))
    one, four = (likelihood(model, evaluations=2, dequantization="gaussian", draws=k)[0].by_ode for k in (1, 4))
    assert truth < four.total.value < one.total.value - 0.05
    assert four.evaluations == pytest.approx(4 * one.evaluations, rel=0.05)
    assert one.evaluations > 20
    assert four.how == f"{one.how}, 4 draws"


def test_values_that_were_trained_on_spread_are_spread_evenly_by_default(tmp_path: Path, monkeypatch) -> None:
    model = smooth_model(tmp_path, monkeypatch, "data.dequantize=true")
    assert "uniform dequantisation" in likelihood(model, evaluations=2, n=2)[0].by_ode.how
    model = smooth_model(tmp_path, monkeypatch)
    assert "gaussian dequantisation" in likelihood(model, evaluations=2, n=2)[0].by_ode.how


@pytest.mark.parametrize("recipe", ["score-sde", "ddpm"])
def test_probes_take_the_place_of_the_exact_trace_beyond_sixteen_dimensions(
    recipe: str, tmp_path: Path, monkeypatch
) -> None:
    """25 pixels whose Jacobian is diagonal: there ±1 probes are exact, and the bits for each pixel are as before."""
    settings = ["data.dequantize=true", *(CHAINS["linear"] if recipe == "ddpm" else [])]
    model = smooth_model(tmp_path, monkeypatch, *settings, shape=(1, 5, 5), recipe=recipe)
    truth = true_bits(fine_chances(), images(FINE, fine_chances(), 200, (1, 5, 5)))
    one, two = (likelihood(model, evaluations=2, n=60, probes=k)[0].by_ode.total for k in (1, 2))
    assert one.value == pytest.approx(two.value, abs=1e-4)
    assert abs(one.value - truth) < 4 * one.error


@dataclass(frozen=True)
class NoisyFlow:
    """Log-densities of 3 nats with the error of each probe from N(0, 4)."""

    how = "noisily"
    source: torch.Generator

    def log_density(self, denoiser, x, trace, /, *, start=None, prior_std=None) -> LogDensity:
        noise = 2 * torch.randn(len(x), len(trace.probes), dtype=torch.float64, generator=self.source)
        return LogDensity(3 + noise, torch.full((len(x),), 9), x)


@pytest.mark.parametrize(("draws", "probes"), [(1, 2), (1, 6), (2, 2)])
def test_the_interval_of_the_probes_holds_the_mean_of_all_probes(draws: int, probes: int) -> None:
    """Of 4 items, 1000 times: 95 % within three standard errors, 2 %; 1.96 instead of Student's t holds 88 %."""
    model = SimpleNamespace(gaussian_denoiser=lambda: None, prior_std=1.0)
    x, unit = torch.zeros(4, 1, 5, 5), Unit("nats", "", 2.0)
    dequantizer = None if draws == 1 else SimpleNamespace(draw=lambda x, *_: Dequantized(x, torch.zeros(4).double()))
    walk = OdeLikelihood(model, NoisyFlow(torch.Generator().manual_seed(2)), None, dequantizer, "", 0, draws, probes)
    found = [walk.figures(x, unit) for _ in range(1000)]
    assert {one.probes for one in found} == {probes}
    held = np.mean([abs(one.total.value + 1.5) <= one.probe_error for one in found])
    assert held == pytest.approx(0.95, abs=0.02)
    assert replace(walk, probes=1).figures(x, unit).probe_error is None


# bits


def bit_model(folder: Path, monkeypatch, chance: float, count: int = 400, length: int = 6) -> DiffusionModel:
    """Independent bits that are +1 with this probability, and their exact log-odds."""
    values = np.where(np.random.default_rng(3).random((count, length)) < chance, 1.0, -1.0).astype(np.float32)
    shown = VectorDataset(values, tuple(f"bits/{k}" for k in range(count)), 2)
    monkeypatch.setattr("sumi.models.model.open_data", lambda *_: shown)
    config = recipes.build("nonequilibrium", DataConfig(source="heartbeat", held_out=0.5))
    schedule = config.schedule.build()

    class LogOdds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.anchor = nn.Parameter(torch.zeros(()))

        def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
            a = torch.as_tensor(noise_level(schedule, (c_noise.double() + 1) / 1000).alpha) ** 2
            return (log(chance / (1 - chance)) + x * 2 * torch.atanh(a)[:, None]).to(x)

    denoiser = BinomialDenoiser(LogOdds(), schedule, config.times.grid)
    return DiffusionModel(RunDescription(config, shown.spec, "none", 1.0), denoiser, 7, folder)


def test_the_bits_of_a_sequence_are_its_own(tmp_path: Path, monkeypatch) -> None:
    """Independent bits, for which the bound is the entropy: 4 standard errors, of held-out sequences and of noise."""
    model = bit_model(tmp_path, monkeypatch, 0.8)
    found, _ = likelihood(model, evaluations=80)
    entropy = -6 * (0.8 * log2(0.8) + 0.2 * log2(0.2))
    assert found.unit == "bits/sequence"
    assert found.by_ode is None
    assert abs(found.bound.total.value - entropy) < 4 * found.bound.total.error
    assert found.bound.total.error < 0.25
    assert "40 steps" in found.bound.how
    more = likelihood(model, evaluations=400)[0].bound.between
    assert more.error < found.bound.between.error  # more draws of every step


# what is written, and what stays the same


@pytest.mark.parametrize("kind", ["chain", "continuous", "bits"])
def test_repeated_or_in_other_parts_it_is_the_same(kind: str, tmp_path: Path, monkeypatch) -> None:
    """Each item has its own noise, times, probes and places: batches of 7 instead of 64 change rounding alone."""
    if kind == "bits":
        model = bit_model(tmp_path, monkeypatch, 0.7, 60)
    else:
        settings = CHAINS["short"] if kind == "chain" else []
        model = pixel_model(tmp_path, monkeypatch, "ddpm" if kind == "chain" else "score-sde", *settings)
    first, _ = likelihood(model, evaluations=10, n=40, seed=3)
    again, _ = likelihood(model, evaluations=10, n=40, seed=3)
    other, _ = likelihood(model, evaluations=10, n=40, seed=4)
    assert again == first
    assert other.bound.total.value != first.bound.total.value
    monkeypatch.setattr("sumi.models.diffusion.likelihood.BATCH", 7)
    monkeypatch.setattr("sumi.models.diffusion.ode_likelihood.BATCH", 7)
    parts, _ = likelihood(model, evaluations=10, n=40, seed=3)
    assert parts.bound.total.value == pytest.approx(first.bound.total.value, rel=1e-5)
    if first.by_ode is not None:
        assert parts.by_ode.total.value == pytest.approx(first.by_ode.total.value, rel=1e-5)
        assert other.by_ode.total.value != first.by_ode.total.value


def test_figures_and_plot_are_written(tmp_path: Path, monkeypatch, whole) -> None:
    model = pixel_model(tmp_path / "run", monkeypatch, "score-sde")
    condition: list[tuple[str, int, int]] = []
    found, sampled = likelihood(model, evaluations=10, n=20, progress=lambda *what: condition.append(what))
    written = json.loads((tmp_path / "run/nll/nll.json").read_text())
    assert written["bound"]["total"] == asdict(found.bound.total)
    assert found.bound.total.low < found.bound.total.value < found.bound.total.high
    assert (written["by_ode"]["probes"], written["by_ode"]["probe_error"]) == (0, None)  # the trace of a pixel is exact
    assert written["by_ode"]["total"]["value"] == found.by_ode.total.value
    assert (written["unit"], written["items"], written["seed"], written["checkpoint"]) == ("bits/dim", 20, 0, 7)
    assert sampled.path == tmp_path / "run/nll/bound.png"
    assert sampled.path.read_bytes().startswith(b"\x89PNG")
    assert "half of the bound between decoder and prior" in sampled.says
    assert {what for what, *_ in condition} == {"the bound", "the ODE"}
    assert all(done <= total for _, done, total in condition)
    alone, _ = likelihood(model, evaluations=10, n=20, ode=False)
    assert alone.by_ode is None
    assert alone.bound == found.bound
    assert json.loads((tmp_path / "run/nll/nll.json").read_text())["by_ode"] is None


@pytest.mark.parametrize("evaluations", [10, 100])
@pytest.mark.parametrize("kind", ["chain", "continuous", "bits"])
def test_the_plot_says_what_the_rate_is_of_and_adds_up(
    kind: str, evaluations: int, tmp_path: Path, monkeypatch, whole
) -> None:
    """Of a step where there are steps, whether strata hold several or a part of one; and the curve ends at the bound
    without its prior."""
    sampled = []
    monkeypatch.setattr("sumi.likelihood.figures.save", lambda figure, path, says: sampled.append(figure))
    if kind == "bits":
        model = bit_model(tmp_path, monkeypatch, 0.7, 60)
    else:
        recipe, settings = ("ddpm", CHAINS["linear"]) if kind == "chain" else ("score-sde", [])
        model = pixel_model(tmp_path, monkeypatch, recipe, *settings)
    found, _ = likelihood(model, evaluations=evaluations, n=20, ode=kind == "bits")  # which have none to leave out
    left, right = sampled[0].axes
    of = "per unit of t" if kind == "continuous" else "per step"
    assert left.get_title() == f"{found.unit} {of}"
    assert left.get_xlabel() == right.get_xlabel() == "t   (0 data, 1 noise)"
    total = found.bound.total.value - found.bound.prior.value
    assert right.lines[0].get_ydata()[-1].item() == pytest.approx(total, rel=1e-9)


def test_the_units() -> None:
    """Nats of a whole item to the figure that is told."""
    nats = torch.tensor([log(2) * 12], dtype=torch.float64)
    assert ImageSpec(3, 2, 2, 256, ()).unit.of_nats(nats).item() == pytest.approx(1)
    assert VectorSpec(12, 2).unit.of_nats(nats).item() == pytest.approx(12)
    scaled = VectorSpec(4, None, (0.0,) * 4, 2.5).unit
    assert scaled.of_nats(nats).item() == pytest.approx(3 * log(2) + log(2.5))


@pytest.mark.parametrize(
    ("kind", "options", "answer"),
    [
        ("points", {"dequantization": "uniform"}, "dequantization: the data are real numbers already"),
        ("points", {"draws": 2}, "draws: the data are real numbers"),
        ("points", {"draws": 1}, "draws: the data are real numbers"),
        ("points", {"probes": 1}, "probes: the trace is exact in 2 dimensions; leave it out"),
        ("points", {"variance": "small"}, "variance: small is for the steps of a chain"),
        ("pixels", {"variance": "learned"}, "variance: this model has not learned one"),
        ("pixels", {"ode": False, "dequantization": "uniform"}, "dequantization, draws, probes: are for the ODE"),
        ("pixels", {"ode": False, "draws": 3}, "dequantization, draws, probes: are for the ODE"),
        ("pixels", {"ode": False, "probes": 1}, "dequantization, draws, probes: are for the ODE"),
        ("pixels", {"n": 1}, "n: 1 items are too few for a standard error"),
        ("pixels", {"seed": -1}, "seed: -1 "),
        ("pixels", {"evaluations": 0}, "evaluations: 0 is out of range"),
        ("pixels", {"draws": 0}, "draws: 0 is out of range"),
        ("pixels", {"probes": -2}, "probes: -2 is out of range"),
        ("pixels", {"dequantization": "unifrom"}, "dequantization: there is no 'unifrom'; did you mean uniform"),
        ("pixels", {"variance": "smal"}, "variance: there is no 'smal'; did you mean small"),
        ("bits", {"ode": False}, "ode: bits have none to leave out; leave this out"),
        ("bits", {"variance": "small"}, "variance, dequantization, draws, probes: do not apply to bits"),
        ("bits", {"dequantization": "gaussian"}, "variance, dequantization"),
        ("bits", {"draws": 2}, "variance, dequantization"),
        ("bits", {"evaluations": 0}, "evaluations: 0 is out of range"),
        ("one step", {}, "is a chain of one step"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_line(
    kind: str, options, answer: str, tmp_path: Path, monkeypatch, cloud
) -> None:
    if kind == "points":
        model, _ = cloud_model(tmp_path, cloud, "score-sde")
    elif kind == "bits":
        model = bit_model(tmp_path, monkeypatch, 0.7, 20)
    else:
        settings = CHAINS["short"] if kind == "pixels" else [*chain(1, 0.9)[:3], "sampling.steps=1"]
        model = pixel_model(tmp_path, monkeypatch, "ddpm", *settings)
    with pytest.raises(InputError) as error:
        likelihood(model, **options)
    assert answer in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "nll").exists()


def test_a_single_held_out_item_is_too_few(tmp_path: Path, monkeypatch) -> None:
    model = pixel_model(tmp_path, monkeypatch, "score-sde", dataset=images(LEVELS, CHANCES, 2))
    with pytest.raises(InputError, match=r"^data\.held_out: keeps a single item"):
        likelihood(model)


# the command

TINY = ["training.batch_size=8", "training.sample_every=0", "training.warmup_steps=0"]
UNET = ["network.widths=32", "network.blocks=1", "network.embedding=32"]
MLP = ["network.width=16", "network.blocks=1", "network.embedding=8"]


@pytest.mark.parametrize(
    ("recipe", "data", "settings", "unit"),
    [
        ("ddpm", "digits", [*UNET, *chain(12, 0.9)], "bits/dim"),
        ("score-sde", "ring-of-8", MLP, "nats/dim"),
        ("nonequilibrium", "heartbeat", MLP, "bits/sequence"),
    ],
)
def test_from_the_command_line(recipe: str, data: str, settings, unit: str, tmp_path: Path, capsys, whole) -> None:
    run = str(tmp_path / "run")
    sets = [f"--set={setting}" for setting in (*TINY, *settings)]
    assert main(["train", recipe, "--data", data, "--out", run, "--steps", "3", "--no-report", *sets]) == 0
    capsys.readouterr()
    assert main(["nll", run, "-n", "8", "--evaluations", "10"]) == 0
    condition = capsys.readouterr().out
    written = json.loads((tmp_path / "run/nll/nll.json").read_text())
    assert written["unit"] == unit
    assert f"-log p of 8 held-out items in {unit}" in condition
    assert f"by the bound   {written['bound']['total']['value']:.4f} ± " in condition
    for part in ("prior", "between", "decoder"):
        assert f"{part:12} {written['bound'][part]['value']:.4f} ± " in condition
    assert ("by the ODE" in condition) == (recipe != "nonequilibrium")
    assert "bound.png" in condition
    of_bits = recipe == "nonequilibrium"
    assert main(["nll", run, "-n", "8", "--no-ode", "--checkpoint", "3"]) == (2 if of_bits else 0)
    printed = capsys.readouterr()
    assert "by the ODE" not in printed.out
    assert printed.err == ("sumi: --no-ode: bits have none to leave out; leave this out\n" if of_bits else "")
    assert main(["nll", run, "-n", "1"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "sumi: -n: 1 items are too few for a standard error; give 2 or more"
    ]


def test_other_data_are_read_and_must_be_of_the_models_kind(tmp_path: Path, cloud, capsys) -> None:
    """The cloud's points in another order: the others are held out, and are as probable."""
    sets = [f"--set={setting}" for setting in (*TINY, *MLP)]
    run = str(tmp_path / "run")
    assert main(["train", "score-sde", "--data", cloud.source, "--out", run, "--steps", "2", "--no-report", *sets]) == 0
    model, truth = cloud_model(tmp_path, cloud, "score-sde")
    np.save(tmp_path / "turned.npy", CLOUD[::-1])
    other, _ = likelihood(model, data=str(tmp_path / "turned.npy"), n=COUNT, evaluations=20)
    own, _ = likelihood(model, n=COUNT, evaluations=20)
    assert abs(other.by_ode.total.value - own.by_ode.total.value) > 1e-4
    assert abs(other.by_ode.total.value - ENTROPY) < 4 * other.by_ode.total.error
    assert abs(own.by_ode.total.value - truth) < 0.003
    wide = np.array(CENTRE) + 2 * DEVIATION * np.random.default_rng(5).standard_normal((COUNT, 2))
    np.save(tmp_path / "wide.npy", wide)
    path = str(tmp_path / "wide.npy")  # of its own mean and deviation: it is told in the model's units all the same
    keys = load(DataConfig(source=path)).split(0.5)[1].keys
    rows = wide[[int(key.split("/")[1]) for key in keys]]
    wider, _ = likelihood(model, data=path, n=COUNT, evaluations=2)
    assert wider.by_ode.total.value == pytest.approx(-stats.norm(CENTRE, DEVIATION).logpdf(rows).mean(), abs=0.01)
    capsys.readouterr()
    assert main(["nll", run, "--data", "digits"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("sumi: data.source: digits has images (1, 8, 8) of 17 levels, the model makes vectors (2,)")
    assert error.count("\n") == 1
    assert main(["nll", run, "--data", "nowhere"]) == 2
    assert capsys.readouterr().err.startswith("sumi: data.source: nowhere does not exist")


def test_an_interval_that_a_few_items_decide_says_so() -> None:
    """Of 256 likelihoods: lognormal of deviation 2, whose intervals hold 89 %, and values without a tail, below zero
    too."""
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(20, 256, generator=generator, dtype=torch.float64)
    heavy = [Mean.of(values).interval for values in (2 * normal).exp() - 100]
    assert sum(interval.endswith("], or wider, as a few items decide it") for interval in heavy) >= 18
    for values in (*(normal - 3), *-(normal.exp()), *(normal / 4).exp()):
        assert Mean.of(values).interval.endswith("]")
    assert Mean.of(torch.ones(1)).interval == "[nan, nan]"
