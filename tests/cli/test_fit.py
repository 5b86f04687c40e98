"""Pictures that are given are fitted to the model, as its training images were, and one line says how."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sumi.cli.main import main
from sumi.data.frame import Fit, Frame
from sumi.data.images import ImageSpec
from sumi.errors import InputError
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load
from tests.tiny_models import untrained


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return untrained(tmp_path_factory.mktemp("fit") / "run", ImageSpec(1, 8, 12, 256, ()))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows, columns = np.indices((60, 40))
    Image.fromarray(np.stack([4 * rows, 6 * columns, 255 - 4 * rows], 2).astype(np.uint8)).save("photo.png")
    mask = np.zeros((60, 40), np.uint8)
    mask[25:35, 10:20] = 255
    Image.fromarray(mask).save("mask.png")
    Image.fromarray(mask[:30]).save("other.png")
    return tmp_path


def grey(size: tuple[int, int], fit: Fit = "crop") -> np.ndarray:
    return np.asarray(Frame(*size, fit).fitted(Image.open("photo.png")).convert("L"))


@pytest.mark.parametrize(
    ("command", "size", "words"),
    [
        ("inpaint RUN photo.png --mask mask.png", (8, 12), "(--no-fit takes all of it)"),
        ("vary RUN photo.png --strength 0", (8, 12), "(--no-fit takes all of it)"),
        ("upscale RUN photo.png --factor 2", (4, 6), "(--no-fit takes all of it)"),
        ("restore RUN photo.png --operator blur", (8, 12), "(--no-fit takes all of it)"),
        ("interpolate RUN photo.png photo.png -n 2", (8, 12), "(--no-fit takes all of it)"),
    ],
)
def test_every_command_fits_its_picture_and_says_so(
    command: str, size: tuple[int, int], words: str, run: Path, folder: Path, capsys
) -> None:
    count = [] if "interpolate" in command else ["-n", "1"]
    assert main([*command.replace("RUN", str(run)).split(), *count, "--steps", "2", "--out", "out"]) == 0
    shape = "{}x{} (height x width)".format(*size)
    line = f"photo.png: cropped to the shape of the model's images and resized from 60x40 (height x width) to {shape} "
    message = capsys.readouterr().out
    assert f"{line}and made grey {words}\n" in message
    assert np.asarray(Image.open("out/00000.png")).shape == (8, 12)
    if "vary" in command:
        assert np.array_equal(np.asarray(Image.open("out/00000.png")), grey(size))


def test_a_picture_of_the_models_own_is_taken_as_it_is(run: Path, folder: Path, capsys) -> None:
    Image.fromarray(grey((8, 12))).save("own.png")
    assert main(["vary", str(run), "own.png", "--strength", "0", "-n", "1", "--out", "out"]) == 0
    assert "own.png:" not in capsys.readouterr().out
    assert np.array_equal(np.asarray(Image.open("out/00000.png")), grey((8, 12)))


def test_a_mask_follows_its_picture(run: Path, folder: Path, capsys) -> None:
    """The middle 27 rows of 60 are left of the picture, which the mask covers from row 25 to 35."""
    assert (
        main(["inpaint", str(run), "photo.png", "--mask", "mask.png", "-n", "1", "--steps", "2", "--out", "out"]) == 0
    )
    made = np.asarray(Image.open("out/00000.png"))
    painted = np.zeros((8, 12), bool)
    painted[2:6, 3:6] = True  # rows (25 - 16.7)/26.7·8 = 2.5 to 5.5, columns 3 to 6
    assert np.array_equal(made[~painted], grey((8, 12))[~painted])
    assert (made[painted] != grey((8, 12))[painted]).mean() > 0.5
    capsys.readouterr()
    assert main(["inpaint", str(run), "photo.png", "--mask", "other.png", "--out", "none"]) == 2
    assert "other.png: is of 30x40 (height x width) pixels, and this takes 60x40" in capsys.readouterr().err


def test_without_fitting_colours_are_refused(run: Path, folder: Path, capsys) -> None:
    assert main(["vary", str(run), "photo.png", "--no-fit", "--out", "out"]) == 2
    assert "photo.png: has colours, and a grey image is needed; make it grey" in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_pictures_are_fitted_in_python_and_tensors_are_not(run: Path, folder: Path, fit: Fit) -> None:
    copy = Path(shutil.copytree(run, folder / "run"))
    description = json.loads((copy / "config.json").read_text())
    description["config"]["data"] |= {"fit": fit, "background": "black"}
    (copy / "config.json").write_text(json.dumps({k: v for k, v in description.items() if k != "sha256"}))
    model = load(copy, DiffusionModel)
    photo = Image.open("photo.png")
    pixels = np.asarray(photo)
    expected = np.asarray(Frame(8, 12, fit, "black").fitted(photo).convert("L")) / 127.5 - 1
    for given in ("photo.png", photo, pixels, pixels.transpose(2, 0, 1)):
        found = model.vary(given, 0.0, 1)
        assert found.shape == (1, 1, 8, 12)
        assert float(np.abs(found[0, 0].numpy() - expected).max()) < 1e-5
    many = model.vary(np.stack([pixels, pixels[:, ::-1]]), 0.0)
    assert np.abs(many[0].numpy() - expected).max() < 1e-5
    assert not torch.equal(many[0], many[1])
    assert model.vary(torch.zeros(1, 10, 14), 0.0, 1).shape == (1, 1, 10, 14)
    with pytest.raises(InputError, match="of shape"):
        model.vary(torch.zeros(1, 4, 4), 0.5, 1)
