"""A checkpoint is whole or absent, whatever happens: kills, crashes between any two calls, full disks, flipped bits."""

import errno
import io
import json
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from sumi.errors import InputError, SumiError
from sumi.training.checkpoint import (
    Checkpoint,
    _read_tensors,
    checkpoint_step,
    find_checkpoints,
    load_checkpoint,
    load_latest,
    load_weights,
)
from sumi.training.saving import save_checkpoint

FILES = ["ema.safetensors", "manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"]


def contents(step: int, version: int = 0, size: int = 64) -> Checkpoint:
    """A checkpoint whose every value follows from (step, version, size), so that a mixture of two is seen."""
    ramp = torch.arange(size, dtype=torch.float32) + 1000 * step + 0.25 * version
    return Checkpoint(
        step=step,
        model={"weight": ramp, "count": torch.tensor(step)},
        ema={"weight": -ramp},
        optimizer={"weight.exp_avg": ramp.bfloat16(), "weight.step": torch.tensor(float(step))},
        state={"version": version, "size": size, "learning_rate": 1e-4},
    )


def same_tensors(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    def bits(tensor: Tensor) -> Tensor:
        return tensor.detach().contiguous().reshape(-1).view(torch.uint8)

    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype
        and left[name].shape == right[name].shape
        and torch.equal(bits(left[name]), bits(right[name]))
        for name in left
    )


def same(left: Checkpoint, right: Checkpoint) -> bool:
    return (
        (left.step, left.state) == (right.step, right.state)
        and same_tensors(left.model, right.model)
        and same_tensors(left.ema, right.ema)
        and same_tensors(left.optimizer, right.optimizer)
    )


def versions(folder: Path) -> dict[int, Any]:
    """{step: version} of every checkpoint found, after loading each and comparing every value in it."""
    found = {}
    for path in find_checkpoints(folder)[0]:
        checkpoint = load_checkpoint(path)
        version, size = checkpoint.state["version"], checkpoint.state["size"]
        assert isinstance(version, int)
        assert isinstance(size, int)
        assert checkpoint.step == checkpoint_step(path)
        assert same(checkpoint, contents(checkpoint.step, version, size))
        found[checkpoint.step] = version
    return found


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A folder with the checkpoints of steps 1 and 2."""
    folder = tmp_path / "checkpoints"
    save_checkpoint(folder, contents(1), keep=5)
    save_checkpoint(folder, contents(2), keep=5)
    return folder


# ---------------------------------------------------------------------------------------------- what goes in comes out


def test_every_layout_comes_back_bit_for_bit(tmp_path: Path) -> None:
    shared = torch.randn(4, 6)
    special = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])
    tensors = {
        "float32": torch.randn(3, 5),
        "float64": torch.randn(2, dtype=torch.float64),
        "bfloat16": torch.randn(7).bfloat16(),
        "float16": torch.randn(3).half(),
        "int64": torch.tensor([-(2**62), 2**62]),
        "uint8": torch.arange(5, dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]),
        "scalar": torch.tensor(12.0),
        "empty": torch.empty(0, 3),
        "special": special,
        "nan_payload": torch.tensor([0x7FC12345, -0x3EDCBB], dtype=torch.int32).view(torch.float32),
        "channels_last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "transposed": torch.randn(4, 6).T,
        "strided": torch.randn(20)[3::4],
        "expanded": torch.randn(1, 3).expand(4, 3),
        "tied_a": shared,
        "tied_b": shared,
        "tied_part": shared[1:, 2:],
        "parameter": nn.Parameter(torch.randn(3)),
        "Grüße/日本": torch.ones(1),
    }
    checkpoint = Checkpoint(3, tensors, {"ema": special}, {}, {"text": "墨", "rate": 0.1 + 0.2, "big": 2**70})
    path = save_checkpoint(tmp_path / "run" / "checkpoints", checkpoint, keep=1)
    loaded = load_checkpoint(path)
    assert same(loaded, checkpoint)
    assert all(tensor.device.type == "cpu" for tensor in loaded.model.values())
    assert all(tensor.data_ptr() % tensor.element_size() == 0 for tensor in loaded.model.values())
    assert same_tensors(load_weights(path, "model"), checkpoint.model)
    assert same_tensors(load_weights(path, "ema"), checkpoint.ema)
    assert names(path) == FILES


def test_loading_into_channels_last_weights_gives_the_same_values_and_keeps_their_format(tmp_path: Path) -> None:
    network = nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
    path = save_checkpoint(tmp_path, Checkpoint(1, network.state_dict(), {}, {}, {}), keep=1)
    other = nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
    other.load_state_dict(load_weights(path, "model"))
    assert same_tensors(other.state_dict(), network.state_dict())
    assert other.weight.is_contiguous(memory_format=torch.channels_last)


def test_changing_loaded_weights_does_not_change_the_file(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, contents(1), keep=1)
    load_checkpoint(path).model["weight"].zero_()
    assert same(load_checkpoint(path), contents(1))


def test_files_and_folders_follow_the_umask(tmp_path: Path) -> None:
    former = os.umask(0o027)
    try:
        path = save_checkpoint(tmp_path / "checkpoints", contents(1), keep=1)
    finally:
        os.umask(former)
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    assert {stat.S_IMODE((path / name).stat().st_mode) for name in FILES} == {0o640}


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        ({"loss": float("nan")}, "state.loss: nan"),
        ({"seed": 1, "loss": float("inf")}, "state.loss: inf"),
        ({"betas": (0.9, 0.99)}, "state.betas: (0.9, 0.99)"),
        ({"weights": {1: 2}}, "state.weights: {1: 2}"),
        ({"tensor": torch.zeros(9, 9)}, "state.tensor: tensor("),
    ],
)
def test_a_state_that_would_come_back_changed_is_refused_by_name(tmp_path: Path, state: Any, shown: str) -> None:
    with pytest.raises(InputError) as caught:
        save_checkpoint(tmp_path, Checkpoint(1, {}, {}, {}, state), keep=1)
    assert str(caught.value).startswith(shown)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_bad_arguments_are_refused_before_anything_is_touched(two: Path) -> None:
    for checkpoint, keep, shown in [
        (contents(3), 0, "keep: 0"),
        (contents(-1), 1, "step: -1"),
        (
            Checkpoint(3, {"phase": torch.zeros(2, dtype=torch.complex64)}, {}, {}, {}),
            1,
            "phase: a tensor of torch.com",
        ),
    ]:
        with pytest.raises(InputError, match=shown):
            save_checkpoint(two, checkpoint, keep)
        assert names(two) == ["00000001", "00000002"]


# ---------------------------------------------------------------------------------------------------- which are kept


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for step in range(0, 700, 100):
        assert save_checkpoint(tmp_path, contents(step), keep=3) == tmp_path / f"{step:08d}"
    assert versions(tmp_path) == {400: 0, 500: 0, 600: 0}
    save_checkpoint(tmp_path, contents(700), keep=1)
    assert names(tmp_path) == ["00000700"]


def test_a_later_checkpoint_is_neither_removed_nor_counted(two: Path) -> None:
    save_checkpoint(two, contents(900), keep=5)
    save_checkpoint(two, contents(3), keep=1)
    assert versions(two) == {3: 0, 900: 0}


def test_saving_a_step_again_replaces_it(two: Path) -> None:
    save_checkpoint(two, contents(2, version=7), keep=2)
    assert versions(two) == {1: 0, 2: 7}
    (two / "00000002" / "ema.safetensors").unlink()
    save_checkpoint(two, contents(2, version=8), keep=2)
    assert versions(two) == {1: 0, 2: 8}
    assert names(two) == ["00000001", "00000002"]


def test_steps_beyond_eight_digits_are_ordered_as_numbers(tmp_path: Path) -> None:
    for step in (99_999_999, 100_000_000, 1_000_000_000):
        save_checkpoint(tmp_path, contents(step), keep=9)
    assert [checkpoint_step(path) for path in find_checkpoints(tmp_path)[0]] == [99_999_999, 10**8, 10**9]


def test_folders_that_are_no_checkpoints_are_skipped_by_name_with_the_reason(two: Path) -> None:
    shutil.copytree(two / "00000002", two / "best")
    shutil.copytree(two / "00000002", two / "00000007")
    (two / "00000008").mkdir()
    save_checkpoint(two, contents(6), keep=9)
    shutil.copytree(two / "00000002", two / ".00000009.saving")
    shutil.copytree(two / "00000002", two / ".00000002.replaced")
    (two / "00000006" / "state.json").unlink()
    (two / "notes.txt").write_text("mine")
    complete, skipped = find_checkpoints(two)
    assert [path.name for path in complete] == ["00000001", "00000002"]
    reasons = {line.split()[1].rstrip(":"): line for line in skipped}
    assert list(reasons) == [".00000002.replaced", ".00000009.saving", "00000006", "00000007", "00000008", "best"]
    for name, reason in {
        ".00000002.replaced": "an unfinished save",
        ".00000009.saving": "an unfinished save",
        "00000006": "state.json: is missing",
        "00000007": "holds step 2",
        "00000008": "manifest.json: is missing",
        "best": "the name is not a step",
    }.items():
        assert reason in reasons[name]
        assert "\n" not in reasons[name]
    assert find_checkpoints(two / "nowhere") == ([], [])
    save_checkpoint(two, contents(3), keep=9)
    assert names(two) == ["00000001", "00000002", "00000003", "00000006", "00000007", "00000008", "best", "notes.txt"]


def test_the_last_good_checkpoint_is_the_one_that_loads(two: Path) -> None:
    checkpoint, passed_over = load_latest(two)
    assert checkpoint is not None
    assert (checkpoint.step, passed_over) == (2, [])
    flip(two / "00000002" / "optimizer.safetensors", 100)
    checkpoint, passed_over = load_latest(two)
    assert checkpoint is not None
    assert checkpoint.step == 1
    assert len(passed_over) == 1
    assert "00000002/optimizer.safetensors" in passed_over[0]
    flip(two / "00000001" / "state.json", 5)
    with pytest.raises(InputError, match="none of the 2 checkpoints can be used"):
        load_latest(two)
    assert load_latest(two / "nowhere") == (None, [])


# ------------------------------------------------------------------------------------------------- damage on the disk


def flip(file: Path, offset: int, bit: int = 0) -> None:
    raw = bytearray(file.read_bytes())
    raw[offset] ^= 1 << bit
    file.write_bytes(raw)


@pytest.mark.parametrize("name", FILES)
def test_any_flipped_bit_is_found_and_the_file_named(tmp_path: Path, name: str) -> None:
    path = save_checkpoint(tmp_path, contents(1), keep=1)
    file = path / name
    raw = file.read_bytes()
    for offset in {*range(0, len(raw), 7), len(raw) - 1}:
        flip(file, offset, bit=offset % 8)
        with pytest.raises(InputError, match=rf"00000001/{name}: is ") as caught:
            load_checkpoint(path)
        assert "\n" not in str(caught.value)
        file.write_bytes(raw)
    assert same(load_checkpoint(path), contents(1))


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_lengthened_or_missing_is_no_checkpoint(tmp_path: Path, name: str) -> None:
    path = save_checkpoint(tmp_path, contents(1), keep=1)
    file = path / name
    raw = file.read_bytes()
    for damaged in (b"", raw[:1], raw[: len(raw) // 2], raw[:-1], raw + b" ", None):
        file.unlink() if damaged is None else file.write_bytes(damaged)
        with pytest.raises(InputError, match=f"00000001/{name}: "):
            load_checkpoint(path)
        complete, skipped = find_checkpoints(tmp_path)
        assert complete == []
        assert len(skipped) == 1
        assert name in skipped[0]


@pytest.mark.parametrize(
    "text", ["[]", "null", "3", '{"files": []}', '{"step": 1}', "[" * 100_000, '{"step": 1, "files": {"model.safete']
)
def test_a_manifest_of_another_shape_is_named(tmp_path: Path, text: str) -> None:
    path = save_checkpoint(tmp_path, contents(1), keep=1)
    (path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json: is damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_pipe_in_the_place_of_a_file_is_damage_and_not_waited_for(tmp_path: Path, name: str) -> None:
    path = save_checkpoint(tmp_path, contents(1), keep=1)
    (path / name).unlink()
    os.mkfifo(path / name)
    with pytest.raises(InputError, match=rf"00000001/{name}: is a named pipe, not a regular file; copy"):
        load_checkpoint(path)
    assert find_checkpoints(tmp_path)[0] == []


def test_an_extra_file_does_no_harm(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, contents(1), keep=1)
    (path / "notes.txt").write_text("the good one")
    assert versions(tmp_path) == {1: 0}


def test_weights_are_read_without_the_files_they_do_not_need(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, contents(1), keep=1)
    flip(path / "optimizer.safetensors", 100)
    (path / "model.safetensors").unlink()
    assert same_tensors(load_weights(path, "ema"), contents(1).ema)
    with pytest.raises(InputError, match=r"model\.safetensors: is missing"):
        load_weights(path, "model")
    flip(path / "ema.safetensors", -1)
    with pytest.raises(InputError, match=r"ema\.safetensors"):
        load_weights(path, "ema")


def test_a_file_that_safetensors_cannot_read_never_becomes_a_checkpoint(two: Path) -> None:
    reserved = Checkpoint(3, {"__metadata__": torch.ones(1)}, {}, {}, {})
    with pytest.raises(SafetensorError):
        save_checkpoint(two, reserved, keep=1)
    assert names(two) == ["00000001", "00000002"]
    assert versions(two) == {1: 0, 2: 0}


@pytest.mark.parametrize("victim", range(5))
@pytest.mark.parametrize("step", [2, 3])
def test_nothing_is_removed_when_the_disk_gives_back_something_else(
    two: Path, monkeypatch: pytest.MonkeyPatch, victim: int, step: int
) -> None:
    fsync, synced = os.fsync, 0

    def fsync_on_a_bad_disk(descriptor: int) -> None:
        nonlocal synced
        fsync(descriptor)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            if synced == victim:
                os.pwrite(descriptor, b"\xff", os.fstat(descriptor).st_size // 2)
            synced += 1

    monkeypatch.setattr(os, "fsync", fsync_on_a_bad_disk)
    with pytest.raises(SumiError, match="test the disk") as caught:
        save_checkpoint(two, contents(step, version=1), keep=1)
    assert synced == 5
    assert any(f"saving/{name}" in str(caught.value) for name in FILES)
    assert "\n" not in str(caught.value)
    assert names(two) == ["00000001", "00000002"]
    assert versions(two) == {1: 0, 2: 0}


# -------------------------------------------------------------------------- a crash or an error at every single call


class Crash(BaseException):
    """The process ends here: nothing in it may run any more."""


class Disk:
    """Counts the calls that change the disk, and makes the ``at``-th one fail as ``failure`` says.

    A crash happens before its call or, for a write, in the middle; from then on every call raises, as a dead process
    makes none. (A crash after a call leaves the disk as one before the next call does.) An error comes once. A full
    disk refuses whatever needs room from then on, and still renames and removes. Nothing is really synced: that costs
    time and says nothing about processes.
    """

    def __init__(self, failure: str, at: int) -> None:
        self.failure, self.at = failure, at
        self.calls: list[str] = []

    def run(self, name: str, call: Callable[[], Any], half: Callable[[], Any]) -> Any:
        self.calls.append(name)
        past = len(self.calls) - self.at
        if past < 0 or (past > 0 and self.failure == "error"):
            return call()
        if self.failure == "crash":
            if past == 0:
                half()
            raise Crash
        if self.failure == "full" and name in ("rename", "unlink", "rmdir", "open"):
            return call()
        half()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def nothing() -> None: ...

        return lambda *args, **options: self.run(name, lambda: function(*args, **options), nothing)

    @contextmanager
    def mounted(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("mkdir", "rename", "unlink", "rmdir", "open"):
                patch.setattr(os, name, self.wrap(name, getattr(os, name)))
            patch.setattr(os, "fsync", self.wrap("fsync", lambda _: None))
            really_open = io.open

            def open_file(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
                if "r" in mode:
                    return really_open(file, mode, *args, **options)
                create = self.wrap("create", really_open)
                return Stream(create(file, mode, *args, **options), self)

            patch.setattr(io, "open", open_file)
            yield


class Stream:
    """A file whose writes are counted; half a write is one that a full disk or a crash cut short."""

    def __init__(self, stream: io.BufferedWriter, disk: Disk) -> None:
        self.stream, self.disk = stream, disk

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, data: bytes | memoryview) -> int:
        half = memoryview(data)[: len(data) // 2]
        return self.disk.run("write", lambda: self.stream.write(data), lambda: self.stream.write(half))


def scenes(tmp_path: Path) -> dict[str, tuple[Path, Checkpoint]]:
    """Folders before a save, and what is saved: onto an empty run, as a new step, as a step again, after a crash."""
    empty = tmp_path / "empty" / "checkpoints"
    new, again, dead = (tmp_path / name for name in ("new", "again", "dead"))
    for folder in (new, again, dead):
        for step in (1, 2):
            save_checkpoint(folder, contents(step), keep=5)
    shutil.copytree(dead / "00000002", dead / ".00000001.removing")
    shutil.copytree(dead / "00000002", dead / ".00000003.saving")
    (dead / ".00000003.saving" / "manifest.json").unlink()
    (dead / "00000002").rename(dead / ".00000002.replaced")
    return {
        "empty": (empty, contents(3, version=1)),
        "new": (new, contents(3, version=1)),
        "again": (again, contents(2, version=1)),
        "dead": (dead, contents(2, version=1)),
    }


@pytest.mark.parametrize("failure", ["crash", "error", "full"])
@pytest.mark.parametrize("scene", ["empty", "new", "again", "dead"])
def test_whatever_call_fails_the_old_or_the_new_checkpoint_is_there(tmp_path: Path, scene: str, failure: str) -> None:
    start, saved = scenes(tmp_path)[scene]
    before = {} if scene == "empty" else versions(start)
    assert before in ({}, {1: 0, 2: 0})
    folder = tmp_path / "trial" / "checkpoints"
    for at in range(1, 1000):
        shutil.rmtree(folder.parent, ignore_errors=True)
        if scene == "empty":
            folder.parent.mkdir()
        else:
            shutil.copytree(start, folder)
        disk = Disk(failure, at)
        outcome: BaseException | None = None
        try:
            with disk.mounted():
                save_checkpoint(folder, saved, keep=1)
        except (Crash, SumiError) as error:
            outcome = error
        if len(disk.calls) < at:
            assert outcome is None
            break
        if failure == "crash":
            assert isinstance(outcome, Crash)
        elif outcome is None:
            assert failure == "full"  # nothing from this call on needed room
        else:
            line = str(outcome)
            assert line.startswith(str(folder))
            assert "No space left on device; free some space" in line
            assert "\n" not in line
        after = versions(folder)
        assert after == before or after.get(saved.step) == saved.state["version"], (at, disk.calls, after)
        assert set(after) <= {*before, saved.step}
        if failure != "crash":
            assert not list(folder.glob(".*")), (at, disk.calls, names(folder))
        with Disk("error", at=0).mounted():  # a call that never comes: a disk without faults
            save_checkpoint(folder, contents(9), keep=2)
        assert names(folder)[-1] == "00000009"
        assert len(names(folder)) == min(2, len({*after, 9}))
        assert versions(folder).items() >= {9: 0}.items()
    else:
        pytest.fail("the save never came to its end")
    assert names(folder) == [f"{saved.step:08d}"]
    assert at > 30


def test_files_reach_the_disk_before_the_name_and_the_name_before_any_removal(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, Any]] = []
    fsync, rename, unlink = os.fsync, os.rename, os.unlink

    def watched_fsync(descriptor: int) -> None:
        events.append(("fsync", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def watched_rename(source: Path, target: Path) -> None:
        events.append(("rename", Path(target).name))
        rename(source, target)

    def watched_unlink(path: Any, **options: Any) -> None:
        events.append(("unlink", Path(path).name))
        unlink(path, **options)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "rename", watched_rename)
    monkeypatch.setattr(os, "unlink", watched_unlink)
    path = save_checkpoint(two, contents(3), keep=1)
    renamed = events.index(("rename", "00000003"))
    synced = [value for kind, value in events[:renamed] if kind == "fsync"]
    inode = {name: (path / name).stat().st_ino for name in FILES}
    assert set(synced) >= {*inode.values(), path.stat().st_ino}
    assert synced[-2:] == [inode["manifest.json"], path.stat().st_ino]
    assert events[renamed + 1] == ("fsync", two.stat().st_ino)
    assert min(i for i, (kind, _) in enumerate(events) if kind == "unlink") > renamed + 1
    run = two.parent / "another run"
    save_checkpoint(run / "checkpoints", contents(1), keep=1)
    assert ("fsync", run.stat().st_ino) in events  # the name of a new folder of checkpoints is safe, too


def test_a_file_that_may_not_grow_is_named_and_nothing_is_left(two: Path) -> None:
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 100, 4096, 50_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, former[1]))
        try:
            with pytest.raises(SumiError, match=r"saving/model\.safetensors: cannot be written: File too large"):
                save_checkpoint(two, contents(3, size=20_000), keep=1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, former)
        assert names(two) == ["00000001", "00000002"]
        assert versions(two) == {1: 0, 2: 0}


def test_a_folder_without_permission_is_named(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object, *_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(SumiError, match=r"checkpoints: cannot be written: Permission denied; fix the permissions"):
        save_checkpoint(two, contents(3), keep=1)
    assert versions(two) == {1: 0, 2: 0}


def test_where_folders_cannot_be_opened_they_are_not_synced(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    real = os.open

    def opened(path: Any, flags: int, *more: Any, **options: Any) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, flags, *more, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", opened)
        save_checkpoint(two, contents(3), keep=5)
    assert versions(two) == {1: 0, 2: 0, 3: 0}


# ------------------------------------------------------------------------------------------------------------ kill -9


def test_fifty_kills_lose_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.training.test_checkpoint", str(tmp_path / "checkpoints"), "50"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[2],
        timeout=200,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    seen = json.loads(ended.stdout)
    assert seen["kills"] == 50
    assert seen["in_a_save"] >= 15, seen  # otherwise the kills missed what they are for


def kill_saves(folder: Path, kills: int) -> dict[str, int]:
    """Kill a child that saves without end, again and again, and look each time at what it left."""
    torch.set_num_threads(1)
    chance = random.Random(20150312)
    size = 400_000  # 1.6 + 1.6 + 0.8 MB: a save takes some ten milliseconds
    seen = {"kills": 0, "in_a_save": 0, "replaced": 0, "saves": 0}
    save_checkpoint(folder, contents(0, size=size), keep=2)
    begun = time.perf_counter()
    save_checkpoint(folder, contents(1, size=size), keep=2)
    spent = time.perf_counter() - begun
    promised = 1
    for version in range(kills):
        first = max(versions(folder)) + chance.choice((0, 1))
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                for step in range(first, first + 10_000):
                    for again in (version, version + 1000):  # each step is saved twice, so that replacing is hit too
                        save_checkpoint(folder, contents(step, again, size), keep=2)
                        os.write(writer, step.to_bytes(8, "little"))
            finally:
                os._exit(1)
        os.close(writer)
        time.sleep(chance.uniform(0.0, 4 * spent))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"the child ended by itself with status {status}"
        with os.fdopen(reader, "rb") as pipe:
            reports = pipe.read()
        seen["kills"] += 1
        seen["saves"] += len(reports) // 8
        promised = int.from_bytes(reports[-8:], "little") if reports else promised
        seen["in_a_save"] += bool(list(folder.glob(".*")))
        seen["replaced"] += bool(list(folder.glob(".*.replaced")))
        found = versions(folder)
        assert max(found) >= promised, (version, promised, found)
        assert len(found) >= 2, (version, promised, found)
    save_checkpoint(folder, contents(10**6, size=size), keep=2)
    assert len(names(folder)) == 2
    assert not list(folder.glob(".*"))
    return seen


if __name__ == "__main__":
    print(json.dumps(kill_saves(Path(sys.argv[1]), int(sys.argv[2]))))


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("blocks_before.0.told.weight", "blocks_before.0.other.weight"),
        ("network.mine.told.weight", "network.mine.told.weight"),  # a user's own network
        ("companions.times.losses", "auxiliary.times.losses"),
        ("conditioner.table.weight", "conditioner.labels.table.weight"),
    ],
)
def test_older_names_of_tensors_are_known(before: str, now: str, tmp_path: Path) -> None:
    save_file({before: torch.ones(1)}, tmp_path / "ema.safetensors")
    assert list(_read_tensors(tmp_path / "ema.safetensors")) == [now]
