"""A run that is killed in the middle and resumed, beside the same run left whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sumi.boundary.settings import override
from sumi.data.batch import Batch
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import SystemConfig
from sumi.training import gradients
from sumi.training.checkpoint import Checkpoint, load_checkpoint
from sumi.training_run import train


class Crash(BaseException):
    """An end that no handler of errors sees."""


def crash() -> None:
    raise Crash


def in_step(monkeypatch: pytest.MonkeyPatch, at: int, action: Callable[[], None]) -> None:
    """Does ``action`` when the batch of step ``at`` is gathered."""
    gather = gradients.batch_of

    def gathered(*arguments: Any, step: int, **options: Any) -> Batch:
        if step == at:
            action()
        return gather(*arguments, step=step, **options)

    monkeypatch.setattr(gradients, "batch_of", gathered)


def killed_and_resumed(
    config: SystemConfig, folder: Path, monkeypatch: pytest.MonkeyPatch, *, at: int
) -> tuple[DiffusionModel, Checkpoint]:
    """The whole run's model and last checkpoint, after showing that the one killed before step ``at`` ends the same."""
    if hasattr(config, "sampling"):
        config = override(config, ["sampling.steps=5"])  # of the picture at the end of each
    model = train(config, out=folder / "whole")
    in_step(monkeypatch, at, crash)
    with pytest.raises(Crash):
        train(config, out=folder / "run")
    monkeypatch.undo()
    train(config, out=folder / "run", resume=True)
    last = f"checkpoints/{config.training.steps:08d}"
    whole, resumed = (load_checkpoint(folder / name / last) for name in ("whole", "run"))
    for name in ("model", "ema", "optimizer"):
        mine, other = getattr(whole, name), getattr(resumed, name)
        assert mine.keys() == other.keys()
        assert all(torch.equal(mine[key], other[key]) for key in mine), name
    return model, whole
