"""What `sumi doctor` finds in data and of a recipe, and how a device compares with the CPU."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from sumi.check import device
from sumi.check.device import NETWORKS, compare_device
from sumi.check.doctor import Finding, examine
from sumi.cli.main import main
from sumi.errors import InputError
from sumi.training.trainer import Trainer

SMALL = [
    "data.size=8",
    "network.widths=32",
    "network.blocks=1",
    "network.embedding=32",
    "training.batch_size=8",
    "training.steps=5000",
]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty pictures in two classes, a mirrored copy of one, a copy of another, and a file that is no image."""
    folder = tmp_path / "photos"
    for k in range(20):
        place = folder / ("cat" if k < 8 else "dog")
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(k).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{k:02d}.png")
    ImageOps.mirror(Image.open(folder / "cat/03.png")).save(folder / "cat/mirrored.png")
    Image.open(folder / "dog/12.png").save(folder / "dog/copy.png")
    (folder / "dog/notes.png").write_text("no image")
    return folder


def findings(data: object, out: Path, *settings: str, recipe: str = "ddpm") -> dict[str, Finding]:
    return {f.name: f for f in examine(data, recipe, settings=[*SMALL, *settings], out=out)}


def test_everything_about_a_folder_is_found(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = findings(photos, out)
    data = found["data"].facts
    assert (data["items"], data["shape"], data["classes"]) == (22, [3, 8, 8], {"cat": 9, "dog": 13})
    assert data["training"] + data["held_out"] == 22
    assert any("notes.png" in line for line in data["skipped"])
    assert any(f"{data['training']} images to train on: expect copies" in line for line in found["data"].says)
    pairs = {(p["first"], p["second"], p["same"], p["mirrored"]) for p in found["copies"].facts["pairs"]}
    assert pairs == {("cat/03.png", "cat/mirrored.png", True, True), ("dog/12.png", "dog/copy.png", True, False)}
    size = found["size"].facts
    assert size["training_bytes"] == 5 * size["weights_bytes"] == 20 * size["parameters"]
    assert found["time"].facts["seconds"] == 5000 * found["time"].facts["seconds_per_step"] > 0
    assert not found["learning"].warns
    assert {path.name for path in out.iterdir()} == {"seen.png", "copies.png", "doctor.json"}
    written = json.loads((out / "doctor.json").read_text())
    assert list(written) == list(found)
    assert written["copies"]["pairs"] == found["copies"].facts["pairs"]
    assert [written[name]["warns"] for name in found] == [f.warns for f in found.values()]


def test_a_step_that_learns_nothing_is_warned_of(tmp_path: Path) -> None:
    assert findings("digits", tmp_path / "out", "training.learning_rate=1e-9")["learning"].warns


def test_vectors_and_systems_without_such_a_loss(tmp_path: Path) -> None:
    points = list(examine("swiss-roll", settings=["training.batch_size=8"], out=tmp_path / "out"))
    assert [f.name for f in points] == ["data", "sheet", "size", "learning", "time"]
    few = ["data.size=8", "training.batch_size=8"]
    found = {f.name: f for f in examine("digits", "vae", settings=few, out=tmp_path / "vae")}
    assert not found["learning"].warns


def test_the_time_of_a_step_is_the_mean_of_those_measured(tmp_path: Path, monkeypatch) -> None:
    clock = [0.0]
    real = Trainer.take_step

    def step(trainer: Trainer, number: int):
        clock[0] += 2.0
        return real(trainer, number)

    monkeypatch.setattr("sumi.check.doctor.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(Trainer, "take_step", step)
    assert findings("digits", tmp_path / "out")["time"].says[0].startswith("5,000 steps at 2 s a step: about 2.8 h")


def test_the_cpu_agrees_with_itself_and_an_error_of_a_layer_does_not(monkeypatch, capsys) -> None:
    laws = compare_device("cpu")
    assert len(laws) == 2 * len(NETWORKS)
    assert all(0 < law.deviation < 1e-5 and law.holds for law in laws)
    right = device._computed

    def wrong(network, x, *rest):
        output, gradients = right(network, x, *rest)
        return (output * 1.001, gradients) if x.element_size() == 4 else (output, gradients)

    monkeypatch.setattr(device, "_computed", wrong)
    laws = compare_device("cpu")
    assert [law.holds for law in laws] == [False, True] * len(NETWORKS)
    assert [law.deviation for law in laws[::2]] == pytest.approx([1e-3] * len(NETWORKS), rel=0.01)
    assert main(["doctor", "--device", "cpu"]) == 1
    printed = capsys.readouterr()
    assert "TOO MUCH" in printed.out
    assert "--device: cpu computes something else than the CPU" in printed.err


def test_mistakes(photos: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 2
    assert "--data: is missing" in capsys.readouterr().err
    with pytest.raises(InputError, match="has to be trained first"):
        list(examine("digits", "latent", settings=["data.size=32"], out=tmp_path / "out"))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        list(examine(photos, out=tmp_path / "file"))
