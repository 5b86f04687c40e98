"""Measuring a model of images: what is planted among its samples stands in the report, in words, tables and JSON."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sumi.errors import InputError
from sumi.evaluation import images as seen_module
from sumi.evaluation import images as summary
from sumi.evaluation.images import Evaluation
from sumi.metrics.features import learned as features
from sumi.metrics.features.pretrained import Preprocessing, PretrainedSpace
from sumi.metrics.kernel_distance import kernel_distance
from sumi.models.diffusion.model import DiffusionModel
from sumi.report import evaluate as measure_module
from sumi.report.evaluate import evaluate
from tests.tiny_models import digits_model, training_part


def measured(
    monkeypatch: pytest.MonkeyPatch, model: DiffusionModel, samples: Tensor, **options: str
) -> tuple[Evaluation, str, str]:
    """The figures, the verdict and the words of the page of a model that draws ``samples``."""
    own = DiffusionModel.sample

    def sample(self: DiffusionModel, n: int = 16, **options) -> Tensor:
        start = options.get("start", 0)
        return own(self, n, **options) if options.get("callback") else samples[start : start + n]

    monkeypatch.setattr(DiffusionModel, "sample", sample)
    monkeypatch.setattr(features, "FEWEST_STEPS", 150)
    found = evaluate(model, n=len(samples), **options)
    assert isinstance(found.evaluation, Evaluation)
    page = found.page.read_text()
    condition = json.loads((found.page.parent / "evaluation.json").read_text())
    assert condition["seed"] == 0
    assert all(b["mse_noise"]["low"] <= b["mse_noise"]["value"] for b in condition["held_out_loss"]["bins"])
    assert f"{condition['held_out_loss']['images']} held-out images in 12 bins of log-SNR" in page
    return found.evaluation, found.verdict, re.sub(r"<style>.*?</style>|<[^>]*>", " ", page)


def test_samples_half_of_which_are_copies_are_shown_with_their_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter in place, a quarter moved by one pixel; the others are real images that were not trained on."""
    model = digits_model(tmp_path, "data.held_out=0.3")
    images, _, order, held_out = training_part(model)
    source = images[order[:100]]
    samples = torch.cat([held_out[:200], source, source.roll(1, 3)])
    evaluation, words, page = measured(monkeypatch, model, samples)
    assert "are copies of training images" in words
    assert re.search(r"About (49|50|51)\s% \[4\d,\s5\d\] of the samples are copies", page)
    assert "The most suspicious samples" in page
    assert evaluation.copies is not None
    assert all(pair.training == int(order[(pair.sample - 200) % 100]) for pair in evaluation.copies.closest)
    assert not evaluation.copies.mirrored


def test_blurred_samples_are_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = digits_model(tmp_path)
    images, _, order, _ = training_part(model)
    blurred = F.avg_pool2d(F.pad(images[order[:300]], (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    evaluation, _, page = measured(monkeypatch, model, blurred)
    assert "The samples lack fine detail" in page
    assert evaluation.spectra is not None
    assert evaluation.spectra.distance.samples.detail.high < 0.5 < evaluation.spectra.distance.real.detail.low


def test_a_class_without_samples_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the verdict and beside the chart of the classes, unless the network takes some other image for it."""
    model = digits_model(tmp_path)
    images, labels, order, _ = training_part(model)
    kept = order[(labels[order] != 4) & (labels[order] != 9)]
    evaluation, words, page = measured(monkeypatch, model, images[kept[:300]])
    assert evaluation.balance is not None
    assert sum(evaluation.balance.samples[c] for c in (4, 9)) < 10  # a classifier errs
    missing = " and ".join(map(str, evaluation.balance.missing))
    message = f"class {missing} " if missing else "the shares of the classes differ"
    assert message in words
    assert (f"No sample is classified as {missing}." in page) == bool(missing)


def test_samples_of_one_mode_are_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = digits_model(tmp_path)
    images, *_ = training_part(model)
    noise = 0.2 * torch.randn((100, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    evaluation, words, page = measured(monkeypatch, model, (images[:1] + noise).clamp(-1, 1))
    assert "of 10 classes are missing" in words
    assert evaluation.variety is not None
    assert evaluation.variety.samples.recall.high < evaluation.variety.real.recall.low
    for row in ("Recall: real images among samples", "Coverage, ", "Inception score, of 10 classes"):
        assert row in page


def test_with_ten_and_some_images_held_out_the_report_is_shorter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mirrored copies are looked for where the training images were mirrored."""
    model = digits_model(tmp_path, "data.held_out=0.008", "data.flip=true")
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


def test_more_samples_than_are_kept_count_for_the_frechet_distance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if all were kept: the plug-in distance is the same, of as many samples and held-out images."""
    model = digits_model(tmp_path)
    images, _, order, held_out = training_part(model)
    samples = images[order[:350]]
    whole, _, _ = measured(monkeypatch, model, samples)
    for module in (summary, measure_module):
        monkeypatch.setattr(module, "MOST_PAIRED", 120)
    for module in (seen_module, measure_module):
        monkeypatch.setattr(module, "CHUNK", 70)
    found, _, page = measured(monkeypatch, model, samples)
    assert (found.distances.first, found.distances.second) == (120, 120)
    assert (found.distances.frechet_first, found.distances.frechet_second) == (350, len(held_out))
    assert (found.real_distances.first, found.real_distances.frechet_first) == (120, len(held_out))
    rounding = 1e-6  # of features in float32, from batches of another size
    assert found.distances.frechet_plug_in == pytest.approx(whole.distances.frechet_plug_in, rel=rounding)
    assert found.real_distances.frechet_plug_in == pytest.approx(whole.real_distances.frechet_plug_in, rel=rounding)
    assert found.inception_score is not None
    assert (found.inception_score.samples.images, found.inception_score.real.images) == (120, 120)
    assert f"Fréchet distances: 350 samples and {len(held_out)} held-out images." in page
    assert "120 images by" in page
    assert "and 230 more" in page


def test_the_space_and_the_reference_have_their_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference is the same for other samples, another one for other held-out images."""
    model = digits_model(tmp_path, "data.held_out=0.2")
    images, _, order, held_out = training_part(model)
    one, _, page = measured(monkeypatch, model, images[order[:100]])
    other, _, _ = measured(monkeypatch, model, images[order[100:220]])
    assert one.reference == other.reference
    assert one.reference.images == len(held_out)
    assert one.space.sha256 == one.network_sha256
    for digest in (one.space.sha256, one.reference.sha256):
        assert len(digest) == 64
        assert digest[:12] in page


def test_a_network_from_a_file_is_the_space_that_is_measured_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a network whose features are the pixels' means over quarters of an image; it tells no classes."""

    class Quarters(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 30 * F.adaptive_avg_pool2d(x, 2).flatten(1)

    seen = Preprocessing((8, 8), None, "bilinear", (0.5,) * 3, (0.5,) * 3)
    space = PretrainedSpace("Quarters", Quarters(), seen, Quarters(), dimension=12, device=torch.device("cpu"))
    monkeypatch.setattr(measure_module, "open_space", lambda name, device: space if name == "quarters" else None)
    model = digits_model(tmp_path)
    images, _, order, held_out = training_part(model)
    darker = (images[order[:200]] - 0.125).clamp(-1, 1)  # by one of its 16 levels
    found, words, page = measured(monkeypatch, model, darker, features="quarters")
    expected = kernel_distance(space.features(darker), space.features(held_out))
    assert found.distances.kernel.value == pytest.approx(expected.value, rel=1e-9)
    assert found.space == space.space
    assert found.network_sha256 != space.space.sha256
    assert found.inception_score is None
    assert "Inception score (Quarters has no classifier)" in page
    assert "Quarters, 12 features, sha256 " + space.space.sha256[:12] in page
    assert "Classes and confidence are those of the built-in network" in page
    assert found.variety is not None
    # the words go by features of the built-in network's size, whatever the numbers
    assert found.distances.kernel.value > 1 > found.closeness
    assert "are far from" not in words
    assert found.held_out_accuracy is not None


def test_a_network_that_is_not_there_is_reported_before_anything_is_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DiffusionModel, "sample", None)
    with pytest.raises(InputError, match=r"nowhere\.pth: no such file; get pt_inception"):
        evaluate(digits_model(tmp_path), features="nowhere.pth")
