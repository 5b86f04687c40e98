"""A checkpoint that is undamaged and yet not what the run saved: one line, and the older one is taken."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from sumi import recipes
from sumi.boundary.settings import override
from sumi.data.config import DataConfig
from sumi.data.open import open_data
from sumi.errors import InputError, SumiError
from sumi.models.run import load, read_run
from sumi.training.run_folder import RunFolder
from sumi.training.trainer import Trainer
from sumi.training_run import Events, build_trainer, train
from tests.tiny_models import TINY, random_model
from tests.training.hostile import hostile_checkpoints

SMALL = [*TINY, "training.batch_size=2", "training.steps=2", "training.checkpoint_every=1", "network.group_width=16"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the checkpoints of steps 1 and 2."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train(override(recipes.build("ddpm", DataConfig(source="digits")), SMALL), out=run, device="cpu")
    return run


def trainer_of(run: Path) -> Trainer:
    description = read_run(RunFolder(run))
    dataset = open_data(description.config.data.source, description.config.data)
    return build_trainer(description, dataset, RunFolder(run), "cpu", Events())[0]


def answer_of(name: str, run: Path, trainer: Trainer) -> str:
    """What is wrong with how contents of this name are answered; nothing if it is as it should be."""
    checkpoint = run / "checkpoints/00000002"
    hostile_checkpoints(checkpoint)[name]()
    try:
        lines = trainer.resume()
    except SumiError as error:
        return f"resume stops: {error}"
    if trainer.step != 1 or not lines[0].isprintable() or str(checkpoint) not in lines[0]:
        return f"resume: at step {trainer.step}, {lines}"
    if name.startswith(("model", "optimizer")) or name in ("state, another seed", "state, other data"):
        return ""  # not read, or not counted, for a loaded model
    if name == "state, precision":
        return ""
    try:
        load(run)
    except InputError as error:
        fine = str(error).isprintable() and str(run) in str(error)
        return "" if fine else f"load: {error}"
    return "load: is taken"


def unanswered(whole: Path, folder: Path) -> tuple[list[str], int]:
    """The contents that are answered badly, with what happened, and of how many."""
    names, wrong, trainer = list(hostile_checkpoints(whole)), list[str](), trainer_of(whole)
    for number, name in enumerate(names):
        run = folder / str(number)
        shutil.copytree(whole, run)
        trainer.checkpoints, trainer.log.path, trainer.step = run / "checkpoints", run / "metrics.jsonl", 0
        try:
            wrong += [f"{name}: {answer}" for answer in [answer_of(name, run, trainer)] if answer]
        except Exception as error:  # what nobody should see
            wrong.append(f"{name}: unexpected {type(error).__name__}: {error}")
        shutil.rmtree(run)
    return wrong, len(names)


def test_what_a_run_did_not_save_is_passed_over_for_the_older_checkpoint(whole: Path, tmp_path: Path) -> None:
    wrong, count = unanswered(whole, tmp_path)
    assert not wrong
    assert count > 60


def test_a_checkpoint_of_other_tensors_names_the_older_one_to_load(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    name = next(name for name in hostile_checkpoints(run / "checkpoints/00000002") if name.startswith("ema"))
    hostile_checkpoints(run / "checkpoints/00000002")[name]()
    with pytest.raises(InputError, match=r"; or take an older one: checkpoint 1$"):
        load(run)
    assert load(run, checkpoint=1).step == 1


@pytest.mark.parametrize("pattern", ["(x)"])
@pytest.mark.parametrize("data", ["digits", torch.zeros(4, 8, 8, dtype=torch.uint8)])
def test_a_label_pattern_is_refused_where_there_are_no_file_names(data: object, pattern: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^data\.label_pattern: .*; leave it out$"):
        train("ddpm", data=data, out=tmp_path / "run", settings=[f"data.label_pattern={pattern}"], device="cpu")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_never_saved(whole: Path, tmp_path: Path, bad: float) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    trainer = trainer_of(run)
    name, weight = next(iter(trainer.model.named_parameters()))
    with torch.no_grad():
        weight.view(-1)[0] = bad
    trainer.step = 3
    with pytest.raises(SumiError, match=rf"{name} is not finite after step 3"):
        trainer._save(keep=3)
    assert not (run / "checkpoints/00000003").exists()
    model = random_model(tmp_path)
    with torch.no_grad():
        next(model.module.parameters()).view(-1)[0] = bad
    with pytest.raises(InputError, match="is not finite, and is not saved"):
        model.save(tmp_path / "kept")


def test_a_parameter_without_a_gradient_is_saved_and_resumed(tmp_path: Path) -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.unused = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.ones(3))

        def forward(self, x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
            return x * self.scale

    common: dict = {"data": "digits", "out": tmp_path / "run", "network": Unused(), "device": "cpu"}
    train("ddpm", steps=1, settings=["training.batch_size=2"], **common)
    assert train("ddpm", steps=2, resume=True, **common).step == 2
