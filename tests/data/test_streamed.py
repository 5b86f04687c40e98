"""Tar files whose images are decoded when they are used, and sets that are opened once: the sets in memory."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sumi.data import kept, shards
from sumi.data.config import DataConfig
from sumi.data.image_set import Facts, ImageDataset
from sumi.data.latents import encoded
from sumi.data.load import load
from sumi.data.mapped import cache_folder
from sumi.data.streamed import Pictures
from sumi.errors import InputError
from sumi.training.gradients import Gradients
from sumi.training_run import train
from tests.small_runs import assert_same, config_of, state_of
from tests.tar_files import write


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SUMI_CACHE", str(tmp_path / "cache"))


def picture(k: int, mode: str) -> bytes:
    shape = (9, 8) if mode == "L" else (9, 8, len(mode))
    pixels, held = np.random.default_rng(k).integers(0, 256, shape, np.uint8), io.BytesIO()
    Image.fromarray(pixels).save(held, "PNG")
    return held.getvalue()


def made(folder: Path, modes: tuple[str, ...], *, broken: bool = True) -> Path:
    """Two tars of 30 images whose modes take turns, of two classes, with captions and numbers; one is damaged."""
    for shard in range(2):
        files: dict[str, bytes] = {}
        for k in range(15):
            number = 15 * shard + k
            files[f"{k:04d}.png"] = picture(number, modes[number % len(modes)])
            files[f"{k:04d}.cls"] = str(number % 2).encode()
            files[f"{k:04d}.txt"] = f"picture {number} é\n".encode()
            files[f"{k:04d}.json"] = b'{"age": %d}' % number
        if broken and shard:
            files["0003.png"] = files["0003.png"][:60]
        write(folder / f"{shard:05d}.tar", files)
    return folder


def read(source: Path, store: str, **fields) -> ImageDataset:
    return load(DataConfig(str(source), **{"size": 8, "store": store, **fields}))


def refused(*_: object, **__: object) -> None:
    raise AssertionError("read again")


@pytest.mark.parametrize("store", ["mapped", "streamed"])
@pytest.mark.parametrize(
    ("modes", "fields"),
    [
        (("RGB",), {}),
        (("L",), {}),
        (("L", "RGB", "RGBA"), {"background": "black"}),
        (("L", "RGB"), {"channels": 1}),
        (("L",), {"channels": 3}),
        (("RGB",), {"size": (8, 6), "fit": "pad"}),
    ],
    ids=["colour", "grey", "mixed", "made grey", "made colour", "padded"],
)
def test_the_set_is_that_in_memory_at_once_and_again(
    tmp_path: Path, monkeypatch, store: str, modes: tuple[str, ...], fields: dict[str, object]
) -> None:
    source = made(tmp_path / "shards", modes)
    whole, first = read(source, "memory", **fields), read(source, store, **fields)
    monkeypatch.setattr(shards, "_opened", refused)
    again = read(source, store, **fields)
    assert len(whole) == 29
    for found in (first, again):
        assert found.fingerprint() == whole.fingerprint()
        for name in ("keys", "captions", "label_names", "skipped", "notes", "spec"):
            assert getattr(found, name) == getattr(whole, name), name
        assert found.labels is not None
        assert np.array_equal(found.labels, whole.labels)
        assert np.array_equal(found.column("age"), whole.column("age"))
        assert found.std() == pytest.approx(whole.std(), rel=1e-12)
        items = np.array([3, 28, 0, 3])
        assert torch.equal(found.batch(items), whole.batch(items))
        for mine, other in zip(found.split(0.3), whole.split(0.3), strict=True):
            assert mine.keys == other.keys
            assert mine.fingerprint() == other.fingerprint()  # of the pixels of this part


def test_what_changes_the_set_opens_it_anew(tmp_path: Path) -> None:
    source = made(tmp_path / "shards", ("RGB",), broken=False)
    before = read(source, "streamed")
    assert len(read(source, "streamed", size=4).batch(np.arange(2))[0, 0]) == 4
    assert read(source, "streamed", label_pattern=r"(\d)").label_names != before.label_names
    write(source / "00002.tar", {"9.png": picture(99, "RGB")})
    assert len(read(source, "streamed")) == 31
    moved = source.rename(tmp_path / "moved")
    assert torch.equal(read(moved, "streamed").batch(np.arange(30)), before_batch(before, moved))


def before_batch(data: ImageDataset, folder: Path) -> torch.Tensor:
    """The first 30 images, read in memory: the tars of ``data`` are elsewhere now."""
    assert len(data) == 30
    return read(folder, "memory").batch(np.arange(30))


def test_a_damaged_or_lost_cache_is_made_again(tmp_path: Path) -> None:
    source = made(tmp_path / "shards", ("RGB",))
    whole = read(source, "mapped").fingerprint()
    (kept_file,) = cache_folder().with_name("sets").glob("*.npz")
    kept_file.write_bytes(kept_file.read_bytes()[:-200])
    assert read(source, "mapped").fingerprint() == whole
    for place in cache_folder().iterdir():
        if not place.name.startswith("."):
            (place / "pixels.npy").unlink()
            (place / "facts.json").unlink()
    assert read(source, "mapped").fingerprint() == whole


def test_a_tar_that_changes_while_it_is_used_is_named(tmp_path: Path) -> None:
    source = made(tmp_path / "shards", ("RGB",))
    data = read(source, "streamed")
    write(source / "00001.tar", {"0000.png": picture(5, "RGB")})
    data.batch(np.arange(15))
    with pytest.raises(InputError, match=r"00001\.tar has changed since the start; start again"):
        data.batch(np.array([20]))
    (source / "00000.tar").unlink()
    with pytest.raises(InputError, match=r"0000\.png in .*00000\.tar could be read before, and cannot now .*copy"):
        data.batch(np.array([0]))


def test_streaming_is_for_tar_files(tmp_path: Path) -> None:
    for k in range(3):
        path = tmp_path / f"photos/{k}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture(k, "RGB"))
    with pytest.raises(InputError, match=r"data\.store: streamed is for tar files, and .*photos holds others"):
        read(tmp_path / "photos", "streamed")
    with pytest.raises(InputError, match=r"data\.store: memory keeps nothing"):
        kept.kept("0" * 64, lambda: read(tmp_path / "photos", "memory"))


def test_latents_of_a_part_are_recognised_without_decoding_an_image(tmp_path: Path, monkeypatch) -> None:
    source = made(tmp_path / "shards", ("RGB",))
    file = tmp_path / "latents" / "training.npy"

    def latents(part: ImageDataset) -> np.ndarray:
        return encoded(part, lambda x: (x, x.abs()), file, {}, mirrored=False).moments

    first = np.array(latents(read(source, "streamed").split(0.3)[0]))
    with monkeypatch.context() as unread:
        unread.setattr(Pictures, "__getitem__", refused)
        assert np.array_equal(latents(read(source, "streamed").split(0.3)[0]), first)
    others = read(source, "streamed").split(0.3)[1]
    assert len(latents(others)) == len(others)
    assert np.array_equal(latents(read(source, "memory").split(0.3)[0]), first)
    whole = Facts.of_whole(np.zeros(3), "x")
    assert whole.of_part(np.array([0, 1])).origin != whole.of_part(np.array([0, 2])).origin


def test_a_training_reads_ahead_and_is_the_one_in_memory(tmp_path: Path, monkeypatch) -> None:
    """Each image of a step but the first is asked for in the step before, in one batch or in parts."""
    source = made(tmp_path / "shards", ("RGB",))
    settings = ("data.size=8", f"data.source={source}", "training.steps=4", "training.order=windowed")
    settings = (*settings, "training.check_every=0", "training.accumulation=2")
    train(config_of(*settings), out=tmp_path / "memory")
    steps, late = [0], list[int]()
    compute, wanted = Gradients.compute, Pictures.__getitem__

    def counted(self: Gradients, step: int) -> object:
        steps[0] = step
        found = compute(self, step)
        steps[0] = 0
        return found

    def watched(self: Pictures, items: np.ndarray) -> np.ndarray:
        late.extend(steps[0] for item in np.atleast_1d(items).tolist() if item not in self._ahead)
        return wanted(self, items)

    monkeypatch.setattr(Gradients, "compute", counted)
    monkeypatch.setattr(Pictures, "__getitem__", watched)
    train(config_of(*settings, "data.store=streamed"), out=tmp_path / "streamed")
    assert_same(state_of(tmp_path / "streamed", 4), state_of(tmp_path / "memory", 4))
    assert [step for step in late if step] == [1] * 8
