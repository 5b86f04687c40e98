"""A report after a short training: whether the loss still falls, the next command, and no distances."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sumi.cli.main import main
from sumi.data.dataset import evenly
from sumi.models.diffusion.model import DiffusionModel
from sumi.report import evaluate as evaluate_module
from sumi.report import images as images_module
from sumi.report.evaluate import evaluate
from sumi.report.unfinished import short_of, still_falls
from sumi.training_run import train
from tests.tiny_models import TINY, digits_model


def curve(fall: float, count: int = 90, seed: int = 0) -> list[float]:
    """Losses that sank fast at first; the last third falls by ``fall`` standard deviations of its noise."""
    x = np.linspace(0, 1, count)
    noise = np.random.default_rng(seed).normal(size=count) * 0.01
    return (0.1 + np.exp(-30 * x) - 0.03 * fall * x + noise).tolist()


def test_a_falling_loss_differs_from_one_that_has_settled() -> None:
    assert all(still_falls(curve(5, seed=seed)) for seed in range(20))
    assert sum(bool(still_falls(curve(0, seed=seed))) for seed in range(300)) <= 9  # one in a hundred: 3 ± 1.7
    assert still_falls(curve(-5)) is False
    assert still_falls(curve(5, count=17)) is None
    assert still_falls(curve(5, count=2)) is None


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        (curve(5), "7 of 20,000 steps; the loss still falls: `sumi train ddpm"),
        (curve(0), ""),
        (curve(5, count=3), "7 of 20,000 steps; too few to tell whether the loss still falls: `sumi train ddpm"),
    ],
)
def test_the_next_command_follows_from_the_log(losses: list[float], words: str, tmp_path: Path) -> None:
    model = digits_model(tmp_path)
    speed = model.config.training.batch_size / 0.5  # half a second a step
    lines = [{"step": i + 1, "loss": loss, "items_per_second": speed} for i, loss in enumerate(losses)]
    (model.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = short_of(model)
    assert found.startswith(words)
    if words:
        assert f"--out {model.folder} --resume --steps 20000`, about 2" in found  # 2.8 hours
    else:
        assert found == ""


def test_a_quick_report_trains_no_feature_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("a feature network was trained")

    model = digits_model(tmp_path)
    old = model.folder / "report/evaluation.json"
    old.parent.mkdir(parents=True)
    old.write_text("{}")
    monkeypatch.setattr(evaluate_module, "learn_features", refused)
    found = evaluate(model, quick=True)
    assert found.evaluation is None
    assert f"`sumi evaluate {model.folder}` measures them" in found.verdict
    page = found.page.read_text()
    for words in ("<h2>Samples</h2>", "<h2>How it learned</h2>", "held-out images in 12 bins of log-SNR"):
        assert words in page
    assert not old.exists()


def test_samples_that_were_asked_for_by_class_stand_above_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And held-out images above theirs; what was not asked for has no caption."""
    shown: list[list[list[str]] | None] = []
    asked_for: list[str] = []

    def record(groups: object, *, captions: list[list[str]] | None) -> Image.Image:
        shown.append(captions)
        return Image.new("RGB", (1, 1))

    def sample(self: DiffusionModel, n: int = 16, *, label: Tensor | int | None = None, **_: object) -> Tensor:
        if isinstance(label, Tensor):
            asked_for.extend(self.items.label_names[k] for k in label.tolist())
        return torch.zeros(n, 1, 8, 8)

    monkeypatch.setattr(images_module, "side_by_side", record)
    monkeypatch.setattr(DiffusionModel, "sample", sample)
    out, small = tmp_path / "classes", (*TINY, "training.steps=1")
    model = train("classifier-free", data="digits", out=out, settings=small, device="cpu")
    held_out = model.load_data().split(model.config.data.held_out)[1]
    real = [held_out.label_names[k] for k in held_out.labels_of(evenly(len(held_out), 36)).tolist()]
    assert "Below each its class" in evaluate(model, quick=True).page.read_text()
    assert shown == [[asked_for[:36], real]]
    assert len(set(real)) == 10
    assert "Below each its class" not in evaluate(digits_model(tmp_path / "none"), quick=True).page.read_text()
    assert shown[1] is None


def test_the_report_at_the_end_of_a_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--set=network.widths=32", "--set=network.blocks=1", "--set=training.batch_size=8"]
    small += ["--set=training.sample_every=0", "--set=sampling.steps=3", "--steps=2"]
    out = tmp_path / "run"
    assert main(["train", "ddpm", "--data", "digits", "--out", str(out), "--report", "quick", *small]) == 0
    assert "No distances were measured" in capsys.readouterr().out
    assert (out / "report/report.html").exists()
    assert main(["train", "ddpm", "--data", "digits", "--out", str(tmp_path / "b"), "--report", "none", *small]) == 0
    assert not (tmp_path / "b/report").exists()
