"""A file is whole or as it was: after a kill, on a full disk, and while two processes write it."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from sumi.boundary.files import contents, given_path, refuse_folder, short_name, whole, write_text, write_whole
from sumi.errors import InputError, SumiError
from tests.windows import files_on_windows

KILLED = """
import os, sys
from pathlib import Path
from sumi.boundary.files import whole
with whole(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os._exit(9)
"""
WRITER = """
import sys
from pathlib import Path
from sumi.boundary.files import write_whole
for _ in range(40):
    write_whole(Path(sys.argv[1]), sys.argv[2].encode() * 300_000)
"""


def test_a_kill_leaves_the_former_contents_and_the_next_write_clears_up(tmp_path: Path) -> None:
    file = write_text(tmp_path / "new/a.txt", "before")
    assert subprocess.run([sys.executable, "-c", KILLED, str(file)], check=False).returncode == 9
    assert file.read_text() == "before"
    assert sorted(path.name for path in file.parent.iterdir()) == [".a.txt.new", "a.txt"]
    write_text(file, "after")
    assert file.read_text() == "after"
    assert sorted(path.name for path in file.parent.iterdir()) == ["a.txt"]


def test_a_full_disk_leaves_the_former_contents_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_text(tmp_path / "a.txt", "before")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SumiError, match=r"a\.txt: cannot be written \(No space left"):
        write_whole(file, b"after")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert file.read_text() == "before"


def test_an_error_while_it_is_made_leaves_no_file(tmp_path: Path) -> None:
    def fail(file: BinaryIO) -> None:
        file.write(b"half")
        raise ValueError

    with pytest.raises(ValueError), whole(tmp_path / "a.txt") as file:  # noqa: PT011
        fail(file)
    assert not list(tmp_path.iterdir())


def test_two_processes_that_write_one_file_take_turns(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(file), letter]) for letter in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if file.exists():
            contents = file.read_bytes()
            assert contents == contents[:1] * 300_000
            seen.add(contents[:1])
    assert [writer.wait() for writer in writers] == [0, 0]
    assert seen <= {b"a", b"b"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_on_windows_a_lock_is_of_one_handle_and_files_are_closed_before_they_are_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = files_on_windows(monkeypatch)
    file = tmp_path / "a"
    for written in (b"first", b"then"):
        windows.write_whole(file, written)
        assert file.read_bytes() == written
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    with file.open("a+b") as first, file.open("rb") as second:
        assert windows.lock(first) is True
        assert windows.lock(second) is windows.lock(second, shared=True) is False
        second.seek(0)
        assert second.read() == b"then"
        waiting = threading.Thread(target=windows.lock, args=(second,), kwargs={"wait": True})
        before = windows.msvcrt.tries
        waiting.start()
        while windows.msvcrt.tries < before + 2 and waiting.is_alive():  # it is tried again after it was given up
            pass
        assert waiting.is_alive()
        first.close()
        waiting.join()
        with file.open("rb") as third:
            assert windows.lock(third) is False
    with pytest.raises(ZeroDivisionError), windows.whole(file):
        _ = 1 / 0
    assert file.read_bytes() == b"then"


def test_a_link_is_replaced_and_what_it_led_to_stays(tmp_path: Path) -> None:
    mine = write_text(tmp_path / "mine.txt", "mine")
    (tmp_path / "a.txt").symlink_to(mine)
    write_text(tmp_path / "a.txt", "new")
    assert (mine.read_text(), (tmp_path / "a.txt").read_text()) == ("mine", "new")


def test_what_cannot_be_a_folder_is_refused(tmp_path: Path) -> None:
    file = write_text(tmp_path / "file", "")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    (tmp_path / "good").symlink_to(tmp_path)
    refuse_folder(tmp_path / "new/er")
    refuse_folder(tmp_path / "good")
    for place, answer in ((file, "is a file"), (file / "inside", "is a file"), (tmp_path / "link", "is a link to")):
        with pytest.raises(InputError, match=answer):
            refuse_folder(place)


def test_a_pipe_and_a_device_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, kind in (("pipe", "a named pipe"), ("zero", "a device"), ("", "a folder")):
        with pytest.raises(OSError, match=f"is {kind}, not a regular file"):
            contents(tmp_path / name)
    assert contents(write_text(tmp_path / "file", "text")) == b"text"


def test_a_path_that_is_there_is_taken_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    Path("~root").mkdir()
    assert given_path("~root") == Path("~root")
    assert given_path("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")
    assert given_path("~/x") == tmp_path / "home/x"


def test_long_names_are_cut_and_stay_apart(tmp_path: Path) -> None:
    names = ["short", "a" * 300, "a" * 300 + "b", "é" * 140, "図" * 100]
    cut = [short_name(name) for name in names]
    assert cut[0] == "short"
    assert len(set(cut)) == len(names)
    for name in cut:
        (tmp_path / name).mkdir()
    assert all(short.startswith(name[:50]) for short, name in zip(cut, names, strict=True))
