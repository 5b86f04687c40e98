"""Restart as an option of a model and of the command line."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sumi.cli.main import main
from sumi.errors import InputError
from sumi.models.diffusion.model import DiffusionModel
from sumi.sampling.solvers.restart import Restart
from tests.tiny_models import class_model, differ

WIDE = Restart(2, 0.1, 20.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> DiffusionModel:
    model = class_model(tmp_path_factory.mktemp("restart"), recipe="ddpm")
    model.save(model.folder)
    return model


def test_samples_are_restarted_and_none_is_the_solver_to_the_bit(model: DiffusionModel) -> None:
    """In any batch alike; a callback sees the way up, and 0 nothing new."""
    levels: list[float] = []
    given = {"solver": "adams", "steps": 8}
    plain = model.sample(3, **given)
    assert torch.equal(model.sample(3, **given, restart=0), plain)
    made = model.sample(3, **given, restart=WIDE, callback=lambda step, level, x: levels.append(level.t))
    assert differ(made, plain)
    ups = [b for a, b in pairwise(levels) if b > a]
    assert len(ups) == 2
    assert len(set(ups)) == 1
    torch.testing.assert_close(model.sample(1, start=2, **given, restart=WIDE)[0], made[2], rtol=0, atol=1e-4)
    varied = model.vary(plain[0], 0.7, 2, **given, restart=Restart(1, 0.1, 0.6))
    assert differ(varied, model.vary(plain[0], 0.7, 2, **given))


def test_the_command_line_restarts_and_each_file_says_so(model: DiffusionModel, tmp_path: Path, capsys) -> None:
    run, out = str(model.folder), tmp_path / "out"
    given = ["--solver", "adams", "--steps", "8", "--restart", "2"]
    assert main(["sample", run, "-n", "1", *given, "--restart-interval", "0.1,20", "--out", str(out)]) == 0
    assert "(adams, 8 steps, 2 restarts)" in capsys.readouterr().out
    about = json.loads(Image.open(out / "00000.png").text["sumi"])
    assert (about["restart"], about["restart_interval"]) == (2, "0.1,20")


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (["--restart", "1", "--error", "0.1"], "--error: restart draws noise, so no sample has one end to be near to"),
        (["--restart-interval", "0.1,1"], "--restart-interval: is that of restarts, and there are none"),
        (["--restart", "1", "--restart-interval", "1,0.1"], "--restart-interval: 1,0.1 is not LOW,HIGH"),
        (["--restart", "1", "--restart-interval", "0.1,0.11"], "--restart-interval: no step of 4 lies between"),
        (["--restart", "-1"], "--restart: -1 is out of range"),
        (["--restart", "1", "--solver", "langevin"], "--restart: goes on from where an ODE's or SDE's solver is"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(model: DiffusionModel, options: list[str], answer: str, capsys) -> None:
    assert main(["sample", str(model.folder), "-n", "1", *options]) == 2
    printed = capsys.readouterr().err
    assert answer in printed
    assert len(printed.strip().splitlines()) == 1


def test_variations_say_the_restarts_of_the_run_that_they_have(tmp_path: Path, capsys) -> None:
    """Those below the level at which an image begins; where one lies within the last step, there is nothing to mend."""
    own = ["sampling.restart.repeats=2", "sampling.restart.low=0.1", "sampling.restart.high=20", "sampling.steps=8"]
    model = class_model(tmp_path / "run", *own, recipe="ddpm")
    model.save(tmp_path / "run")
    image = np.full((8, 8), 90, np.uint8)
    Image.fromarray(image).save(tmp_path / "image.png")
    for strength, restarts in (("1", 2), ("0.6", 2), ("0.4", 0), ("0.1", 0), ("0", 0)):
        given = [str(tmp_path / "run"), str(tmp_path / "image.png"), "--strength", strength, "-n", "1"]
        assert main(["vary", *given, "--out", str(tmp_path / strength)]) == 0
        about = json.loads(Image.open(tmp_path / strength / "00000.png").text["sumi"])
        stated = {name: about[name] for name in ("restart", "restart_interval") if name in about}
        assert stated == ({"restart": restarts, "restart_interval": "0.1,20"} if restarts else {})
        assert (f", {restarts} restarts)" in capsys.readouterr().out) == bool(restarts)
        levels: list[float] = []
        made = model.vary(image, float(strength), 1, callback=lambda step, level, x, seen=levels: seen.append(level.t))
        assert sum(b > a for a, b in pairwise(levels)) == restarts
        assert bool(made.isfinite().all())


def test_what_is_named_counts_instead_of_the_restarts_of_the_run(tmp_path: Path) -> None:
    own = ["sampling.restart.repeats=2", "sampling.restart.low=0.1", "sampling.restart.high=20"]
    model = class_model(tmp_path, *own, recipe="ddpm")
    assert (model.restarts(), model.restarts(restart=0), model.restarts(restart=3)) == (2, 0, 3)


def test_restorations_are_not_restarted(model: DiffusionModel, tmp_path: Path) -> None:
    """Where it is asked for; the default of a run is left out of them, and of the way back to the noise."""
    image, hole = torch.zeros(1, 8, 8), torch.arange(64).view(8, 8) < 9
    with pytest.raises(InputError, match=r"^restart: is of samples alone"):
        model.inpaint(image, hole, 1, restart=WIDE)
    usual = class_model(tmp_path, "sampling.restart=2", recipe="ddpm")
    assert usual.how_sampled() == "adams, 4 steps, 2 restarts"
    assert torch.equal(usual.inpaint(image, hole, 1), model.inpaint(image, hole, 1))
    assert torch.equal(usual.interpolate(image, image + 0.5, 2), model.interpolate(image, image + 0.5, 2))
