"""The laws that an introduction to diffusion models states, each with its number."""

import tempfile
from dataclasses import replace
from itertools import pairwise
from math import inf
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor, nn

from sumi.boundary.config import differences
from sumi.data.batch import Batch, batch_of
from sumi.data.config import DataConfig
from sumi.data.image_set import ImageDataset
from sumi.data.images import ImageSpec
from sumi.data.load import load_images
from sumi.data.pixels import PixelRange
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.denoising.exact import mixture_denoiser
from sumi.denoising.parameterization import Parameterization
from sumi.errors import InputError
from sumi.evaluation import loss_by_noise as held_out
from sumi.explain import guided, low_density, parameterizations, recognition, reverse_kernel, unscaled
from sumi.explain.explain import LAWS, SCHEDULES, explain
from sumi.metrics.features.network import DIMENSION, FeatureFacts, FeatureNetwork, untrained
from sumi.metrics.intervals import Estimate
from sumi.models.model import RunDescription
from sumi.objectives.denoising import DenoisingObjective
from sumi.process.chain import CosineBeta, LinearBeta
from sumi.process.continuous import VP, Flow
from sumi.process.exploding import VE
from sumi.process.schedule import Schedule, noise_level
from sumi.randomness import Purpose, normal
from sumi.training.run_folder import RunFolder
from sumi.training_run import Events, build_trainer
from tests import labelled_mixture
from tests.explain.pictures import assert_is_a_picture
from tests.oracles import GaussianTarget

LINEAR = LinearBeta().build()


@pytest.fixture(scope="module")
def digits() -> ImageDataset:
    return load_images(DataConfig(source="digits"))


# without √(1 - β)


def test_without_the_factor_the_variance_is_one_and_the_sum_of_beta() -> None:
    """1 + 1000 (1e-4 + 0.02)/2 = 11.05, and with it 1; between, by the recursion itself."""
    betas = LINEAR.betas(1000)
    plain, scaled = (unscaled.variances(betas, scaled=kind) for kind in (False, True))
    assert float(plain[-1]) == pytest.approx(1 + 1000 * (1e-4 + 0.02) / 2, abs=1e-11)
    torch.testing.assert_close(scaled, torch.ones_like(scaled), rtol=0, atol=1e-14)
    grown = shrunk = np.longdouble(0.09)
    for beta in np.linspace(1e-4, 0.02, 1000, dtype=np.longdouble):
        grown, shrunk = grown + beta, (1 - beta) * shrunk + beta
    assert float(unscaled.variances(betas, 0.09, scaled=False)[-1]) == pytest.approx(float(grown), abs=1e-11)
    assert float(unscaled.variances(betas, 0.09, scaled=True)[-1]) == pytest.approx(float(shrunk), abs=1e-11)


def test_points_that_walk_have_these_variances() -> None:
    """All the way, within 4.5 standard errors of a variance of 20,000 normal values."""
    betas = LinearBeta(steps=60, beta_end=0.2).build().betas(60)
    walked = unscaled.walk_points(betas)
    for found, kind in ((walked.unscaled, False), (walked.scaled, True)):
        exact = unscaled.variances(betas, scaled=kind)
        assert float((found / exact - 1).abs().max()) < 4.5 * walked.error


def test_which_schedules_shrink_what_they_noise() -> None:
    chains = {name for name, c in SCHEDULES.items() if unscaled.carries_unit_variance(c.build(), 10)}
    assert {"linear", "cosine", "constant", "vp", "continuous_cosine"} <= chains
    assert not chains & {"flow", "sub_vp", "ve", "edm", "ladder"}


# one step back


def test_the_kernel_is_that_of_bayes() -> None:
    s, t = noise_level(LINEAR, 0.1), noise_level(LINEAR, 0.25)
    x_t, x_s = torch.tensor([-0.4, 0.1, 1.3]), np.linspace(-4, 4, 8001)
    kernel = reverse_kernel.reverse_kernel(s, t, x_t)
    a = t.alpha / s.alpha
    v = t.sigma**2 - a**2 * s.sigma**2
    std = (s.alpha**2 * 0.01 + s.sigma**2) ** 0.5
    prior = stats.norm.pdf(x_s, s.alpha, std) + stats.norm.pdf(x_s, -s.alpha, std)
    for row, x in enumerate(x_t.double().tolist()):
        exact = prior * stats.norm.pdf(x, a * x_s, v**0.5)
        exact /= integrate.trapezoid(exact, x_s)
        ours = kernel.density(torch.from_numpy(x_s).expand(3, -1))[row].numpy()
        assert np.abs(ours - exact).max() < 1e-9
        mean = integrate.trapezoid(x_s * exact, x_s)
        variance = integrate.trapezoid((x_s - mean) ** 2 * exact, x_s)
        assert float(kernel.mean[row]) == pytest.approx(mean, abs=1e-9)
        assert float(kernel.variance[row]) == pytest.approx(variance, abs=1e-9)
        apart = np.abs(exact - stats.norm.pdf(x_s, mean, variance**0.5))
        # the trapezoidal rule on 281 places, where |q - N| has corners
        assert float(reverse_kernel.distance(kernel)[row]) == pytest.approx(
            integrate.trapezoid(apart, x_s) / 2, abs=5e-4
        )


def test_small_steps_back_are_gaussian_large_ones_are_not() -> None:
    """Total variation falls like β^(3/2): the third derivative of log q is what a Gaussian lacks."""
    t = noise_level(LINEAR, 0.2)
    steps = [reverse_kernel.measure_step(noise_level(LINEAR, 0.2 - h), t) for h in (4e-3, 2e-3, 1e-3, 5e-4)]
    orders = [reverse_kernel.order(far, near) for far, near in pairwise(steps)]
    assert orders == sorted(orders, reverse=True)  # it comes down to the limit
    assert orders[-1] == pytest.approx(1.5, abs=0.02)
    falling = [reverse_kernel.worst_step(LINEAR, n).distance for n in (1, 3, 10, 30, 100)]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] > 0.75
    assert falling[-1] < 0.005


def test_in_one_step_from_pure_noise_the_kernel_is_the_data_and_its_mean_theirs() -> None:
    x_t = torch.linspace(-3, 3, 7)
    from_noise = reverse_kernel.reverse_kernel(noise_level(LINEAR, 0.0), noise_level(Flow().build(), 1.0), x_t)
    torch.testing.assert_close(from_noise.mean, torch.zeros(7, dtype=torch.float64), rtol=0, atol=1e-15)
    torch.testing.assert_close(from_noise.variance, torch.full((7,), 1.01, dtype=torch.float64), rtol=1e-12, atol=0)
    nearly = reverse_kernel.reverse_kernel(noise_level(LINEAR, 0.0), noise_level(LINEAR, 1.0), x_t)
    # alpha(1) = 0.0064 of the data is left, so the mean leans by alpha x_t Var(x_0)
    torch.testing.assert_close(nearly.mean, 1.01 * noise_level(LINEAR, 1.0).alpha * x_t.double(), rtol=2e-3, atol=1e-6)


def test_the_denoiser_of_the_images_themselves_is_a_mixture_of_points(digits: ImageDataset) -> None:
    images = PixelRange(17).to_model(digits.images[:40]).double()
    shares = torch.full((40,), 1 / 40, dtype=torch.float64)
    points = mixture_denoiser(images.flatten(1), torch.zeros(40).double(), shares, LINEAR)
    x_t = normal(0, range(5), 0, Purpose.EVALUATION, (1, 8, 8), dtype=torch.float64)
    for t in (0.1, 0.5, 1.0):
        ours = reverse_kernel.empirical_denoiser(images, LINEAR)(x_t, t).clean
        torch.testing.assert_close(ours.flatten(1), points(x_t.flatten(1), t).clean, rtol=0, atol=1e-10)


def test_one_step_makes_the_mean_image_and_a_hundred_make_images(digits: ImageDataset) -> None:
    images = PixelRange(17).to_model(digits.images[:300])
    blurred, sharp = (reverse_kernel.generate(images, LINEAR, steps, 30) for steps in (1, 100))
    assert float((blurred - images.mean(0)).square().mean().sqrt()) < 0.03
    assert reverse_kernel.variety(blurred) < 2e-3 * reverse_kernel.variety(images)
    nearest = torch.cdist(sharp.flatten(1), images.flatten(1)).amin(1)
    assert float(nearest.max()) < 1e-2  # each is one of them
    assert reverse_kernel.variety(sharp) > 0.75 * reverse_kernel.variety(images)


# recognition


def test_what_a_classifier_sees_depends_on_log_snr_alone() -> None:
    image, noise = torch.rand(3, 1, 8, 8), torch.randn(3, 1, 8, 8)
    exploding = VE().build()
    t = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
    there = noise_level(exploding, t)
    here = noise_level(LINEAR, LINEAR.time(torch.as_tensor(there.log_snr)))
    own = recognition.at_log_snr(torch.as_tensor(there.log_snr))
    expected = recognition.noised(image, own, noise)
    torch.testing.assert_close(recognition.noised(image, there, noise), expected)
    torch.testing.assert_close(recognition.noised(image, here, noise), expected)


@pytest.mark.slow
def test_recognition_begins_at_clean_accuracy_and_ends_at_guessing(
    digits: ImageDataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trained: list[FeatureNetwork] = []
    train = recognition.train_classifier

    def remember(images: Tensor, labels: Tensor, **options) -> FeatureNetwork:
        trained.append(train(images, labels, **options))
        return trained[-1]

    monkeypatch.setattr(recognition, "train_classifier", remember)
    found = recognition.recognise(digits, LINEAR, copies=3)
    _, held = digits.split(recognition.HELD_OUT)
    images, labels = PixelRange(17).to_model(held.images), torch.from_numpy(held.labels)
    for network, accuracy in zip(trained, (found.clean, found.noised), strict=True):
        clean = float((network.probabilities(images).argmax(1) == labels).double().mean())
        assert found.t[0] == 0.0
        assert found.log_snr[0] == inf
        assert accuracy[0].value == clean
        assert clean > 0.93
        assert found.t[-1] == 1.0
        assert accuracy[-1].low <= found.guess <= accuracy[-1].high
    assert found.guess == pytest.approx(0.1, abs=0.005)
    clean, noised = (recognition.half_way(found.t, a, found.guess) for a in (found.clean, found.noised))
    assert 0.1 < clean < noised < 0.45
    sampled = recognition.draw_recognition(found, LINEAR, tmp_path / "recognition.png")
    assert_is_a_picture(sampled.path)
    assert f"at t = {clean:.2f}" in sampled.says


def test_images_to_learn_from_are_noised_by_seed_and_at_all_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    monkeypatch.setattr(recognition, "train_classifier", lambda images, labels, **_: seen.append(images))
    black, labels = torch.zeros(500, 1, 8, 8), torch.zeros(500, dtype=torch.int64)
    for seed in (0, 0, 1):
        recognition.train_on_noised(black, labels, classes=2, seed=seed, count=lambda *_: None, copies=2)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    assert seen[0].shape == (1000, 1, 8, 8)
    # noise alone: its variance in an image is sigmoid(-log_snr), a half at the middle of -8 … 8
    variance = seen[0].flatten(1).square().mean(1)
    assert float(variance.median()) == pytest.approx(0.5, abs=0.2)
    assert float(variance.min()) < 2e-3
    assert float(variance.max()) > 0.9


def test_half_way_is_read_from_straight_lines() -> None:
    accuracy = tuple(Estimate(value, value, value) for value in (0.9, 0.8, 0.3, 0.1))
    assert recognition.half_way((0.0, 0.2, 0.4, 1.0), accuracy, 0.1) == pytest.approx(0.32)
    assert recognition.half_way((0.0, 0.2), accuracy[:2], 0.1) == 1.0


def test_images_without_classes_have_nothing_to_recognise(digits: ImageDataset) -> None:
    with pytest.raises(InputError, match="no classes"):
        recognition.recognise(replace(digits, labels=None, label_names=()), LINEAR)


# parameterizations


class ExactOutput(nn.Module):
    """What a network should say of x_t where the data is N(0.2, 0.3²), in a given parameterization."""

    def __init__(self, schedule: Schedule, parameterization: Parameterization) -> None:
        super().__init__()
        self.schedule, self.parameterization = schedule, parameterization

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        now = noise_level(self.schedule, (float(c_noise[0]) + 1) / 1000)
        c = self.parameterization.coefficients(now)
        return (GaussianTarget(0.2, 0.3).clean(x, now) - c.c_skip * x) / c.c_out


def test_networks_that_say_the_truth_have_one_error_whatever_they_say() -> None:
    images = 0.2 + 0.3 * normal(0, range(50), 0, Purpose.START, (1, 8, 8), dtype=torch.float64)
    times = torch.tensor([0.001, 0.01, 0.3, 0.7, 1.0], dtype=torch.float64)
    measured = [
        parameterizations.Measured(
            plan,
            held_out.loss_by_noise(
                NetworkDenoiser(ExactOutput(LINEAR, plan.parameterization), LINEAR, plan.parameterization),
                images,
                times,
                seed=0,
            ),
            Estimate(0, 0, 0),
        )
        for plan in parameterizations.PLANS
    ]
    np.testing.assert_allclose(parameterizations.excess(measured), 1, rtol=1e-9)


def test_own_weights_are_the_plain_error_of_the_output() -> None:
    t = noise_level(LINEAR, torch.tensor([0.01, 0.5, 1.0], dtype=torch.float64))
    for plan in parameterizations.PLANS:
        c_out = torch.as_tensor(plan.parameterization.coefficients(t).c_out)
        plain = torch.allclose(plan.weighting.weight(t) * c_out**2, torch.ones(3, dtype=torch.float64))
        assert plain == plan.own


def test_plans_share_first_weights_data_times_and_noise(digits: ImageDataset, tmp_path: Path) -> None:
    first: list[dict[str, Tensor]] = []
    seen: list[tuple[Tensor, ...]] = []
    configs = [parameterizations.configuration(plan, "digits", steps=3) for plan in parameterizations.PLANS]
    for config in configs:
        assert {line.split(".")[0].split(":")[0] for line in differences(configs[0], config)} <= {
            "parameterization",
            "weighting",
        }
        description = RunDescription(config, ImageSpec(1, 8, 8, 17, digits.label_names), "", 0.5)
        trainer, _ = build_trainer(description, digits, RunFolder(tmp_path), "cpu", Events())
        first.append(trainer.model.state_dict())
        objective = trainer.objective
        assert isinstance(objective, DenoisingObjective)

        def record(_, x_0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
            seen.append((x_0, t, noise))
            return torch.zeros(len(x_0))

        objective.loss = record
        objective(batch_of(trainer.data, np.arange(10, 16), np.arange(6), step=2, seed=0))
    for weights, draws in zip(first, seen, strict=True):
        assert all(torch.equal(weights[name], value) for name, value in first[0].items())
        assert all(torch.equal(a, b) for a, b in zip(draws, seen[0], strict=True))


@pytest.mark.slow
def test_a_comparison_is_a_function_of_its_seed_and_leaves_no_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    features = FeatureNetwork(
        untrained(1, 8, 10, torch.Generator().manual_seed(0)),
        torch.zeros(DIMENSION).double(),
        torch.ones(()).double(),
        FeatureFacts("classes", 10, 1, 8, 0.0, 0),
    )
    monkeypatch.setattr(parameterizations, "learn_features", lambda *_, seed: features)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))  # torch makes it with its first optimizer
    condition: list[str] = []
    monkeypatch.setattr(parameterizations, "TIMES", (1, 500, 1000))
    plans = parameterizations.PLANS
    once, again = (
        parameterizations.compare(steps=2, samples=8, plans=which, count=lambda what, *_: condition.append(what))
        for which in (plans, plans[1:2])
    )
    assert once[1:2] == again
    assert [m.plan for m in once] == list(parameterizations.PLANS)
    assert len({m.losses.mse_clean for m in once}) >= 3  # they did learn something different
    assert "training v, weight SNR" in condition
    assert not list((tmp_path / "temporary").iterdir())
    sampled = parameterizations.draw_parameterizations(once, 2, tmp_path / "parameterizations.png")
    assert_is_a_picture(sampled.path)
    assert all(plan.label in sampled.says for plan in parameterizations.PLANS)


# one level of noise against many


def test_the_exact_score_is_the_gradient_of_the_density() -> None:
    schedule = low_density.LADDER.build()
    for t in (0.1, 0.5, 1.0):
        x = (4 * normal(0, [0], 0, Purpose.START, (20, 2), dtype=torch.float64)[0]).requires_grad_()
        now = noise_level(schedule, t)
        (slope,) = torch.autograd.grad(low_density.log_density(x, float(now.sigma)).sum(), x)
        torch.testing.assert_close(low_density.exact_denoiser(schedule)(x, now).score, slope, rtol=1e-9, atol=1e-9)
    line = torch.linspace(-14, 14, 281, dtype=torch.float64)
    mass = low_density.log_density(torch.cartesian_prod(line, line), 0.3).exp().sum() * 0.01
    assert float(mass) == pytest.approx(1, abs=1e-9)


def test_with_the_exact_score_many_levels_find_the_weights_and_one_does_not() -> None:
    exact = low_density.exact_denoiser(low_density.LADDER.build())
    one, many = (
        low_density.run_chains(exact, times, chains=1000, iterations=1000)
        for times in (torch.tensor([0.1, 0.0], dtype=torch.float64), low_density.annealing())
    )
    assert many.share == pytest.approx(0.2, abs=3.5 * many.error)
    assert one.share == pytest.approx(0.5, abs=3.5 * one.error)
    for ends in (one, many):
        assert ends.error == pytest.approx((ends.share * (1 - ends.share) / 1000) ** 0.5)
        smaller = ends.x[ends.x.sum(1) < 0]
        # within a peak both are right: its variance and that of the noise, 1 + 0.3², to a twentieth of δ
        assert float(smaller.var(0).mean()) == pytest.approx(1.09, rel=4 / len(smaller) ** 0.5)
        assert float((smaller + 5).mean()) == pytest.approx(0, abs=4 / len(smaller) ** 0.5)


@pytest.mark.slow
def test_a_learned_score_is_wrong_where_there_was_no_data(tmp_path: Path) -> None:
    found = low_density.measure_low_density(steps=600, chains=400, iterations=500)
    assert found.one.of_dense < 0.3
    assert found.one.of_rest > 3 * found.one.of_dense
    assert found.many.of_all < 0.15
    assert found.ends["one level, learned score"].share > 0.35
    many = found.ends["ten levels, learned score"]
    assert many.share == pytest.approx(0.2, abs=0.08)  # of a network that has hardly learned
    sampled = low_density.draw_low_density(found, tmp_path / "low_density.png")
    assert_is_a_picture(sampled.path)
    assert f"{many.share:.3f} ± {many.error:.3f}" in sampled.says


def test_the_dense_region_holds_most_mass_on_few_places() -> None:
    error = low_density.score_error(
        low_density.exact_denoiser(low_density.LADDER.build()), noise_level(low_density.LADDER.build(), 0.1)
    )
    density = low_density.log_density(error.places, 0.3).exp()
    assert 0.95 <= float(density[error.dense].sum() / density.sum()) < 0.97
    assert float(density[error.dense].min()) >= float(density[~error.dense].max())
    assert error.of_all < 1e-5  # float32 places


def test_points_to_learn_from_are_the_mixture() -> None:
    seen: list[Tensor] = []

    class Recording:
        def __call__(self, _, x_0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
            seen.extend((x_0, t, noise))
            return torch.zeros(len(x_0))

    network = NetworkDenoiser(nn.Linear(1, 1), LINEAR, parameterizations.PLANS[0].parameterization)
    objective = low_density.PointsObjective(network, low_density.rungs())
    objective.loss = Recording()
    places = np.arange(20_000)
    for _ in range(2):
        objective(Batch(None, torch.zeros(0), places, places, 7, 0))
    x_0, t, noise = seen[:3]
    assert all(torch.equal(a, b) for a, b in zip(seen[:3], seen[3:], strict=True))
    smaller = x_0.sum(1) < 0
    assert float(smaller.double().mean()) == pytest.approx(0.2, abs=4 * (0.16 / 20_000) ** 0.5)
    assert float((x_0[smaller] + 5).mean()) == pytest.approx(0, abs=4 / 8000**0.5)
    assert float((x_0[~smaller] - 5).var()) == pytest.approx(1, abs=4 * (2 / 32_000) ** 0.5)
    assert sorted(set(t.tolist())) == pytest.approx([k / 10 for k in range(1, 11)])
    assert float(noise.std()) == pytest.approx(1, abs=4 / 80_000**0.5)


# what guided samples are not


def test_guided_samples_are_the_tempered_distribution_at_0_and_1_alone(tmp_path: Path) -> None:
    """Both as the tests of guidance write them, for the same mixture; apart by Kolmogorov and Smirnov's distance."""
    axis, found = guided.compare_with_tempered()
    assert [one.scale for one in found] == [0, 1, 2, 4]
    for one in found:
        mean, deviation = labelled_mixture.tempered(one.scale)
        assert (one.mean, one.std) == pytest.approx((float(mean[0]), float(deviation[0])), abs=1e-6)
        assert one.lattice.shape == (len(axis), len(axis))
        assert float(one.lattice.sum(0) @ axis) == pytest.approx(float(mean[1]), abs=1e-6)
        assert len(one.samples) == 4000
    assert max(one.apart for one in found[:2]) < found[0].bound == pytest.approx(0.0215, abs=1e-4)
    assert min(one.apart for one in found[2:]) > 10 * found[0].bound
    shares, means, stds = labelled_mixture.SHARES[1:] / 0.5, labelled_mixture.MEANS[1:, 0], labelled_mixture.STDS[1:]
    exact = stats.kstest(
        found[1].samples[:, 0].numpy(),
        lambda x: sum(
            w * stats.norm.cdf(x, m, s) for w, m, s in zip(shares.numpy(), means.numpy(), stds.numpy(), strict=True)
        ),
    )
    assert found[1].apart == pytest.approx(exact.statistic, abs=1e-3)  # the lattice's steps are 0.01
    sampled = guided.draw_guided(axis, found, tmp_path / "guided.png")
    assert_is_a_picture(sampled.path)
    assert "w = 2: exact 0.54 ± 0.29; samples 0.71 ± 0.23; apart by 0.28" in sampled.says


def test_guided_samples_are_those_of_the_exact_denoisers() -> None:
    """Which follow the ODE of the guided score (`tests.guidance.test_extrapolation`), each from the same noise."""
    start = normal(0, [0], 0, Purpose.START, (6, 2), dtype=torch.float64)[0]
    for scale in (0.0, 4.0):
        walked = labelled_mixture.walked(labelled_mixture.guided(VP().build(), scale), start)
        torch.testing.assert_close(guided.guided_samples(scale, n=6), walked, rtol=0, atol=1e-12)


# the subjects


def test_laws_are_subjects(tmp_path: Path) -> None:
    assert list(LAWS) == ["unscaled", "reverse-kernel", "recognition", "parameterizations", "low-density", "guidance"]
    (sampled,) = explain("unscaled", data="digits", out=tmp_path)
    assert "ends at 11.05" in sampled.says
    assert_is_a_picture(sampled.path)
    kernel, one_step = explain("reverse-kernel", data="digits", out=tmp_path)
    assert "0.76 in 1" in kernel.says
    assert "β^1.51" in kernel.says
    assert "0.0 % in 1" in one_step.says
    for d in (kernel, one_step):
        assert_is_a_picture(d.path)
    with pytest.raises(InputError, match="did you mean reverse-kernel"):
        next(explain("reverse_kernel"))


def test_pictures_are_of_characters_and_networks_learn_digits(monkeypatch, tmp_path: Path) -> None:
    """Where no data are named."""
    taken: list[str] = []
    monkeypatch.setattr("sumi.explain.explain.load_images", lambda config: taken.append(config.source) or 1 / 0)
    for subject in ("linear", "unscaled", "reverse-kernel", "recognition"):
        with pytest.raises(ZeroDivisionError):
            next(explain(subject, out=tmp_path))
    assert taken == ["characters", "characters", "characters", "digits"]


def test_a_schedule_on_labelled_images_says_when_they_are_recognised(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    requested: list[Schedule] = []
    accuracy = tuple(Estimate(value, value, value) for value in (1.0, 0.1))
    found = recognition.Recognition((0.0, 1.0), (inf, -10.0), accuracy, accuracy, 0.1, 432)

    def recognise(_, schedule: Schedule, **__) -> recognition.Recognition:
        requested.append(schedule)
        return found

    monkeypatch.setattr("sumi.explain.explain.recognise", recognise)
    names = [d.path.name for d in explain("cosine", data="digits", out=tmp_path)]
    assert names == ["schedule.png", "noising.png", "correction.png", "unscaled.png", "recognition.png"]
    assert torch.equal(requested[0].betas(1000), CosineBeta().build().betas(1000))
