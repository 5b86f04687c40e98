"""Vectors on the command line: train, sample, look, measure, go on; and the one line for what is only for images."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file

from sumi.cli.main import main
from sumi.data.config import DataConfig
from sumi.data.vectors import VectorSpec
from sumi.models.diffusion.trajectory import trajectory
from sumi.models.run import load, read_run
from sumi.recipes import RECIPES, build
from sumi.training.run_folder import RunFolder
from tests.processes import ended, start

TINY = [
    "--set=network.width=32",
    "--set=network.blocks=1",
    "--set=training.batch_size=16",
    "--set=training.sample_every=0",
    "--set=sampling.steps=4",
    "--no-report",
]


def train(out: Path, data: str, *more: str, recipe: str = "ddpm", steps: int = 5) -> None:
    assert main(["train", recipe, "--data", data, "--out", str(out), "--steps", str(steps), *TINY, *more]) == 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run of 5 steps on the swiss roll, with a checkpoint at 3."""
    out = tmp_path_factory.mktemp("vectors") / "run"
    train(out, "swiss-roll", "--set=training.checkpoint_every=3")
    return out


@pytest.fixture(scope="module")
def rows() -> NDArray[np.float64]:
    return np.random.default_rng(0).normal(size=(120, 3)) * [1, 2, 0.5] * 40 + [0, 1000, -3]


@pytest.fixture(scope="module")
def on_rows(tmp_path_factory, rows: NDArray[np.float64]) -> Path:
    """A run of 5 steps on a user's array."""
    folder = tmp_path_factory.mktemp("rows")
    np.save(folder / "mine.npy", rows)
    train(folder / "run", str(folder / "mine.npy"))
    return folder / "run"


def refused(arguments: list[str], capsys) -> str:
    """The one line that they get."""
    capsys.readouterr()
    assert main(arguments) == 2
    message = capsys.readouterr().err.strip()
    assert len(message.splitlines()) == 1
    return message


def test_a_run_of_vectors_says_what_it_makes(trained: Path, on_rows: Path, rows: NDArray[np.float64], capsys) -> None:
    description = read_run(RunFolder(trained))
    assert description.items == VectorSpec(2, None)
    assert json.loads((trained / "config.json").read_text())["items"]["type"] == "vectors"
    items = read_run(RunFolder(on_rows)).items
    assert isinstance(items, VectorSpec)
    assert items.centre == pytest.approx(rows.mean(0))
    assert items.scale == pytest.approx(2 * np.sqrt(rows.var(0).mean()))
    capsys.readouterr()
    assert main(["info", str(trained)]) == 0
    printed = capsys.readouterr().out
    assert "ddpm on swiss-roll" in printed
    assert "vectors      2\n" in printed
    assert "checkpoints  3, 5 of 5 steps" in printed
    assert "network = mlp" in printed


def test_samples_are_in_the_users_units_with_a_picture(on_rows: Path, tmp_path: Path, capsys) -> None:
    assert main(["sample", str(on_rows), "-n", "40", "--seed", "3", "--start", "2", "--out", str(tmp_path / "o")]) == 0
    assert "vectors.npy" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["picture.png", "vectors.npy"]
    made, model = np.load(tmp_path / "o/vectors.npy"), load(on_rows)
    items = model.items
    assert isinstance(items, VectorSpec)
    values = model.sample(40, seed=3, start=2, batch_size=64)
    assert made == pytest.approx(np.array(items.centre) + items.scale * values.double().numpy())
    with Image.open(tmp_path / "o/picture.png") as picture:
        about = json.loads(picture.text["sumi"])
        assert picture.size == (286, 313)
    assert (about["seed"], about["start"], about["count"], about["checkpoint"]) == (3, 2, 40, 5)


def test_a_vector_is_the_same_alone_and_in_a_batch(trained: Path, tmp_path: Path) -> None:
    """Up to rounding of the network in batches of another size."""
    made = []
    for name, arguments in (("all", ["-n", "9"]), ("parts", ["-n", "9", "--batch-size", "2"]), ("one", ["-n", "1"])):
        start = ["--start", "6"] if name == "one" else []
        arguments = [*arguments, *start, "--solver", "ddpm", "--out", str(tmp_path / name)]
        assert main(["sample", str(trained), *arguments]) == 0
        made.append(np.load(tmp_path / name / "vectors.npy"))
    together, parts, alone = made
    assert parts == pytest.approx(together, abs=1e-4, rel=1e-4)
    assert alone[0] == pytest.approx(together[6], abs=1e-4, rel=1e-4)
    assert np.abs(np.diff(together, axis=0)).min() > 1e-3


def test_of_two_processes_the_first_writes_the_one_file_of_all(trained: Path, tmp_path: Path) -> None:
    one, two = (["sample", str(trained), "-n", "9", "--batch-size", "4", "--out", str(tmp_path / n)] for n in "ab")
    assert main(one) == 0
    (code, message), (other, quiet) = ended(start(["-m", "sumi", *two]), within=120)
    assert (code, other) == (0, 0), message + quiet
    assert "wrote" in message
    assert "wrote" not in quiet
    np.testing.assert_allclose(np.load(tmp_path / "a/vectors.npy"), np.load(tmp_path / "b/vectors.npy"), rtol=1e-6)


def test_samples_made_otherwise_are_not_written_over(trained: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "o"
    arguments = ["sample", str(trained), "-n", "3", "--out", str(out)]
    assert main(arguments) == 0
    assert main(arguments) == 0  # the same again
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    for other in (["--seed", "1"], ["-n", "4"], ["--start", "1"], ["--steps", "3"], ["--solver", "ddpm"]):
        assert "picture.png, which was made with other settings; give another folder" in refused(
            [*arguments, *other], capsys
        )
    mine = tmp_path / "mine"
    mine.mkdir()
    np.save(mine / "vectors.npy", np.arange(3))
    message = refused(["sample", str(trained), "--out", str(mine)], capsys)
    assert "vectors.npy, which was made with other settings" in message
    assert np.load(mine / "vectors.npy").tolist() == [0, 1, 2]
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


def test_without_out_other_vectors_go_to_another_folder(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    for n, first in ((3, 0), (4, 0), (3, 1), (3, 0)):
        assert main(["sample", str(copy), "-n", str(n), "--start", str(first)]) == 0
    made = sorted(len(np.load(file)) for file in (copy / "samples").glob("*/vectors.npy"))
    assert made == [3, 3, 4]


def test_a_trajectory_leads_from_the_start_to_the_samples(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    assert main(["sample", str(trained), "-n", "30", "--start", "5", "--trajectory", "--out", str(out)]) == 0
    assert {p.name for p in out.iterdir()} == {"vectors.npy", "picture.png", "strip.png", "emerging.webp"}
    with Image.open(out / "emerging.webp") as animation, Image.open(out / "strip.png") as strip:
        assert animation.n_frames == 5
        assert strip.size == (5 * 286, 313)
    model = load(trained)
    way = trajectory(model, 5, n=30)
    assert way.x.shape == (5, 30, 2)
    assert (way.t[0], way.t[-1]) == (1.0, 0.0)
    assert torch.equal(way.x[0], model.start_noise(range(5, 35), 0))
    assert torch.equal(way.x[-1], model.sample(30, start=5))


def test_one_vector_emerging_stays_in_the_picture(trained: Path, tmp_path: Path) -> None:
    """The start may be nearer to the middle than where it leads."""
    out = tmp_path / "o"
    assert main(["sample", str(trained), "-n", "1", "--start", "3", "--trajectory", "--out", str(out)]) == 0
    with Image.open(out / "emerging.webp") as animation:
        for frame in range(animation.n_frames):
            animation.seek(frame)
            inside = np.asarray(animation.convert("L"))[42:270, 50:276]  # of the axes' frame
            assert inside.min() < 200


def test_evaluate_measures_and_reports(trained: Path, tmp_path: Path, capsys) -> None:
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    capsys.readouterr()
    assert main(["evaluate", str(copy), "-n", "60"]) == 0
    printed = capsys.readouterr().out
    assert "Energy distance" in printed
    assert "report.html" in printed
    found = json.loads((copy / "report/evaluation.json").read_text())
    assert found["samples"] == 60
    page = (copy / "report/report.html").read_text()
    assert "held-out vectors" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_run_that_goes_on_is_bit_identical(trained: Path, tmp_path: Path, capsys) -> None:
    """Cut back to step 3 of 5."""
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    shutil.rmtree(copy / "checkpoints/00000005")
    capsys.readouterr()
    assert main(["train", "ddpm", "--out", str(copy), "--resume", "--no-report"]) == 0
    assert "continues from step 3" in capsys.readouterr().out
    for name in ("model", "ema", "optimizer"):
        one, other = (load_file(run / f"checkpoints/00000005/{name}.safetensors") for run in (trained, copy))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_resumed_run_wants_its_own_rows(on_rows: Path, tmp_path: Path, rows: NDArray[np.float64], capsys) -> None:
    copy = tmp_path / "run"
    shutil.copytree(on_rows, copy)
    arguments = ["train", "ddpm", "--out", str(copy), "--resume", "--no-report", "--steps", "6"]
    for name, other in (("moved", rows + 1), ("stretched", 2 * rows), ("shorter", rows[:-1])):
        np.save(tmp_path / f"{name}.npy", other)
        message = refused([*arguments, "--data", str(tmp_path / f"{name}.npy")], capsys)
        assert "is not the data the run was started with" in message
    np.save(tmp_path / "same.npy", rows)
    assert main([*arguments, "--data", str(tmp_path / "same.npy")]) == 0


def test_data_of_another_dimension_are_refused(trained: Path, capsys) -> None:
    for command in ("evaluate", "nll", "explain"):
        message = refused([command, str(trained), "--data", "heartbeat"], capsys)
        assert (
            "heartbeat has vectors (20,) of 2 levels, the model makes vectors (2,); give data of that kind" in message
        )
        message = refused([command, str(trained), "--data", "digits"], capsys)
        assert "digits has images (1, 8, 8) of 17 levels, the model makes vectors (2,)" in message


def test_what_is_only_for_images_is_refused_by_name(trained: Path, capsys) -> None:
    message = refused(["evaluate", str(trained), "--sweeps"], capsys)
    assert "sweeps: does not apply to the evaluation of vectors; leave it out" in message
    message = refused(["compare", str(trained), "--frechet", "-n", "4", "--steps", "2"], capsys)
    assert f"{trained}: is a model of vectors, and this is for images; choose such a run" in message
    message = refused(["explain", "recognition", "--data", "swiss-roll"], capsys)
    assert "swiss-roll holds vectors, and images are needed here" in message


def test_a_network_for_images_is_refused_on_vectors(tmp_path: Path, capsys) -> None:
    out = ["--out", str(tmp_path / "run")]
    message = refused(["train", "ddpm", "--data", "swiss-roll", "--set=network=unet", *out], capsys)
    assert "network=unet: takes images, not data of shape (2,); set network=mlp" in message
    message = refused(["train", "ddpm", "--data", "digits", "--set=network=mlp", *out], capsys)
    assert "network=mlp: takes vectors, not data of shape (1, 8, 8); set network=unet" in message
    message = refused(["train", "ddpm", "--data", "swiss-roll", "--set=data.flip=true", *out], capsys)
    assert "data.flip: swiss-roll holds vectors, which have none; leave it out" in message
    assert not (tmp_path / "run").exists()


def test_bits_are_saved_as_bits(tmp_path: Path, capsys) -> None:
    for recipe in ("ddpm", "nonequilibrium"):
        run = tmp_path / recipe
        train(run, "heartbeat", recipe=recipe, steps=1)
        assert main(["sample", str(run), "-n", "5", "--out", str(tmp_path / f"{recipe}-samples")]) == 0
        if recipe == "nonequilibrium":
            assert "--eta: is of Gaussian noise" in refused(["sample", str(run), "--eta", "0.5"], capsys)
        made = np.load(tmp_path / f"{recipe}-samples/vectors.npy")
        assert made.shape == (5, 20)
        assert set(np.unique(made)) == {-1, 1}


OF_IMAGES = (
    "noisy-classifier",
    "vae",
    "gan",
    "pixelcnn",
    "autoencoder",
    "judge",
    "clip",
    "symbols",
    "symbol-classifier",
)
OF_OTHERS = ("molecules", "audio", "diffwave", "latent", "dit", "symbols", "symbol-classifier")
OF_TEXT = ("text-to-image", "stable-diffusion", "imagen", "unclip")


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name not in (*OF_IMAGES, *OF_TEXT, *OF_OTHERS)])
def test_every_recipe_has_a_perceptron_and_no_range_for_vectors(recipe: str) -> None:
    vectors, images = (build(recipe, DataConfig(source=source)) for source in ("swiss-roll", "digits"))
    assert (vectors.network.name, vectors.sampling.threshold) == ("mlp", "none")
    assert images.network.name == {"guided": "adm", "jit": "transformer"}.get(recipe, "unet")


@pytest.mark.parametrize("recipe", ["improved-ddpm", "vdm", "edm", "flow", "score-sde"])
def test_samples_of_vectors_are_not_cut_off(on_rows: Path, tmp_path: Path, recipe: str) -> None:
    """Points have no range; two outputs a number, where a variance is learned, are no obstacle."""
    train(tmp_path / "run", str(on_rows.parent / "mine.npy"), recipe=recipe, steps=1)
    assert float(load(tmp_path / "run").sample(200, steps=3).abs().max()) > 1
