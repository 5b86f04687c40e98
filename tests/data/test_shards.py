"""Tar files of images in the layout of WebDataset: the set of the same files in a folder."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sumi.data import members
from sumi.data.config import DataConfig
from sumi.data.image_set import ImageDataset
from sumi.data.load import load
from sumi.data.members import members_of
from sumi.errors import InputError
from tests.tar_files import write


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SUMI_CACHE", str(tmp_path / "cache"))


def picture(k: int, kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(k).integers(0, 256, (8, 8, 3), np.uint8)
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, kind)
    return held.getvalue()


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two tars of six images, of two classes, with a caption and a number each; names come again in the second."""
    for shard in range(2):
        files: dict[str, bytes] = {}
        for k in range(3):
            number, kind = 3 * shard + k, "tif" if k == 2 else "png"
            files[f"{k:04d}.{kind}"] = picture(number, "TIFF" if k == 2 else "PNG")
            files[f"{k:04d}.cls"] = str(number % 2).encode()
            files[f"{k:04d}.txt"] = f"picture {number}\n".encode()
            files[f"{k:04d}.json"] = json.dumps({"age": number, "place": "Oslo"}).encode()
        write(tmp_path / f"shards/{shard:05d}.tar", files)
    return tmp_path / "shards"


def read(source: Path, **fields) -> ImageDataset:
    return load(DataConfig(str(source), size=8, **fields))


def test_the_images_of_all_shards_with_what_belongs_to_them(shards: Path) -> None:
    found = read(shards)
    assert found.keys[:4] == ("0000.png@00000.tar", "0001.png@00000.tar", "0002.tif@00000.tar", "0000.png@00001.tar")
    for k in range(6):
        assert np.array_equal(found.images[k], np.asarray(Image.open(io.BytesIO(picture(k)))).transpose(2, 0, 1))
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert found.label_names == ("0", "1")
    assert found.captions == tuple(f"picture {k}" for k in range(6))
    assert found.values["age"].tolist() == [0, 1, 2, 3, 4, 5]
    assert found.skipped == ()
    one = read(shards / "00001.tar")
    assert np.array_equal(one.images, found.images[3:])


def test_mapped_shards_are_the_same_and_their_headers_are_read_once(shards: Path, monkeypatch) -> None:
    whole = read(shards)
    monkeypatch.setattr(members, "_entries", lambda tar: pytest.fail(f"{tar} read again"))
    found = read(shards, store="mapped")
    assert found.fingerprint() == whole.fingerprint()
    assert torch.equal(found.batch(np.arange(6)), whole.batch(np.arange(6)))
    assert found.std() == whole.std()


def test_what_belongs_to_no_image_or_is_damaged_is_named(shards: Path) -> None:
    write(
        shards / "00002.tar", {"0.png": picture(7), "1.png": picture(8)[:90], "2.txt": b"alone", "a/3.png": picture(9)}
    )
    found = read(shards)
    assert [key for key in found.keys if "00002" in key] == ["0.png@00002.tar", "a/3.png@00002.tar"]
    reasons = {skipped.path: skipped.reason for skipped in found.skipped}
    assert "truncated" in reasons["1.png@00002.tar"]
    assert reasons[f"2.txt in {shards / '00002.tar'}"] == "belongs to no image"
    assert found.labels is None


def test_a_tar_that_is_cut_off_or_compressed_is_refused(shards: Path, tmp_path: Path) -> None:
    tar = shards / "00001.tar"
    tar.write_bytes(tar.read_bytes()[: members_of(tar)[5].offset + 10])
    with pytest.raises(InputError, match=r"data\.source: .*00001\.tar (ends within|is no tar, or is damaged)"):
        read(shards)
    tar.write_bytes(b"\x1f\x8b" + bytes(1000))
    with pytest.raises(InputError, match=r"00001\.tar is no tar, or is damaged or compressed"):
        read(shards)
    write(tar, {"0.png": picture(0), "1.png": picture(1), "1.json": b"[1]"})
    with pytest.raises(InputError, match=r"1\.json in .*00001\.tar is not a JSON object"):
        read(tar)


def test_a_folder_of_images_with_an_archive_in_it_stays_a_folder_of_images(shards: Path) -> None:
    for k in range(2):
        (shards / f"{k}.png").write_bytes(picture(k))
    found = read(shards)
    assert found.keys == ("0.png", "1.png")
    assert "archive" in str(found.skipped[0])


def test_texts_are_read_as_those_of_folders_are(tmp_path: Path) -> None:
    files = {f"./{name}/{k}.png": picture(k) for k, name in enumerate(("cat", "cat", "dog"))}
    write(tmp_path / "a/0.tar", {**files, "./cat/0.txt": "\ufeffa cat\r\n\r\n asleep\r\n".encode()})
    found = read(tmp_path / "a")
    assert found.captions == ("a cat\nasleep", "", "")
    assert found.label_names == ("cat", "dog")  # although the tar was made of "."
    assert found.keys[0] == "cat/0.png@0.tar"
    classes = {"0.cls": "\ufeff3".encode(), "1.cls": b"3", "2.cls": b"4", "0.json": '\ufeff{"age": 1}'.encode()}
    write(tmp_path / "b/0.tar", {**{f"{k}.png": picture(k) for k in range(3)}, **classes})
    found = read(tmp_path / "b")
    assert found.label_names == ("3", "4")
    assert found.values["age"][0] == 1


def test_a_set_that_was_opened_by_a_relative_path_is_found_from_elsewhere(shards: Path, monkeypatch) -> None:
    monkeypatch.chdir(shards.parent)
    whole = read(Path("shards"), store="streamed").images[[0, 5]]
    monkeypatch.chdir("/")
    assert np.array_equal(read(shards, store="streamed").images[[0, 5]], whole)


def test_tars_that_were_replaced_with_their_times_are_read_anew(tmp_path: Path) -> None:
    for k, store in enumerate(("mapped", "streamed") * 2):
        write(tmp_path / "a/0.tar", {f"{j}.bmp": picture(10 * k + j, "BMP") for j in range(2)})
        os.utime(tmp_path / "a/0.tar", ns=(1, 1))
        seen = Image.open(io.BytesIO(picture(10 * k)))
        assert np.array_equal(read(tmp_path / "a", store=store).images[0], np.asarray(seen).transpose(2, 0, 1))
