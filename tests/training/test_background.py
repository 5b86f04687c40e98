"""Saving in the background: the same files, no step waits for the disk, and nothing is lost or left unsaid."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from sumi.errors import SumiError
from sumi.training import background
from sumi.training.background import BackgroundSaves, snapshot
from sumi.training.checkpoint import Checkpoint, load_checkpoint
from sumi.training.interruption import Interrupted
from sumi.training.saving import save_checkpoint
from sumi.training.trainer import Trainer
from sumi.training_run import train
from tests.interrupted import Crash, crash, in_step
from tests.small_runs import config_of

QUICK = ("training.steps=6", "training.checkpoint_every=2", "training.warmup_steps=0", "training.keep_checkpoints=9")


def checkpoint(step: int, value: float = 0.0) -> Checkpoint:
    def tensors() -> dict[str, torch.Tensor]:
        return {"a": torch.full((3, 4), value), "b": torch.arange(4).view(2, 2).t()}

    return Checkpoint(step, tensors(), tensors(), tensors(), {"seed": 1})


class Held:
    """A disk that writes once it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.steps = threading.Event(), []
        monkeypatch.setattr(background, "save_checkpoint", self)

    def __call__(self, folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
        assert self.go.wait(30)
        self.steps.append(checkpoint.step)
        return save_checkpoint(folder, checkpoint, keep)


def contents(run: Path) -> dict[str, bytes]:
    files = [path for part in ("checkpoints", "averages") for path in (run / part).rglob("*") if path.is_file()]
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in files}


def test_the_files_are_those_of_saving_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = (*QUICK, "training.ema_lengths=[0.1]", "training.ema_snapshot_every=2")
    train(config_of(*settings), out=tmp_path / "behind")
    monkeypatch.setattr(background, "_fits", lambda _: False)
    train(config_of(*settings), out=tmp_path / "at once")
    found = contents(tmp_path / "behind")
    assert {name.split("/")[1] for name in found if name.startswith("checkpoints")} == {f"{k:08d}" for k in (2, 4, 6)}
    assert any(name.startswith("averages") for name in found)
    assert found == contents(tmp_path / "at once")


def test_later_steps_change_nothing_of_what_is_being_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held, saved = Held(monkeypatch), checkpoint(3, 1.5)
    with BackgroundSaves() as saves:
        saves.save(tmp_path, saved, 1)
        for tensors in (saved.model, saved.ema, saved.optimizer):
            tensors["a"].zero_()
        assert not list(tmp_path.iterdir())
        held.go.set()
    found = load_checkpoint(tmp_path / "00000003")
    assert all(bool((part["a"] == 1.5).all()) for part in (found.model, found.ema, found.optimizer))
    assert torch.equal(found.model["b"], saved.model["b"])


def test_a_snapshot_shares_no_memory() -> None:
    saved = checkpoint(1)
    copy = snapshot(saved)
    assert (copy.step, copy.state) == (saved.step, saved.state)
    for mine, other in ((copy.model, saved.model), (copy.ema, saved.ema), (copy.optimizer, saved.optimizer)):
        assert mine.keys() == other.keys()
        assert all(mine[name].data_ptr() != other[name].data_ptr() for name in mine)


def test_a_save_waits_for_that_of_an_earlier_step_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch)
    with BackgroundSaves() as saves:
        for folder in (tmp_path / "checkpoints", tmp_path / "averages"):
            saves.save(folder, checkpoint(1), 1)  # both at once, of one step
        assert held.steps == []
        later = threading.Thread(target=lambda: saves.save(tmp_path / "checkpoints", checkpoint(2), 1))
        later.start()
        later.join(0.2)
        assert later.is_alive()
        held.go.set()
        later.join(10)
        assert not later.is_alive()
    assert held.steps == [1, 1, 2]
    assert saves.waited >= 0.2


def test_steps_are_taken_while_a_save_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held, steps = Held(monkeypatch), []
    take = Trainer.take_step

    def counted(trainer: Trainer, step: int):
        steps.append((step, held.go.is_set()))
        if step == 4:
            held.go.set()
        return take(trainer, step)

    monkeypatch.setattr(Trainer, "take_step", counted)
    train(config_of(*QUICK), out=tmp_path)
    assert steps[:4] == [(1, False), (2, False), (3, False), (4, False)]
    assert held.steps == [2, 4, 6]


def test_an_error_of_the_disk_ends_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the next step that begins after it, and the run can be resumed."""
    steps = []
    take = Trainer.take_step

    def full(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
        if checkpoint.step == 4:
            raise SumiError("checkpoints: cannot be written: no space left")
        return save_checkpoint(folder, checkpoint, keep)

    def slow(trainer: Trainer, step: int):
        steps.append(step)
        time.sleep(0.3 if step == 5 else 0)
        return take(trainer, step)

    monkeypatch.setattr(background, "save_checkpoint", full)
    monkeypatch.setattr(Trainer, "take_step", slow)
    with pytest.raises(SumiError, match="no space left"):
        train(config_of(*QUICK), out=tmp_path)
    assert steps[-1] == 5
    monkeypatch.undo()
    assert train(config_of(*QUICK), out=tmp_path, resume=True).step == 6


def test_an_error_of_the_last_save_is_raised_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Path:
        raise SumiError("checkpoints: cannot be written: no space left")

    monkeypatch.setattr(background, "save_checkpoint", full)
    with pytest.raises(SumiError, match="no space left"):
        train(config_of("training.steps=1", "training.warmup_steps=0"), out=tmp_path)


def test_a_run_that_is_stopped_has_saved_when_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
        time.sleep(0.3)
        return save_checkpoint(folder, checkpoint, keep)

    monkeypatch.setattr(background, "save_checkpoint", slow)
    in_step(monkeypatch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted, match="step 3, which is saved"):
        train(config_of(*QUICK), out=tmp_path)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["00000002", "00000003"]


def test_an_error_on_the_way_leaves_what_was_being_saved_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
        time.sleep(0.3)
        return save_checkpoint(folder, checkpoint, keep)

    monkeypatch.setattr(background, "save_checkpoint", slow)
    in_step(monkeypatch, 3, crash)
    with pytest.raises(Crash):
        train(config_of(*QUICK), out=tmp_path)
    assert load_checkpoint(tmp_path / "checkpoints" / "00000002").step == 2


def test_where_memory_is_short_the_step_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = checkpoint(1)
    size = sum(t.nbytes for part in (saved.model, saved.ema, saved.optimizer) for t in part.values())
    for room, names in ((2 * size + 1, ["saving_0"]), (2 * size, [threading.current_thread().name])):
        seen: list[str] = []
        monkeypatch.setattr(background, "available_memory", lambda: room)  # noqa: B023
        monkeypatch.setattr(
            background,
            "save_checkpoint",
            lambda *_: seen.append(threading.current_thread().name),  # noqa: B023
        )
        with BackgroundSaves() as saves:
            saves.save(tmp_path, saved, 1)
        assert seen == names
