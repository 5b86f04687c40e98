"""Processes that each hold a share of the weights do what one does, and leave what one can use."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sumi
from sumi.errors import InputError
from sumi.models.run import load
from sumi.training.checkpoint import Checkpoint, find_checkpoints, load_checkpoint, load_weights
from sumi.training.config import TrainingConfig
from sumi.training.manifest import read_manifest
from sumi.training.shard_files import read_whole, write_shards
from sumi.training_run import Events, train
from tests.processes import FREE, SHARDED, SMALL, STEPS, ended, once_trained, settings_of, start

FULL = "training.shard=full"
MORE = STEPS + 2
QUICK = ("ddpm", "transformer", "learned")
"""A U-Net, a transformer, and scalars (of a learned schedule)."""
BOTH = """
import json, shutil, sys
from pathlib import Path
import sumi
from sumi.boundary.group import joined
from sumi.errors import InputError
from sumi.training.sharding import rows
from sumi.training.trainer import Trainer
from tests.processes import STEPS, settings_of

out, names, run = Path(sys.argv[1]), sys.argv[2].split(","), Trainer.run
held = {}

def counted(trainer):
    run(trainer)
    parts = trainer._checkpoint().parts()
    for part, tensors in parts.items():
        held[part] = [sum(rows(t).numel() for t in tensors.values()), sum(t.numel() for t in tensors.values())]

Trainer.run = counted

def trained(name, place, steps):
    recipe, settings, data = settings_of(name)
    more = ["training.shard=full", "training.checkpoint_every=2", "training.ema_lengths=[0.1]"]
    more += ["training.ema_snapshot_every=2"]
    options = {"steps": steps, "settings": [*settings, *more], "device": "cpu", "progress": False}
    sumi.train(recipe, data=data, out=out / place, resume=(out / place).exists(), **options)

def refused():
    if group.rank == 1:
        raise InputError("rank: 1 is refused")
    return group.rank

with joined() as group:
    for name in names:
        trained(name, name, STEPS)
        if name == "ddpm":
            (out / f"held{group.rank}.json").write_text(json.dumps(held))
            if group.first:
                for copy in ("resumed", "continued"):
                    shutil.copytree(out / name, out / copy)
                shutil.rmtree(out / "resumed/checkpoints/00000004")
                shutil.rmtree(out / "continued/checkpoints/00000002")
            group.wait()
            trained(name, "resumed", STEPS)
            trained(name, "continued", STEPS + 2)
    try:
        group.all_of(refused)
    except InputError as error:
        (out / f"refused{group.rank}").write_text(str(error))
"""
HELD = """
import sys, time
from pathlib import Path
import sumi
from sumi.boundary.group import joined
from sumi.errors import SumiError
from sumi.training import sharded_checkpoint
from sumi.training.trainer import Trainer
from tests.processes import STEPS, settings_of

out, run, write, trainers = Path(sys.argv[1]), Trainer.run, sharded_checkpoint.write_shards, []

def kept(trainer):
    trainers.append(trainer)
    run(trainer)

def held(folder, tensors):
    limit = time.monotonic() + 30
    while trainers[-1].step < 3:
        assert time.monotonic() < limit
        time.sleep(0.01)
    return write(folder, tensors)

def full(folder, tensors):
    found = write(folder, tensors)
    if group.rank == 1:
        raise SumiError("the disk of process 1 is full")
    return found

Trainer.run = kept
recipe, settings, data = settings_of("ddpm")
settings += ["training.shard=full", "training.checkpoint_every=2"]
settings += ["training.ema_lengths=[0.1]", "training.ema_snapshot_every=2"]
with joined() as group:
    for name, disk in (("held", held), ("full", full)):
        sharded_checkpoint.write_shards = disk
        try:
            sumi.train(recipe, data=data, out=out / name, steps=STEPS, settings=settings, device="cpu", progress=False)
        except SumiError as error:
            (out / f"{name}{group.rank}").write_text(f"{trainers[-1].step}: {error}")
"""
HALF = """
import sys
import sumi
from sumi.boundary.group import joined
from sumi.training.precision import LossScale
from tests.processes import SLOW, settings_of

LossScale.__init__.__defaults__ = (2.0**34, 0)
recipe, settings, data = settings_of("ddpm")
settings += [*SLOW, "training.precision=fp16", "training.shard=full"]
with joined():
    sumi.train(recipe, data=data, out=sys.argv[1], steps=2, settings=settings, device="cpu", progress=False)
"""


def trained(names: list[str], out: Path, within: float) -> Path:
    for code, text in ended(start(["-c", BOTH, str(out), ",".join(names)]), within=within):
        assert code == 0, text
    return out


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of the quick runs, trained by two processes."""
    return trained([*QUICK], tmp_path_factory.mktemp("sharded"), within=240)


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained([name for name in SHARDED if name not in QUICK], tmp_path_factory.mktemp("rest"), within=600)


def checkpoint(run: Path, step: int = STEPS) -> Checkpoint:
    return load_checkpoint(run / "checkpoints" / f"{step:08d}")


def last(run: Path) -> dict[str, Checkpoint]:
    """The last checkpoint of a run, and of each of its parts, by the place."""
    folders = {run, *(part for part in run.glob("parts/*") if (part / "checkpoints").exists())}
    found = {place: max((place / "checkpoints").glob("0*"), default=None) for place in folders}
    return {str(place.relative_to(run)): load_checkpoint(file) for place, file in found.items() if file is not None}


def alone(name: str, out: Path, *more: str, steps: int = STEPS, say: list[str] | None = None) -> Path:
    """Trained, or resumed, by one process."""
    recipe, own, data = settings_of(name)
    own = [*own, "training.checkpoint_every=2", "training.ema_lengths=[0.1]", "training.ema_snapshot_every=2", *more]
    options = {"data": data, "out": out, "steps": steps, "settings": own, "device": "cpu"}
    train(recipe, **options, resume=out.exists(), events=Events(([] if say is None else say).append))
    return out


def equal(name: str, one: Checkpoint, two: Checkpoint) -> None:
    for part, tensors in one.parts().items():
        others = two.parts()[part]
        assert tensors.keys() == others.keys()
        for key, value in tensors.items():
            if not any(free == name and key.startswith((weight, f"average.0.1.{weight}")) for free, weight in FREE):
                assert float((value.double() - others[key].double()).abs().max()) < 1e-6, (part, key)


def begun(both: Path, place: Path) -> Path:
    """A run that two processes stopped at step 2."""
    shutil.copytree(both / "ddpm", place)
    shutil.rmtree(place / "checkpoints/00000004")
    return place


@pytest.mark.parametrize("name", QUICK)
def test_two_processes_that_share_the_weights_train_what_one_does(name: str, both: Path, tmp_path: Path) -> None:
    one, two = checkpoint(alone(name, tmp_path / "one")), checkpoint(both / name)
    equal(name, one, two)
    assert two.state["sharded"] is True
    equal(name, load_checkpoint(tmp_path / "one/averages/00000002"), load_checkpoint(both / name / "averages/00000002"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SHARDED if name not in QUICK])
def test_every_way_of_training_can_be_sharded(name: str, rest: Path, tmp_path: Path) -> None:
    one, two = last(alone(name, tmp_path / "one")), last(rest / name)
    assert one.keys() == two.keys()
    for place, found in one.items():
        equal(name, found, two[place])


@pytest.mark.slow
def test_unclip_is_trained_by_two_processes(tmp_path: Path) -> None:
    """Its CLIP is copied, and its vectors computed, once."""
    words = ["encoder.width=32", "encoder.layers=1", "encoder.length=16", "encoder.tokens=300"]
    common = [*words, "data.size=16", "training.batch_size=8", "training.precision=fp32", "training.warmup_steps=2"]
    vision = ["network.widths=16,16,16", "network.blocks=0,0,0", "network.features=16", "width=8", *common]
    stages = [
        *("network.width=32", "network.blocks=1", "network.patch=8", "network.embedding=32", "steps=2,2", *common),
        *("prior.network.width=16", "prior.network.blocks=1", "prior.network.embedding=16", "prior.batch_size=16"),
    ]

    def run(recipe: str, place: str, settings: list[str], size: int, *more: str) -> Path:
        settings = [word for one in settings for word in ("--set", one)]
        words = ["-m", "sumi", "train", recipe, "--data", "characters", "--report", "none", *settings, *more]
        for code, text in ended(start([*words, "--out", str(tmp_path / place)], size), within=240):
            assert code == 0, text
        return tmp_path / place

    clip = str(run("clip", "clip", vision, 1, "--steps", "2"))
    one, two = (
        last(run("unclip", place, [*stages, FULL], size, "--clip", clip)) for place, size in (("one", 1), ("two", 2))
    )
    assert one.keys() == two.keys() == {"parts/clip", "parts/prior", "parts/decoder"}
    for place, found in one.items():
        equal("unclip", found, two[place])


@pytest.mark.slow
def test_processes_that_share_the_weights_scale_the_loss_alike(tmp_path: Path) -> None:
    """In float16, from a scale at which gradients overflow, down to the same one as in one process."""
    for size in (1, 2):
        for code, text in ended(start(["-c", HALF, str(tmp_path / str(size))], size), within=240):
            assert code == 0, text
    one, two = (checkpoint(tmp_path / str(size), 2) for size in (1, 2))
    assert one.state["loss_scale"] == two.state["loss_scale"]
    assert 1 < one.state["loss_scale"]["value"] < 2.0**34
    for key, value in one.parts()["model"].items():
        assert float((value - two.parts()["model"][key]).abs().max()) < 1e-4, key  # of two steps of 1e-4


def test_a_process_holds_about_half(both: Path) -> None:
    held = [json.loads((both / f"held{rank}.json").read_text()) for rank in range(2)]
    for part in ("model", "ema", "optimizer"):
        (first, total), (second, _) = (own[part] for own in held)
        assert total <= first + second < 1.02 * total
        assert 0.4 < second / total < 0.51, part


def test_checkpoints_on_the_way_are_of_all_processes_and_the_last_is_of_one(both: Path) -> None:
    manifest = read_manifest(both / "ddpm/checkpoints/00000002")
    assert {name[:11] for name in manifest.files} == {"shard-00001", "shard-00002", "state.json"}
    assert not read_manifest(both / "ddpm/checkpoints/00000004").sharded


def test_shards_are_written_while_the_training_goes_on(both: Path, tmp_path: Path) -> None:
    """Of the weights as they were; what one process cannot write is an error of all, at the next save."""
    for code, text in ended(start(["-c", HELD, str(tmp_path)]), within=120):
        assert code == 0, text
    equal("ddpm", checkpoint(both / "ddpm", 2), checkpoint(tmp_path / "held", 2))
    assert not list(tmp_path.glob("held?"))
    assert [(tmp_path / f"full{rank}").read_text() for rank in range(2)] == ["4: the disk of process 1 is full"] * 2


def test_resumed_by_as_many_processes_a_sharded_run_is_the_same_bit_for_bit(both: Path) -> None:
    whole, resumed = checkpoint(both / "ddpm").parts(), checkpoint(both / "resumed").parts()
    for part, tensors in whole.items():
        assert tensors.keys() == resumed[part].keys()
        assert all(torch.equal(tensors[key], resumed[part][key]) for key in tensors)


@pytest.mark.parametrize("shard", ["full", "none"])
def test_one_process_goes_on_with_the_shards_of_two(shard: str, both: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    run = alone("ddpm", begun(both, tmp_path / "run"), f"training.shard={shard}", say=lines)
    assert any("sharded was True, is False: the run continues" in line for line in lines)
    equal("ddpm", checkpoint(both / "ddpm"), checkpoint(run))


def test_what_one_process_saved_goes_on_sharded(both: Path, tmp_path: Path) -> None:
    """The last checkpoint of a sharded run is in the form of one process."""
    shutil.copytree(both / "ddpm", tmp_path / "run")
    run = alone("ddpm", tmp_path / "run", FULL, steps=MORE)
    equal("ddpm", checkpoint(run, MORE), checkpoint(both / "continued", MORE))


def test_one_process_uses_a_run_that_was_stopped_on_the_way(both: Path, tmp_path: Path) -> None:
    run = begun(both, tmp_path / "run")
    model = load(run, device="cpu")
    assert model.step == 2
    weights = load_weights(run / "checkpoints/00000002", "ema")
    assert all(torch.equal(value, weights[name]) for name, value in model.module.state_dict().items())
    assert model.sample(2).shape == (2, 1, 8, 8)
    model.save(tmp_path / "saved")
    assert not read_manifest(tmp_path / "saved/checkpoints/00000002").sharded


def test_a_damaged_or_missing_shard_is_refused_by_name(both: Path, tmp_path: Path) -> None:
    run = begun(both, tmp_path / "run")
    folder = run / "checkpoints/00000002"
    shard = next(folder.glob("shard-00002-model-00002*"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    for use in (lambda: load(run, device="cpu"), lambda: load_checkpoint(folder), lambda: sumi.load(run)):
        with pytest.raises(InputError, match=rf"{shard.name}: is damaged: its size or sha256 differs"):
            use()
    for file in sorted(folder.iterdir()):
        text = file.read_bytes()
        file.unlink()
        complete, skipped = find_checkpoints(run / "checkpoints")
        assert complete == []
        assert f"{file.name}: is missing" in skipped[0]
        file.write_bytes(text[:-1])
        assert find_checkpoints(run / "checkpoints")[0] == []
        file.write_bytes(text)


def test_what_a_killed_save_left_is_no_checkpoint_and_goes(both: Path, tmp_path: Path) -> None:
    run = begun(both, tmp_path / "run")
    saving = run / "checkpoints/.00000004.saving"
    shutil.copytree(run / "checkpoints/00000002", saving)
    next(saving.glob("shard-00002*")).write_bytes(b"half")
    assert [path.name for path in find_checkpoints(run / "checkpoints")[0]] == ["00000002"]
    alone("ddpm", run, FULL)
    assert not saving.exists()


def test_an_error_of_one_process_is_that_of_all(both: Path) -> None:
    assert [(both / f"refused{rank}").read_text() for rank in range(2)] == ["rank: 1 is refused"] * 2


def test_additions_are_not_sharded() -> None:
    with pytest.raises(InputError, match=r"training.shard: shares out whole weights; leave it out with lora_rank"):
        TrainingConfig(lora_rank=2, shard="full")


TRAIN = ["-m", "sumi", "train", "ddpm", "--data", "digits", "--report", "none"]


def command(run: Path, steps: int, *more: str) -> list[str]:
    words = [word for one in (*SMALL, FULL, *more) for word in ("--set", one)]
    return [*TRAIN, *words, "--steps", str(steps), "--out", str(run)]


@pytest.mark.slow
def test_two_processes_refuse_a_damaged_shard_once_and_by_name(both: Path, tmp_path: Path) -> None:
    run = begun(both, tmp_path / "run")
    shard = next((run / "checkpoints/00000002").glob("shard-00002-model-00002*"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    resume = ["-m", "sumi", "train", "ddpm", "--steps", "4", "--out", str(run), "--resume", "--report", "none"]
    (first, message), (second, other) = ended(start(resume), within=120)
    assert (first, second) == (2, 2), message + other
    assert f"{shard.name}: is damaged" in message
    assert shard.name not in other


@pytest.mark.slow
def test_three_processes_go_on_with_the_shards_of_two(tmp_path: Path) -> None:
    size = ["training.batch_size=12", "training.checkpoint_every=2", "training.sample_every=0"]
    assert all(code == 0 for code, _ in ended(start(command(tmp_path / "run", 5, *size)), within=120))
    shutil.rmtree(tmp_path / "run/checkpoints/00000005")
    assert read_manifest(tmp_path / "run/checkpoints/00000004").sharded
    found = ended(start([*command(tmp_path / "run", 6, *size), "--resume"], 3), within=240)
    assert all(code == 0 for code, _ in found), found
    (code, text), *_ = ended(start(command(tmp_path / "one", 6, *size), 1), within=120)
    assert code == 0, text
    equal("ddpm", checkpoint(tmp_path / "one", 6), checkpoint(tmp_path / "run", 6))


@pytest.mark.slow
def test_a_killed_sharded_run_resumes_and_ends_bit_equal(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "2"]
    for name in ("whole", "killed"):
        words = [*launcher, *command(tmp_path / name, 60, "training.checkpoint_every=5")]
        process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if name == "killed":
            once_trained(tmp_path / name, 5)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(children[-1]), 9)
        text = process.communicate(timeout=300)[0].decode()
        assert process.returncode == 0, text
    whole, killed = (checkpoint(tmp_path / name, 60) for name in ("whole", "killed"))
    assert all(torch.equal(whole.ema[key], killed.ema[key]) for key in whole.ema)


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_tensors_that_share_memory_are_written_each_for_itself(tmp_path: Path) -> None:
    base = torch.arange(6.0)
    own = {"step": torch.tensor(3.0)}
    parts = {"model": {"a": base, "b": base.view(2, 3), "c": base[2:]}, "ema": {"a": base}, "optimizer": own}
    assert write_shards(tmp_path, parts)
    found = read_whole(tmp_path, *parts)
    for name, tensors in parts.items():
        assert found[name].keys() == tensors.keys()
        assert all(torch.equal(found[name][key], value) for key, value in tensors.items())
