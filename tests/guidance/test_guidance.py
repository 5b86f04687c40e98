"""Steering a model by other runs and other classes: which denoiser comes of which request, and what is refused."""

import json
from dataclasses import replace
from math import exp
from pathlib import Path

import pytest
import torch
from PIL import Image

from sumi.cli.main import main
from sumi.conditioning.condition import Condition
from sumi.errors import InputError
from sumi.guidance.classifier import ClassifierGuidance
from sumi.guidance.extrapolation import Extrapolation, Interval
from sumi.guidance.guidance import Steering
from sumi.guidance.thresholding import DynamicThreshold, StaticThreshold
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.guides import by_runs, read_interval
from sumi.models.run import load
from tests.tiny_models import class_model, differ, new_classifier

LABELS = torch.tensor([1, 1, 2])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Run folders: a model told labels, another of the same, one told nothing, and a classifier."""
    place = tmp_path_factory.mktemp("steering")
    class_model(place).save(place / "told")
    class_model(place, "network.embedding=16").save(place / "worse")
    class_model(place, recipe="ddpm").save(place / "plain")
    new_classifier(place).save(place / "classifier")
    new_classifier(place, ("cat", "dog", "owl")).save(place / "owls")
    return place


def inside(model: DiffusionModel, steering: Steering | None = None, **options):
    """The steered denoiser under its threshold."""
    found = model.denoiser(Condition(labels=LABELS), steering=steering, **options)
    assert isinstance(found, StaticThreshold)
    return found.denoiser


def test_the_parts_are_wrapped_in_their_order(folder: Path) -> None:
    """Extrapolation of the asked two, at the asked levels; a classifier on top, in what it knows; then a threshold."""
    model, classifier = class_model(folder), new_classifier(folder)
    interval = Interval(0.001, 3.0)
    away = inside(model, Steering(3.0, interval, 0.5, negative="cat"))
    assert isinstance(away, Extrapolation)
    assert (away.scale, away.interval, away.rescale) == (3.0, interval, 0.5)
    network, x = model.gaussian_denoiser(), 0.3 * torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    cat = network.told(Condition(labels=torch.zeros(3, dtype=torch.int64)))
    assert torch.equal(away.worse(x, 0.5).clean, cat(x, 0.5).clean)
    told = network.told(Condition(labels=LABELS))
    assert torch.equal(away.better(x, 0.5).clean, told(x, 0.5).clean)

    worse = class_model(folder, "network.embedding=16").gaussian_denoiser()
    auto = inside(model, Steering(2.0, worse=worse))
    assert isinstance(auto, Extrapolation)
    assert torch.equal(auto.worse(x, 0.5).clean, worse.told(Condition(labels=LABELS))(x, 0.5).clean)

    led = inside(model, Steering(interval=interval, classifier=classifier.classifier, classifier_scale=4.0))
    assert isinstance(led, ClassifierGuidance)
    assert (led.scale, led.interval) == (4.0, Interval(exp(-4), 3.0))
    assert torch.equal(led.denoiser(x, 0.5).clean, told(x, 0.5).clean)  # no classifier-free guidance beside it
    both = inside(model, Steering(2.0, classifier=classifier.classifier))
    assert isinstance(both, ClassifierGuidance)
    assert isinstance(both.denoiser, Extrapolation)
    dynamic = model.denoiser(Condition(labels=LABELS), steering=Steering(threshold="dynamic"))
    assert isinstance(dynamic, DynamicThreshold)
    free = model.denoiser(Condition(labels=LABELS), steering=Steering(threshold="none"))
    assert isinstance(free, Extrapolation)
    assert free.scale == 2.0  # the configuration's


def test_guidance_is_as_the_run_is_configured_unless_said_otherwise(folder: Path, tmp_path: Path) -> None:
    """By the denoiser, which all commands take; its words; and the command line, which records what was done."""
    settings = ["sampling.guidance_interval=0.3,5", "sampling.guidance_rescale=0.7", "sampling.threshold=dynamic"]
    model, classifier = class_model(folder, *settings), new_classifier(folder).classifier
    found = model.denoiser(Condition(labels=LABELS), steering=Steering(classifier=classifier, guidance=2.0))
    assert isinstance(found, DynamicThreshold)
    assert isinstance(found.denoiser, ClassifierGuidance)
    assert found.denoiser.interval == Interval(0.3, 5.0).within(classifier.interval)
    assert isinstance(found.denoiser.denoiser, Extrapolation)
    assert (found.denoiser.denoiser.interval, found.denoiser.denoiser.rescale) == (Interval(0.3, 5.0), 0.7)
    other = inside(model, Steering(interval=Interval(1.0), rescale=0.0, threshold="static"))
    assert isinstance(other, Extrapolation)
    assert (other.scale, other.interval, other.rescale) == (2.0, Interval(1.0), 0.0)
    words = "ddim, 4 steps, guidance 2 at sigma/alpha from 0.3 to 5, rescaled by 0.7, dynamic threshold"
    assert model.how_sampled(labelled=True).endswith(words.removeprefix("ddim"))

    model.save(tmp_path / "run")
    again = load(tmp_path / "run", DiffusionModel)
    assert again.config.sampling == model.config.sampling
    assert differ(again.sample(2, label="cat"), class_model(folder).sample(2, label="cat"))
    for extra, expected in (
        ([], ("0.3,5", 0.7, "dynamic")),
        (["--guidance-interval", ",3", "--guidance-rescale", "0", "--threshold", "none"], (",3", 0.0, "none")),
    ):
        out = tmp_path / f"out{len(extra)}"
        assert main(["sample", str(tmp_path / "run"), "-n", "1", "--label", "cat", *extra, "--out", str(out)]) == 0
        about = json.loads(Image.open(out / "00000.png").text["sumi"])
        assert (about["guidance_interval"], about["guidance_rescale"], about["threshold"]) == expected


def test_a_model_that_is_told_nothing_is_led_by_a_classifier(folder: Path) -> None:
    plain, classifier = class_model(folder, recipe="ddpm"), new_classifier(folder)
    steering = Steering(classifier=classifier.classifier, classifier_scale=50.0)
    made = plain.sample(3, label="all", steering=steering)
    assert differ(made, plain.sample(3))
    assert differ(made, plain.sample(3, label="cat", steering=steering)[[1, 2, 0]])
    one = plain.sample(1, start=2, label="fox", steering=steering)
    torch.testing.assert_close(one[0], made[2], rtol=0, atol=1e-3)
    none = plain.sample(3, label="all", steering=replace(steering, classifier_scale=0.0))
    torch.testing.assert_close(none, plain.sample(3), rtol=0, atol=1e-6)


def test_autoguidance_needs_no_label(folder: Path) -> None:
    model, worse = class_model(folder), class_model(folder, "network.embedding=16").gaussian_denoiser()
    found = model.denoiser(steering=Steering(1.5, worse=worse))
    assert isinstance(found, StaticThreshold)
    assert isinstance(found.denoiser, Extrapolation)
    x = 0.3 * torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    a, b = model.network_denoiser(x, 0.5).clean, worse(x, 0.5).clean
    torch.testing.assert_close(found.denoiser(x, 0.5).clean, 1.5 * a - 0.5 * b, rtol=1e-4, atol=1e-4)


def test_the_command_line_steers_and_each_file_says_how(folder: Path, tmp_path: Path) -> None:
    told, out = str(folder / "told"), tmp_path / "out"
    by = ["--classifier", str(folder / "classifier"), "--classifier-scale", "3", "--guidance-interval", "0.3,5"]
    assert main(["sample", told, "-n", "2", "--start", "1", "--label", "all", *by, "--out", str(out)]) == 0
    about = [json.loads(Image.open(out / f"{k:05d}.png").text["sumi"]) for k in (1, 2)]
    assert [one["label"] for one in about] == ["dog", "fox"]
    assert about[0]["classifier_scale"] == 3.0
    assert about[0]["guidance_interval"] == "0.3,5"
    worse = ["--worse", str(folder / "worse"), "--guidance", "2", "--threshold", "dynamic"]
    assert main(["sample", told, "-n", "1", "--label", "cat", *worse, "--out", str(tmp_path / "worse")]) == 0
    negative = ["--negative", "fox", "--guidance-rescale", "0.7"]
    assert main(["sample", told, "-n", "1", "--label", "cat", *negative, "--out", str(tmp_path / "negative")]) == 0
    plain = str(folder / "plain")
    assert main(["sample", plain, "-n", "1", "--label", "cat", *by[:2], "--out", str(tmp_path / "plain")]) == 0


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (["--classifier", "{}/classifier"], "--classifier: leads towards a class, and none is given; add --label"),
        (["--label", "cat", "--classifier", "{}/owls"], "knows other images or classes than the model"),
        (["--label", "cat", "--classifier", "{}/plain"], "is a run of ddpm, and this is for classifiers of noisy"),
        (["--label", "cat", "--classifier-scale", "2"], "none is given; add --classifier"),
        (["--negative", "cat"], "none is given; add --label"),
        (["--label", "cat", "--negative", "owl"], "--negative owl: there is no such class"),
        (["--label", "cat", "--negative", "all"], "--negative all: is led away from one class; give its name"),
        (["--guidance-interval", "0.3,5"], "--guidance-interval: says how guidance counts, and nothing guides"),
        (["--label", "cat", "--negative", "dog", "--worse", "{}/worse"], "--negative, --worse: lead away from two"),
        (["--label", "cat", "--worse", "{}/told", "--guidance", "2"], "is the model itself; give a worse run"),
        (["--label", "cat", "--guidance-interval", "3"], "--guidance-interval 3: is not of the form LOW,HIGH"),
        (["--label", "cat", "--guidance-interval", "3,2"], "the interval from 3.0 to 2.0 is empty"),
        (["--label", "cat", "--guidance-rescale", "2"], "guidance.rescale: 2.0 is not between 0 and 1"),
    ],
)
def test_impossible_steering_is_refused_in_a_line(folder: Path, options: list[str], answer: str, capsys) -> None:
    given = [option.replace("{}", str(folder)) for option in options]
    assert main(["sample", str(folder / "told"), "-n", "1", *given]) == 2
    printed = capsys.readouterr().err
    assert answer in printed
    assert len(printed.strip().splitlines()) == 1


def test_an_interval_is_read_with_either_end_left_out() -> None:
    assert read_interval("0.3,5") == Interval(0.3, 5.0)
    assert read_interval(",5") == Interval(0.0, 5.0)
    assert read_interval("0.3,") == Interval(0.3)
    with pytest.raises(InputError, match="is not of the form LOW,HIGH"):
        read_interval("a,b")


def test_a_worse_model_of_the_same_run_is_an_earlier_checkpoint(folder: Path) -> None:
    with pytest.raises(InputError, match="--checkpoint 3: there is none"):
        by_runs(class_model(folder / "told"), Steering(), worse_checkpoint=3)
