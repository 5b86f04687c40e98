"""A model of images compared with a split of the data's own: its images, its classes, and what is said of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from sumi.cli.main import main
from sumi.data.config import DataConfig
from sumi.data.load import load
from sumi.errors import InputError
from sumi.evaluation.images import Evaluation
from sumi.metrics.features import learned as features
from sumi.models.diffusion.model import DiffusionModel
from sumi.report.evaluate import evaluate
from sumi.training_run import train

NETWORK = ["network.widths=32", "network.blocks=1", "network.attention=", "network.embedding=32"]
SHORT = [*NETWORK, "training.batch_size=8", "training.sample_every=0", "sampling.steps=2"]
AUTOENCODER = ["autoencoder.network.widths=32", "autoencoder.network.blocks=1", "autoencoder.steps=1"]
CLASSES = {"train": (0, 1, 2, 3), "test": (0, 1, 2, 3), "combos": (1, 3)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits in folders by class: 48 to train on, 12 held out, and 10 of two classes that are left alone."""
    root, digits = tmp_path_factory.mktemp("data"), load(DataConfig("digits"))
    every = np.arange(len(digits))
    pictures, labels = (digits.batch(every)[:, 0].numpy() + 1) * 127, digits.labels_of(every).numpy()
    lines = list[str]()
    for split, count in (("train", 48), ("test", 12), ("combos", 10)):
        for place in range(count):
            label = CLASSES[split][place % len(CLASSES[split])]
            name = f"{label}/{split}-{place}.png"
            (root / str(label)).mkdir(exist_ok=True)
            picture = pictures[labels == label][sum(map(ord, split)) % 7 + place]
            Image.fromarray(picture.astype(np.uint8)).save(root / name)
            lines.append(json.dumps({"file_name": name, "split": split}))
    (root / "metadata.jsonl").write_text("\n".join(lines))
    return root


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [
        ("flow", []),
        ("flow", ["conditioning=labels"]),
        ("latent", AUTOENCODER),
        ("latent", [*AUTOENCODER, "conditioning=labels"]),
    ],
    ids=["pixels", "pixels by class", "latents", "latents by class"],
)
def test_a_model_is_compared_with_a_split_and_makes_its_classes(
    recipe: str, settings: list[str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    model = train(recipe, data=folder, out=out, steps=1, settings=[*SHORT, *settings], device="cpu")
    own, made = DiffusionModel.sample, list[int]()

    def sample(self: DiffusionModel, n: int = 16, **options: Any) -> Tensor:
        labels = options.get("label")
        made.extend([] if labels is None or isinstance(labels, int) else labels.tolist())
        return own(self, n, **options)

    monkeypatch.setattr(DiffusionModel, "sample", sample)
    monkeypatch.setattr(features, "FEWEST_STEPS", 20)
    found = evaluate(model, split="combos", n=12)
    assert isinstance(found.evaluation, Evaluation)
    combos = model.load_images().of_split("combos")
    assert found.evaluation.reference.images == len(combos) == 10
    assert found.evaluation.reference.data_fingerprint == combos.fingerprint()
    assert "Real images: 10 of the split combos, with which samples are compared" in found.verdict
    assert ("samples are of their classes" in found.verdict) == ("conditioning=labels" in settings)
    assert set(made) == ({1, 3} if "conditioning=labels" in settings else set())


def test_a_split_that_is_not_there_or_trained_on_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    model = train("flow", data=folder, out=out, steps=1, settings=SHORT, device="cpu")
    with pytest.raises(InputError, match=r"^split: the data have no split 'combo'; did you mean combos\?$"):
        evaluate(model, split="combo")
    with pytest.raises(InputError, match=r"^split: train is what models are trained on, not what they are compared"):
        evaluate(model, split="train")
    with pytest.raises(InputError, match=r"^split: the data have no split 'test'; they have none of their own$"):
        evaluate(model, data="digits", split="test")
    capsys.readouterr()
    assert main(["evaluate", str(folder), str(folder), "--split", "test"]) == 2
    assert "split: is of the evaluation of a run" in capsys.readouterr().err
    points = train("flow", data="swiss-roll", out=tmp_path / "points", steps=1, device="cpu")
    with pytest.raises(InputError, match=r"^split: does not apply to the evaluation of vectors"):
        evaluate(points, split="test")
