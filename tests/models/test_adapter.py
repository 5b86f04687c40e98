"""Runs that adapt another run: what they change and keep, how they load, resume, move and fail, and the small file."""

import shutil
from pathlib import Path

import pytest
import torch

import sumi
from sumi.cli.main import main
from sumi.errors import InputError
from sumi.models.adapter import save_adapter, with_adapter
from sumi.models.diffusion.model import DiffusionModel
from sumi.training.checkpoint import load_checkpoint
from sumi.training_run import Events, train
from tests.lettered_pictures import NETWORK, SETTINGS, TABLE, pictures

FAST = ("training.learning_rate=0.01", "training.warmup_steps=0")
ADAPTED = [*SETTINGS, *FAST, "training.lora_rank=3", "training.lora_share=none"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    """Of classes b and c, trained for four steps."""
    out = tmp_path_factory.mktemp("adapter") / "base"
    return train("classifier-free", data=pictures("bc"), out=out, steps=4, settings=[*SETTINGS, *NETWORK, *FAST])


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """What `model` said in training."""
    return []


@pytest.fixture(scope="module")
def model(base: DiffusionModel, lines: list[str]) -> DiffusionModel:
    """Of classes a, b and c, from `base`, four steps."""
    out = base.folder.with_name("adapted")
    return train(
        *("classifier-free",),
        data=pictures("abc"),
        out=out,
        steps=4,
        settings=ADAPTED,
        start=base.folder,
        events=Events(lines.append),
    )


def equal(one: DiffusionModel, other: DiffusionModel) -> bool:
    """Whether all weights have the same bits."""
    before, now = one.module.state_dict(), other.module.state_dict()
    return before.keys() == now.keys() and all(torch.equal(now[name], tensor) for name, tensor in before.items())


def test_weights_of_layers_change_by_the_rank_and_all_else_stays(base: DiffusionModel, model: DiffusionModel) -> None:
    before, now = base.module.state_dict(), model.module.state_dict()
    assert before.keys() == now.keys()
    for name, tensor in before.items():
        change = now[name] - tensor if name != TABLE else torch.zeros(())
        if name.endswith("weight") and change.ndim in (2, 4):
            matrix = change.movedim(1, 2).flatten(0, 1).flatten(1) if change.ndim == 4 else change
            assert 1 <= torch.linalg.matrix_rank(matrix, atol=1e-5) <= 3, name
        else:
            assert not change.any(), name
    assert torch.equal(now[TABLE][[1, 2, 3]], before[TABLE])  # of b, c and no label
    saved = load_checkpoint(model.folder / "checkpoints/00000004")
    assert not torch.equal(saved.model["conditioner.labels.table.parametrizations.weight.original"][0], now[TABLE][0])


def test_checkpoints_hold_what_trains_alone(model: DiffusionModel, lines: list[str]) -> None:
    saved = load_checkpoint(model.folder / "checkpoints/00000004")
    for tensors in (saved.model, saved.ema):
        assert all(".parametrizations.weight." in name for name in tensors)
        assert [name for name in tensors if name.endswith("original")] == [
            "conditioner.labels.table.parametrizations.weight.original"
        ]
    assert any(
        line.startswith("adapts them by ") and "rank 3 or less, " in line and "with learning rate 0.1" in line
        for line in lines
    )
    assert any("(new classes: a)" in line for line in lines)
    size = (model.folder / "adapter.safetensors").stat().st_size / 1e6
    assert any(line.startswith("adapter: ") and f"{size:.3g} MB" in line for line in lines)


def test_a_run_is_resumed_moved_and_loaded_without_its_source(
    base: DiffusionModel, model: DiffusionModel, tmp_path: Path
) -> None:
    source, out = tmp_path / "source", tmp_path / "cut"
    shutil.copytree(base.folder, source)
    train("classifier-free", data=pictures("abc"), out=out, steps=2, settings=ADAPTED, start=source)
    shutil.rmtree(source)
    moved = out.rename(tmp_path / "moved")
    resumed = train("classifier-free", data=pictures("abc"), out=moved, steps=4, resume=True)
    assert equal(resumed, model)
    assert equal(sumi.load(moved), model)
    saved, adapter = (load_checkpoint(run / "checkpoints/00000004") for run in (moved, model.folder))
    assert all(torch.equal(tensor, adapter.optimizer[name]) for name, tensor in saved.optimizer.items())
    with pytest.raises(InputError, match=r"resume: the configuration differs .*training.lora_rank: 3 → 2"):
        train("classifier-free", data=pictures("abc"), out=moved, settings="training.lora_rank=2", resume=True)


def test_a_run_cut_off_before_its_first_checkpoint_begins_again(model: DiffusionModel, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(model.folder, run)
    shutil.rmtree(run / "checkpoints")
    assert equal(train("classifier-free", data=pictures("abc"), out=run, resume=True), model)


def test_a_base_that_is_gone_or_another_is_named(model: DiffusionModel, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(model.folder, run)
    shutil.rmtree(run / "parts/base")
    for load in (sumi.load, lambda run: train("classifier-free", data=pictures("abc"), out=run, resume=True)):
        with pytest.raises(InputError, match=r"parts/base: is gone; restore it: a copy of .*/base, step 4"):
            load(run)
    model.save(run / "parts/base")
    with pytest.raises(InputError, match=r"parts/base: has other weights than the run was trained with; restore it"):
        sumi.load(run)


def test_saved_it_is_merged(model: DiffusionModel, tmp_path: Path) -> None:
    model.save(tmp_path / "saved")
    saved = sumi.load(tmp_path / "saved")
    assert saved.config.training.lora_rank is None
    assert saved.digest == model.digest
    assert not (tmp_path / "saved/parts").exists()
    assert torch.equal(saved.sample(2, steps=2, label="a"), model.sample(2, steps=2, label="a"))


def test_the_file_makes_the_model_of_its_base(base: DiffusionModel, model: DiffusionModel, tmp_path: Path) -> None:
    file = model.folder / "adapter.safetensors"
    made = with_adapter(base, file)
    assert equal(made, model)
    assert made.items == model.items
    assert torch.equal(made.sample(2, steps=2, label="a"), model.sample(2, steps=2, label="a"))
    earlier = sumi.load(model.folder, checkpoint=2)
    other = save_adapter(earlier, tmp_path / "earlier.safetensors")
    assert equal(with_adapter(base, other), earlier)
    assert not equal(earlier, model)


def test_a_file_that_does_not_fit_is_refused(base: DiffusionModel, model: DiffusionModel, tmp_path: Path) -> None:
    file = model.folder / "adapter.safetensors"
    with pytest.raises(InputError, match=r"adapter: .* was made for .*/base, step 4, and .* has other weights"):
        with_adapter(model, file)
    contents = bytearray(file.read_bytes())
    contents[-5] ^= 1
    flipped = tmp_path / "flipped.safetensors"
    flipped.write_bytes(contents)
    with pytest.raises(InputError, match="its sha256 differs"):
        with_adapter(base, flipped)
    flipped.write_bytes(contents[:100])
    for wrong in (flipped, tmp_path / "none", base.folder / "checkpoints/00000004/ema.safetensors"):
        with pytest.raises(InputError, match="is no adapter that `sumi train` wrote"):
            with_adapter(base, wrong)
    with pytest.raises(InputError, match=r"adapter: .* was trained whole"):
        save_adapter(base, tmp_path / "whole.safetensors")


def test_a_run_may_adapt_an_adapted_run(model: DiffusionModel, tmp_path: Path) -> None:
    still = [*ADAPTED, "training.learning_rate=1e-30"]
    again = train("classifier-free", data=pictures("abc"), out=tmp_path / "run", steps=1, settings=still, start=model)
    assert equal(again, model)
    assert not (tmp_path / "run/parts/base/parts").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["training.lora_rank=0"], "training.lora_rank: 0 is too small"),
        (["training.lora_rank=-1"], "training.lora_rank: -1 is too small"),
        (["training.lora_rank=400"], "training.lora_rank: 400 is above 96, the full rank"),
        (["training.lora_share=0"], "training.lora_share: 0 is not a share"),
        (["training.lora_rank=1000000"], "training.lora_rank: 1000000 is too large"),
        (["training.lora_rank=2", "training.optimizer=muon"], "training.optimizer: muon is for whole weights"),
    ],
)
def test_what_cannot_be_is_refused(base: DiffusionModel, tmp_path: Path, settings: list[str], message: str) -> None:
    out = tmp_path / "run"
    with pytest.raises(InputError, match=message):
        train("classifier-free", data=pictures("bc"), out=out, steps=1, settings=[*SETTINGS, *settings], start=base)


def test_commands(base: DiffusionModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    small = [word for setting in (*ADAPTED, "data.size=8") for word in ("--set", setting)]
    command = ["train", "classifier-free", "--data", "digits", "--out", run, "--steps", "1", "--no-report", *small]
    assert main(command) == 2
    assert "training.lora_rank: adapts the weights of another run; give one to start from" in capsys.readouterr().err
    assert main([*command, "--from", str(base.folder)]) == 0
    assert main(["sample", run, "-n", "2", "--steps", "2", "--out", str(tmp_path / "made")]) == 0
    capsys.readouterr()
    assert main(["info", run]) == 0
    assert f"adapts       {run}/parts/base, by additions of rank 3 or less" in capsys.readouterr().out
    shutil.rmtree(f"{run}/parts")
    assert main(["info", run]) == 0
    assert "which is gone" in capsys.readouterr().out
    assert main(["sample", run, "-n", "2"]) == 2
    assert f"sumi: {run}/parts/base: is gone; restore it" in capsys.readouterr().err
