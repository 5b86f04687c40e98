"""The built-in characters: the pictures, what is known of each, their splits, and how they were drawn and packed."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from scripts import make_characters
from scripts.pack_characters import COLOURS, pack, pictures, reduced
from sumi.data.builtin import characters
from sumi.data.config import DataConfig
from sumi.data.image_set import ImageDataset
from sumi.data.load import load, peek


@pytest.fixture(scope="module")
def whole() -> ImageDataset:
    return load(DataConfig("characters"))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, whole: ImageDataset) -> ImageDataset:
    """The set as if it held the first 20 pictures of each split."""
    starts = (0, 19_965, 21_000)
    chosen = [start + i for start in starts for i in range(20)]
    part = whole.subset(chosen)
    known = zip(part.splits or (), part.captions or (), part.attributes or (), part.mentioned or (), strict=True)
    names = ("split", "caption", "attrs", "tells")
    rows = [dict(zip(names, each, strict=True)) for each in known]
    monkeypatch.setattr(characters, "unpack", lambda _: (part.images, rows))
    return part


def test_the_pictures_are_fixed(whole: ImageDataset) -> None:
    assert whole.images.shape == (24_000, 3, 64, 64)
    assert whole.images[0, :, 0, 0].tolist() == [21, 23, 28]  # black
    assert whole.images[-1, :, 32, 32].tolist() == [249, 163, 214]  # pink
    digest = hashlib.sha256(whole.images.data).hexdigest()
    assert digest == "53df93e6ccc90571c8b079e031da4057a57c78a12d10b128a14e8fb0f9f6fcb4"
    assert (whole.keys[0], whole.keys[-1], whole.levels, whole.skipped) == (
        "characters/00000",
        "characters/23999",
        256,
        (),
    )
    assert whole.fingerprint() == "f8db5511cf92da7824331b63cccd74a0fdb626cde11f8a73f99c093817b705c0"


def test_each_has_a_kind_a_caption_and_attributes(whole: ImageDataset) -> None:
    assert whole.label_names == ("face", "monster", "person", "planet", "plant", "robot")
    assert whole.labels is not None
    assert whole.captions is not None
    assert whole.attributes is not None
    assert np.bincount(whole.labels).tolist() == [4000] * 6
    assert [whole.label_names[label] for label in whole.labels] == [known["kind"] for known in whole.attributes]
    assert whole.captions[0] == "a little purple creature, sleepy eyes, a zigzag mouth, pointed ears"
    assert whole.captions[-1] == "a pink face with tired eyes on a violet background"
    assert whole.attributes[-1] == {
        "kind": "face",
        "color": "pink",
        "background": "violet",
        "shape": "tall",
        "eyes": "sleepy",
        "mouth": "smile",
    }


def test_unseen_combinations_are_neither_trained_on_nor_held_out(whole: ImageDataset) -> None:
    assert Counter(whole.splits) == {"train": 19_965, "test": 1_035, "combos": 3_000}
    assert whole.notes == (
        "the data have splits of their own: 19965 train: trained on; 1035 test: held out, whatever data.held_out is; "
        "3000 combos: left out, neither trained on nor measured",
    )
    train, held_out = whole.split(0.5)
    combos = whole.of_split("combos")
    assert (len(train), len(held_out), len(combos)) == (19_965, 1_035, 3_000)
    for part, unseen in ((train, False), (held_out, False), (combos, True)):
        assert part.attributes is not None
        assert {make_characters.unseen(dict(known)) is not None for known in part.attributes} == {unseen}


def test_another_size_is_resized_as_files_are(few: ImageDataset) -> None:
    halved = load(DataConfig("characters", size=32))
    assert halved.images.shape == (60, 3, 32, 32)
    assert (halved.captions, halved.splits, halved.attributes) == (few.captions, few.splits, few.attributes)
    means = few.images.reshape(60, 3, 32, 2, 32, 2).mean((3, 5))
    assert np.abs(halved.images - means).mean() < 4
    grey = load(DataConfig("characters", channels=1))
    assert grey.images.shape == (60, 1, 64, 64)


@pytest.mark.parametrize(("size", "channels"), [(None, None), (32, None), (16, 1)])
def test_what_they_will_be_is_known_unread(
    few: ImageDataset, monkeypatch: pytest.MonkeyPatch, size: int | None, channels: int | None
) -> None:
    config = DataConfig("characters", size=size, channels=channels)
    spec = load(config).spec
    monkeypatch.setattr(characters, "unpack", lambda _: pytest.fail("the file was read"))
    assert peek(config) == spec


def test_packing_keeps_up_to_32_colours_exactly(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    few_colours = draw.integers(0, 256, (20, 3), np.uint8)[draw.integers(0, 20, (3, 8, 8))]
    rows = [{"split": "train", "caption": str(i)} for i in range(3)]
    content, error = pack(iter(few_colours), rows, {"size": 8, "name": "squares"})
    (tmp_path / "squares.xz").write_bytes(content)
    images, found = characters.unpack(tmp_path / "squares.xz")
    assert (images == few_colours.transpose(0, 3, 1, 2)).all()
    assert (found, error) == (rows, 0)


def test_a_reduced_picture_has_its_most_frequent_colour_first() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (16, 16, 3), np.uint8)
    picture[:, 4:] = (10, 20, 30)
    indices, palette = reduced(picture)
    assert palette.shape == (COLOURS, 3)
    assert palette[0].tolist() == [10, 20, 30]
    assert (np.diff(np.bincount(indices.ravel(), minlength=COLOURS)) <= 0).all()


def test_the_set_is_made_again_from_its_seed(
    whole: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dicebear", reason="draws with dicebear-core 10.7.0, dicebear-styles 10.6.0, resvg-py 0.5.0")
    monkeypatch.setattr("sys.argv", ["make_characters", str(tmp_path), "--per-kind", "8"])
    make_characters.main()
    rows = [json.loads(line) for line in (tmp_path / "captions.jsonl").read_text().splitlines()]
    about = json.loads((tmp_path / "about.json").read_text())
    assert whole.captions is not None
    assert whole.attributes is not None
    place = {(json.dumps(a), c): i for i, (a, c) in enumerate(zip(whole.attributes, whole.captions, strict=True))}
    for picture, row in zip(pictures(tmp_path, about, len(rows)), rows, strict=True):
        i = place[json.dumps(row["attrs"]), row["caption"]]
        indices, palette = reduced(picture)
        assert (whole.images[i] == palette[indices].transpose(2, 0, 1)).all()
        assert whole.splits is not None
        assert whole.splits[i] == row["split"]
    assert len(rows) == 48
