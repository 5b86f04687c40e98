"""What a report says to type can be typed: paths as a shell takes them, and Python where no command will do."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import sumi
from sumi.data.config import MEMORY
from sumi.networks.own import OwnNetwork
from sumi.report.commands import continued, evaluated, sampled, trained_again
from sumi.report.unfinished import short_of
from tests.tiny_models import digits_model


def test_a_path_is_typed_as_a_shell_takes_it(tmp_path: Path) -> None:
    model = digits_model(tmp_path / "it's here")
    folder = str(model.folder)
    assert shlex.split(continued(model, 9)) == ["sumi", "train", "ddpm", "--out", folder, "--resume", "--steps", "9"]
    assert shlex.split(trained_again(model)) == ["sumi", "train", f"{folder}/config.json", "--out", "ANOTHER"]
    assert shlex.split(sampled(model, 4, 2)) == ["sumi", "sample", folder, "-n", "4", "--seed", "2"]
    assert shlex.split(evaluated(model, 4)) == ["sumi", "evaluate", folder, "-n", "4"]


def test_what_no_command_takes_is_given_in_python(tmp_path: Path) -> None:
    """Data in memory, to train and to measure, and a network of one's own."""
    model = digits_model(tmp_path)
    config, folder = model.config, model.folder
    model.config = replace(config, data=replace(config.data, source=MEMORY))
    assert continued(model, 9) == f'sumi.train("ddpm", out="{folder}", steps=9, resume=True, data=…)'
    assert trained_again(model) == f'sumi.train("{folder}/config.json", out="ANOTHER", data=…)'
    assert sampled(model, 4, 2) == f"sumi sample {folder} -n 4 --seed 2"
    assert evaluated(model, 4, 2) == f'sumi.load("{folder}").evaluate(data=…, n=4, seed=2)'
    model.config = replace(config, network=OwnNetwork("Mine"))
    assert continued(model, 9) == f'sumi.train("ddpm", out="{folder}", steps=9, resume=True, network=…)'
    assert sampled(model, 4, 2) == f'sumi.load("{folder}", network=…).sample(4, seed=2)'
    assert evaluated(model, seed=2) == f'sumi.load("{folder}", network=…).evaluate(seed=2)'

    @dataclass(frozen=True)
    class Mine:
        name: ClassVar[str] = "mine"
        steps: int = 1000

    model.config = replace(config, schedule=Mine())
    assert continued(model, 9) == f'sumi.train("ddpm", out="{folder}", steps=9, resume=True, parts=…)'


def test_a_model_that_comes_with_sumi_is_trained_elsewhere_and_not_continued() -> None:
    digits = sumi.load("digits")
    assert short_of(digits) == ""
    assert Path(shlex.split(trained_again(digits))[2]).is_file()
    assert evaluated(digits) == "sumi evaluate digits"
