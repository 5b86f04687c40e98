"""The numbers that the explaining figures state are those of the theory, and every figure is a real picture."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sumi import recipes
from sumi.boundary.settings import override
from sumi.data.config import DataConfig
from sumi.data.dataset import every_label, everything
from sumi.data.image_set import ImageDataset
from sumi.data.images import ImageSpec
from sumi.data.load import load as load_data
from sumi.data.pixels import PixelRange
from sumi.denoising.denoiser import FunctionDenoiser
from sumi.denoising.exact import gaussian_denoiser
from sumi.errors import InputError
from sumi.evaluation.loss_by_noise import ITEMS, binned_times, bootstrapped, loss_by_log_snr, loss_by_noise
from sumi.explain.correction import measure_remainder
from sumi.explain.explain import SCHEDULES, explain
from sumi.explain.noising import walk
from sumi.explain.reverse import held_out_loss
from sumi.models.model import RunDescription
from sumi.process.chain import CosineBeta, LinearBeta
from sumi.process.continuous import RectifiedFlow
from sumi.process.schedule import noise_level
from sumi.sampling.solvers.ddim import DDIM
from tests.explain.pictures import assert_is_a_picture
from tests.oracles import GaussianTarget
from tests.tiny_models import new_classifier, random_model

LINEAR = LinearBeta().build()


@pytest.fixture
def unlabelled(tmp_path: Path) -> str:
    """A folder of images without classes: nothing is trained to tell them apart."""
    for k, image in enumerate(load_data(DataConfig(source="digits")).images[:4]):
        Image.fromarray(image[0] * 15).save(tmp_path / f"{k}.png")
    return str(tmp_path)


# Of one form with others: "linear" is `test_what_the_figures_say_is_true`'s
ALIKE = {"constant", "continuous_cosine", "cosine", "learned_chain", "linear", "quadratic", "sigmoid", "sub_vp", "vp"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in ALIKE)) for n in SCHEDULES])
def test_a_schedule_is_explained(name: str, unlabelled: str, tmp_path: Path) -> None:
    sampled = list(explain(name, data=unlabelled, out=tmp_path / "out"))
    assert [d.path.name for d in sampled][:3] == ["schedule.png", "noising.png", "correction.png"]
    assert [d.path.name for d in sampled][3:] in ([], ["unscaled.png"])
    for d in sampled:
        assert_is_a_picture(d.path)


def test_what_the_figures_say_is_true(unlabelled: str, tmp_path: Path) -> None:
    says = {d.path.name: d.says for d in explain("linear", data=unlabelled, out=tmp_path / "out")}
    assert "0.07859 at t = 0.5" in says["schedule.png"]
    assert "4.04e-05 at t = 1" in says["schedule.png"]
    ode, ancestral = map(float, re.findall(r"\d\.\d{4}", says["correction.png"]))
    assert ode == pytest.approx(0.3113, abs=2e-3)
    assert ancestral == pytest.approx(0.0272, abs=1e-4)


def test_the_remainder_of_a_kick_has_its_closed_form_all_the_way() -> None:
    half = noise_level(LINEAR, 0.5)
    _, variance = GaussianTarget(0.0, 0.3).marginal(half)
    remainder = measure_remainder(LINEAR, DDIM(eta=1.0))
    for t, left in zip(remainder.t, remainder.left, strict=True):
        s = noise_level(LINEAR, t)
        covariance = s.alpha * half.alpha * 0.09 + half.alpha / s.alpha * s.sigma**2
        assert left == pytest.approx(covariance / variance, abs=1e-10)
    ode = measure_remainder(LINEAR, DDIM(eta=0.0))
    for t, left in zip(ode.t, ode.left, strict=True):
        s = noise_level(LINEAR, t)
        assert left == pytest.approx(((s.alpha**2 * 0.09 + s.sigma**2) / variance) ** 0.5, abs=4e-3)


def test_the_walk_spreads_as_the_marginal() -> None:
    """1,600 pixels walked through 50 steps: mean alpha x_0 and spread sigma, within 4.5 standard errors."""
    schedule = LinearBeta(steps=50, beta_end=0.2).build()
    x_0 = torch.full((1, 40, 40), 0.5)
    for now, x in walk(x_0, schedule, 50, seed=1)[10::10]:
        assert float(x.mean()) == pytest.approx(now.alpha * 0.5, abs=4.5 * now.sigma / 40)
        assert float(x.std()) == pytest.approx(now.sigma, rel=4.5 / 80**0.5 / 40**0.5)


def test_a_run_is_explained(tmp_path: Path) -> None:
    random_model(tmp_path / "run").save(tmp_path / "run")
    sampled = list(explain(str(tmp_path / "run")))
    assert [d.path.name for d in sampled][3:] == ["unscaled.png", "reverse.png", "loss_by_noise.png"]
    for d in sampled:
        assert d.path.parent == tmp_path / "run" / "explain"
        assert_is_a_picture(d.path)


def test_the_loss_is_taken_on_held_out_images_of_all_classes(tmp_path: Path, monkeypatch) -> None:
    """Of 2,000 images sorted by class some 1,000 are held out, more than are looked at: ten classes are seen."""
    digits = load_data(DataConfig(source="digits"))
    assert isinstance(digits, ImageDataset)
    model, seen = random_model(tmp_path, "data.held_out=0.5"), []
    order = np.argsort(digits.labels, kind="stable")
    ordered = replace(digits, images=digits.images[order], labels=digits.labels[order])
    _, held_out = ordered.split(0.5)
    assert len(held_out) > ITEMS

    def record(denoiser, images, times, *, seed, progress):
        seen.extend(images)
        return loss_by_noise(denoiser, images[:2], times[:1], seed=seed, progress=progress)

    monkeypatch.setattr("sumi.explain.reverse.loss_by_noise", record)
    held_out_loss(model, ordered)
    known = zip(everything(held_out), every_label(held_out), strict=True)
    classes = {x.numpy().tobytes(): int(label) for x, label in known}
    assert len(seen) == ITEMS
    assert {classes[x.numpy().tobytes()] for x in seen} == set(range(10))


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [
        ("vae", ["network.widths=16", "network.blocks=1"]),
        ("gan", ["network.widths=16", "network.blocks=1"]),
        ("pixelcnn", ["network.width=16", "network.blocks=1"]),
    ],
)
def test_a_baseline_is_explained_by_its_samples(recipe: str, settings: list[str], tmp_path: Path) -> None:
    """And by a likelihood where it has one: of the untrained PixelCNN that of a die of 17 sides, 4.09 bits."""
    config = override(recipes.build(recipe, DataConfig(source="digits")), settings)
    description = RunDescription(config, ImageSpec(1, 8, 8, 17, ("0",)), "none", 0.5)
    config.wrap(description, config.build(description.items).model, 1, tmp_path).save(tmp_path / "run")
    (sampled,) = explain(str(tmp_path / "run"), device="cpu")
    assert sampled.path == tmp_path / "run/explain/samples.png"
    assert_is_a_picture(sampled.path)
    assert_is_a_picture(sampled.path.with_name("held_out.png"))
    assert ("-log p of" in sampled.says) == (recipe != "gan")
    if recipe == "pixelcnn":
        assert float(re.findall(r"items: (\S+) ±", sampled.says)[0]) == pytest.approx(math.log2(17), abs=0.5)


def test_a_classifier_is_explained_by_its_accuracy(tmp_path: Path) -> None:
    names = load_data(DataConfig(source="digits")).label_names
    new_classifier(tmp_path, names).save(tmp_path / "run")
    (sampled,) = explain(str(tmp_path / "run"))
    assert sampled.path == tmp_path / "run/explain/accuracy.png"
    assert_is_a_picture(sampled.path)
    assert re.match(r"accuracy on \d+ held-out images: [\d.]+ % at log-SNR 8, [\d.]+ % at -8;", sampled.says)


def test_a_subject_that_is_none_is_answered() -> None:
    with pytest.raises(InputError, match="did you mean cosine"):
        next(explain("cosin"))


def test_loss_by_noise_of_the_exact_denoiser_is_the_posterior_variance() -> None:
    """For N(m, c²) data E‖x̂_0 - x_0‖² = c² sigma²/(alpha² c² + sigma²): 40,000 values, 5 standard errors."""
    schedule = CosineBeta().build()
    draws = torch.Generator().manual_seed(0)
    images = 0.2 + 0.3 * torch.randn(400, 1, 10, 10, generator=draws)
    times = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    losses = loss_by_noise(gaussian_denoiser(0.2, 0.3, schedule), images, times, seed=1, batch_size=64)
    for t, mse, noise in zip(losses.t, losses.mse_clean, losses.mse_noise, strict=True):
        now = noise_level(schedule, t)
        exact = 0.09 * now.sigma**2 / (now.alpha**2 * 0.09 + now.sigma**2)
        assert mse == pytest.approx(exact, rel=5 * (2 / 40_000) ** 0.5)
        assert noise == pytest.approx(mse * (now.alpha / now.sigma) ** 2, rel=1e-9)


def test_loss_by_noise_does_not_depend_on_the_batch() -> None:
    data = load_data(DataConfig(source="digits"))
    images = PixelRange(17).to_model(data.images[:50])
    denoiser = FunctionDenoiser(lambda x, t: x.clamp(-1, 1), LINEAR)
    times = torch.tensor([0.3], dtype=torch.float64)
    whole, parts = (loss_by_noise(denoiser, images, times, seed=4, batch_size=b) for b in (50, 7))
    assert whole.mse_clean == pytest.approx(parts.mse_clean, rel=1e-6)


@pytest.mark.parametrize("grid", [None, 1000])
def test_loss_by_log_snr_of_the_exact_denoiser_is_the_mean_posterior_variance(grid: int | None) -> None:
    """For N(m, c²) data c² sigma²/(alpha² c² + sigma²), in the mean over a bin's times: within 5 standard errors."""
    schedule = CosineBeta().build() if grid else RectifiedFlow()
    images = 0.2 + 0.3 * torch.randn(400, 1, 10, 10, generator=torch.Generator().manual_seed(0))
    found = loss_by_log_snr(gaussian_denoiser(0.2, 0.3, schedule), images, grid=grid, seed=1, bins=8, batch_size=150)
    assert found.images == 400
    bins = binned_times(schedule, grid, 8)
    assert len(found.bins) == len(bins) == 8
    for one, (low, high, times) in zip(found.bins, bins, strict=True):
        now = noise_level(schedule, times)
        assert (one.low, one.high) == (low, high)
        exact = 0.09 * now.sigma**2 / (now.alpha**2 * 0.09 + now.sigma**2)
        for estimate, errors in ((one.mse_clean, exact), (one.mse_noise, exact * now.log_snr.exp())):
            deviation = ((errors.var(correction=0) + 2 * errors.square().mean() / 100) / 400).sqrt()
            assert abs(estimate.value - errors.mean()) < 5 * deviation
            assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * float(deviation), rel=0.25)


def test_bins_are_equally_wide_in_log_snr_and_hold_every_time_once() -> None:
    """Ladders of few levels have a bin each, and the bins between are left out; alpha = 0 has no finite log-SNR."""
    for schedule, grid, count in ((LINEAR, 1000, 1000), (LINEAR, 4, 4), (RectifiedFlow(), None, 999)):
        bins = binned_times(schedule, grid, 12)
        times = torch.cat([chosen for *_, chosen in bins])
        assert len(times.unique()) == len(times) == count
        widths = torch.tensor([high - low for low, high, _ in bins])
        torch.testing.assert_close(widths, widths[:1].expand(len(bins)), rtol=1e-5, atol=0)
        for low, high, chosen in bins:
            log_snr = schedule.log_snr(chosen)
            assert bool(((low - 1e-9 <= log_snr) & (log_snr <= high + 1e-9)).all())
        assert bins[0][0] < bins[-1][0]  # from noise to data
    assert len(binned_times(LINEAR, 4, 12)) <= 4


def test_loss_by_log_snr_does_not_depend_on_the_batch_and_its_times_not_on_the_noise() -> None:
    images = PixelRange(17).to_model(load_data(DataConfig(source="digits")).images[:50])
    denoiser = FunctionDenoiser(lambda x, t: x.clamp(-1, 1), LINEAR)
    whole, parts = (loss_by_log_snr(denoiser, images, grid=1000, seed=4, batch_size=b) for b in (50, 7))
    for one, other in zip(whole.bins, parts.bins, strict=True):
        assert one.mse_clean.value == pytest.approx(other.mse_clean.value, rel=1e-6)
        assert one.mse_clean.low == pytest.approx(other.mse_clean.low, rel=1e-6)


@pytest.mark.parametrize("count", [10, 100])
def test_a_bootstrap_interval_covers_the_mean_nineteen_times_in_twenty(count: int) -> None:
    """Of squared normals, more skewed than losses are, 1000 times: 0.7 % is a standard error."""
    values = torch.randn(count, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).square()
    covered = sum(e.low <= 1 <= e.high for e in bootstrapped(values, 0)) / 1000
    assert (0.90 if count == 10 else 0.93) < covered < 0.97


def test_the_package_own_exact_denoiser_agrees_with_the_oracle() -> None:
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    for t in (0.01, 0.4, 1.0):
        now = noise_level(LINEAR, t)
        ours = gaussian_denoiser(0.5, 0.3, LINEAR)(x, t).clean
        torch.testing.assert_close(ours, GaussianTarget(0.5, 0.3).clean(x, now), rtol=1e-14, atol=1e-14)
