"""Classifiers of noisy images from end to end: what they learn from, how they resume, and what is said of them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi import recipes
from sumi.boundary.config import from_json, to_json
from sumi.boundary.settings import override
from sumi.cli.main import main
from sumi.data.batch import batch_of
from sumi.data.config import DataConfig
from sumi.data.load import load_images
from sumi.data.pixels import PixelRange
from sumi.errors import InputError
from sumi.guidance.classifier import NoisyClassifier
from sumi.models.classifier import ClassifierModel, ClassifierObjective, NoisyClassifierConfig
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from sumi.networks.adm import ADMConfig
from sumi.process.schedule import at_log_snr
from sumi.randomness import Purpose, normal, uniform
from sumi.report.words import percent
from sumi.training_run import train

SMALL = [
    *("network.widths=32", "network.blocks=1", "network.attention=", "network.head_width=32", "network.embedding=32"),
    *("training.batch_size=64", "training.warmup_steps=5", "training.precision=fp32", "training.learning_rate=3e-3"),
]


class Linear(nn.Module):
    """A network whose logits are two pixels of the fourth row and the level it is told."""

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        return torch.stack([x[:, 0, 3, 2], x[:, 0, 3, 4], c_noise], 1)


def test_the_loss_is_the_cross_entropy_of_noised_images_of_even_log_snr() -> None:
    """Written out for each sample: the same alone and in a batch, and a function of the counter."""
    data = load_images(DataConfig(source="digits"))
    data = replace(data, labels=data.labels % 3)
    labels = torch.from_numpy(data.labels)
    objective = ClassifierObjective(NoisyClassifier(Linear(), -6.0, 4.0))
    positions, items = np.arange(8), np.array([3, 1, 4, 1, 5, 9, 2, 6])
    losses = objective(batch_of(data, items, positions, step=7, seed=5))
    x_0 = PixelRange(17).to_model(data.images[items])
    u = uniform(5, positions.tolist(), 7, Purpose.TRAINING_TIME)
    noise = normal(5, positions.tolist(), 7, Purpose.TRAINING_NOISE, (1, 8, 8))
    log_snr = -6 + 10 * u
    share = torch.sigmoid(log_snr)[:, None, None, None]
    x_t = (share.sqrt() * x_0 + (1 - share).sqrt() * noise).float()
    logits = torch.stack([x_t[:, 0, 3, 2], x_t[:, 0, 3, 4], (log_snr / 4).float()], 1)
    torch.testing.assert_close(losses, F.cross_entropy(logits, labels[items], reduction="none"), rtol=1e-5, atol=1e-5)
    alone = objective(batch_of(data, items[4:5], positions[4:5], step=7, seed=5))
    torch.testing.assert_close(alone, losses[4:5], rtol=1e-5, atol=1e-6)
    assert objective.auxiliary() == []
    flipped = objective(batch_of(data, items, positions, step=7, seed=5, flip=True))
    mirrored = uniform(5, positions.tolist(), 7, Purpose.FLIP) < 0.5
    torch.testing.assert_close(flipped[~mirrored], losses[~mirrored])
    assert 0 < int(mirrored.sum()) < 8
    assert bool((flipped[mirrored] != losses[mirrored]).any())


def test_a_log_snr_is_a_level_of_unit_variance() -> None:
    log_snr = torch.linspace(-20, 20, 41, dtype=torch.float64)
    now = at_log_snr(log_snr)
    alpha, sigma = torch.as_tensor(now.alpha), torch.as_tensor(now.sigma)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(log_snr))
    torch.testing.assert_close((alpha**2 / sigma**2).log(), log_snr, rtol=1e-9, atol=1e-9)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Trained for 150 steps on the digits through the command line, and measured."""
    out = tmp_path_factory.mktemp("classifier") / "run"
    arguments = ["train", "noisy-classifier", "--data", "digits", "--steps", "150", "--out", str(out)]
    assert main([*arguments, *(f"--set={setting}" for setting in SMALL)]) == 0
    return out


def test_it_recognises_much_where_there_is_little_noise_and_nothing_in_much(run: Path, capsys) -> None:
    """Held-out digits: well above guessing without noise, no better in the most; as the report tells."""
    found = json.loads((run / "report" / "accuracy.json").read_text())
    accuracy = [one["value"] for one in found["accuracy"]]
    assert found["log_snr"][0] == -8
    assert found["log_snr"][-1] == 8
    assert accuracy[-1] > 0.3
    assert accuracy[0] < 0.22
    assert accuracy[-1] > accuracy[len(accuracy) // 2] > accuracy[0]
    page = (run / "report" / "report.html").read_text()
    assert "of held-out images correctly with hardly any noise" in page
    assert f"sumi evaluate {run} --seed 0" in page
    assert main(["evaluate", str(run)]) == 0
    assert (
        f"It classifies {percent(accuracy[-1])} of held-out images correctly with hardly any noise"
        in capsys.readouterr().out.replace("\n", " ")
    )
    assert main(["info", str(run)]) == 0
    assert "noisy-classifier on digits" in capsys.readouterr().out


def test_accuracy_is_a_count(run: Path) -> None:
    """Of the held-out images at one level, by hand."""
    model = load(run, ClassifierModel)
    _, held_out = model.load_images().split(model.config.data.held_out)
    found = model.accuracy_by_noise(held_out, seed=3)
    now = at_log_snr(torch.full((len(held_out),), 2.0, dtype=torch.float64))
    k = found.log_snr.index(2.0)
    noise = normal(3, range(len(held_out)), k, Purpose.EVALUATION, (1, 8, 8))
    x_t = torch.as_tensor(now.alpha)[0] * held_out.batch(np.arange(len(held_out))) + now.sigma[0] * noise
    right = int((model.classifier.logits(x_t.float(), now).argmax(1).numpy() == held_out.labels).sum())
    assert found.accuracy[k].value == right / len(held_out)
    assert found.guess == np.bincount(held_out.labels).max() / len(held_out)


def test_it_resumes_bit_for_bit(tmp_path: Path) -> None:
    whole = train("noisy-classifier", data="digits", out=tmp_path / "whole", steps=6, settings=SMALL)
    settings = [*SMALL, "training.checkpoint_every=3"]
    train("noisy-classifier", data="digits", out=tmp_path / "parts", steps=6, settings=settings)
    newest = tmp_path / "parts" / "checkpoints" / "00000006"
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    again = train("noisy-classifier", data="digits", out=tmp_path / "parts", steps=6, settings=settings, resume=True)
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, again.module.state_dict()[name]), name


def test_each_kind_is_refused_where_the_other_is_needed(run: Path, capsys) -> None:
    assert isinstance(load(run), ClassifierModel)
    with pytest.raises(
        InputError, match="is a run of noisy-classifier, and this is for diffusion models; choose such a run"
    ):
        load(run, DiffusionModel)
    assert main(["sample", str(run)]) == 2
    assert "is a run of noisy-classifier, and this is for models that make samples" in capsys.readouterr().err
    assert main(["evaluate", str(run), "-n", "5"]) == 2
    assert "n: does not apply to the evaluation of classifiers; leave it out" in capsys.readouterr().err


def test_the_configuration_is_one() -> None:
    config = recipes.build("noisy-classifier", DataConfig(source="digits"))
    assert isinstance(config, NoisyClassifierConfig)
    assert from_json(NoisyClassifierConfig, to_json(config)) == config
    for setting, answer in (("lowest=9", "9 to 8 is no range of log-SNR"), ("seed=-1", "seed: -1 is out of range")):
        with pytest.raises(InputError, match=answer):
            override(config, [setting])
    guided = recipes.build("guided", DataConfig(source="digits"))
    assert isinstance(guided.network, ADMConfig)


@pytest.mark.parametrize(("data", "answer"), [("swiss-roll", "has no classes to tell apart")])
def test_data_without_classes_are_refused(data: str, answer: str, tmp_path: Path, capsys) -> None:
    assert main(["train", "noisy-classifier", "--data", data, "--out", str(tmp_path / "run")]) == 2
    assert answer in capsys.readouterr().err
