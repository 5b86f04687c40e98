"""Checks during a training see a loss that rises on held-out images, and copies; and they change no weight."""

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from sumi.data.image_set import ImageDataset
from sumi.evaluation import during_training
from sumi.evaluation.during_training import Checks, held_out_losses, worse_by
from sumi.evaluation.loss_by_noise import Errors, loss_by_log_snr
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.report.unfinished import short_of
from sumi.training.checkpoint import load_checkpoint
from sumi.training.metrics_log import MetricsLog
from sumi.training_run import train

SMALL = [
    *("network.widths=32", "network.blocks=1", "network.embedding=32", "training.batch_size=16", "sampling.steps=8"),
    *("training.warmup_steps=10", "training.learning_rate=5e-3", "training.ema_decay=0.9", "training.sample_every=0"),
    *("data.held_out=0.5", "training.precision=fp32"),
]


def noise_pictures(n: int = 48) -> ImageDataset:
    """Of noise alone, of which there is nothing to learn but each by itself."""
    images = np.random.default_rng(0).integers(0, 256, (n, 1, 8, 8), dtype=np.uint8)
    return ImageDataset(images, None, (), None, tuple(f"{i:02d}" for i in range(n)))


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    out = tmp_path_factory.mktemp("checks") / "run"
    return train("ddpm", data=noise_pictures(), out=out, steps=13, settings=[*SMALL, "training.check_every=5"])


def checks_of(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line.get("event") == "check"]


def test_a_loss_that_rises_on_held_out_images_is_reported_once(
    learned: DiffusionModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Falls, rises within chance, and rises beyond it from the fourth check on."""
    own = torch.rand(28, generator=torch.Generator().manual_seed(0)).double()
    noisy = torch.linspace(-0.3, 0.301, 28).double()
    each = [1 + own, 0.8 + own, 0.8 + own + noisy, 1 + own, 1.1 + own, 1.2 + own]
    levels = iter(each)

    def errors(*_, **__) -> list[Errors]:
        found = next(levels)
        return [Errors(-1.0, 1.0, found, found), Errors(1.0, 3.0, 2 * found, found)]

    monkeypatch.setattr(during_training, "errors_by_log_snr", errors)
    message: list[str] = []
    checks = Checks(*noise_pictures().split(0.5), message.append)
    lines = [checks(replace_step(learned, step)) for step in range(1, 7)]
    assert [line.get("rises_since") for line in lines] == [None, None, None, None, 2, 2]
    assert [line for line in message if "loss on held-out" in line] == [
        f"step 5: the loss on held-out images is {0.3 / (0.8 + own.mean()):.1%} (± 0.0%) above that of step 2: from "
        "there on it learns its training images by heart; stop here and use --checkpoint 2, if it is kept"
    ]
    for stopped in range(1, 6):  # in between, and each time a check later than the step that is saved
        levels, memory = iter(each), tmp_path / f"checks-{stopped}.json"
        first, again = (Checks(*noise_pictures().split(0.5), message.append, memory) for _ in range(2))
        begun = [first(replace_step(learned, step)) for step in range(1, stopped + 2)][:stopped]
        levels = iter(each[stopped:])
        assert begun + [again(replace_step(learned, step), stopped) for step in range(stopped + 1, 7)] == lines
        levels = iter(each)
        afresh = Checks(*noise_pictures().split(0.5), message.append, memory)
        assert [afresh(replace_step(learned, step)) for step in range(1, 7)] == lines
    shutil.copytree(learned.folder, tmp_path / "run")
    MetricsLog(tmp_path / "run/metrics.jsonl").append({"step": 13, "event": "check", **lines[-1]})
    assert short_of(load(tmp_path / "run")) == (
        "The loss on held-out images rises since step 2: more steps make copies of the training images."
    )


def replace_step(model: DiffusionModel, step: int) -> DiffusionModel:
    other = copy.copy(model)
    other.step = step
    return other


def test_checks_are_made_at_their_steps(learned: DiffusionModel) -> None:
    assert [line["step"] for line in checks_of(learned.folder)] == [5, 10]


def test_what_is_logged_is_the_loss_by_noise_with_its_interval(learned: DiffusionModel) -> None:
    model = learned
    train_images, held_out = noise_pictures().split(0.5)
    found = held_out_losses(Checks(train_images, held_out, lambda _: None)(model))
    images = held_out.batch(np.arange(len(held_out)))
    grid, seed = model.network_denoiser.trained_steps, model.config.seed
    expected = loss_by_log_snr(model.denoiser(), images, grid=grid, seed=seed, bins=during_training.BINS)
    assert len(found) == len(expected.bins)
    for (middle, estimate), bin in zip(found.items(), expected.bins, strict=True):
        assert middle == pytest.approx((bin.low + bin.high) / 2, abs=0.051)
        assert estimate.value == pytest.approx(bin.mse_noise.value, rel=1e-6)
        # the bootstrap's interval is of another kind, and of 24 images
        assert (estimate.high - estimate.low) == pytest.approx(bin.mse_noise.high - bin.mse_noise.low, rel=0.5)


def test_copies_are_counted(learned: DiffusionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the samples are, where the model gives training images."""
    model = learned
    train_images, held_out = noise_pictures().split(0.5)
    message: list[str] = []
    given = train_images.batch(np.arange(during_training.SAMPLES))
    monkeypatch.setattr(type(model), "sample", lambda *_, **__: given)
    found = Checks(train_images, held_out, message.append)(model)
    assert (found["copies"], found["samples"]) == (16, 16)
    assert f"step {model.step}: 16 of 16 samples are copies of training images" in message
    monkeypatch.setattr(type(model), "sample", lambda *_, **__: held_out.batch(np.arange(16)))
    assert Checks(train_images, held_out, message.append)(model)["copies"] <= 1


def test_checks_change_no_weight(tmp_path: Path) -> None:
    for name, every in (("with", 2), ("without", 0)):
        settings = [*SMALL, f"training.check_every={every}"]
        train("ddpm", data=noise_pictures(), out=tmp_path / name, steps=6, settings=settings)
    first, second = (load_checkpoint(tmp_path / name / "checkpoints/00000006") for name in ("with", "without"))
    assert all(torch.equal(first.ema[key], second.ema[key]) for key in first.ema)
    assert checks_of(tmp_path / "with")
    assert not checks_of(tmp_path / "without")


def test_worse_by_is_the_mean_of_paired_changes() -> None:
    before = torch.tensor([[1.0, 10.0], [3.0, 30.0]])
    now = torch.tensor([[1.2, 10.0], [3.2, 34.0]])
    change, error = worse_by(before, now)
    first, second = 0.2 / 2 / 2, (0.2 / 2 + 4 / 20) / 2
    assert change == pytest.approx((first + second) / 2)
    assert error == pytest.approx(abs(first - second) / 2)


def test_other_models_and_few_images_have_no_checks(learned: DiffusionModel, tmp_path: Path) -> None:
    model = learned
    few = noise_pictures(15)
    assert Checks(few, few, lambda _: None)(model) == {}
    vectors = train("flow", data="swiss-roll", out=tmp_path / "run", steps=2, settings=["training.check_every=1"])
    assert Checks(few, noise_pictures(), lambda _: None)(vectors) == {}
    assert not checks_of(vectors.folder)
