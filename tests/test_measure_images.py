"""Measuring a model of images: what is planted among its samples stands in the report, in words, tables and JSON."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sumi import recipes
from sumi.build import build_denoiser
from sumi.config import override
from sumi.data.config import DataConfig
from sumi.data.load import load
from sumi.data.pixels import PixelRange
from sumi.evaluation import features
from sumi.evaluation.summary import Evaluation
from sumi.measure import measure
from sumi.model import DiffusionModel
from sumi.run import RunDescription
from sumi.training_run import item_spec
from tests.test_labels import TINY


def new_model(folder: Path, *settings: str) -> DiffusionModel:
    """An untrained model of the digits."""
    config = override(recipes.build("ddpm", DataConfig(source="digits")), [*TINY, "sampling.steps=4", *settings])
    dataset = load(config.data)
    spec = item_spec(dataset)
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


def measured(monkeypatch: pytest.MonkeyPatch, model: DiffusionModel, samples: Tensor) -> tuple[Evaluation, str, str]:
    """The figures, the verdict and the words of the page of a model that draws ``samples``."""
    own = DiffusionModel.sample

    def sample(self: DiffusionModel, n: int = 16, **options) -> Tensor:
        return own(self, n, **options) if options.get("on_step") else samples[:n]

    monkeypatch.setattr(DiffusionModel, "sample", sample)
    monkeypatch.setattr(features, "FEWEST_STEPS", 150)
    found = measure(model, n=len(samples))
    assert isinstance(found.evaluation, Evaluation)
    page = found.report.read_text()
    assert json.loads((found.report.parent / "evaluation.json").read_text())["seed"] == 0
    return found.evaluation, found.verdict, re.sub(r"<style>.*?</style>|<[^>]*>", " ", page)


def test_samples_half_of_which_are_copies_are_shown_beside_their_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter in place, a quarter moved by one pixel; the others are real images that were not trained on."""
    model = new_model(tmp_path, "data.held_out=0.3")
    images, _, order, held_out = training_part(model)
    source = images[order[:100]]
    samples = torch.cat([held_out[:200], source, source.roll(1, 3)])
    evaluation, words, page = measured(monkeypatch, model, samples)
    assert "near copies of training images" in words
    assert re.search(r"About (49|50|51) % \[4\d, 5\d\] of the samples are nearer", page)
    assert "The most suspicious of all samples" in page
    assert evaluation.copies is not None
    assert all(pair.training == int(order[(pair.sample - 200) % 100]) for pair in evaluation.copies.closest)
    assert not evaluation.copies.mirrored


def test_blurred_samples_are_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = new_model(tmp_path)
    images, _, order, _ = training_part(model)
    blurred = F.avg_pool2d(F.pad(images[order[:300]], (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    evaluation, _, page = measured(monkeypatch, model, blurred)
    assert "The samples lack fine detail" in page
    assert evaluation.spectra is not None
    assert evaluation.spectra.distance.samples.detail.high < 0.5 < evaluation.spectra.distance.real.detail.low


def test_a_class_without_samples_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the verdict and beside the chart of the classes, unless the network takes some other image for it."""
    model = new_model(tmp_path)
    images, labels, order, _ = training_part(model)
    kept = order[(labels[order] != 4) & (labels[order] != 9)]
    evaluation, words, page = measured(monkeypatch, model, images[kept[:300]])
    assert evaluation.balance is not None
    assert sum(evaluation.balance.samples[c] for c in (4, 9)) < 10  # a classifier errs
    missing = ", ".join(map(str, evaluation.balance.missing))
    said = f"Missing among the samples: class {missing}." if missing else "The shares of the classes differ"
    assert said in words
    assert (f"No sample is taken for {missing}." in page) == bool(missing)


def test_samples_of_one_mode_are_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = new_model(tmp_path)
    images, *_ = training_part(model)
    noise = 0.2 * torch.randn((100, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    evaluation, words, page = measured(monkeypatch, model, (images[:1] + noise).clamp(-1, 1))
    assert words.endswith("of 10 classes are missing among the samples.")
    assert evaluation.variety is not None
    assert evaluation.variety.samples.recall.high < evaluation.variety.real.recall.low
    for row in ("Recall: real images among samples", "Coverage, ", "Inception score, of 10 classes"):
        assert row in page


def test_with_ten_and_some_images_held_out_the_report_is_shorter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mirrored copies are looked for where the training images were mirrored."""
    model = new_model(tmp_path, "data.held_out=0.008", "data.flip=true")
    images, _, order, held_out = training_part(model)
    assert 10 <= len(held_out) < 36
    evaluation, _, page = measured(monkeypatch, model, images[order[:50]].flip(3))
    assert evaluation.variety is None
    assert "Precision" not in page
    assert re.search(r"Left out: precision and recall \(\d\d images are too few for balls", page)
    assert "Fine detail" in page
    assert evaluation.copies is not None
    assert evaluation.copies.mirrored
    assert evaluation.copies.found.rate.value > 0.9
