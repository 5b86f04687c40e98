"""Steps in float16, and of as many pieces as fit into memory."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sumi.data.batch import Batch
from sumi.data.vectors import VectorDataset
from sumi.errors import InputError
from sumi.objectives.objective import Objective
from sumi.training.checkpoint import load_checkpoint
from sumi.training.config import TrainingConfig
from sumi.training.precision import LossScale
from sumi.training.trainer import Trainer
from sumi.training_run import train
from tests.interrupted import Crash, crash, in_step
from tests.small_runs import assert_same, config_of, state_of

ITEMS = VectorDataset(np.zeros((8, 1), np.float32), tuple("abcdefgh"))


class Line(Objective[nn.Linear]):
    """A loss of ``at`` whose gradient in the one weight is ``slope``, in float16; only ``fits`` items fit at once."""

    def __init__(self, slope: float = 1.0, at: float = 1.0, fits: int = 8) -> None:
        super().__init__(nn.Linear(1, 1, bias=False))
        self.slope, self.at, self.fits = slope, at, fits
        self.sizes: list[int] = []

    def forward(self, batch: Batch) -> Tensor:
        self.sizes.append(len(batch.items))
        if len(batch.items) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        weight = self.model.weight[0, 0]
        rise = Halved.apply(weight) - weight.detach()
        return (self.at + self.slope * rise).expand(len(batch.items))


class Halved(torch.autograd.Function):
    """The identity, with a gradient that is rounded to float16."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return gradient.half().float()


def trainer_of(objective: Line, folder: Path, message: list[str] | None = None, **settings: Any) -> Trainer:
    folder.mkdir(exist_ok=True)
    config = TrainingConfig(**{"steps": 1, "batch_size": 8, "gradient_clip": 1e9, "check_every": 0, **settings})
    say = (lambda _: None) if message is None else message.append
    return Trainer(config, objective, ITEMS, 0, folder, on_message=say)


@pytest.mark.parametrize(("slope", "scale", "tries"), [(1.0, 2.0**15, 2), (2.0**-30, 2.0**16, 1), (40.0, 2.0**10, 7)])
def test_the_scale_is_the_largest_whose_gradient_does_not_overflow(
    tmp_path: Path, slope: float, scale: float, tries: int
) -> None:
    """float16 ends below 2^16; without a scale a slope of 2^-30 would be 0. The norm is without the scale."""
    objective = Line(slope)
    trainer = trainer_of(objective, tmp_path, precision="fp16")
    _, norms = trainer.take_step(1)
    assert float(norms[0]) == pytest.approx(slope, rel=2**-11)
    assert trainer.gradients.scale.value == scale
    assert len(objective.sizes) == tries


def test_the_scale_grows_again_after_steps_without_overflow_and_has_an_end() -> None:
    scale, one = LossScale(2.0**22), torch.ones(1)
    found: list[float] = []
    for _ in range(3 * LossScale.PATIENCE):
        assert scale.answers(one, one)
        found.append(scale.value)
    every = LossScale.PATIENCE
    assert found[every - 2 :: every] == [2.0**22, 2.0**23, 2.0**24]
    assert found[every - 1 :: every] == [2.0**23, 2.0**24, 2.0**24]
    scale = LossScale(2.0**22, every - 1)
    assert not scale.answers(one, one * torch.inf)  # of which the steps count from 0 again
    assert scale.answers(one, one)
    assert (scale.value, scale.steps) == (2.0**21, 1)


def test_what_no_scale_mends_is_a_skipped_step(tmp_path: Path) -> None:
    steep = trainer_of(Line(1e6), tmp_path / "steep", precision="fp16")
    assert steep.take_step(1) is None
    assert steep.gradients.scale.value == 1
    poisoned = trainer_of(Line(at=float("nan")), tmp_path / "poisoned", precision="fp16")
    assert poisoned.take_step(1) is None
    assert poisoned.gradients.scale.value == 2.0**16


def test_a_run_in_float16_is_near_one_in_float32_and_is_resumed_exactly(tmp_path: Path, monkeypatch) -> None:
    short = ("training.steps=4", "training.checkpoint_every=2", "training.log_every=1", "training.batch_size=4")
    half = config_of(*short, "training.precision=fp16")
    train(half, out=tmp_path / "whole")
    train(config_of(*short, "training.precision=fp32"), out=tmp_path / "single")
    first, other = (
        json.loads((tmp_path / run / "metrics.jsonl").read_text().splitlines()[0])["loss"]
        for run in ("whole", "single")
    )
    assert first == pytest.approx(other, rel=2e-3)
    in_step(monkeypatch, 4, crash)
    with pytest.raises(Crash):
        train(half, out=tmp_path / "run")
    monkeypatch.undo()
    train(half, out=tmp_path / "run", resume=True)
    assert_same(state_of(tmp_path / "run", 4), state_of(tmp_path / "whole", 4))
    assert state_of(tmp_path / "run", 4).state == state_of(tmp_path / "whole", 4).state
    assert state_of(tmp_path / "run", 4).state["loss_scale"]["steps"] > 0
    assert all(tensor.dtype == torch.float32 for tensor in state_of(tmp_path / "run", 4).model.values())


def test_pieces_are_halved_until_they_fit_and_stay_so(tmp_path: Path) -> None:
    message: list[str] = []
    trainer = trainer_of(Line(fits=2), tmp_path, message, micro_batch="auto", steps=2)
    trainer.run()
    assert trainer.objective.sizes == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2]
    assert message[:2] == [
        "step 1: 4 items at a time, as more do not fit",
        "step 1: 2 items at a time, as more do not fit",
    ]
    saved = load_checkpoint(tmp_path / "checkpoints/00000002")
    assert saved.state["pieces"] == 4
    again = trainer_of(Line(fits=2), tmp_path, micro_batch="auto", steps=3)
    again.resume()
    again.run()
    assert again.objective.sizes == [2, 2, 2, 2]


def test_pieces_divide_a_batch_that_has_no_half(tmp_path: Path) -> None:
    trainer = trainer_of(Line(fits=1), tmp_path, micro_batch="auto", batch_size=9)
    trainer.run()
    assert trainer.objective.sizes == [9, 3, *[1] * 9]
    with pytest.raises(InputError, match=r"of 9 items does not fit .* give training.accumulation=3, or"):
        trainer_of(Line(fits=3), tmp_path, batch_size=9).take_step(1)


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    by_hand = r"training.accumulation: a step of 8 items does not fit .* give training.accumulation=2, or .*=auto"
    with pytest.raises(InputError, match=by_hand):
        trainer_of(Line(fits=4), tmp_path).take_step(1)
    with pytest.raises(InputError, match=r"training.batch_size: a step of 1 items does not fit .*recompute=true"):
        trainer_of(Line(fits=0), tmp_path, micro_batch="auto").take_step(1)


def test_a_run_that_computes_twice_is_the_same_run(tmp_path: Path) -> None:
    settings = ("training.steps=3", "network.dropout=0.3", "training.checkpoint_every=3")
    for name, again in (("kept", "false"), ("again", "true")):
        train(config_of(*settings, f"training.recompute={again}"), out=tmp_path / name)
    assert_same(state_of(tmp_path / "kept", 3), state_of(tmp_path / "again", 3))
