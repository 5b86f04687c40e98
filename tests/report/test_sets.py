"""Two sets of images against each other: figures, a report, and one line for what cannot be compared."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import sumi
from sumi.cli.main import main
from sumi.data import open_data
from sumi.data.config import MEMORY, DataConfig
from sumi.data.load import load
from sumi.errors import InputError
from sumi.evaluation.images import Evaluation
from sumi.evaluation.result import Measured
from sumi.metrics.features import learned


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned, "FEWEST_STEPS", 20)


@pytest.fixture(scope="module")
def digits() -> NDArray[np.uint8]:
    """uint8 (N, 8, 8) in a random order."""
    images = load(DataConfig("digits")).batch(np.arange(1797))[:, 0].numpy()
    return np.random.default_rng(0).permutation(np.round((images + 1) * 127.5).astype(np.uint8))


def evaluation(result: Measured) -> Evaluation:
    assert isinstance(result.evaluation, Evaluation)
    return result.evaluation


def write_folder(folder: Path, images: NDArray[np.uint8]) -> Path:
    """One PNG an image, in two sub-folders."""
    for i, pixels in enumerate(images):
        file = folder / "ab"[i % 2] / f"{i:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    return folder


def test_images_of_one_distribution_and_their_negatives(digits: NDArray[np.uint8], tmp_path: Path) -> None:
    same = sumi.evaluate(digits[:300], digits[300:900], out=tmp_path / "same")
    found = evaluation(same)
    assert found.distances.kernel.low <= 0 <= found.distances.kernel.high
    assert found.training_images + found.distances.second == 600
    assert found.copies is not None
    assert found.spectra is not None
    assert found.variety is not None
    assert found.variety.samples.precision is not None
    assert "300 images of A" in same.verdict
    written = json.loads((tmp_path / "same/evaluation.json").read_text())
    assert written["distances"]["kernel"]["value"] == found.distances.kernel.value
    page = same.page.read_text()
    for title in ("Samples", "Fine detail", "Does it copy training images?", "All figures"):
        assert f"<h2>{title}</h2>" in page

    negative = evaluation(sumi.evaluate(255 - digits[:300], digits[300:900], out=tmp_path / "negative"))
    assert negative.distances.kernel.low > negative.real_distances.kernel.high
    assert negative.unseen  # precision and density are withheld out of the range of real images
    assert negative.variety is not None
    assert negative.variety.samples.precision is None


def test_floats_of_a_stated_range_are_the_same_images(digits: NDArray[np.uint8], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=(digits[:40] / 255).astype(np.float32))
    bytes_, floats = (
        evaluation(sumi.evaluate(a, digits[40:120], range=ends, out=tmp_path / str(ends)))
        for a, ends in ((digits[:40], None), (tmp_path / "a.npz", (0, 1)))
    )
    assert floats.distances.kernel.value == pytest.approx(bytes_.distances.kernel.value, abs=1e-6)
    with pytest.raises(InputError, match=r"^a: range: .*a.npz holds values from 0 to 1, beyond 0 to 0.5"):
        sumi.evaluate(tmp_path / "a.npz", digits[40:120], range=(0, 0.5), out=tmp_path / "out")
    with pytest.raises(InputError, match=r"^range: 3 is no lowest and highest value"):
        sumi.evaluate(tmp_path / "a.npz", digits[40:120], range=3, out=tmp_path / "out")
    with pytest.raises(InputError, match=r"^range: \(1, 0\) is no lowest and highest value"):
        sumi.evaluate(tmp_path / "a.npz", digits[40:120], range=(1, 0), out=tmp_path / "out")
    with pytest.raises(InputError, match=r"^a: range: .*a.npz holds images of float32, from 0 to 1; .*such as 0,1$"):
        sumi.evaluate(tmp_path / "a.npz", digits[40:120], out=tmp_path / "out")


def test_copies_of_b_in_a_are_found(digits: NDArray[np.uint8], tmp_path: Path) -> None:
    found = evaluation(sumi.evaluate(digits[:300], digits[:600], out=tmp_path / "out"))
    assert found.copies is not None
    assert found.copies.found.rate.low > 0.2  # about half of A is in the half of B that is searched


def test_folders_of_classes_through_the_command(
    digits: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "one", digits[:60])
    write_folder(tmp_path / "two", digits[60:200])
    assert main(["evaluate", "one", "two"]) == 0
    printed = capsys.readouterr().out
    assert "Classes:" in printed
    assert "Requested class:" in printed
    assert "evaluate-one-two/report.html" in printed
    assert json.loads(Path("evaluate-one-two/evaluation.json").read_text())["label_accuracy"] is not None
    assert main(["evaluate", "one", "two"]) == 0  # its own folder is written over


def test_a_grid_of_samples_is_no_sample(digits: NDArray[np.uint8], tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    for name, pixels in (*((f"{i:05d}", x) for i, x in enumerate(digits[:12])), ("grid", np.zeros((40, 40), np.uint8))):
        folder.mkdir(exist_ok=True)
        text = PngInfo()
        text.add_text("Software", "Sumi")
        Image.fromarray(pixels).save(folder / f"{name}.png", pnginfo=text)
    found = sumi.evaluate(folder, digits[12:100], out=tmp_path / "out")
    assert evaluation(found).distances.first == 12


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ("few", "fine", "a: 5 images are too few; at least 10 are needed"),
        ("fine", "few", "b: 1 images in one of its halves are too few"),
        ("large", "fine", "a, b: images of 1 of 16x16 and 1 of 8x8"),
        ("colour", "fine", "a, b: images of 3 of 8x8 and 1 of 8x8"),
        ("empty", "fine", "a: {}/empty holds no readable image"),
        ("mixed", "fine", "a: {}/mixed holds a/0000.png of 8x8 and b/wide.png of 16x16; make all images of one size"),
        ("wide", "fine", "a, b: images of 1 of 4x8 and 1 of 8x8 (channels of height x width)"),
        ("file", "fine", "a: {}/file is one file"),
        ("nowhere", "fine", "a: {}/nowhere does not exist"),
        ("vectors", "fine", "a: holds vectors, and images are needed here"),
        ("floats", "fine", "a, b: images with values of 0 to 1 and all of their type; give both in one range"),
    ],
)
def test_one_line_says_what_cannot_be_compared(
    a: str, b: str, words: str, digits: NDArray[np.uint8], tmp_path: Path
) -> None:
    arrays = {
        "few": digits[:5],
        "fine": digits[:40],
        "large": digits[:40].repeat(2, 1).repeat(2, 2),
        "colour": digits[:40, ..., None].repeat(3, 3),
        "vectors": np.random.default_rng(0).normal(size=(40, 3)),
        "floats": open_data(digits[:40] / 255, DataConfig(MEMORY, range=(0, 1))),
    }
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"none")
    write_folder(tmp_path / "mixed", digits[:4])
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "mixed/b/wide.png")
    write_folder(tmp_path / "wide", digits[:12, :4])
    given = [arrays[name] if name in arrays else tmp_path / name for name in (a, b)]
    with pytest.raises(InputError) as raised:
        sumi.evaluate(*given, out=tmp_path / "out")
    assert words.format(tmp_path) in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_report_goes_to_no_folder_of_others(digits: NDArray[np.uint8], tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "one", digits[:12])
    with pytest.raises(InputError, match=r"out: .*one holds files that are not of an evaluation"):
        sumi.evaluate(digits[:40], digits[40:80], out=folder)
    with pytest.raises(InputError, match=r"out: .*report is inside .*one"):
        sumi.evaluate(folder, digits[40:80], out=folder / "report")
    for theirs in ("mine", '{"accuracy": 0.9}'):
        (tmp_path / "evaluation.json").write_text(theirs)
        with pytest.raises(InputError, match="holds files that are not of an evaluation"):
            sumi.evaluate(digits[:40], digits[40:80], out=tmp_path)


def test_options_of_the_other_evaluation_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], digits: NDArray[np.uint8]
) -> None:
    assert main(["evaluate", "one", "two", "--sweeps"]) == 2
    assert "--sweeps: is of the evaluation of a run" in capsys.readouterr().err
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", digits[:40])
    assert main(["evaluate", str(tmp_path / "a.npy"), str(tmp_path / "b.npy"), "-n", "20"]) == 2
    assert "-n: does not apply to the evaluation of two sets that are both there" in capsys.readouterr().err
    with pytest.raises(InputError, match="quick: does not apply to the evaluation of two sets"):
        sumi.evaluate(digits[:40], digits[40:80], quick=True, out=tmp_path / "out")
    assert main(["evaluate", str(tmp_path), "--range", "0,1"]) == 2
    assert "--range: is of two sets of images" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "a.npy"), str(tmp_path / "b.npy"), "--range", "0-1"]) == 2
    assert "--range: '0-1' is no lowest and highest value; give two, such as 0,1" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path), "--out", "there"]) == 2
    assert "--out: is of two sets of images" in capsys.readouterr().err
    with pytest.raises(InputError, match="data: does not apply to the evaluation of two sets of images"):
        sumi.evaluate(digits[:40], digits[40:80], data="digits", out=tmp_path / "out")
