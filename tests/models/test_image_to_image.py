"""Noising and back, inversion and interpolation: exact on targets whose flow is known, reproducible, and by command."""

import json
from math import pi, tan
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sumi.cli.main import main
from sumi.data.images import ImageSpec
from sumi.data.vectors import VectorSpec
from sumi.errors import InputError, SumiError
from sumi.process.chain import CosineBeta, LinearBeta
from sumi.process.continuous import VP, Cosine, Flow, SubVP
from sumi.process.exploding import EDM, VE
from sumi.process.schedule import DATA, noise_level, noise_levels, noise_ratio
from sumi.sampling.inversion import REVERSIBLE, Inverse, invert, out_of_data, slerp
from sumi.sampling.sample import sample
from sumi.sampling.sampler import build_method
from sumi.sampling.sdedit import at_strength, rest_of
from sumi.sampling.solvers import SOLVERS
from sumi.sampling.solvers.ddim import DDIM
from sumi.sampling.solvers.heun import Heun
from sumi.sampling.time_grid import karras, log_ratio, uniform
from tests.convergence import orders
from tests.oracles import MIXTURE, GaussianTarget, linear_probe
from tests.tiny_models import planted, untrained

SCHEDULES = {config.name: config.build() for config in (VP(), SubVP(), Cosine(), Flow(), VE(), EDM())}
SCHEDULES |= {"linear chain": LinearBeta().build(), "cosine chain": CosineBeta().build()}
GAUSSIAN = GaussianTarget(mean=0.5, std=0.3)
STEPS = (20, 40, 80)


def draws(count: int, seed: int = 0) -> Tensor:
    """Of the mixture, (count, 2)."""
    random = np.random.default_rng(seed)
    which = random.choice(2, count, p=MIXTURE.weights.numpy())
    spread = MIXTURE.stds[which][:, None] * torch.from_numpy(random.standard_normal((count, 2)))
    return MIXTURE.means[which] + spread


# inversion


@pytest.mark.parametrize("solver", ["heun", "adams", "rk4"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_noise_of_gaussian_data_is_the_linear_answer(name: str, solver: str) -> None:
    """Data at c deviations from the mean become noise at c: 400 steps, of at least second order.

    Where no data are left at t = 1 too (flow), and where sigma(0) > 0 (VE, EDM): x_0 is data, not x at t = 0.
    """
    schedule = SCHEDULES[name]
    x = GAUSSIAN.mean + GAUSSIAN.std * torch.linspace(-3, 3, 7).double()[:, None]
    method = build_method(solver, 400, schedule, data_std=GAUSSIAN.std)
    found = invert(GAUSSIAN.denoiser(schedule), method.solver, method.times, x)
    end = noise_level(schedule, 1.0)
    exact = GAUSSIAN.flow(x, DATA, end)
    torch.testing.assert_close(found, exact, rtol=0, atol=2e-3 * max(1.0, float(end.sigma)))


def test_out_of_the_data_the_trapezoid_has_a_fourth_order_error() -> None:
    schedule, x = SCHEDULES["ve"], torch.tensor([[0.2], [0.9]]).double()
    errors, ratios = [], (0.04, 0.02)
    for ratio in ratios:
        t = float(schedule.time(torch.tensor(ratio).double().log() * -2))
        s = noise_level(schedule, t)
        errors.append(float((out_of_data(GAUSSIAN.denoiser(schedule), x, s) - GAUSSIAN.flow(x, DATA, s)).abs().max()))
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.05)


@pytest.mark.parametrize(("solver", "order"), [("ddim", 1), ("heun", 2), ("adams", 2)])
def test_there_and_back_converges_at_the_solvers_order(solver: str, order: int) -> None:
    """On the way up alone and on the round trip; half an order is left for how they start (adams with 1)."""
    schedule, x = SCHEDULES["vp"], draws(6)
    denoiser = MIXTURE.denoiser(schedule)
    noise, up, around = MIXTURE.flow(x, DATA, noise_level(schedule, 1.0)), [], []
    for steps in STEPS:
        times = log_ratio(schedule, steps, 0.5)
        z = invert(denoiser, SOLVERS[solver], times, x)
        up.append(float((z - noise).abs().max()))
        around.append(float((sample(denoiser, SOLVERS[solver], times, z) - x).abs().max()))
    assert orders(STEPS, up)[-1] > order - 0.5
    assert orders(STEPS, around)[-1] > order - 0.5


@pytest.mark.parametrize(("name", "off"), [("vp", 1e-7), ("ve", 1e-8), ("flow", 1e-7)])
@pytest.mark.parametrize("solver", ["ddim", "heun"])
def test_corrections_find_the_samplers_exact_inverse(solver: str, name: str, off: float) -> None:
    """Also of its last step, in steps so long that without it is far off: 20 leave that much, and 60 rounding."""
    schedule, x = SCHEDULES[name], draws(6)
    denoiser, times = MIXTURE.denoiser(schedule), karras(schedule, 16)
    plain, nearly, corrected = (
        sample(denoiser, SOLVERS[solver], times, invert(denoiser, SOLVERS[solver], times, x, corrections))
        for corrections in (0, 20, 60)
    )
    assert float((plain - x).abs().max()) > 1e-3
    assert float((nearly - x).abs().max()) < off
    assert float((corrected - x).abs().max()) < 1e-14


def test_corrections_that_run_away_are_reported() -> None:
    class Steep:
        """x̂_0 that changes much faster than x_t."""

        schedule = SCHEDULES["vp"]

        def __call__(self, x_t, t):
            found = GAUSSIAN.denoiser(self.schedule)(x_t, t)
            found.clean = 1e6 * x_t
            return found

    with pytest.raises(SumiError, match="fewer corrections"):
        invert(Steep(), DDIM(), uniform(4), torch.ones(2, 1).double(), corrections=200)


@pytest.mark.parametrize(("solver", "corrections"), [("adams", 1), ("ddim", -1)])
def test_corrections_that_cannot_be(solver: str, corrections: int) -> None:
    with pytest.raises(InputError, match="corrections"):
        Inverse(SOLVERS[solver], corrections)


def test_the_noise_of_data_is_standard_normal() -> None:
    """2000 draws of a mixture: mean within 4 standard errors, covariance within 4 of its own, and the tails."""
    schedule, count = SCHEDULES["vp"], 2000
    method = build_method("heun", 60, schedule)
    z = invert(MIXTURE.denoiser(schedule), method.solver, method.times, draws(count, 1))
    assert float(z.mean(0).abs().max()) < 4 / count**0.5
    assert float((z.T.cov() - torch.eye(2).double()).abs().max()) < 4 * (2 / count) ** 0.5
    assert float((z.abs() > 2).double().mean()) == pytest.approx(0.0455, abs=4 * (0.0455 / count / 2) ** 0.5)


# noising and back


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_strength_is_the_same_amount_of_noise_on_every_schedule(name: str) -> None:
    schedule = SCHEDULES[name]
    for strength in (0.25, 0.5, 0.75):
        now = at_strength(schedule, strength, 0.4)
        assert noise_ratio(now) / 0.4 == pytest.approx(tan(pi / 2 * strength), rel=1e-6)
    assert at_strength(schedule, 0, 0.4) is DATA
    assert at_strength(schedule, 1, 0.4).t == 1


def test_a_chain_is_begun_on_its_grid() -> None:
    schedule = SCHEDULES["linear chain"]
    free, bound = at_strength(schedule, 0.5, 0.4), at_strength(schedule, 0.5, 0.4, 100)
    assert bound.t == pytest.approx(round(free.t * 100) / 100, abs=1e-12)
    assert at_strength(schedule, 1e-6, 0.4, 100).t == 0.01


def test_the_rest_of_the_times_begins_where_it_is_asked_to() -> None:
    assert rest_of(uniform(4), 0.6).tolist() == [0.6, 0.5, 0.25, 0.0]
    assert rest_of(uniform(4), 0.5).tolist() == [0.5, 0.25, 0.0]
    assert rest_of(uniform(4), 0.0).tolist() == [0.0, 0.0]
    again = torch.tensor([1.0, 0.8, 0.6, 0.4, 0.8, 0.6, 0.4, 0.0])
    for t, rest in ((1, again), (0.7, [0.7, 0.6, 0.4, 0.6, 0.4, 0.0]), (0.5, [0.5, 0.4, 0.0]), (0.3, [0.3, 0.0])):
        assert rest_of(again, t).tolist() == torch.as_tensor(rest).tolist()


@pytest.mark.parametrize("strength", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_draws_of_the_data_are_still_draws_after_it(strength: float, eta: float) -> None:
    """Exactly: noised data go back to the data's mean and deviation, by ODE or SDE (1600 steps, first order)."""
    schedule = SCHEDULES["vp"]
    now = at_strength(schedule, strength, GAUSSIAN.std)
    times = rest_of(log_ratio(schedule, 1600, GAUSSIAN.std), float(now.t))
    mean, variance = linear_probe(GAUSSIAN.denoiser(schedule), DDIM(eta=eta), times, *GAUSSIAN.marginal(now))
    assert mean == pytest.approx(GAUSSIAN.mean, abs=1e-9)
    assert variance == pytest.approx(GAUSSIAN.std**2, rel=0.01)


@pytest.mark.parametrize("strength", [0.3, 0.6])
def test_what_becomes_of_one_image_is_exact(strength: float) -> None:
    """By the ODE the image's share of x_t, and its noise, are carried back by the same linear map."""
    schedule, x_0 = SCHEDULES["vp"], 1.1
    now = at_strength(schedule, strength, GAUSSIAN.std)
    times = rest_of(log_ratio(schedule, 800, GAUSSIAN.std), float(now.t))
    start = float(now.alpha) * x_0, float(now.sigma) ** 2
    mean, variance = linear_probe(GAUSSIAN.denoiser(schedule), DDIM(), times, *start)
    back = GAUSSIAN.std / GAUSSIAN.marginal(now)[1] ** 0.5
    assert mean == pytest.approx(GAUSSIAN.mean + back * float(now.alpha) * (x_0 - GAUSSIAN.mean), abs=5e-3)
    assert variance == pytest.approx(back**2 * float(now.sigma) ** 2, rel=0.01)


# interpolation


def test_the_ends_are_exact_and_the_way_between_is_even() -> None:
    a, b = torch.from_numpy(np.random.default_rng(3).standard_normal((2, 3, 8, 8))).float()
    z = slerp(a, b, torch.linspace(0, 1, 5))
    assert torch.equal(z[0], a)
    assert torch.equal(z[-1], b)
    units = z.double().flatten(1) / z.double().flatten(1).norm(dim=1, keepdim=True)
    steps = (units[1:] * units[:-1]).sum(1).arccos()
    torch.testing.assert_close(steps, steps[:1].expand(4), rtol=0, atol=1e-6)
    lengths = z.double().flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths.diff(), lengths.diff()[:1].expand(4), rtol=0, atol=1e-5)


def test_noise_between_two_draws_is_a_draw() -> None:
    """Of 400 pairs in 64 dimensions the middle has mean square 1 too, to 4 standard errors; a mean would have 1/2."""
    pairs = torch.from_numpy(np.random.default_rng(4).standard_normal((400, 2, 64)))
    middles = torch.cat([slerp(a, b, torch.tensor([0.5])) for a, b in pairs])
    assert float(middles.square().mean()) == pytest.approx(1, abs=4 * (2 / 25600) ** 0.5)


def test_what_has_no_way_between_is_refused() -> None:
    a = torch.ones(4)
    torch.testing.assert_close(slerp(a, 3 * a, torch.tensor([0.5])), 2 * a[None])
    with pytest.raises(InputError, match="opposite"):
        slerp(a, -a, torch.tensor([0.5]))
    with pytest.raises(InputError, match="0 everywhere"):
        slerp(a, 0 * a, torch.tensor([0.5]))


# the model


def pictures(count: int = 4) -> Tensor:
    """Draws of the planted model."""
    return 0.1 + 0.25 * torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("solver", ["ddpm", "heun", None])
def test_no_strength_is_the_image_and_all_of_it_a_sample(solver: str | None) -> None:
    model, image = planted(0.0), pictures()[0]
    assert torch.equal(model.vary(image, 0.0, n=3), image.expand(3, -1, -1, -1))
    varied = model.vary(image, 1.0, n=3, seed=5, start=2, steps=7, solver=solver)
    assert torch.equal(varied, model.sample(3, seed=5, start=2, steps=7, solver=solver))


def test_variations_become_the_samples_of_their_seed() -> None:
    """At a strength just below 1, a variation is nearly the sample of its index, and not that of another seed."""
    model, image = planted(0.0), pictures()[0]
    varied = model.vary(image, 0.99, n=4, seed=5, solver="ddim")
    same, other = (model.sample(4, seed=seed, solver="ddim") for seed in (5, 6))
    assert float((varied - same).square().mean()) < 0.05 * float((varied - other).square().mean())


def test_the_more_strength_the_further() -> None:
    model, image = planted(0.0), pictures()[0]
    far = [float((model.vary(image, s, n=8) - image).square().mean()) for s in (0.1, 0.3, 0.6, 1.0)]
    assert far == sorted(far)
    assert far[0] < 0.1 * far[-1]


def test_a_variation_is_the_same_alone_and_in_any_batch() -> None:
    model, images = planted(0.3), pictures()
    together = model.vary(images[0], 0.5, n=4, seed=3, solver="ddpm")
    apart = torch.cat([model.vary(images[0], 0.5, n=1, seed=3, start=i, solver="ddpm") for i in range(4)])
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-5)
    in_pairs = model.vary(images, 0.5, seed=3, batch_size=2)
    torch.testing.assert_close(in_pairs, model.vary(images, 0.5, seed=3), rtol=0, atol=1e-5)
    torch.testing.assert_close(in_pairs[2:3], model.vary(images[2], 0.5, n=1, seed=3, start=2), rtol=0, atol=1e-5)


@pytest.mark.parametrize("solver", ["heun", "ddim", "adams"])
def test_decoding_start_noise_is_sampling(solver: str) -> None:
    model = planted(0.3)
    assert torch.equal(
        model.decode(model.start_noise(range(3), 9), solver=solver), model.sample(3, seed=9, solver=solver)
    )


def test_images_come_back() -> None:
    """In 200 steps to 1e-3; there are no batches in it, and both ends of an interpolation are what comes back."""
    model, images = planted(0.3), pictures(5).clamp(-1, 1)
    z = model.invert(images, steps=200)
    torch.testing.assert_close(model.decode(z, steps=200), images, rtol=0, atol=1e-3)
    torch.testing.assert_close(model.invert(images, steps=200, batch_size=2), z, rtol=0, atol=1e-4)
    between = model.interpolate(images[0], images[1], 5, steps=200)
    torch.testing.assert_close(between[[0, -1]], images[:2], rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (lambda m, x: m.vary(x, 1.5), "strength: 1.5"),
        (lambda m, x: m.vary(x[:, :7], 0.5), "images: are of shape"),
        (lambda m, x: m.vary(x, 0.5, solver="tuned"), "solver: tuned walks all"),
        (lambda m, x: m.vary(x, 0.5, label="3"), "was trained without"),
        (lambda m, x: m.invert(x), "images: are of shape (1, 8, 8); the model takes (N, 1, 8, 8), or larger sides"),
        (lambda m, x: m.invert(x[None], solver="ddpm"), "leads only from noise to data"),
        (lambda m, x: m.decode(x[None], solver="unipc"), "leads only from noise to data"),
        (lambda m, x: m.invert(x[None], eta=0.5), "eta: ddim with noise leads only from noise to data"),
        (lambda m, x: m.interpolate(x, x, 3, solver=DDIM(1.0)), "eta: ddim with noise leads only from noise to data"),
        (lambda m, x: m.decode(x), "latents: are of shape (1, 8, 8); the model takes (N, 1, 8, 8), or larger sides"),
        (lambda m, x: m.interpolate(x, x, 1), "n: 1"),
    ],
)
def test_what_does_not_fit_is_refused(ask, answer: str) -> None:
    with pytest.raises(InputError) as refused:
        ask(planted(0.0), pictures()[0])
    assert answer in str(refused.value)
    assert "\n" not in str(refused.value)


# the commands


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return untrained(tmp_path_factory.mktemp("vary") / "run", ImageSpec(1, 8, 8, 17, ()))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8)).save(f"{name}.png")
    Image.fromarray(random.integers(0, 256, (4, 4), dtype=np.uint8)).save("small.png")
    Path("text.png").write_text("none")
    return tmp_path


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_vary_by_command(run: Path, folder: Path, capsys) -> None:
    command = ["vary", str(run), "a.png", "--out", "out", "-n", "2"]
    assert main([*command, "--strength", "0"]) == 0
    assert (pixels("out/00001.png") == pixels("a.png")).all()
    assert {p.name for p in Path("out").iterdir()} == {"00000.png", "00001.png", "grid.png", "before-after.png"}
    assert main(command) == 2  # another strength, not written over
    assert "made with other settings" in capsys.readouterr().err
    assert main(command[:3]) == 0
    (made,) = (run / "varied").iterdir()
    about = json.loads(Image.open(made / "00003.png").text["sumi"])
    assert (about["strength"], about["image"], about["seed"], about["index"]) == (0.5, "a.png", 0, 3)


@pytest.mark.parametrize("strength", [0.2, 0.5, 1.0])
def test_a_variation_by_command_records_the_steps_that_were_walked(strength: float, run: Path, folder: Path) -> None:
    """Those of 20 below the noise level of the strength, which is a time of the chain; all of them at 1."""
    walked: list[int] = []
    step = Heun.step

    def counted(self, *given):
        walked.append(1)
        return step(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Heun, "step", counted)
        command = ["vary", str(run), "a.png", "--out", "out", "-n", "1", "--steps", "20", "--solver", "heun"]
        assert main([*command, "--strength", str(strength)]) == 0
    about = json.loads(Image.open("out/00000.png").text["sumi"])
    assert about["steps"] == len(walked)
    assert (about["steps"] == 20) == (strength == 1)
    assert about["method"] == "heun"
    assert json.loads(Image.open("out/grid.png").text["sumi"])["steps"] == len(walked)


def test_images_larger_than_the_models_are_varied_and_interpolated_in_their_size(run: Path, folder: Path) -> None:
    random = np.random.default_rng(1)
    for name in ("wide", "broad"):
        Image.fromarray(random.integers(0, 256, (12, 20), dtype=np.uint8)).save(f"{name}.png")
    assert main(["vary", str(run), "wide.png", "--out", "varied", "-n", "2", "--steps", "4", "--no-fit"]) == 0
    assert main(["vary", str(run), "wide.png", "--out", "same", "-n", "1", "--strength", "0", "--no-fit"]) == 0
    between = ["interpolate", str(run), "wide.png", "broad.png", "-n", "3", "--steps", "4", "--no-fit"]
    assert main([*between, "--out", "between"]) == 0
    assert pixels("varied/00001.png").shape == pixels("between/00002.png").shape == (12, 20)
    assert (pixels("same/00000.png") == pixels("wide.png")).all()
    assert json.loads(Image.open("between/00001.png").text["sumi"])["steps"] == 4
    assert main(["interpolate", str(run), "wide.png", "a.png", "--out", "none", "--no-fit"]) == 2


def test_interpolate_takes_the_options_of_guidance(folder: Path) -> None:
    """Away from a worse checkpoint: other images, in a folder of its own; the options are in the files."""
    names = tuple("0123456789")
    of_classes = untrained(folder / "run", ImageSpec(1, 8, 8, 17, names), "classifier-free")
    command = ["interpolate", str(of_classes), "a.png", "b.png", "-n", "3", "--steps", "4", "--solver", "ddim"]
    options = {
        "plain": ["--label", "3"],
        "more": ["--label", "3", "--guidance", "3", "--guidance-interval", "0.1,9", "--guidance-rescale", "0.5"],
        "less": ["--label", "3", "--guidance", "3", "--negative", "4", "--threshold", "none"],
    }
    for name, given in options.items():
        assert main([*command, *given, "--out", name]) == 0
    about = json.loads(Image.open("more/00001.png").text["sumi"])
    assert (about["guidance"], about["guidance_interval"], about["guidance_rescale"]) == (3, "0.1,9", 0.5)
    about = json.loads(Image.open("less/00001.png").text["sumi"])
    assert (about["label"], about["negative"], about["threshold"]) == ("3", "4", "none")
    for given in options.values():
        assert main([*command, *given]) == 0
    assert len(list((of_classes / "interpolated").iterdir())) == 3


def test_interpolate_by_command(run: Path, folder: Path) -> None:
    assert main(["interpolate", str(run), "a.png", "b.png", "-n", "3", "--out", "out", "--steps", "4"]) == 0
    assert {p.name for p in Path("out").iterdir()} == {*(f"{i:05d}.png" for i in range(3)), "grid.png", "strip.png"}
    about = json.loads(Image.open("out/strip.png").text["sumi"])
    assert (about["a"], about["b"], about["solver"], about["steps"], about["count"]) == ("a.png", "b.png", "heun", 4, 3)
    shown = np.asarray(Image.open("out/strip.png").convert("L"))
    side = shown.shape[1] // 5  # the given images stand at both ends
    assert (shown[:96:12, : side - 4 : 12][:8, :8] == pixels("a.png")).all()
    assert main(["interpolate", str(run), "a.png", "b.png", "-n", "3"]) == 0
    assert len(list((run / "interpolated").iterdir())) == 1


MISTAKES = [
    ("vary RUN a.png --strength 2", "strength: 2 is not between"),
    ("vary RUN a.png --strength -0.1", "strength: -0.1"),
    ("vary RUN a.png -n 0", "n: 0"),
    ("vary RUN small.png --no-fit", "small.png: is of 4x4 pixels, and this takes 8x8"),
    ("vary RUN text.png", "is no image"),
    ("vary RUN nowhere.png", "nowhere.png: cannot be read"),
    ("vary RUN a.png --solver hein", "did you mean heun?"),
    ("vary RUN a.png --seed -1", "seed: -1"),
    ("vary RUN a.png --label 3", "was trained without"),
    ("vary RUN a.png --guidance 3", "--guidance"),
    ("interpolate RUN a.png small.png --no-fit", "b: small.png: is of 4x4"),
    ("interpolate RUN a.png b.png --solver ddpm", "choose from heun"),
    ("interpolate RUN a.png b.png --solver rk4", "evaluates between the times"),
    ("interpolate RUN a.png b.png -n 1", "n: 1"),
    ("interpolate RUN a.png b.png --steps 0", "steps"),
    ("interpolate RUN a.png b.png --guidance 3", "--guidance"),
    ("interpolate RUN a.png b.png --negative 3", "--negative"),
    ("interpolate RUN a.png b.png --guidance-interval 3", "--guidance-interval: 3 is not of the form"),
    ("interpolate RUN a.png b.png --classifier-scale 2", "--classifier-scale"),
]


@pytest.mark.parametrize(("command", "answer"), MISTAKES, ids=[c for c, _ in MISTAKES])
def test_a_mistake_gets_one_line_and_nothing_is_written(command: str, answer: str, run: Path, folder, capsys) -> None:
    before = sorted(p for place in (run, folder) for p in place.rglob("*"))
    assert main(command.replace("RUN", str(run)).split()) == 2
    printed = capsys.readouterr().err
    assert answer in printed
    assert len(printed.strip().splitlines()) == 1
    assert sorted(p for place in (run, folder) for p in place.rglob("*")) == before


def test_vectors_are_refused_by_command(folder: Path, capsys) -> None:
    vectors = untrained(folder / "vectors", VectorSpec(2, None), "ddpm", "ring-of-8")
    assert main(["vary", str(vectors), "a.png"]) == 2
    assert "is a model of vectors" in capsys.readouterr().err


def test_every_reversible_solver_is_a_solver() -> None:
    assert set(REVERSIBLE) <= set(SOLVERS)
    assert all(type(now.t) is float for now in noise_levels(SCHEDULES["vp"], uniform(2)))
