"""A step that is not finite leaves no trace but a line in the log, and no run is lost to one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sumi import recipes
from sumi.boundary.settings import override
from sumi.data.batch import Batch
from sumi.data.config import DataConfig
from sumi.data.load import load
from sumi.data.vectors import VectorDataset
from sumi.errors import InputError, SumiError
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.run import load as load_model
from sumi.objectives.objective import Objective
from sumi.report.made import how_it_was_made
from sumi.training import gradients
from sumi.training.checkpoint import find_checkpoints, load_checkpoint, load_latest
from sumi.training.config import TrainingConfig
from sumi.training.saving import save_checkpoint
from sumi.training.trainer import Trainer
from sumi.training_run import Events, train
from tests.interrupted import Crash, crash, in_step
from tests.processes import ended, start

DATA = VectorDataset(np.linspace(-1, 1, 12, dtype=np.float32)[:, None], tuple(f"row {i}" for i in range(12)))


class Layers(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.unused = (torch.nn.Linear(*size) for size in ((1, 4), (4, 1), (1, 1)))
        self.register_buffer("last_loss", torch.zeros(()))


class Poisoned(Objective[Layers]):
    """Squared errors, which have the fault ``fault`` at the steps ``at``."""

    def __init__(self, fault: str = "", *at: int) -> None:
        super().__init__(Layers())
        self.fault, self.at = fault, at

    def forward(self, batch: Batch) -> torch.Tensor:
        fault = self.fault if batch.step in self.at else ""
        x, weight = batch.x.clone(), self.model.second.weight
        if fault == "data":
            x[1] = float("nan")
        hidden = self.model.first(x / 0 if fault == "layer" else x)
        losses = (self.model.second(hidden) - x.square()).square()[:, 0]
        match fault:
            case "loss":
                losses = losses * float("inf")
            case "gradient":  # the root is finite at 0, where it has no slope
                losses = losses + (weight - weight.detach())[0, 0].sqrt()
            case "norm":
                losses = losses + 1e30 * (weight - weight.detach()).sum()
        self.model.last_loss.copy_(losses.detach().mean())
        return losses


def trainer_of(folder: Path, objective: Objective, message: list[str] | None = None, **settings: Any) -> Trainer:
    folder.mkdir(exist_ok=True)
    config = TrainingConfig(**{"steps": 6, "batch_size": 4, "checkpoint_every": 3, "log_every": 2, **settings})
    return Trainer(config, objective, DATA, 0, folder, on_message=[].append if message is None else message.append)


def lines_of(folder: Path, event: str | None = None) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line.get("event") == event]


def saved_steps(folder: Path) -> list[int]:
    return [int(path.name) for path in find_checkpoints(folder / "checkpoints")[0]]


def assert_same_tensors(folder: Path, step: int, other: Path, other_step: int) -> None:
    one, two = (load_checkpoint(f / f"checkpoints/{s:08d}") for f, s in ((folder, step), (other, other_step)))
    assert one.nonfinite() is None
    for name in ("model", "ema", "optimizer"):
        mine, yours = getattr(one, name), getattr(two, name)
        assert mine.keys() == yours.keys()
        assert all(torch.equal(mine[key], yours[key]) for key in mine), name


# ---------------------------------------------------------------------------------------------------------- one step


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize(
    ("fault", "layer", "named"),
    [
        ("data", "the input of first", 1),
        ("layer", "the input of first", 4),
        ("loss", "the loss", 4),
        ("gradient", "the gradient of second.weight", 4),
        ("norm", "the norm of the gradient", 4),
    ],
)
def test_a_skipped_step_changes_nothing_and_is_named(
    tmp_path: Path, fault: str, layer: str, named: int, accumulation: int, precision: str
) -> None:
    """Weights, averages, buffers and optimizer after step 4 are those after step 3."""
    message: list[str] = []
    options = {"accumulation": accumulation, "precision": precision}
    trainer_of(tmp_path / "three", Poisoned(), steps=3, **options).run()
    trainer_of(tmp_path / "skipped", Poisoned(fault, 4), message, steps=4, **options).run()
    assert_same_tensors(tmp_path / "skipped", 4, tmp_path / "three", 3)
    (event,) = lines_of(tmp_path / "skipped", "skipped")
    assert (event["step"], event["layer"]) == (4, layer)
    names = event["items"].split(", ")
    assert len(names) == (accumulation if fault == "data" else named)
    assert set(names) <= set(DATA.keys)
    assert message == [f"step 4 is skipped: {layer} is not finite; its samples: {event['items']}"]
    assert load_checkpoint(tmp_path / "skipped/checkpoints/00000004").state["skipped"] == 1


SECOND = """
import sys
from pathlib import Path
from sumi.boundary.group import joined
from tests.training.test_nonfinite import Poisoned, trainer_of

with joined() as group:
    trainer_of(Path(sys.argv[1]), Poisoned("data", *([4] if group.rank else [])), steps=4, shard=sys.argv[2]).run()
"""


@pytest.mark.parametrize("shard", ["none", "full"])
def test_a_layer_is_named_that_another_process_computes(shard: str, tmp_path: Path) -> None:
    """Where the gradients of both are not finite, as they are added up."""
    for code, text in ended(start(["-c", SECOND, str(tmp_path / "run"), shard]), within=120):
        assert code == 0, text
    (event,) = lines_of(tmp_path / "run", "skipped")
    assert event["layer"] == "the input of first"
    assert event["items"] in DATA.keys


def test_the_sample_that_is_not_finite_is_named_alone(tmp_path: Path) -> None:
    order: dict[int, list[int]] = {}

    class Seen(Poisoned):
        def forward(self, batch: Batch) -> torch.Tensor:
            order[batch.step] = batch.items.tolist()
            return super().forward(batch)

    trainer_of(tmp_path, Seen("data", 2)).run()
    assert [line["items"] for line in lines_of(tmp_path, "skipped")] == [DATA.keys[order[2][1]]]


def test_counters_data_and_noise_go_on_after_a_skipped_step(tmp_path: Path) -> None:
    seen: dict[int, tuple[list[int], float]] = {}

    class Seen(Poisoned):
        def forward(self, batch: Batch) -> torch.Tensor:
            seen[batch.step] = (batch.items.tolist(), float(torch.rand(())))
            return super().forward(batch)

    trainer_of(tmp_path / "clean", Seen()).run()
    clean = dict(seen)
    seen.clear()
    trainer_of(tmp_path / "poisoned", Seen("loss", 4)).run()
    assert seen == clean
    for name in ("step", "learning_rate"):
        one, two = ([line[name] for line in lines_of(tmp_path / run)] for run in ("clean", "poisoned"))
        assert one == two


def test_a_line_of_the_log_averages_the_steps_that_were_taken(tmp_path: Path) -> None:
    trainer_of(tmp_path / "each", Poisoned("loss", 3), log_every=1).run()
    trainer_of(tmp_path / "run", Poisoned("loss", 3), log_every=3).run()
    losses = [line["loss"] for line in lines_of(tmp_path / "each")]
    assert losses[2] is None
    assert lines_of(tmp_path / "run")[0]["loss"] == pytest.approx((losses[0] + losses[1]) / 2)


def test_a_fault_that_does_not_come_again_is_the_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message: list[str] = []
    objective = Poisoned("loss", 4)
    run = trainer_of(tmp_path, objective, message)
    monkeypatch.setattr(run.ema, "restore_buffers", lambda: setattr(objective, "at", ()))
    run.run()
    assert message[0].startswith("step 4 is skipped: it was not finite once and is now, so test the machine's memory; ")
    assert lines_of(tmp_path, "skipped")[0]["layer"] is None


@pytest.mark.parametrize("recipe", ["ddpm", "improved-ddpm", "vdm", "noisy-classifier", "gan", "vae"])
def test_every_objective_skips_a_batch_that_is_not_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    config = recipes.build(recipe, DataConfig("digits"))
    data = load(config.data)
    objective = config.build(data.spec)
    objective.fit(data)
    gather = gradients.batch_of

    def gathered(*arguments: Any, step: int, **options: Any) -> Batch:
        batch = gather(*arguments, step=step, **options)
        if step == 2:
            batch.x[1] = float("nan")
        return batch

    monkeypatch.setattr(gradients, "batch_of", gathered)
    run = Trainer(TrainingConfig(steps=2, batch_size=4), objective, data, 0, tmp_path)
    run.run()
    saved = load_checkpoint(tmp_path / "checkpoints/00000002")
    assert saved.nonfinite() is None
    assert {float(value) for name, value in saved.optimizer.items() if name.endswith(".step")} == {1.0}
    assert len(lines_of(tmp_path, "skipped")) == 1


# ------------------------------------------------------------------------------------------------------------- resume


@pytest.mark.parametrize("at", [(1,), (3,), (1, 2, 3, 5), (4, 5), (6,)])
@pytest.mark.parametrize("crash_at", [2, 4, 5, 6])
def test_killed_among_skipped_steps_and_resumed_is_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: tuple[int, ...], crash_at: int
) -> None:
    trainer_of(tmp_path / "whole", Poisoned("gradient", *at)).run()
    in_step(monkeypatch, crash_at, crash)
    with pytest.raises(Crash):
        trainer_of(tmp_path / "run", Poisoned("gradient", *at)).run()
    monkeypatch.undo()
    again = trainer_of(tmp_path / "run", Poisoned("gradient", *at))
    assert again.resume() == []
    again.run()
    assert_same_tensors(tmp_path / "run", 6, tmp_path / "whole", 6)
    assert again.skipped == len(at)
    assert [line["step"] for line in lines_of(tmp_path / "run", "skipped")] == list(at)


def test_a_row_of_skipped_steps_is_counted_across_a_kill(tmp_path: Path) -> None:
    trainer_of(tmp_path, Poisoned("loss", 2, 3), steps=3).run()
    again = trainer_of(tmp_path, Poisoned("loss", 4), steps=6, skip_limit=3)
    again.resume()
    with pytest.raises(SumiError, match="3 steps in a row, up to step 4"):
        again.run()


SMALL = [
    *("network.widths=16", "network.blocks=1", "network.embedding=16", "sampling.steps=2"),
    *("training.batch_size=4", "training.checkpoint_every=5", "training.sample_every=0"),
]


def test_a_resumed_run_may_change_its_learning_rate_and_what_no_weight_depends_on(tmp_path: Path) -> None:
    """The change is printed and logged; weights follow the rate, and intervals leave them as they are."""
    config = override(recipes.build("ddpm", DataConfig("digits")), [*SMALL, "training.steps=4"])
    message: list[str] = []

    def resumed(name: str, *settings: str) -> None:
        train(override(config, settings), out=tmp_path / name, resume=True, events=Events(message.append))

    for name in ("run", "other"):
        train(config, out=tmp_path / name)
    resumed("other", "training.checkpoint_every=3", "training.log_every=1", "training.skip_limit=7", "training.steps=6")
    assert any(line.startswith("changed from step 5 on: training.skip_limit: 10 → 7; ") for line in message)
    resumed("run", "training.steps=6")
    assert_same_tensors(tmp_path / "run", 6, tmp_path / "other", 6)
    resumed("run", "training.steps=8", "training.learning_rate=5e-4")
    assert "changed from step 7 on: training.learning_rate: 0.001 → 0.0005" in message
    assert lines_of(tmp_path / "run", "changed") == [
        {"step": 6, "event": "changed", "settings": "training.learning_rate: 0.001 → 0.0005"}
    ]
    model = load_model(tmp_path / "run")
    images, held_out = model.load_data().split(0.1)
    made = how_it_was_made(model, images, held_out, made="4", shown=4, seed=0)
    assert "(training.learning_rate: 0.001 → 0.0005): for the same weights, train to step 6" in made.text
    made = how_it_was_made(load_model(tmp_path / "other"), images, held_out, made="4", shown=4, seed=0)
    assert "learning rate was changed" not in made.text
    assert lines_of(tmp_path / "run")[-1]["learning_rate"] == pytest.approx(5e-4 * 8 / 100)
    with pytest.raises(InputError, match=r"training\.weight_decay"):
        resumed("run", "training.steps=8", "training.learning_rate=5e-4", "training.weight_decay=0.1")


# --------------------------------------------------------------------------------------------------- many, and states


def test_after_a_row_of_skipped_steps_the_run_stops_and_its_advice_can_be_followed(tmp_path: Path) -> None:
    trainer_of(tmp_path / "four", Poisoned(), steps=4).run()
    folder = tmp_path / "run"
    with pytest.raises(SumiError) as error:
        trainer_of(folder, Poisoned("loss", 5, 6, 7), steps=9, skip_limit=3, keep_checkpoints=1).run()
    assert str(error.value) == (
        "training: the loss or its gradient was not finite in 3 steps in a row, up to step 7; step 7 is saved; resume "
        "it with a training.learning_rate below 0.001, or with a training.skip_limit above 3; if that fails, delete "
        f"{folder / 'checkpoints/00000007'} to continue from step 6"
    )
    assert_same_tensors(folder, 7, tmp_path / "four", 4)
    assert saved_steps(folder) == [3, 6, 7]  # those before the row stay
    again = trainer_of(folder, Poisoned("loss", 8, 9), steps=10, skip_limit=3, keep_checkpoints=1)
    again.resume()
    again.run()  # it may skip as many again
    assert (again.step, again.skipped) == (10, 5)
    assert saved_steps(folder) == [10]


def test_a_run_without_a_finite_step_saves_nothing(tmp_path: Path) -> None:
    with pytest.raises(SumiError, match="up to step 2; there is no checkpoint yet; resume it"):
        trainer_of(tmp_path, Poisoned("gradient", 1, 2), steps=2).run()
    assert not saved_steps(tmp_path)


@pytest.mark.parametrize("part", ["model", "ema", "optimizer"])
def test_a_state_that_is_not_finite_is_never_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """A value goes bad by itself, while gradients stay finite: the step is not saved."""
    run = trainer_of(tmp_path, Poisoned())

    def spoil() -> None:
        first = run.model.first.weight
        values = {
            "model": run.model.unused.weight,
            "ema": run.ema.module.first.weight,
            "optimizer": run.optimizer.state[first]["exp_avg"],
        }
        values[part].data.view(-1)[0] = float("nan")

    in_step(monkeypatch, 6, spoil)
    with pytest.raises(
        SumiError, match=r"training: \S+ is not finite after step 6, .*; the last checkpoint is 3; resume"
    ):
        run.run()
    assert saved_steps(tmp_path) == [3]


def test_weights_that_are_not_finite_end_the_run_at_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer_of(tmp_path, Poisoned(), steps=20, checkpoint_every=4, skip_limit=3)
    in_step(monkeypatch, 5, lambda: run.model.first.weight.data.fill_(float("inf")))
    with pytest.raises(SumiError, match="3 steps in a row, up to step 7; the last checkpoint is 4"):
        run.run()
    monkeypatch.undo()
    again = trainer_of(tmp_path, Poisoned(), steps=20, checkpoint_every=4)
    again.resume()
    again.run()
    assert (again.step, again.skipped) == (20, 0)


def test_a_checkpoint_that_is_not_finite_is_passed_over(tmp_path: Path) -> None:
    trainer_of(tmp_path, Poisoned()).run()
    newest = load_checkpoint(tmp_path / "checkpoints/00000006")
    newest.ema["first.weight"][0] = float("nan")
    save_checkpoint(tmp_path / "checkpoints", newest, keep=9)
    found, skipped = load_latest(tmp_path / "checkpoints")
    assert found is not None
    assert found.step == 3
    assert "ema.first.weight is not finite" in skipped[-1]


def test_samples_that_are_not_finite_end_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message: list[str] = []
    monkeypatch.setattr(DiffusionModel, "sample", lambda *_, **__: torch.full((2, 1), float("nan")))
    settings = ["network.width=8", "network.blocks=1", "training.batch_size=4", "training.sample_every=1"]
    model = train("ddpm", data=DATA, out=tmp_path / "run", steps=2, settings=settings, events=Events(message.append))
    assert (model.step, saved_steps(tmp_path / "run")) == (2, [2])
    condition = "samples: 2 of 2 are not finite; go back to an earlier checkpoint, or lower training.learning_rate"
    assert [line for line in message if "samples: " in line] == [f"step 1: {condition}", f"step 2: {condition}"]
    assert not (tmp_path / "run/samples").exists()
