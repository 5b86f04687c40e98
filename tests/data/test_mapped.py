"""Images that are decoded once into a file: the same set as in memory, and what makes it anew."""

import errno
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sumi.boundary.files import reserve
from sumi.data import folder, mapped
from sumi.data.config import DataConfig
from sumi.data.image_set import ImageDataset
from sumi.data.load import load
from sumi.data.mapped import Rows, cache_folder
from sumi.errors import InputError, SumiError
from sumi.training_run import train
from tests.small_runs import assert_same, config_of, state_of


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("SUMI_CACHE", str(tmp_path / "cache"))
    return cache_folder()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve images of two classes, and one that is none."""
    generator = np.random.default_rng(0)
    for k in range(12):
        path = tmp_path / "photos" / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (9, 8, 3), np.uint8)).save(path)
    (tmp_path / "photos/a/broken.png").write_bytes(b"no image")
    return tmp_path / "photos"


def read(root: Path, store: str = "mapped", size: int = 8, channels: int | None = None) -> ImageDataset:
    return load(DataConfig(str(root), size=size, channels=channels, store=store))


def entries(cache: Path) -> list[str]:
    return [entry.name for entry in sorted(cache.iterdir()) if not entry.name.startswith(".")]


def no_decoding(*arguments, **options) -> None:
    raise AssertionError("decoded again")


def test_a_mapped_set_is_the_set_in_memory(photos: Path) -> None:
    whole, found = read(photos, "memory"), read(photos)
    assert found.fingerprint() == whole.fingerprint()
    assert (found.keys, found.notes, found.skipped) == (whole.keys, whole.notes, whole.skipped)
    assert len(found.skipped) == 1
    assert (found.spec, found.std()) == (whole.spec, whole.std())
    for mine, other in zip(found.split(0.3), whole.split(0.3), strict=True):
        assert mine.keys == other.keys
        assert type(mine.images) is Rows
        assert torch.equal(mine.batch(np.arange(len(mine))), other.batch(np.arange(len(other))))
        assert torch.equal(mine.labels_of(np.arange(len(mine))), other.labels_of(np.arange(len(other))))
    order = np.array([7, 2, 2, 0])
    assert np.array_equal(found.subset(np.array([5, 3, 8])).subset(np.array([2, 0])).images[:], whole.images[[8, 5]])
    assert torch.equal(found.batch(order), whole.batch(order))
    assert np.array_equal(found.reduced(2).images, whole.reduced(2).images)


def test_it_is_decoded_once_and_anew_when_files_or_settings_change(photos: Path, cache: Path, monkeypatch) -> None:
    first = read(photos)
    with monkeypatch.context() as context:
        context.setattr(folder, "_decode_all", no_decoding)
        again = read(photos)
        assert again.fingerprint() == first.fingerprint()
        assert again.skipped == first.skipped
        with pytest.raises(AssertionError, match="decoded again"):
            read(photos, size=4)
    assert len(entries(cache)) == 1
    read(photos, size=4)
    read(photos, channels=1)
    assert len(entries(cache)) == 3
    os.utime(photos / "a/0.png", ns=(1, 1))
    read(photos)
    assert len(entries(cache)) == 4
    Image.new("RGB", (8, 8)).save(photos / "a/0.png")
    assert not read(photos).images[0].any()


def test_grey_images_stay_grey(photos: Path) -> None:
    for path in photos.rglob("[0-9]*.png"):
        Image.open(path).convert("L").save(path)
    found = read(photos)
    assert found.shape == (1, 8, 8)
    assert found.fingerprint() == read(photos, "memory").fingerprint()


def test_what_a_killed_process_left_is_replaced(photos: Path, cache: Path, monkeypatch) -> None:
    """However far it came, only a whole folder has the name."""

    def killed(*arguments, **options) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(folder, "_decode_all", killed)
        with pytest.raises(KeyboardInterrupt):
            read(photos)
    assert [entry.name for entry in cache.iterdir() if not entry.name.endswith(".lock")] == []
    (lock,) = cache.iterdir()
    lock.with_suffix(".0123.new").mkdir()  # a signal leaves it
    assert read(photos).fingerprint() == read(photos, "memory").fingerprint()
    assert [entry.name for entry in cache.iterdir() if entry.name.endswith(".new")] == []
    (name,) = entries(cache)
    for damage in (Path.unlink, lambda facts: facts.write_bytes(b"")):
        damage(cache / name / "facts.json")
        assert len(read(photos)) == 12


def test_a_disk_without_room_is_refused_before_anything_is_decoded(photos: Path, monkeypatch) -> None:
    monkeypatch.setattr(folder, "_decode_all", no_decoding)
    usage = shutil.disk_usage(photos)._replace(free=1000)
    monkeypatch.setattr(mapped.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"data\.store: .* has 0\.0 GB left, and 13 images take"):
        read(photos)


def test_a_training_is_the_same_to_the_bit(photos: Path, tmp_path: Path) -> None:
    settings = (f"data.source={photos}", "data.size=8", "training.steps=3", "data.flip=true")
    for store in ("memory", "mapped"):
        train(config_of(*settings, f"data.store={store}"), out=tmp_path / store)
    assert_same(state_of(tmp_path / "memory", 3), state_of(tmp_path / "mapped", 3))
    again = config_of(*settings, "data.store=mapped", "training.steps=4")
    assert train(again, out=tmp_path / "memory", resume=True).step == 4


def test_files_of_the_same_names_sizes_and_times_are_other_files(tmp_path: Path, cache: Path) -> None:
    """As archives with fixed times unpack them."""
    for colour in ("red", "blue"):
        (tmp_path / colour).mkdir()
        for k in range(3):
            Image.new("RGB", (8, 8), colour).save(tmp_path / colour / f"{k}.bmp")
            os.utime(tmp_path / colour / f"{k}.bmp", ns=(1, 1))
    assert [read(tmp_path / colour).images[0][:, 0, 0].tolist() for colour in ("red", "blue")] == [
        [255, 0, 0],
        [0, 0, 255],
    ]
    assert len(entries(cache)) == 2


def test_without_locks_the_slower_of_two_processes_takes_what_the_faster_wrote(
    photos: Path, cache: Path, monkeypatch
) -> None:
    monkeypatch.setattr(mapped, "lock", lambda *_, **__: None)
    own, faster = folder._decode_all, []

    def slowly(*arguments, **options):
        if not faster:
            faster.append(None)
            faster.append(read(photos).fingerprint())
        return own(*arguments, **options)

    monkeypatch.setattr(folder, "_decode_all", slowly)
    assert read(photos).fingerprint() == faster[1] == read(photos, "memory").fingerprint()
    assert not [entry for entry in cache.iterdir() if entry.name.endswith(".new")]


def test_a_filled_cache_needs_nothing_written(photos: Path, monkeypatch) -> None:
    whole = read(photos).fingerprint()
    monkeypatch.setattr(mapped, "lock", lambda *_, **__: pytest.fail("a lock was taken"))
    assert read(photos).fingerprint() == whole


def test_a_disk_that_fills_meanwhile_ends_in_a_message(photos: Path, monkeypatch) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mapped, "reserve", full)
    with pytest.raises(SumiError, match=r"cannot be written \(No space left on device\)"):
        read(photos)


@pytest.mark.skipif(sys.platform != "linux", reason="only there is room reserved")
def test_room_is_taken_for_a_file_of_holes(tmp_path: Path) -> None:
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(1 << 20)
    assert (tmp_path / "holes").stat().st_blocks == 0
    reserve(tmp_path / "holes")
    assert (tmp_path / "holes").stat().st_blocks * 512 >= 1 << 20
