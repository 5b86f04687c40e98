"""What is noted or refused of a data set before training."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sumi.data.cautions import cautions, scarcity
from sumi.data.config import DataConfig
from sumi.data.load import load
from sumi.data.open import open_data
from sumi.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 4, 4), dtype=np.uint8)


def noted(labels: np.ndarray) -> tuple[str, ...]:
    """With the first 30 images to train on."""
    whole = open_data((IMAGES, labels))
    return cautions(whole, whole.subset(np.arange(30)))


def test_a_class_without_images_to_train_on_is_named_with_its_share() -> None:
    labels = np.array(["big"] * 39 + ["one"])
    assert noted(labels) == ("held out are all images of class one (1 of 40): no image to train on; add some",)
    assert noted(labels[::-1]) == ("there is one image to train on of class one (1 of 30)",)
    assert noted(np.array(["big", "other"] * 20)) == ()


def test_names_of_classes_that_clash_are_noted() -> None:
    assert noted(np.array(["all", "cat"] * 20)) == (
        'label "all" stands for every class: give the class called all as number 0',
    )
    assert noted(np.array(["cat", "Cat"] * 20)) == ("classes that differ in upper and lower case alone: Cat, cat",)


def test_images_that_are_all_alike_are_refused(tmp_path: Path) -> None:
    for k in range(300):
        Image.new("L", (4, 4), 90 if k < 299 else 91).save(tmp_path / f"{k:03d}.png")
    whole = load(DataConfig(str(tmp_path), size=4))
    assert cautions(whole, whole) == ()  # the last one differs
    with pytest.raises(InputError, match=r"^data: all 299 images to train on are alike; give"):
        cautions(whole, whole.subset(np.arange(299)))


def test_columns_of_unlike_scale_are_named(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(400, 3)) * [1e6, 1, 1e5]
    assert [note for note in open_data(rows).notes if "column" in note] == [
        "columns whose deviation is below 0.01 of column 0's are hardly learned: 1 (1e-06); scale the columns alike"
    ]
    assert not [note for note in open_data(rows[:, [0, 2]]).notes if "column" in note]


def test_few_images_are_noted_and_enough_are_not() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1000, 4, 4), dtype=np.uint8)
    assert scarcity(open_data(images)) == ()
    (line,) = scarcity(open_data(images[:999]))
    assert line == "999 images to train on: expect copies; see docs/how-to/small-data.md"
    assert scarcity(load(DataConfig("swiss-roll")).subset(np.arange(50))) == ()  # points of a plane are no pictures
