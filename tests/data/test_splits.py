"""Splits of the data's own: what they are called, what is done with each, and which metadata have them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sumi.cli.main import main
from sumi.data.config import DataConfig
from sumi.data.dataset import folder_role, split_role
from sumi.data.image_set import ImageDataset
from sumi.data.load import load
from sumi.errors import InputError


def dataset(*splits: str) -> ImageDataset:
    """One grey 2x2 image a split, under the keys 0.png, 1.png …"""
    keys = tuple(f"{i}.png" for i in range(len(splits)))
    return ImageDataset(np.zeros((len(splits), 1, 2, 2), np.uint8), None, (), None, keys, splits=splits)


def folder(root: Path, *splits: object, table: bool = False) -> Path:
    """A 4x4 image a split, 0.png …, and their metadata; those of None have no line."""
    lines = [] if not table else ["file_name,split"]
    for i, split in enumerate(splits):
        Image.new("RGB", (4, 4), (100 + i, 0, 0)).save(root / f"{i}.png")
        if split is not None:
            lines.append(f"{i}.png,{split}" if table else json.dumps({"file_name": f"{i}.png", "split": split}))
    (root / ("metadata.csv" if table else "metadata.jsonl")).write_text("\n".join(lines))
    return root


def read(root: Path) -> ImageDataset:
    return load(DataConfig(str(root), size=4))


def test_train_is_trained_on_test_held_out_and_all_else_left_alone() -> None:
    whole = dataset("test", "train", "combos", "Training", "", "VALIDATION", "train ")
    for share in (0.01, 0.99):
        train, held_out = whole.split(share)
        assert train.keys == ("1.png", "3.png", "6.png")
        assert held_out.keys == ("0.png", "5.png")
    assert whole.of_split("combos").keys == ("2.png",)
    assert [split_role(name) for name in ("test", "dev", "holdout", "unseen")] == ["held out"] * 3 + [None]


def test_folders_of_splits_may_say_what_they_hold_and_the_year(tmp_path: Path) -> None:
    training = ("train", "Training", "train_images", "images_train", "training set", "trainset", "train2017")
    held_out = ("TEST", "test_images", "val2017", "testing-data", "images-val")
    assert [folder_role(name) for name in training] == ["train"] * len(training)
    assert [folder_role(name) for name in held_out] == ["held out"] * len(held_out)
    assert {folder_role(name) for name in ("cat", "trainers", "data", "set", "train2", "images", "testament")} == {None}
    for place in ("train2017", "val2017", "@eaDir", "lost+found"):
        (tmp_path / place).mkdir()
        for i in range(3):
            Image.new("RGB", (4, 4), (i, 0, 0)).save(tmp_path / place / f"{i}.png")
    assert read(tmp_path).keys == ("0.png", "1.png", "2.png")
    (tmp_path / "val2017").rename(tmp_path / "cat")
    assert read(tmp_path).label_names == ("cat", "train2017")


def test_training_items_are_divided_by_their_hash_where_no_split_is_held_out() -> None:
    whole = dataset(*["combos"] * 20, *["train"] * 40)
    parts = whole.split(0.3)
    alone = replace(whole.subset(range(20, 60)), splits=None).split(0.3)
    assert [part.keys for part in parts] == [part.keys for part in alone]
    assert set(parts[1].splits or ()) == {"train"}


def test_without_training_items_there_is_no_division() -> None:
    with pytest.raises(InputError, match=r"^data.source: none of the splits is train \(2 test, 1 combos\); name"):
        dataset("test", "test", "combos").split(0.1)
    with pytest.raises(InputError, match=r"^split: the data have no split 'combo'; did you mean combos"):
        dataset("train", "combos").of_split("combo")
    with pytest.raises(InputError, match=r"splits: 1 for 2 images"):
        replace(dataset("train", "test"), splits=("train",))


def test_the_fingerprint_knows_the_splits() -> None:
    whole = dataset("train", "test", "train")
    others = [replace(whole, splits=splits) for splits in (("train", "train", "test"), None)]
    assert len({item.fingerprint() for item in (whole, *others)}) == 3
    assert replace(whole, splits=whole.splits).fingerprint() == whole.fingerprint()


@pytest.mark.parametrize("table", [False, True])
def test_metadata_of_a_folder_divide_it(tmp_path: Path, table: bool) -> None:
    whole = read(folder(tmp_path, "train", "test", None, "train", "combos", "test", table=table))
    assert whole.splits == ("train", "test", "", "train", "combos", "test")
    assert whole.notes[-1] == (
        "the data have splits of their own: 2 train: trained on; 2 test: held out, whatever data.held_out is; "
        "1 without a split, 1 combos: left out, neither trained on nor measured"
    )
    assert not any("not used" in note for note in whole.notes)
    assert [part.keys for part in whole.split(0.1)] == [("0.png", "3.png"), ("1.png", "5.png")]


@pytest.mark.parametrize(
    ("splits", "note"),
    [
        (("train",) * 3, "split in the metadata is not used: it is train for all images"),
        (("test",) * 3, "split in the metadata is not used: it is test for all images"),
        (("red", "blue", None), "split in the metadata is not used: no image has train or test, but blue, red"),
    ],
)
def test_splits_that_say_nothing_are_not_used(tmp_path: Path, splits: tuple[str | None, ...], note: str) -> None:
    whole = read(folder(tmp_path, *splits))
    assert whole.splits is None
    assert whole.notes == (note,)
    assert whole.fingerprint() == replace(whole, notes=()).fingerprint()


def test_folders_of_splits_come_before_a_column(tmp_path: Path) -> None:
    """Only the training folder is read, and a column divides its images where it differs among them."""
    for name in ("train/0.png", "train/1.png", "train/2.png", "test/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (10 * int(name[-5]), 0, 0)).save(tmp_path / name)

    def written(*splits: str) -> ImageDataset:
        names = ("train/0.png", "train/1.png", "train/2.png", "test/3.png")
        pairs = zip(names, splits, strict=True)
        lines = [json.dumps({"file_name": name, "split": split}) for name, split in pairs]
        (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
        return read(tmp_path)

    alike = written("train", "train", "train", "test")
    assert (alike.keys, alike.splits, alike.skipped) == (("0.png", "1.png", "2.png"), None, ())
    assert alike.notes == (
        "only train/ is read; test/ left alone",
        "split in the metadata is not used: it is train for all images",
    )
    divided = written("train", "val", "train", "test")
    assert [part.keys for part in divided.split(0.1)] == [("0.png", "2.png"), ("1.png",)]
    assert divided.notes[1] == (
        "the data have splits of their own: 2 train: trained on; 1 val: held out, whatever data.held_out is"
    )


def test_numbers_called_split_stay_numbers(tmp_path: Path) -> None:
    whole = read(folder(tmp_path, 0, 1, 1))
    assert whole.splits is None
    assert whole.notes == ()
    assert whole.column("split").tolist() == [0, 1, 1]


def test_images_that_are_only_named_for_tests_are_not_trained_on(tmp_path: Path) -> None:
    whole = read(folder(tmp_path, "test", None, None))
    with pytest.raises(InputError, match=r"none of the splits is train \(1 test, 2 without a split\)"):
        whole.split(0.1)


def test_a_run_is_trained_on_train_and_measured_on_test_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folder(tmp_path, *["train"] * 6, *["test"] * 3, *["combos"] * 2)
    with (data / "metadata.jsonl").open("a") as lines:
        lines.write('\n{"file_name": "gone.png", "split": "train"}')
    run = tmp_path / "run"
    arguments = ["train", "ddpm", "--data", str(data), "--out", str(run), "--steps", "1", "--device", "cpu"]
    small = ["data.size=8", "network.widths=32", "network.blocks=1", "network.attention=", "training.batch_size=4"]
    assert main([*arguments, *(part for setting in small for part in ("--set", setting))]) == 0
    printed = "".join(capsys.readouterr())
    assert "6 train: trained on; 3 test: held out, whatever data.held_out is; 2 combos: left out, neither" in printed
    assert "6 images (3, 8, 8) to train on, 3 held out, 2 left out" in printed
    report = run / "report/report.html"
    for _ in range(2):
        page = report.read_text()
        assert "6 training images, 3 held out." in page
        assert "2 combos: left out, neither trained on nor measured" in page
        assert "used 11 of 12 files; skipped 1: gone.png: is described in" in page
        report.unlink()
        assert main(["evaluate", str(run), "--device", "cpu"]) == 0
    assert "6 for training, 3 held out" in "".join(capsys.readouterr())
