"""Classifier-free guidance from end to end: what is drawn for a label, how it is asked for, whether it is learned."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sumi import recipes
from sumi.boundary.settings import override
from sumi.cli.main import main
from sumi.conditioning.condition import Condition
from sumi.data.config import DataConfig
from sumi.data.image_set import ImageDataset
from sumi.data.load import load as load_data
from sumi.data.pixels import PixelRange
from sumi.denoising.denoiser import ConditionedDenoiser
from sumi.errors import InputError
from sumi.evaluation.images import evaluate as evaluate_samples
from sumi.guidance.extrapolation import Extrapolation
from sumi.guidance.thresholding import StaticThreshold
from sumi.metrics.features import learned as features
from sumi.metrics.features.learned import train_classifier
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.report.evaluate import evaluate
from sumi.report.verdict import verdict
from sumi.report.words import amount
from sumi.training_run import train
from tests.tiny_models import NAMES, TINY, class_model, differ


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> DiffusionModel:
    return class_model(tmp_path_factory.mktemp("model"))


# --- what is drawn


def test_a_labels_sample_is_the_same_alone_or_in_a_batch(model: DiffusionModel) -> None:
    """Up to rounding of the network (1e-4), and so are those of "all" and of a list of classes, in any parts."""
    together = model.sample(10, label="all", seed=3)
    parts = model.sample(10, label="all", seed=3, batch_size=4)
    later = model.sample(6, label="all", seed=3, start=4)
    listed = model.sample(10, label=torch.arange(10) % 3, seed=3, batch_size=4)
    for other in (parts, listed):
        torch.testing.assert_close(other, together, rtol=0, atol=1e-4)
    torch.testing.assert_close(later, together[4:], rtol=0, atol=1e-4)
    for k in (0, 4, 8):
        alone = model.sample(1, label=NAMES[k % 3], seed=3, start=k)
        torch.testing.assert_close(alone[0], together[k], rtol=0, atol=1e-4)
        assert differ(model.sample(1, label=NAMES[(k + 1) % 3], seed=3, start=k), alone)
        assert differ(model.sample(1, seed=3, start=k), alone)


def test_the_scale_is_the_configurations_unless_another_is_given(model: DiffusionModel) -> None:
    """The recipe's 2 by default; 1 is the conditional model alone, 0 the unconditional one."""
    by = {w: model.sample(3, label="dog", guidance=w) for w in (0.0, 1.0, 2.0, None)}
    torch.testing.assert_close(by[None], by[2.0], rtol=0, atol=0)
    assert differ(by[1.0], by[2.0])
    torch.testing.assert_close(by[0.0], model.sample(3), rtol=0, atol=1e-6)
    denoiser = model.denoiser(Condition(labels=torch.tensor([1, 1])))
    assert isinstance(denoiser, StaticThreshold)
    assert isinstance(denoiser.denoiser, Extrapolation)
    assert denoiser.denoiser.scale == 2.0
    x = 0.3 * torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    given = model.network_denoiser.bind(Condition(labels=torch.tensor([1, 1])))
    assert isinstance(given, ConditionedDenoiser)
    one, other = given(x, 0.5).clean, model.network_denoiser(x, 0.5).clean
    torch.testing.assert_close(denoiser(x, 0.5).clean, (2 * one - other).clamp(-1, 1), rtol=1e-4, atol=1e-5)
    assert torch.equal(
        model.denoiser(Condition(labels=torch.tensor([1, 1])), guidance=1.0)(x, 0.5).clean, one.clamp(-1, 1)
    )


def test_autoguidance_and_another_classs_absence_from_python(model: DiffusionModel, tmp_path: Path) -> None:
    """As docs/how-to/guidance.md shows: away from another model told the same, and away from another class."""
    labels, network = Condition(labels=torch.tensor([0, 2])), model.gaussian_denoiser()
    smaller = class_model(tmp_path, "network.embedding=16")
    x = 0.3 * torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for worse in (smaller.gaussian_denoiser().bind(labels), network.bind(Condition(labels=torch.tensor([1, 1])))):
        guided = Extrapolation(network.bind(labels), worse, 1.5)
        one, other = network.bind(labels)(x, 0.7).clean, worse(x, 0.7).clean
        torch.testing.assert_close(guided(x, 0.7).clean, 1.5 * one - 0.5 * other, rtol=1e-4, atol=1e-4)
        made = model.walk(2, wrap=lambda _, guided=guided: guided)
        assert made.shape == (2, 1, 8, 8)


def test_a_learned_variance_is_kept_under_guidance(tmp_path: Path) -> None:
    """The network's own for the label, so the solver that asks for it works at any scale."""
    model = class_model(tmp_path, "variance=learned", "sampling.solver=ddpm_learned")
    for guidance in (0.0, 1.0, 3.0):
        assert bool(model.sample(3, label="all", guidance=guidance).isfinite().all())


def test_a_tuned_solver_is_for_what_it_was_tuned_to(model: DiffusionModel, monkeypatch) -> None:
    """Samples of a label are made by the configured one."""
    monkeypatch.setattr(DiffusionModel, "is_tuned", lambda *_: True)
    assert bool(model.sample(1, label="cat").isfinite().all())
    assert model.method(tuned=False).name == model.config.sampling.solver
    with pytest.raises(InputError):  # the tuned one, of which there is no file
        model.sample(1)


# --- what is refused


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({"label": "dgo"}, "label: there is no class dgo; did you mean dog?"),
        ({"label": "zzz"}, "label: there is no class zzz; choose from cat, dog, fox, all"),
        ({"guidance": 2.0}, "guidance.scale: guides towards a condition, and none is given; give a label"),
        ({"label": "cat", "guidance": float("nan")}, "guidance.scale: nan is not a finite number"),
        ({"label": torch.tensor([0, 3])}, "label: there is no class number 3; give 0 to 2, or a name"),
        ({"label": torch.tensor([0, -1])}, "label: -1 is out of range"),
        ({"label": torch.tensor([0.0, 1.0])}, "label: 0.0 is not a whole number"),
        ({"label": torch.tensor([0])}, "label: 1 are given for 2 samples"),
    ],
)
def test_impossible_labels_are_refused(model: DiffusionModel, options: dict, answer: str) -> None:
    with pytest.raises(InputError, match=answer):
        model.sample(2, **options)


def test_a_model_without_classes_refuses_them(tmp_path: Path) -> None:
    plain = class_model(tmp_path, recipe="ddpm")
    with pytest.raises(InputError, match="label: this model was trained without; train classifier-free"):
        plain.sample(1, label="cat")
    with pytest.raises(InputError, match="label: this model was trained without"):
        plain.sample(1, label=torch.tensor([0]))
    with pytest.raises(InputError, match="condition: this model was trained without"):
        plain.sample(1, condition={"values": {"brightness": 0.1}})


def test_guidance_needs_labels_that_were_left_out(tmp_path: Path) -> None:
    """With dropout 0 nothing was learned without labels: the conditional model alone is all there is."""
    model = class_model(tmp_path, "conditioning.dropout=0.0", "sampling.guidance=1")
    assert bool(model.sample(1, label="cat", guidance=1.0).isfinite().all())
    with pytest.raises(
        InputError, match=r"guidance\.scale: 2 needs a model also trained without its condition; give 1"
    ):
        model.sample(1, label="cat", guidance=2.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of 12 steps on the digits, trained through the command line."""
    out = tmp_path_factory.mktemp("cli") / "run"
    arguments = ["train", "classifier-free", "--data", "digits", "--out", str(out), "--no-report"]
    assert main([*arguments, *(f"--set={setting}" for setting in TINY)]) == 0
    return out


def test_the_command_line_draws_labels(run: Path, tmp_path: Path, capsys) -> None:
    assert main(["sample", str(run), "-n", "3", "--label", "all", "--start", "8", "--steps", "3"]) == 0
    assert main(["sample", str(run), "-n", "1", "--label", "9", "--start", "9", "--guidance", "2", "--steps", "3"]) == 0
    folders = sorted(p.name for p in (run / "samples").iterdir() if p.is_dir())
    assert folders == ["00000012-adams-3-seed0-9-guidance2", "00000012-adams-3-seed0-all"]
    pictures = [run / "samples" / folder / "00009.png" for folder in folders]
    of_three, alone = (np.asarray(Image.open(p)).astype(int) for p in pictures)
    assert np.abs(of_three - alone).max() <= 16  # of 17 levels: a pixel between two may round to either
    assert np.count_nonzero(of_three != alone) <= 1
    about = [json.loads(Image.open(p).text["sumi"]) for p in pictures]
    assert [(a["label"], a["guidance"]) for a in about] == [("9", 2.0), ("9", 2.0)]  # each says its own
    grid = json.loads(Image.open(run / "samples" / folders[1] / "grid.png").text["sumi"])
    assert grid["label"] == "all"
    out = tmp_path / "way"
    assert main(["sample", str(run), "-n", "1", "--label", "4", "--trajectory", "--steps", "3", "--out", str(out)]) == 0
    assert (out / "strip.png").exists()
    capsys.readouterr()
    for options, answer in (
        (["--label", "ten"], "--label: there is no class ten; choose from 0, 1, 2"),
        (["--guidance", "2"], "--guidance: guides towards a condition, and none is given; give a label"),
        (["--label", "3", "--guidance", "nan"], "--guidance: nan is not a finite number"),
    ):
        assert main(["sample", str(run), *options]) == 2
        printed = capsys.readouterr().err
        assert answer in printed
        assert len(printed.strip().splitlines()) == 1


# --- what is measured


def test_label_accuracy_is_the_share_that_the_classifier_finds_right(monkeypatch) -> None:
    """Real digits as samples: told right they count as the classifier's own accuracy; one in four told wrong, less."""
    monkeypatch.setattr(features, "FEWEST_STEPS", 200)
    data = load_data(DataConfig(source="digits"))
    order = np.random.default_rng(0).permutation(len(data))
    images, labels = PixelRange(17).to_model(data.images[order]), torch.from_numpy(data.labels[order])
    network = train_classifier(images[:1000], labels[:1000], classes=10, seed=0)
    right = network.probabilities(images[1000:1400]).argmax(1) == labels[1000:1400]
    assert float(right.double().mean()) > 0.9
    requested = labels[1000:1400].clone()
    requested[:100] = (requested[:100] + 1) % 10
    expected = int((network.probabilities(images[1000:1400]).argmax(1) == requested).sum())

    def measured(sample_labels: torch.Tensor | None):
        parts = images[1000:1400], images[:1000], images[1400:]
        return evaluate_samples(*parts, network, held_out_labels=labels[1400:], sample_labels=sample_labels)

    exact, planted, without = (measured(v) for v in (labels[1000:1400], requested, None))
    assert exact.label_accuracy.value == pytest.approx(int(right.sum()) / 400)
    assert planted.label_accuracy.value == pytest.approx(expected / 400)
    assert 0.65 < planted.label_accuracy.value < 0.78
    assert planted.label_accuracy.low < planted.label_accuracy.value < planted.label_accuracy.high
    assert without.label_accuracy is None
    assert f"assigns {amount(planted.label_accuracy)} of the samples to the requested class" in str(verdict(planted))
    assert "requested class" not in str(verdict(without))


def test_measuring_asks_for_classes_as_often_as_training_has_them(run: Path, tmp_path: Path, monkeypatch) -> None:
    """The samples are of those labels, the first of them is the one shown emerging, and the report says how."""
    model, requested = load(run), []
    sample_of = DiffusionModel.sample

    def record(self: DiffusionModel, n: int = 16, **options):
        requested.append(options.get("label"))
        return sample_of(self, n, **options)

    monkeypatch.setattr(DiffusionModel, "sample", record)
    monkeypatch.setattr(features, "FEWEST_STEPS", 20)
    split = ImageDataset.split

    def uneven(self: ImageDataset, held_out: float) -> tuple[ImageDataset, ImageDataset]:
        train, other = split(self, held_out)
        return replace(train, labels=np.where(train.labels < 5, 0, train.labels)), other

    monkeypatch.setattr(ImageDataset, "split", uneven)
    measured = evaluate(model, n=300, seed=4)
    labels = requested[0]
    assert int(requested[1]) == int(labels[0])
    shares = torch.bincount(labels, minlength=10) / 300
    assert float(shares[0]) == pytest.approx(0.5, abs=0.12)  # four standard errors
    assert shares[1:5].tolist() == [0] * 4
    assert all(share > 0.03 for share in shares[5:])
    page = (run / "report/report.html").read_text()
    assert "guidance 2" in page
    assert "Assigned to the requested class" in page
    assert "mistaken for" in page
    assert f"sumi evaluate {run} -n 300 --seed 4" in page
    assert "of the samples to the requested class" in measured.verdict
    requested.clear()
    for seed in (4, 5):  # few enough that nothing is measured
        evaluate(model, n=9, seed=seed)
    assert torch.equal(requested[0], labels[:9])
    assert not torch.equal(requested[2], labels[:9])
    for other in (class_model(tmp_path / "plain", recipe="ddpm"), class_model(tmp_path / "of other classes")):
        requested.clear()
        evaluate(other, n=9)
        assert requested == [None, None]


# --- whether it is learned


@pytest.mark.slow
def test_guidance_makes_samples_of_their_class(tmp_path: Path) -> None:
    """1000 steps on the digits; 500 samples by a classifier that tells real ones: 10 % by chance."""
    settings = ["network.widths=32,64", "network.blocks=1,1", "training.batch_size=64", "training.sample_every=0"]
    model = train("classifier-free", data="digits", out=tmp_path / "run", steps=1000, settings=settings)
    data = model.load_images()
    images, labels = PixelRange(17).to_model(data.images), torch.from_numpy(data.labels)
    network = train_classifier(images, labels, classes=10, seed=0)
    requested = torch.arange(500) % 10

    def accuracy(guidance: float) -> float:
        made = model.sample(500, label="all", guidance=guidance, steps=20, batch_size=250)
        return float((network.probabilities(made).argmax(1) == requested).double().mean())

    none, plain, guided = (accuracy(w) for w in (0.0, 1.0, 2.0))
    print(f"label accuracy at guidance 0, 1, 2: {none:.3f}, {plain:.3f}, {guided:.3f}")
    assert none < 0.2
    assert guided > plain > 0.5
    assert guided > 0.85


@pytest.mark.parametrize("settings", [("conditioning.dropout=0",), ("sampling.guidance=1e999",)])
def test_a_guidance_that_cannot_be_used_is_refused_before_training(settings: tuple[str, ...]) -> None:
    config = recipes.build("classifier-free", DataConfig(source="digits"))
    with pytest.raises(InputError, match=r"conditioning\.dropout|sampling\.guidance"):
        override(config, settings)
    assert override(config, ("conditioning.dropout=0", "sampling.guidance=1")).sampling.guidance.scale == 1
