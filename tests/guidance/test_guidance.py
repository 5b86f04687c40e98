"""Guiding a model by other runs and other classes: which denoiser comes of which request, and what is refused."""

import json
from dataclasses import replace
from math import exp, inf
from pathlib import Path

import pytest
import torch
from PIL import Image

from sumi.cli.main import main
from sumi.cli.sampling import read_interval
from sumi.conditioning.condition import Condition
from sumi.errors import InputError
from sumi.guidance.classifier import ClassifierGuidance
from sumi.guidance.extrapolation import Extrapolation, Interval
from sumi.guidance.projection import Projected
from sumi.guidance.renoising import PlusPlus
from sumi.guidance.thresholding import DynamicThreshold, StaticThreshold
from sumi.models.classifier import ClassifierModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.sampling.sampler import Guidance
from tests.tiny_models import class_model, differ, new_classifier

LABELS = torch.tensor([1, 1, 2])
APG = ["--label", "cat", "--guidance-method", "apg"]
PLUS = ["--label", "cat", "--guidance-method", "cfg++", "--guidance", "0.5"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Run folders: a model conditioned on labels, another of the same, one of none, and a classifier."""
    place = tmp_path_factory.mktemp("guidance")
    class_model(place).save(place / "told")
    class_model(place, "network.embedding=16").save(place / "worse")
    class_model(place, recipe="ddpm").save(place / "plain")
    new_classifier(place).save(place / "classifier")
    new_classifier(place, ("cat", "dog", "owl")).save(place / "owls")
    return place


def inside(model: DiffusionModel, guidance: Guidance, **options):
    """The guided denoiser under its threshold."""
    found = model.denoiser(Condition(labels=LABELS), guidance=guidance, **options)
    assert isinstance(found, StaticThreshold)
    return found.denoiser


def test_the_parts_are_wrapped_in_their_order(folder: Path) -> None:
    """Extrapolation of the asked two, at the asked levels; a classifier on top, in what it knows; then a threshold."""
    model, classifier = class_model(folder), new_classifier(folder)
    interval = (0.001, 3.0)
    away = inside(model, Guidance(3.0, interval, 0.5, negative="cat"))
    assert isinstance(away, Extrapolation)
    assert (away.scale, away.interval, away.rescale) == (3.0, Interval(*interval), 0.5)
    network, x = model.gaussian_denoiser(), 0.3 * torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    cat = network.bind(Condition(labels=torch.zeros(3, dtype=torch.int64)))
    assert torch.equal(away.worse(x, 0.5).clean, cat(x, 0.5).clean)
    condition = network.bind(Condition(labels=LABELS))
    assert torch.equal(away.better(x, 0.5).clean, condition(x, 0.5).clean)

    worse = class_model(folder, "network.embedding=16").gaussian_denoiser()
    auto = inside(model, Guidance(2.0, worse=worse))
    assert isinstance(auto, Extrapolation)
    assert torch.equal(auto.worse(x, 0.5).clean, worse.bind(Condition(labels=LABELS))(x, 0.5).clean)

    guided_one = inside(model, Guidance(interval=interval, classifier=classifier, classifier_scale=4.0))
    assert isinstance(guided_one, ClassifierGuidance)
    assert (guided_one.scale, guided_one.interval) == (4.0, Interval(exp(-4), 3.0))
    assert torch.equal(
        guided_one.denoiser(x, 0.5).clean, condition(x, 0.5).clean
    )  # no classifier-free guidance beside it
    both = inside(model, Guidance(2.0, classifier=classifier))
    assert isinstance(both, ClassifierGuidance)
    assert isinstance(both.denoiser, Extrapolation)
    dynamic = model.denoiser(Condition(labels=LABELS), threshold="dynamic")
    assert isinstance(dynamic, DynamicThreshold)
    free = model.denoiser(Condition(labels=LABELS), threshold="none")
    assert isinstance(free, Extrapolation)
    assert free.scale == 2.0  # the configuration's


def test_guidance_is_as_the_run_is_configured_by_default(folder: Path, tmp_path: Path) -> None:
    """By the denoiser, which all commands take; its words; and the command line, which records what was done."""
    settings = ["sampling.guidance.interval=0.3,5", "sampling.guidance.rescale=0.7", "sampling.threshold=dynamic"]
    model, classifier = class_model(folder, *settings), new_classifier(folder).classifier
    own = model.config.sampling.guidance
    found = model.denoiser(Condition(labels=LABELS), guidance=replace(own, classifier=classifier))
    assert isinstance(found, DynamicThreshold)
    assert isinstance(found.denoiser, ClassifierGuidance)
    assert found.denoiser.interval == Interval(0.3, 5.0).within(classifier.interval)
    assert isinstance(found.denoiser.denoiser, Extrapolation)
    assert (found.denoiser.denoiser.interval, found.denoiser.denoiser.rescale) == (Interval(0.3, 5.0), 0.7)
    scaled = model.denoiser(Condition(labels=LABELS), guidance=3.0, threshold="none")
    assert isinstance(scaled, Extrapolation)
    assert (scaled.scale, scaled.interval, scaled.rescale) == (3.0, Interval(0.3, 5.0), 0.7)
    other = inside(model, Guidance(2.0, interval=(1.0, inf)), threshold="static")
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


def test_an_unconditional_model_is_guided_by_a_classifier(folder: Path) -> None:
    plain, classifier = class_model(folder, recipe="ddpm"), new_classifier(folder)
    guidance = Guidance(classifier=classifier.classifier, classifier_scale=50.0)
    made = plain.sample(3, label="all", guidance=guidance)
    assert differ(made, plain.sample(3))
    assert differ(made, plain.sample(3, label="cat", guidance=guidance)[[1, 2, 0]])
    one = plain.sample(1, start=2, label="fox", guidance=guidance)
    torch.testing.assert_close(one[0], made[2], rtol=0, atol=1e-3)
    none = plain.sample(3, label="all", guidance=replace(guidance, classifier_scale=0.0))
    torch.testing.assert_close(none, plain.sample(3), rtol=0, atol=1e-6)


def test_autoguidance_needs_no_label(folder: Path) -> None:
    model, worse = class_model(folder), class_model(folder, "network.embedding=16").gaussian_denoiser()
    found = model.denoiser(guidance=Guidance(1.5, worse=worse))
    assert isinstance(found, StaticThreshold)
    assert isinstance(found.denoiser, Extrapolation)
    x = 0.3 * torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    a, b = model.network_denoiser(x, 0.5).clean, worse(x, 0.5).clean
    torch.testing.assert_close(found.denoiser(x, 0.5).clean, 1.5 * a - 0.5 * b, rtol=1e-4, atol=1e-4)


def test_a_negative_without_a_scale_is_refused_and_not_ignored(folder: Path) -> None:
    model = class_model(folder)
    with pytest.raises(InputError, match=r"^guidance\.negative: counts as far as guidance\.scale says, and that is 1"):
        model.sample(1, label="cat", guidance=Guidance(negative="dog"))
    away = model.sample(1, label="cat", guidance=Guidance(2.0, negative="dog"))
    assert differ(away, model.sample(1, label="cat", guidance=2.0))


def test_methods_are_the_papers_parts_and_only_samples_are_renoised(folder: Path) -> None:
    """What each is made of; λ of CFG++ is 1 without being none, and nothing but samples takes it."""
    model, x = class_model(folder), torch.zeros(3, 1, 8, 8)
    apg = inside(model, Guidance(4.0, method="apg", parallel=0.2, norm=3.0, momentum=-0.25))
    assert isinstance(apg, Projected)
    assert (apg.scale, apg.parallel, apg.norm, apg.momentum) == (4.0, 0.2, 3.0, -0.25)
    plus = inside(model, Guidance(1.0, method="cfg++"))
    assert isinstance(plus, PlusPlus)
    unconditional = model.sample(2, threshold="none")
    none = model.sample(2, label="cat", guidance=Guidance(0.0, method="cfg++"), threshold="none")
    assert torch.equal(none, unconditional)
    assert differ(model.sample(2, label="cat", guidance=Guidance(1.0, method="cfg++")), model.sample(2, label="cat"))
    half = (model.sample(2, label="cat", guidance=Guidance(0.5, method=method)) for method in ("cfg", "cfg++"))
    assert differ(*half)  # noised again by what it says without a class
    given = {"label": "cat", "guidance": Guidance(0.5, method="cfg++")}
    with pytest.raises(InputError, match=r"guidance.method: cfg\+\+ leads only from noise to data"):
        model.invert(x, **given)
    with pytest.raises(InputError, match=r"guidance.method: cfg\+\+ is of samples alone"):
        model.inpaint(x[0], torch.arange(64).view(8, 8) < 9, 1, **given)


def test_the_command_line_guides_and_each_file_says_how(folder: Path, tmp_path: Path) -> None:
    condition, out = str(folder / "told"), tmp_path / "out"
    by = ["--classifier", str(folder / "classifier"), "--classifier-scale", "3", "--guidance-interval", "0.3,5"]
    assert main(["sample", condition, "-n", "2", "--start", "1", "--label", "all", *by, "--out", str(out)]) == 0
    about = [json.loads(Image.open(out / f"{k:05d}.png").text["sumi"]) for k in (1, 2)]
    assert [one["label"] for one in about] == ["dog", "fox"]
    assert about[0]["classifier_scale"] == 3.0
    assert about[0]["guidance_interval"] == "0.3,5"
    worse = ["--worse", str(folder / "worse"), "--guidance", "2", "--threshold", "dynamic"]
    assert main(["sample", condition, "-n", "1", "--label", "cat", *worse, "--out", str(tmp_path / "worse")]) == 0
    negative = ["--negative", "fox", "--guidance-rescale", "0.7"]
    assert main(["sample", condition, "-n", "1", "--label", "cat", *negative, "--out", str(tmp_path / "negative")]) == 0
    assert main(["sample", condition, "-n", "1", *APG, "--guidance", "4", "--out", str(tmp_path / "apg")]) == 0
    about = json.loads(Image.open(tmp_path / "apg" / "00000.png").text["sumi"])
    assert (about["guidance_method"], about["guidance"], about["guidance_momentum"]) == ("apg", 4.0, 0.0)
    plain = str(folder / "plain")
    assert main(["sample", plain, "-n", "1", "--label", "cat", *by[:2], "--out", str(tmp_path / "plain")]) == 0


def test_a_file_says_how_far_it_is_guided_away_from_a_worse_model(folder: Path, tmp_path: Path, capsys) -> None:
    """Without a label, too: else another scale would take the files of this one for its own."""
    away = ["sample", str(folder / "told"), "-n", "1", "--worse", str(folder / "worse"), "--out", str(tmp_path)]
    assert main([*away, "--guidance", "2"]) == 0
    assert json.loads(Image.open(tmp_path / "00000.png").text["sumi"])["guidance"] == 2.0
    assert main([*away, "--guidance", "4"]) == 2
    assert "00000.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (["--classifier", "{}/classifier"], "--classifier: guides towards a class, and none is given; give a label"),
        (["--label", "cat", "--classifier", "{}/owls"], "knows other images or classes than the model"),
        (["--label", "cat", "--classifier", "{}/plain"], "is a run of ddpm, and this is for classifiers of noisy"),
        (["--label", "cat", "--classifier-scale", "2"], "none is given; add --classifier"),
        (["--negative", "cat"], "--negative: guides towards a condition, and none is given; give a label"),
        (["--label", "cat", "--negative", "owl"], "--negative: there is no class owl"),
        (["--label", "cat", "--negative", "all"], "--negative: all is no class; give the name of one"),
        (["--guidance-interval", "0.3,5"], "--guidance-interval: guides towards a condition, and none is given"),
        (
            ["--label", "cat", "--negative", "dog", "--worse", "{}/worse"],
            "--negative: worse is given too, and both say what to guide away from",
        ),
        (["--label", "cat", "--worse", "{}/told", "--guidance", "2"], "is the model itself; choose a worse run"),
        (["--label", "cat", "--guidance-interval", "3"], "--guidance-interval: 3 is not of the form LOW,HIGH"),
        (["--label", "cat", "--guidance-interval", "3,2"], "--guidance-interval: 3,2 is not LOW,HIGH"),
        (["--guidance", "2"], "--guidance: guides towards a condition, and none is given; give a label"),
        (["--label", "cat", "--guidance", "nan"], "--guidance: nan is not a finite number"),
        (["--label", "cat", "--guidance-rescale", "2"], "--guidance-rescale: 2.0 is not between 0 and 1"),
        (["--label", "cat", "--guidance-method", "cfg++"], "--guidance: 2 is out of range; that of cfg++ is 0 to 1"),
        (["--label", "cat", "--guidance-norm", "2"], "--guidance-norm: is of apg alone; add --guidance-method apg"),
        ([*APG, "--guidance-momentum", "1"], "--guidance-momentum: 1 is not between -1 and 1"),
        (
            [*APG, "--guidance-momentum", "-0.5", "--error", "0.1", "--solver", "adams"],
            "--error: the momentum of apg depends on the number of steps",
        ),
        ([*PLUS, "--error", "0.1", "--solver", "adams"], "--error: cfg++ depends on the number"),
        ([*PLUS, "--solver", "langevin"], "--guidance-method: cfg++ changes the steps of an ODE's or SDE's solver"),
        (
            [*PLUS, "--classifier", "{}/classifier"],
            "--guidance-method: cfg++ renoises without a condition, not without a classifier or a CLIP",
        ),
    ],
)
def test_impossible_guidance_is_refused_in_a_line(folder: Path, options: list[str], answer: str, capsys) -> None:
    given = [option.replace("{}", str(folder)) for option in options]
    assert main(["sample", str(folder / "told"), "-n", "1", *given]) == 2
    printed = capsys.readouterr().err
    assert answer in printed
    assert len(printed.strip().splitlines()) == 1


def test_an_interval_is_read_with_either_end_left_out() -> None:
    assert read_interval("0.3,5") == (0.3, 5.0)
    assert read_interval(",5") == (0.0, 5.0)
    assert read_interval("0.3,") == (0.3, inf)
    with pytest.raises(InputError, match="is not of the form LOW,HIGH"):
        read_interval("a,b")


def test_a_worse_model_of_the_same_run_is_an_earlier_checkpoint(folder: Path, capsys) -> None:
    assert main(["sample", str(folder / "told"), "--label", "cat", "--guidance", "2", "--worse-checkpoint", "3"]) == 2
    assert "sumi: --worse-checkpoint: there is none at step 3" in capsys.readouterr().err


def test_a_worse_run_needs_a_scale(folder: Path, capsys) -> None:
    """The unconditional run is configured without guidance, and would be sampled without."""
    given = ["sample", str(folder / "plain"), "-n", "1", "--worse", str(folder / "worse")]
    assert main(given) == 2
    assert "--worse: counts as far as --guidance says, and that is 1" in capsys.readouterr().err


def test_what_guides_may_be_a_run_folder_or_a_model(folder: Path) -> None:
    """The same samples by a path, the model in it, and what that holds."""
    model, worse = class_model(folder), load(folder / "worse", DiffusionModel)
    away = [model.sample(2, label="cat", guidance=Guidance(2.0, worse=w)) for w in (folder / "worse", worse)]
    assert torch.equal(*away)
    assert torch.equal(away[0], model.sample(2, label="cat", guidance=Guidance(2.0, worse=worse.gaussian_denoiser())))
    classifier = load(folder / "classifier", ClassifierModel)
    towards = [
        model.sample(2, label="cat", guidance=Guidance(classifier=c))
        for c in (str(folder / "classifier"), classifier, classifier.classifier)
    ]
    assert torch.equal(*towards[:2])
    assert torch.equal(*towards[1:])
    with pytest.raises(InputError, match=r"^guidance\.worse: a int is no denoiser; give a run or a model"):
        model.sample(2, label="cat", guidance=Guidance(2.0, worse=3))
    with pytest.raises(InputError, match=r"^guidance\.classifier: a DiffusionModel is none; give a run or a model"):
        model.sample(2, label="cat", guidance=Guidance(classifier=worse))
