"""Models that come with the package: found by name, read where they are, and never written to."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sumi
from scripts.ship import by_name
from sumi.boundary.settings import override
from sumi.cli.main import main
from sumi.distillation import student_of
from sumi.errors import InputError
from sumi.explain.explain import explain
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import Start
from sumi.models.run import read_run
from sumi.pretrained import shipped
from sumi.training.run_folder import RunFolder
from sumi.training_run import train
from tests.tiny_models import TINY, random_model

CARD = {
    "makes": "noise, 8 px",
    "data": "digits",
    "data_sha256": "0",
    "licence": "CC0-1.0",
    "command": "sumi train ddpm --data digits",
    "seconds": 1.5,
    "machine": "two cores",
    "figures": {"Fréchet distance": "3.0 ± 0.1"},
}


@pytest.fixture
def original(tmp_path: Path) -> DiffusionModel:
    return random_model(tmp_path / "original")


@pytest.fixture
def package(tmp_path: Path, original: DiffusionModel, monkeypatch) -> Path:
    """A package with one model, `noise`, and an empty present folder."""
    place = tmp_path / "package"
    original.save(place / "noise", half=True)
    (place / "noise" / shipped.CARD).write_text(json.dumps(CARD))
    monkeypatch.setattr(shipped, "PLACE", place)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return place


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_half_precision_is_read_as_float32_rounded_once(original: DiffusionModel, tmp_path: Path) -> None:
    original.save(tmp_path / "half", half=True)
    original.save(tmp_path / "whole")
    half, whole = (sumi.load(tmp_path / name) for name in ("half", "whole"))
    for name, weight in original.module.state_dict().items():
        assert torch.equal(whole.module.state_dict()[name], weight)
        found = half.module.state_dict()[name]
        assert found.dtype == weight.dtype
        assert torch.equal(found, weight.half().float() if weight.dtype == torch.float32 else weight)
    sizes = {
        name: (tmp_path / name / f"checkpoints/{original.step:08d}/ema.safetensors").stat().st_size
        for name in ("half", "whole")
    }
    assert sizes["half"] < 0.6 * sizes["whole"]
    half.save(tmp_path / "again", half=True)
    assert sumi.load(tmp_path / "again").digest == half.digest


def test_a_weight_that_half_precision_cannot_hold_is_refused(original: DiffusionModel, tmp_path: Path) -> None:
    next(original.module.parameters()).fill_(1e5)
    with pytest.raises(InputError, match=r"half: .* is too large for half precision; leave it out"):
        original.save(tmp_path / "half", half=True)
    assert not (tmp_path / "half").exists()


def test_training_goes_on_from_half_precision(tmp_path: Path) -> None:
    train("ddpm", data="digits", settings=TINY, out=tmp_path / "run")
    sumi.load(tmp_path / "run").save(tmp_path / "half", half=True)
    model = train(str(tmp_path / "half/config.json"), out=tmp_path / "half", steps=13, resume=True)
    before = sumi.load(tmp_path / "half", checkpoint=12).module.state_dict()
    assert model.step == 13
    moved = [float((weight - before[name]).abs().max()) for name, weight in model.module.state_dict().items()]
    assert 0 < max(moved) < 2e-3  # one step from those weights


def test_a_name_stands_for_the_model_in_the_package(package: Path, capsys) -> None:
    before = everything(package)
    model = sumi.load("noise")
    assert torch.equal(model.sample(2, seed=3, steps=2), sumi.load(package / "noise").sample(2, seed=3, steps=2))
    assert main(["sample", "noise", "-n", "2", "--steps", "2"]) == 0
    assert main(["info", "noise"]) == 0
    assert main(["vary", "noise", next(map(str, Path("out/noise/samples").rglob("*.png"))), "-n", "2"]) == 0
    assert next(explain("noise", device="cpu")).path == Path("out/noise/explain/schedule.png")
    assert {path.parts[:2] for path in Path().rglob("*")} == {("out",), ("out", "noise")}
    assert {path.name for path in Path("out/noise").iterdir()} == {"samples", "varied", "explain"}
    assert everything(package) == before
    assert "noise: ddpm on digits" in capsys.readouterr().out


BY_NAME = [
    (["inpaint", "noise", "a.png", "--mask", "mask.png", "-n", "1", "--steps", "2"], "out/noise/restored"),
    (["upscale", "noise", "small.png", "--factor", "2", "-n", "1", "--steps", "2"], "out/noise/restored"),
    (["restore", "noise", "a.png", "--operator", "blur:1", "-n", "1", "--steps", "2"], "out/noise/restored"),
    (["interpolate", "noise", "a.png", "b.png", "-n", "2", "--steps", "2"], "out/noise/interpolated"),
    pytest.param(["compare", "noise", "--steps", "2", "-n", "4"], "out/noise/compare", marks=pytest.mark.slow),
    (["evaluate", "noise", "-n", "4"], "out/noise/report"),
    (["nll", "noise", "-n", "2", "--evaluations", "2", "--no-ode"], "out/noise/nll"),
    (["train", "ddpm", "--data", "digits", "--from", "noise", "--steps", "2", "--no-report", "--out", "run"], "run"),
    (["distil", "noise", "--steps", "2", "--report", "none", "--out", "run"], "run"),
]


@pytest.mark.parametrize(("command", "made"), BY_NAME)
def test_every_command_takes_the_name_of_a_shipped_model(package: Path, command: list[str], made: str) -> None:
    """What it makes goes to out/NAME or to --out; training that is resumed finds the model again."""
    before = everything(package)
    for k, (name, side) in enumerate((("a", 8), ("b", 8), ("mask", 8), ("small", 4))):
        Image.fromarray(np.full((side, side), 60 * k, np.uint8)).save(f"{name}.png")
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save("mask.png")
    assert main(command) == 0
    assert any(Path(made).rglob("*.*"))
    if made == "run":
        begun = read_run(RunFolder("run")).start
        assert begun is not None
        assert begun.source == "noise"
        assert main([*command, "--resume"]) == 0
    assert everything(package) == before


def test_a_shipped_model_is_explained_by_its_name(package: Path) -> None:
    assert next(explain("noise")).path == Path("out/noise/explain/schedule.png")


def test_the_teacher_of_a_student_is_found_by_its_name(package: Path) -> None:
    assert student_of(sumi.load("noise"), "progressive").objective.teacher.source == "noise"


def test_a_tuned_sampler_of_the_package_is_used_and_one_made_here_before_it(package: Path) -> None:
    from sumi.models.diffusion.tuned import tuned_file

    step = sumi.load("noise").step
    name = f"{step:08d}-3.json"
    assert tuned_file(Path("noise"), step, 3) == Path("out/noise/tuned") / name
    for place in (package / "noise/tuned", Path("out/noise/tuned")):
        place.mkdir(parents=True)
        (place / name).write_text("{}")
        assert tuned_file(Path("noise"), step, 3) == place / name


def test_nobody_trains_in_the_place_of_a_shipped_model(package: Path) -> None:
    before = everything(package)
    with pytest.raises(InputError, match="out: noise is the name of a model that comes with Sumi"):
        train("ddpm", data="digits", settings=TINY, out="noise")
    assert everything(package) == before
    assert list(Path().iterdir()) == []


def test_a_run_of_ones_own_comes_before_a_shipped_one(package: Path, tmp_path: Path) -> None:
    random_model(tmp_path / "own", "network.embedding=64").save("noise")
    assert RunFolder("noise").shipped is None
    assert RunFolder("noise").samples == Path("noise/samples")
    assert sumi.load("noise").config.network.embedding == 64
    assert RunFolder("./sub/noise").shipped is None


def test_models_lists_them_and_prints_a_card(package: Path, capsys) -> None:
    assert main(["models"]) == 0
    listed = capsys.readouterr().out
    assert "noise          noise, 8 px (0." in listed
    assert main(["models", "noise"]) == 0
    card = capsys.readouterr().out
    assert "Fréchet distance: 3.0 ± 0.1" in card
    assert "CC0-1.0" in card
    assert main(["models", "other"]) == 2
    assert "other: is not a model that comes with Sumi; there are: noise" in capsys.readouterr().err
    (package / "noise" / shipped.CARD).write_text('{"makes": 1}')
    assert main(["models"]) == 2
    assert "install Sumi again" in capsys.readouterr().err


def test_where_there_is_no_such_run_the_names_are_offered(package: Path) -> None:
    with pytest.raises(InputError, match="give a folder that `sumi train` made, or one of noise"):
        sumi.load("nose")


def test_the_models_of_the_package_name_no_place_of_the_machine_that_trained_them() -> None:
    real = Path(sumi.__file__).parent / "pretrained"
    configs = sorted(real.rglob("config.json"))
    assert len(configs) >= 3
    for file in configs:
        assert '"/' not in file.read_text(), file


def test_shipped_a_student_names_its_teacher(package: Path) -> None:
    own = student_of(sumi.load("noise"), method="progressive")
    placed = override(own, ["objective.teacher.source=/home/one/runs/teacher"])
    description = replace(sumi.load("noise").description, config=placed, start=Start("/home/one/runs/teacher", 3, "0"))
    shown = by_name(description)
    assert shown.start is not None
    assert (shown.start.source, shown.config.objective.teacher.source) == ("teacher", "teacher")
