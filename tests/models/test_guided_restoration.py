"""Restoration led by a class: where data, classes and what is measured are exact, candidates are the label's posterior;
and the command line, which says what it was asked and refuses what cannot be.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from sumi import recipes
from sumi.boundary.settings import override
from sumi.cli.main import main
from sumi.data.config import DataConfig
from sumi.data.images import ImageSpec
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.errors import InputError
from sumi.guidance.classifier import ClassifierGuidance, NoisyClassifier
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.restoration import METHODS
from sumi.models.model import RunDescription
from sumi.operators.linear import Mask
from sumi.process.gaussian import expand
from sumi.process.schedule import NoiseLevel, Schedule, noise_level
from sumi.restoration.posterior import MomentMatching
from sumi.sampling.sampler import Guidance
from tests.restoration_targets import MODES, SCHEDULE, Case, gaussian
from tests.tiny_models import HOLE, CleanGivenTime, class_model, echo, new_classifier

STD, APART = 0.1, 0.5


# the denoiser


def probability(component: int):
    """log p(component | x_t) of `MODES`."""

    def log_probability(x_t: Tensor, now: NoiseLevel) -> Tensor:
        noised = MODES.noised(now)
        each = [
            torch.distributions.MultivariateNormal(torch.from_numpy(m), torch.from_numpy(c)).log_prob(x_t)
            for m, c in zip(noised.means, noised.covariances, strict=True)
        ]
        logits = torch.stack(each, 1) + torch.from_numpy(noised.weights).log()
        return logits.log_softmax(1)[:, component]

    return log_probability


@pytest.mark.parametrize("component", range(3))
@pytest.mark.parametrize(
    "case",
    [Case("known", MODES, np.array([0.3, 0.0])), Case("sum", MODES, np.array([0.4]), np.array([[1.0, 0.5]]), 0.3)],
)
def test_moment_matching_led_by_an_exact_classifier_is_the_posterior_of_its_class(case: Case, component: int) -> None:
    """The class is one Gaussian of three, for which moment matching is exact: to 1e-9 at any x_t.

    That takes the slope of the classifier's gradient: without, the covariance would be that of all classes.
    """
    guided_one = ClassifierGuidance(MODES.denoiser(), probability(component), 1.0)
    wanted = Case(
        case.name, gaussian(MODES.means[component], MODES.covariances[component]), case.y, case.sums, case.std
    )
    x_t = torch.randn(40, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for t in (0.05, 0.3, 0.6, 0.9):
        now = noise_level(SCHEDULE, t)
        found = MomentMatching(guided_one, case.measurement, 2)(x_t, now).clean
        torch.testing.assert_close(found, wanted.conditioned.clean(x_t, now), rtol=0, atol=1e-9)


# candidates


def half_odds(x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """log p(high | x_t)/p(low | x_t), halved, of x_t (N, 1, 8, 8) at levels that broadcast to it: (N,)."""
    return (alpha * APART * HOLE * x_t / (alpha**2 * STD**2 + sigma**2)).flatten(1).sum(1)


class Halves(nn.Module):
    """E[x_0 | x_t] of two classes as likely: independent pixels N(0, STD²), in the hole of mean -APART or APART.

    ``only``: -1 or 1 for one class alone.
    """

    def __init__(self, schedule: Schedule, only: int | None) -> None:
        super().__init__()
        self.schedule, self.only = schedule, only
        self.anchor = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        x_t, now = x.double(), noise_level(self.schedule, t)
        alpha, sigma = (torch.as_tensor(expand(v, x_t)) for v in (now.alpha, now.sigma))
        which = half_odds(x_t, alpha, sigma).tanh().view(-1, 1, 1, 1) if self.only is None else self.only
        mean = APART * HOLE * which
        return (mean + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (x_t - alpha * mean)).to(x)


class Odds(nn.Module):
    """The exact classifier of these, of variance-preserving images told log_snr/4."""

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        log_snr = 4 * c_noise.double().view(-1, 1, 1, 1)
        half = half_odds(x.double(), log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()).to(x)
        return torch.stack([-half, half], 1)


EXACT = NoisyClassifier(Odds(), -20.0, 20.0)
CLASSES = ("low", "high")


def halves(only: int | None = None) -> DiffusionModel:
    config = override(recipes.build("ddpm", DataConfig(source="digits")), ["sampling.steps=20"])
    schedule = config.schedule.build()
    denoiser = NetworkDenoiser(Halves(schedule, only), schedule, CleanGivenTime(), config.times.grid)
    spec = ImageSpec(1, 8, 8, 17, CLASSES)
    return DiffusionModel(RunDescription(config, spec, "none", 0.3), denoiser, 1, Path("none"))


@pytest.mark.parametrize("method", METHODS)
def test_candidates_are_of_the_label_that_an_exact_classifier_leads_to(method: str) -> None:
    """What is known says nothing of the class, so that about half of the candidates are of each (16 to 48 of 64: four
    standard errors); led, they are those of a model of the label alone, to what float32 and a gradient leave."""
    image = STD * torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(1))
    model, exact = halves(), Guidance(classifier=EXACT)
    free = model.inpaint(image, HOLE, 64, method=method)[:, 0, HOLE]
    assert 16 <= int((free.mean(1) > 0).sum()) <= 48
    for label, sign in (("high", 1), ("low", -1)):
        guided_one = model.inpaint(image, HOLE, 64, method=method, label=label, guidance=exact)
        alone = halves(sign).inpaint(image, HOLE, 64, method=method)
        torch.testing.assert_close(guided_one, alone, rtol=0, atol=2e-3)
        assert float(guided_one[:, 0, HOLE].mean()) == pytest.approx(sign * APART, abs=0.015)
    off = replace(exact, classifier_scale=0.0)
    unguided = model.inpaint(image, HOLE, 64, method=method, label="low", guidance=off)
    torch.testing.assert_close(unguided[:, 0, HOLE], free)
    mixed = model.inpaint(image, HOLE, 4, method=method, label="all", guidance=exact)
    assert (mixed[:, 0, HOLE].mean(1) > 0).tolist() == [False, True, False, True]


class Brightness(nn.Module):
    """A classifier by the mean of all pixels."""

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        del c_noise
        mean = x.flatten(1).mean(1)
        return torch.stack([-mean, mean], 1)


def test_a_run_that_was_trained_to_restore_is_led_by_a_classifier_alone() -> None:
    """Its network is told the picture and no label; what is known stays."""
    plain = echo("inpaint")
    description = replace(plain.description, items=replace(plain.images, label_names=CLASSES))
    model = DiffusionModel(description, plain.gaussian_denoiser(), 1, Path("none"))
    image = 0.5 * torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(1))
    guidance, found = Guidance(classifier=NoisyClassifier(Brightness(), -20.0, 20.0), classifier_scale=1000.0), {}
    for label in CLASSES:
        made = model.inpaint(image, HOLE, 2, label=label, guidance=guidance)
        assert torch.equal(made[:, :, ~HOLE], image[:, ~HOLE].expand(2, -1, -1))
        found[label] = float(made[:, :, HOLE].mean())
    assert found["low"] < 0.2 < 0.3 < found["high"]  # alone it says 0.25
    with pytest.raises(
        InputError, match="this model was trained without; train classifier-free, or guide by a classifier"
    ):
        model.inpaint(image, HOLE, label="low")


def test_methods_that_keep_range_themselves_take_no_threshold() -> None:
    image = torch.zeros(1, 8, 8)
    with pytest.raises(InputError, match="threshold: ddnm keeps pixels in range itself; leave it out"):
        halves().inpaint(image, HOLE, method="ddnm", threshold="dynamic")
    assert echo("inpaint").restore(torch.zeros(3, 8, 8), Mask(HOLE), threshold="none").any()


# the command line


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Run folders and files: a model told labels, a worse one, one told nothing, a classifier; a picture, its mask."""
    place = tmp_path_factory.mktemp("steered")
    class_model(place).save(place / "told")
    class_model(place, "network.embedding=16").save(place / "worse")
    class_model(place, recipe="ddpm").save(place / "plain")
    new_classifier(place).save(place / "classifier")
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8)).save(place / "image.png")
    Image.fromarray(random.integers(0, 256, (4, 6), dtype=np.uint8)).save(place / "small.png")
    Image.fromarray((255 * HOLE.numpy()).astype(np.uint8)).save(place / "mask.png")
    return place


BY = "--classifier {}/classifier --classifier-scale 3 --guidance-interval 0.3,5"
COMMANDS = {
    "inpaint": "inpaint {}/RUN {}/image.png --mask {}/mask.png -n 1 --steps 2",
    "upscale": "upscale {}/RUN {}/small.png -n 1 --steps 2",
    "restore": "restore {}/RUN {}/image.png --operator jpeg:20 -n 1 --steps 2",
    "vary": "vary {}/RUN {}/image.png -n 1 --steps 2",
}


def requested(place: Path, command: str, run: str, options: str) -> list[str]:
    return f"{COMMANDS[command]} {options}".replace("RUN", run).replace("{}", str(place)).split()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("run", "options", "expected"),
    [
        (
            "told",
            f"--label cat {BY}",
            {"label": "cat", "classifier_scale": 3.0, "guidance_interval": "0.3,5", "guidance": 1.0},
        ),
        ("plain", f"--label dog {BY}", {"label": "dog", "classifier_scale": 3.0, "guidance": 1.0}),
        (
            "told",
            "--label cat --worse {}/worse --guidance 2 --guidance-rescale 0.7",
            {"guidance": 2.0, "guidance_rescale": 0.7},
        ),
        ("told", "--label cat --negative fox", {"negative": "fox", "guidance": 2.0}),
        ("plain", "", {}),
    ],
)
def test_every_command_guides_and_says_how(
    place: Path, command: str, run: str, options: str, expected: dict[str, object], tmp_path: Path
) -> None:
    assert main([*requested(place, command, run, options), "--out", str(tmp_path / "out")]) == 0
    about = json.loads(Image.open(tmp_path / "out/00000.png").text["sumi"])
    assert {name: about.get(name) for name in expected} == expected


@pytest.mark.parametrize("command", COMMANDS)
def test_what_guides_changes_what_is_made(place: Path, command: str, tmp_path: Path) -> None:
    for name, scale in (("strong", "1000"), ("off", "0")):
        by = f"--label cat --classifier {{}}/classifier --classifier-scale {scale}"
        assert main([*requested(place, command, "plain", by), "--out", str(tmp_path / name)]) == 0
    assert main([*requested(place, command, "plain", ""), "--out", str(tmp_path / "none")]) == 0
    strong, off, none = (
        np.asarray(Image.open(tmp_path / n / "00000.png")).astype(int) for n in ("strong", "off", "none")
    )
    assert np.abs(off - none).max() <= 1
    assert np.abs(strong - none).max() > 10


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("run", "options", "answer"),
    [
        ("told", "--classifier {}/classifier", "--classifier: guides towards a class, and none is given; give a label"),
        ("told", "--label cat --classifier-scale 2", "none is given; add --classifier"),
        ("told", "--label cat --worse {}/told --guidance 2", "is the model itself; choose a worse run"),
        ("told", "--negative cat", "--negative: guides towards a condition, and none is given"),
        ("plain", "--guidance-interval 0.3,5", "--guidance-interval: counts as far as --guidance says, and that is 1"),
        ("plain", "--guidance-rescale 0.5", "--guidance-rescale: counts as far as --guidance says, and that is 1"),
        ("told", "--label cat --guidance 1 --guidance-rescale 0.5", "--guidance-rescale: counts as far as --guidance"),
        ("plain", "--label cat", "this model was trained without; train classifier-free, or guide by a classifier"),
    ],
)
def test_guidance_that_cannot_be_is_refused_in_a_line(
    place: Path, command: str, run: str, options: str, answer: str, tmp_path: Path, capsys
) -> None:
    assert main([*requested(place, command, run, options), "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr().err
    assert answer in printed
    assert len(printed.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
