"""Samples as one file: whole or not at all, and with the same bytes from any number of processes."""

import io
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sumi.boundary.files import lock
from sumi.data import archives
from sumi.data.archives import write_archive
from sumi.data.files import Writing, write_samples
from sumi.errors import InputError, SumiError

NAMES = ("cat", "dog", "owl")
INDICES = range(3, 25)


def label(index: int) -> dict[str, object]:
    return {"label": NAMES[index % 3]}


def how(form: str, shard: tuple[int, int] = (1, 1), seed: int = 0) -> Writing:
    return Writing(4, "", {"seed": seed, "label": "all"}, label, None, form, shard)


def images(batch: range) -> Tensor:
    """Noise by index and by who is beside it in its batch, uint8 (n, 3, 4, 5)."""
    parts = [np.random.default_rng([i, batch.start, len(batch)]).integers(0, 256, (3, 4, 5), np.uint8) for i in batch]
    return torch.from_numpy(np.stack(parts))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def everything() -> np.ndarray:
    batches = [INDICES[i : i + 4] for i in range(0, len(INDICES), 4)]
    return np.concatenate([images(batch).numpy() for batch in batches]).transpose(0, 2, 3, 1)


def read_npz(folder: Path) -> tuple[np.ndarray, list[int]]:
    with np.load(folder / "samples.npz", allow_pickle=False) as file:
        return file["arr_0"], file["arr_1"].tolist()


def read_npy(folder: Path) -> tuple[np.ndarray, list[int]]:
    return np.load(folder / "samples.npy"), np.load(folder / "labels.npy").tolist()


def read_tar(folder: Path) -> tuple[np.ndarray, list[int]]:
    with tarfile.open(folder / "samples.tar") as file:
        contents = [file.extractfile(name).read() for name in file.getnames()]  # type: ignore[union-attr]
        assert file.getnames()[:2] == ["00003.png", "00003.cls"]
    return np.stack([np.asarray(Image.open(io.BytesIO(x))) for x in contents[::2]]), [int(x) for x in contents[1::2]]


@pytest.mark.parametrize("read", [read_npz, read_npy, read_tar])
def test_one_file_holds_all_images_in_order_with_their_classes(tmp_path: Path, read: Callable) -> None:
    form = read.__name__.removeprefix("read_")
    file, there = write_archive(tmp_path, images, INDICES, how(form), NAMES)
    assert (file, there) == (tmp_path / f"samples.{form}", 0)
    held, labels = read(tmp_path)
    np.testing.assert_array_equal(held, everything())
    assert labels == [index % 3 for index in INDICES]
    assert not (tmp_path / f"samples.{form}.parts").exists()


@pytest.mark.parametrize("form", ["png", "npz", "npy", "tar"])
@pytest.mark.parametrize("shards", [2, 3, 8])
def test_any_number_of_shards_gives_the_bytes_of_one_process(tmp_path: Path, form: str, shards: int) -> None:
    made = list[int]()

    def counted(batch: range) -> Tensor:
        made.extend(batch)
        return images(batch)

    def write(folder: Path, k: int, of: int) -> Path | None:
        if form == "png":
            return write_samples(folder, counted, INDICES, how(form, (k, of)))[0]
        return write_archive(folder, counted, INDICES, how(form, (k, of)), NAMES)[0]

    write(tmp_path / "one", 1, 1)
    made.clear()
    order = [*range(2, shards + 1), 1]  # the first ends last
    ends = [write(tmp_path / "shards", k, shards) for k in order]
    names = [end and end.name for end in ends]
    assert sorted(made) == list(INDICES)
    assert (names[0], names[-1]) == (None, "grid.png" if form == "png" else f"samples.{form}")
    assert tree(tmp_path / "shards") == tree(tmp_path / "one")


def test_shards_that_end_at_once_gather_one_whole_file(tmp_path: Path) -> None:
    write_archive(tmp_path / "one", images, INDICES, how("npz"), NAMES)
    threads = [
        threading.Thread(target=write_archive, args=(tmp_path / "many", images, INDICES, how("npz", (k, 3)), NAMES))
        for k in (1, 2, 3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tree(tmp_path / "many") == tree(tmp_path / "one")


@pytest.mark.parametrize("form", ["npz", "npy", "tar"])
def test_a_call_that_was_cut_off_goes_on_and_a_finished_one_makes_nothing(tmp_path: Path, form: str) -> None:
    write_archive(tmp_path / "whole", images, INDICES, how(form), NAMES)

    def until(stop: int) -> Callable[[range], Tensor]:
        def make(batch: range) -> Tensor:
            if batch.start >= stop:
                raise KeyboardInterrupt
            return images(batch)

        return make

    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        write_archive(folder, until(11), INDICES, how(form), NAMES)
    parts = folder / f"samples.{form}.parts"
    assert sorted(path.name for path in parts.iterdir()) == ["00000003.npy", "00000007.npy"]
    assert not (folder / f"samples.{form}").exists()
    (parts / "00000007.npy").write_bytes((parts / "00000007.npy").read_bytes()[:-7])  # a disk that lost power
    with pytest.raises(KeyboardInterrupt):
        write_archive(folder, until(7), INDICES, how(form), NAMES)
    assert write_archive(folder, images, INDICES, how(form), NAMES)[1] == 4
    assert tree(folder) == tree(tmp_path / "whole")
    assert write_archive(folder, until(0), INDICES, how(form), NAMES)[1] == len(INDICES)


def test_what_was_made_otherwise_or_is_somebody_elses_stays(tmp_path: Path) -> None:
    write_archive(tmp_path / "a", images, INDICES, how("npy"), NAMES)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/samples.npy").write_bytes(b"mine")
    before = tree(tmp_path)
    for folder, changed in (("a", how("npy", seed=1)), ("b", how("npy"))):
        with pytest.raises(InputError, match=r"holds samples\.npy, which was made with other settings"):
            write_archive(tmp_path / folder, images, INDICES, changed, NAMES)
    with pytest.raises(InputError, match="made with other settings"):
        write_archive(tmp_path / "a", images, range(3, 24), how("npy"), NAMES)
    assert tree(tmp_path) == before


def test_a_gathering_that_fails_leaves_the_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives, "_write_npy", full)
    with pytest.raises(SumiError, match="No space left"):
        write_archive(tmp_path, images, INDICES, how("npz"), NAMES)
    monkeypatch.undo()
    assert not (tmp_path / "samples.npz").exists()
    assert write_archive(tmp_path, images, INDICES, how("npz"), NAMES)[1] == len(INDICES)
    np.testing.assert_array_equal(read_npz(tmp_path)[0], everything())


@pytest.mark.parametrize("shard", [(0, 2), (3, 2)])
def test_a_shard_that_is_none_of_them_and_another_format_are_refused(shard: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=rf"shard: {shard[0]}/2 is not one of 1/2 to 2/2"):
        how("npz", shard)
    with pytest.raises(InputError, match="format: zip is none of png, npz, npy, tar"):
        how("zip")


def test_the_last_of_several_shards_waits_while_another_one_gathers(tmp_path: Path) -> None:
    write_archive(tmp_path, images, INDICES, how("npy", (1, 2)), NAMES)
    with (tmp_path / "samples.npy.json").open("rb") as held:
        assert lock(held)
        other = threading.Thread(target=write_archive, args=(tmp_path, images, INDICES, how("npy", (2, 2)), NAMES))
        other.start()
        other.join(0.5)
        assert other.is_alive()
        assert not (tmp_path / "samples.npy").exists()
    other.join(60)
    assert read_npy(tmp_path)[0].tobytes() == everything().tobytes()


def test_a_part_of_fewer_images_than_its_batch_is_made_again(tmp_path: Path) -> None:
    write_archive(tmp_path, images, INDICES, how("npy", (1, 2)), NAMES)
    part = sorted((tmp_path / "samples.npy.parts").iterdir())[0]
    np.save(part, np.load(part)[:2])
    for shard in (1, 2):
        write_archive(tmp_path, images, INDICES, how("npy", (shard, 2)), NAMES)
    assert read_npy(tmp_path)[0].tobytes() == everything().tobytes()
