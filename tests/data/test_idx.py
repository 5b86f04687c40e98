"""MNIST's idx files, made here byte by byte: read as they are, and refused where they are damaged."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from sumi.data import memory
from sumi.data.config import DataConfig
from sumi.data.load import load
from sumi.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 4), dtype=np.uint8)
LABELS = bytes([3, 0, 1, 0, 2])
IMAGE_FILE = b"\x00\x00\x08\x03" + struct.pack(">III", 5, 6, 4) + PIXELS.tobytes()
LABEL_FILE = b"\x00\x00\x08\x01" + struct.pack(">I", 5) + LABELS


def write(folder: Path, images: bytes = IMAGE_FILE, labels: bytes | None = LABEL_FILE, name: str = "train") -> Path:
    (folder / f"{name}-images-idx3-ubyte").write_bytes(images)
    if labels is not None:
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(labels)
    return folder


def refusal(folder: Path, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        load(DataConfig(str(folder)))
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_of_idx_files_is_its_training_pair(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, name="t10k", images=IMAGE_FILE[:-24].replace(struct.pack(">I", 5), struct.pack(">I", 4), 1))
    whole = load(DataConfig(str(tmp_path)))

    assert (whole.images == PIXELS[:, None]).all()
    assert whole.images.shape == (5, 1, 6, 4)
    assert whole.labels is not None
    assert whole.labels.tolist() == list(LABELS)
    assert whole.labels.dtype == np.int64
    assert whole.label_names == ("0", "1", "2", "3")
    assert whole.keys == tuple(f"train/0000{i}" for i in range(5))
    assert whole.levels == 256
    assert whole.notes == ("t10k-images was left alone: give its path to use it",)


def test_gzip_is_seen_by_its_bytes_and_older_names_are_known(tmp_path: Path) -> None:
    (tmp_path / "train-images.idx3-ubyte").write_bytes(gzip.compress(IMAGE_FILE))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(LABEL_FILE)
    whole = load(DataConfig(str(tmp_path)))
    assert (whole.images == PIXELS[:, None]).all()
    assert whole.labels is not None


def test_a_file_given_by_its_path_is_read_alone(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, name="t10k", labels=None)
    whole = load(DataConfig(str(tmp_path / "t10k-images-idx3-ubyte"), size=8, channels=3))

    assert whole.images.shape == (5, 3, 8, 8)
    assert whole.keys[0] == "t10k/00000"
    assert whole.labels is None
    assert whole.notes[0] == "no labels lie beside t10k-images-idx3-ubyte: there are no classes"


def test_a_resized_plain_image_keeps_its_level(tmp_path: Path) -> None:
    plain = np.repeat(np.array([0, 100, 127, 128, 255], np.uint8), 24)
    write(tmp_path, images=IMAGE_FILE[:16] + plain.tobytes())
    whole = load(DataConfig(str(tmp_path), size=16))
    for image, level in zip(whole.images, [0, 100, 127, 128, 255], strict=True):
        assert (image == level).all()


def test_a_wrong_magic_number_is_shown(tmp_path: Path) -> None:
    write(tmp_path, images=b"\x00\x00\x0d" + IMAGE_FILE[3:])
    refusal(tmp_path, "train-images-idx3-ubyte", "begins with 00 00 0d 03 where idx has 00 00 08 03")
    write(tmp_path, labels=IMAGE_FILE)
    refusal(tmp_path, "train-labels-idx1-ubyte", "begins with 00 00 08 03 where idx has 00 00 08 01")


@pytest.mark.parametrize("kept", [0, 3, 10, 16, len(IMAGE_FILE) - 1])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path, kept: int, zipped: bool) -> None:
    cut = IMAGE_FILE[:kept]
    write(tmp_path, images=gzip.compress(cut) if zipped else cut)
    refusal(tmp_path, "train-images-idx3-ubyte", "fetch it anew")


@pytest.mark.parametrize("kept", [15, 40, -9, -1])
def test_a_truncated_or_changed_gzip_stream_is_refused(tmp_path: Path, kept: int) -> None:
    zipped = gzip.compress(IMAGE_FILE)
    write(tmp_path, images=zipped[:kept])
    refusal(tmp_path, "is truncated (its gzip stream ends early)")
    changed = bytearray(zipped)
    changed[-6] ^= 1  # in its checksum
    write(tmp_path, images=bytes(changed))
    refusal(tmp_path, "is damaged (CRC check failed")


def test_headers_that_do_not_fit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, images=IMAGE_FILE + b"x")
    refusal(tmp_path, "its header announces 120 bytes and more follow")
    write(tmp_path, labels=b"\x00\x00\x08\x01" + struct.pack(">I", 4) + LABELS[:4])
    refusal(tmp_path, "train-labels-idx1-ubyte: 4 labels for 5 images in train-images-idx3-ubyte")
    write(tmp_path, images=b"\x00\x00\x08\x03" + struct.pack(">III", 1, 6, 4) + bytes(24))
    refusal(tmp_path, "holds 1 image(s); at least 2 images are needed")
    write(tmp_path, images=b"\x00\x00\x08\x03" + struct.pack(">III", 5, 0, 4))
    refusal(tmp_path, "is empty (its header announces 5x0x4)")
    write(tmp_path, images=b"\x00\x00\x08\x03" + struct.pack(">III", 2**32 - 1, 2**16, 2**16) + PIXELS.tobytes())
    monkeypatch.setattr(memory, "available_memory", lambda: 10**12)
    refusal(tmp_path, "4294967295 images of 65536x65536", "1000.0 GB are available")
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    refusal(tmp_path, f"announces {(2**32 - 1) * 2**32} bytes and 120 bytes follow")


def test_several_sets_without_a_training_one_need_a_choice(tmp_path: Path) -> None:
    write(tmp_path, name="a")
    assert len(load(DataConfig(str(tmp_path)))) == 5
    write(tmp_path, name="b")
    refusal(tmp_path, "several idx sets (a-images-idx3-ubyte, b-images-idx3-ubyte)", "give the path of one file")
