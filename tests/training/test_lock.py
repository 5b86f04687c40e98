"""One trainer a run folder, by a lock that ends with its process."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import pytest

from sumi.boundary import files as boundary
from sumi.errors import InputError
from sumi.training import lock
from sumi.training.lock import LOCK, Process, trainer_of, training_in
from tests.windows import System, files_on_windows

HOLD = """
import sys, time
from pathlib import Path
from sumi.training.lock import training_in
with training_in(Path(sys.argv[1]), print):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path):
    """Another process that holds the lock of ``tmp_path / "run"``."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_is_refused_and_hears_who_the_first_is(tmp_path: Path, other: subprocess.Popen) -> None:
    before = sorted((tmp_path / "run").iterdir())
    refused = rf"is being trained by another process \(process {other.pid} since .* UTC\)"
    with pytest.raises(InputError, match=refused), training_in(tmp_path / "run", print):
        pytest.fail("both have it")
    assert sorted((tmp_path / "run").iterdir()) == before
    found = trainer_of(tmp_path / "run")
    assert found is not None
    assert (found.pid, found.host, found.lives()) == (other.pid, socket.gethostname(), True)


def test_a_lock_on_a_file_that_its_holder_has_just_removed_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is opened, and by the time that it is locked another one is at its place, or none."""
    locked: list[bool] = []

    def slow(file: BinaryIO, **options: bool) -> bool | None:
        if not locked:
            (tmp_path / "run" / LOCK).unlink()
        locked.append(True)
        return boundary.lock(file, **options)

    monkeypatch.setattr(lock, "lock", slow)
    with training_in(tmp_path / "run", print):
        assert len(locked) == 2
        assert trainer_of(tmp_path / "run") is not None
    assert not (tmp_path / "run").exists()


def test_the_lock_ends_with_a_killed_process(tmp_path: Path, other: subprocess.Popen) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert (tmp_path / "run" / LOCK).exists()  # nobody could remove it
    assert trainer_of(tmp_path / "run") is None
    with training_in(tmp_path / "run", print):
        found = trainer_of(tmp_path / "run")
        assert found is not None
        assert found.pid == os.getpid()
    assert not (tmp_path / "run" / LOCK).exists()


def test_two_threads_are_two_trainers(tmp_path: Path) -> None:
    refused: list[str] = []

    def second() -> None:
        try:
            with training_in(tmp_path, print):
                pass
        except InputError as error:
            refused.append(str(error))

    with training_in(tmp_path, print):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(refused) == 1


def test_a_forked_process_neither_keeps_the_lock_nor_ends_it(tmp_path: Path) -> None:
    read, write = os.pipe()
    with training_in(tmp_path, print):
        child = os.fork()
        if not child:
            os.close(write)
            os.read(read, 1)  # until the parent has let go
            os._exit(0)
        early = os.fork()
        if not early:
            try:
                with training_in(tmp_path / "other", print):  # what it does itself is its own
                    raise SystemExit
            finally:
                os._exit(0)
        os.waitpid(early, 0)
        found = trainer_of(tmp_path)
        assert found is not None
        assert found.pid == os.getpid()
    assert trainer_of(tmp_path) is None
    with training_in(tmp_path, print):  # while the child lives
        pass
    os.close(write)
    os.waitpid(child, 0)
    os.close(read)


def test_a_folder_that_stays_empty_is_removed_if_it_was_made(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with training_in(tmp_path / "a/b", print), training_in(tmp_path / "there", print):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    with training_in(tmp_path / "a/b", print):
        (tmp_path / "a/b/kept").touch()
    assert (tmp_path / "a/b/kept").exists()


def test_on_windows_one_trains_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = files_on_windows(monkeypatch)
    monkeypatch.setattr(lock, "lock", windows.lock)
    monkeypatch.setattr(lock, "os", System())
    run = tmp_path / "run"
    with training_in(run, pytest.fail):
        found = trainer_of(run)
        assert found is not None
        assert found.pid == os.getpid()
        with pytest.raises(InputError, match=rf"by another process \(process {os.getpid()} "), training_in(run, print):
            pytest.fail("both have it")
        assert trainer_of(run) == found
        (run / "kept").touch()
    assert [path.name for path in run.iterdir()] == ["kept"]
    assert trainer_of(run) is None


def test_where_there_are_no_locks_a_live_process_counts_and_a_line_says_so(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(lock, "lock", lambda *_, **__: None)
    message: list[str] = []
    me = Process.own()
    assert me.lives()
    (tmp_path / LOCK).write_text(json.dumps(asdict(me)))
    assert trainer_of(tmp_path) == me
    with pytest.raises(InputError, match=f"process {me.pid}"), training_in(tmp_path, message.append):
        pass
    for gone in ({"started": 1}, {"pid": 2**22 + 1, "started": None}, {"host": "elsewhere"}):
        (tmp_path / LOCK).write_text(json.dumps({**asdict(me), **gone}))
        assert trainer_of(tmp_path) is None
        with training_in(tmp_path, message.append):
            pass
    assert len(message) == 3
    assert "has no locks" in message[0]
