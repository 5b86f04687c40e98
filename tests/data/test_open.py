"""The door for data of any form: what each form is taken for, and one line for what is none."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import sumi
from sumi.data import open_data
from sumi.data.config import MEMORY, DataConfig
from sumi.data.dataset import Dataset, every_label, everything
from sumi.data.images import ImageSpec
from sumi.data.open import materialised, outline_of
from sumi.data.pixels import PixelRange
from sumi.data.vectors import VectorSpec
from sumi.errors import InputError

DRAW = np.random.default_rng(0)
GREY = DRAW.integers(0, 256, (40, 8, 6), dtype=np.uint8)
COLOUR = DRAW.integers(0, 256, (40, 8, 6, 3), dtype=np.uint8)
CLASSES = np.arange(40) % 3
TINY = ["network.widths=32,32", "network.blocks=1,1", "training.batch_size=8", "training.sample_every=0"]


class Labelled:
    """As torch's data sets: a length, and (image, label) by number."""

    classes = ("cat", "dog", "owl", "yak")

    def __init__(self, image: Callable[[np.ndarray], Any] = Image.fromarray) -> None:
        self.image = image

    def __len__(self) -> int:
        return len(GREY)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        return self.image(GREY[i]), int(CLASSES[i])


def in_255ths(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).float()[None] / 255


IMAGES: dict[str, tuple[Callable[[], object], np.ndarray, tuple[str, ...]]] = {
    "(N, H, W)": (lambda: GREY, GREY[:, None], ()),
    "(N, H, W, 1)": (lambda: GREY[..., None], GREY[:, None], ()),
    "(N, H, W, 3)": (lambda: COLOUR, COLOUR.transpose(0, 3, 1, 2), ()),
    "(N, 3, H, W), a tensor": (
        lambda: torch.from_numpy(COLOUR).permute(0, 3, 1, 2),
        COLOUR.transpose(0, 3, 1, 2),
        (),
    ),
    "images and classes by number": (lambda: (GREY, CLASSES), GREY[:, None], ("0", "1", "2")),
    "images and classes by name": (lambda: (GREY, np.array(["c", "a", "b"])[CLASSES]), GREY[:, None], ("a", "b", "c")),
    "images and a list of classes": (lambda: (GREY, CLASSES.tolist()), GREY[:, None], ("0", "1", "2")),
    "pictures": (lambda: [Image.fromarray(image) for image in COLOUR], COLOUR.transpose(0, 3, 1, 2), ()),
    "a generator of pictures": (lambda: (Image.fromarray(image) for image in GREY), GREY[:, None], ()),
    "a list of arrays": (lambda: list(GREY), GREY[:, None], ()),
    "(picture, label) by number": (Labelled, GREY[:, None], Labelled.classes),
    "(tensor in [0, 1], label) by number": (lambda: Labelled(in_255ths), GREY[:, None], Labelled.classes),
}


@pytest.mark.parametrize("form", IMAGES)
def test_images_of_every_form_are_the_same_pixels(form: str) -> None:
    data, pixels, names = IMAGES[form]
    found = open_data(data())
    channels, height, width = pixels.shape[1:]
    assert found.spec == ImageSpec(channels, height, width, 256, names)
    assert torch.equal(everything(found), PixelRange().to_model(pixels.copy()))
    if names:
        given = "cab" if names == ("a", "b", "c") else names
        assert [names[k] for k in every_label(found)] == [given[k] for k in CLASSES]
    else:
        with pytest.raises(InputError, match="labels: the data have no classes"):
            every_label(found)


def test_what_is_known_unread_is_what_is_read() -> None:
    bits = DRAW.integers(0, 2, (30, 5))
    for data in (GREY, COLOUR, bits, 2.0 * bits, torch.from_numpy(COLOUR)):
        known, read = outline_of(data, DataConfig(MEMORY)), open_data(data).spec
        assert (known.name, known.shape, known.levels) == (read.name, read.shape, read.levels)


def test_numbers_are_read_at_the_precision_that_they_have() -> None:
    images = torch.rand(9, 1, 8, 6, generator=torch.Generator().manual_seed(0)).bfloat16()
    config = DataConfig(MEMORY, range=(0, 1))
    assert torch.equal(everything(open_data(images, config)), everything(open_data(images.float(), config)))


def test_numbers_are_vectors_or_bits() -> None:
    rows = DRAW.normal(size=(30, 2))
    for data in (rows, torch.from_numpy(rows), rows.tolist(), list(rows), [(row, 0) for row in rows]):
        found = open_data(data)
        assert isinstance(found.spec, VectorSpec)
        assert found.spec.to_units(everything(found)) == pytest.approx(rows, abs=1e-6)
    assert open_data(rows > 0).spec.levels == 2


def test_the_owner_of_an_array_may_write_to_it_afterwards() -> None:
    mine = GREY.copy()
    found = open_data(mine)
    before = found.fingerprint()
    mine[:] = 0
    assert found.fingerprint() == before


def test_pictures_of_many_sizes_are_fitted_as_files_are(tmp_path: Path) -> None:
    pictures = [Image.fromarray(DRAW.integers(0, 256, (9 + k, 12, 3), dtype=np.uint8)) for k in range(5)]
    for k, picture in enumerate(pictures):
        picture.save(tmp_path / f"{k}.png")
    found, files = open_data(pictures), open_data(tmp_path)
    assert torch.equal(everything(found), everything(files))
    assert found.notes == files.notes
    config = DataConfig(MEMORY, size=16, channels=1)
    assert torch.equal(
        everything(open_data(pictures, config)), everything(open_data(tmp_path, replace(config, source=str(tmp_path))))
    )


def test_arrays_are_made_to_the_size_and_channels_configured() -> None:
    assert open_data(COLOUR, DataConfig(MEMORY, size=16, channels=1)).shape == (1, 16, 16)
    assert open_data(GREY, DataConfig(MEMORY, channels=3)).shape == (3, 8, 6)
    grey = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in COLOUR])
    assert torch.equal(everything(open_data(COLOUR, DataConfig(MEMORY, channels=1))), everything(open_data(grey)))


def test_a_file_of_images_is_the_array_in_it(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", COLOUR)
    found = open_data(tmp_path / "mine.npy")
    assert found.fingerprint() == open_data(COLOUR).fingerprint()
    assert open_data(str(tmp_path / "mine.npy"), DataConfig(MEMORY, size=8)).shape == (3, 8, 8)


def test_names_and_data_sets_of_sumi_pass() -> None:
    digits = open_data("digits")
    assert open_data(digits) is digits
    assert isinstance(digits, Dataset)


REFUSED: dict[str, tuple[object, str]] = {
    "a number": (3, "data: int has no items by number; give a path, an array"),
    "a table": ({"a": 1, "b": 2}, "data: dict has no items by number"),
    "nothing": ([], r"data: gives 0 item\(s\), and at least 2 are needed"),
    "a generator that gave all": (iter(()), "a generator gives its items once: make a new one"),
    "one picture": ([GREY[0]], r"data: gives 1 item\(s\)"),
    "one of an array": (GREY[:1], r"data.source: the array holds 1 image\(s\); at least 2"),
    "floats": (GREY / 7.0, r"^data.range: the array holds images of float64, from 0 to 36.4286; state their lowest"),
    "floats one by one": ([DRAW.normal(size=(8, 8)) for _ in range(3)], "item 0 holds floats that are no 255ths"),
    "whole numbers": ([image.astype(np.int64) for image in GREY], "item 0 holds int64 pixels; give uint8"),
    "channels at both ends": (np.zeros((9, 3, 8, 3), np.uint8), "either end may be its channels"),
    "mixed": ([GREY[0], [1.0, 2.0]], "some items are images and some are not"),
    "ragged": ([[1.0, 2.0], [3.0]], "neither images nor equally long rows of numbers"),
    "paths": (["a.png", "b.png"], r"item 0 is a str; give images, of a path PIL.Image.open\(path\)"),
    "tables": ([{"image": GREY[0]}] * 2, r"item 0 is a dict; give images"),
    "classes as ones and zeros": ([(GREY[0], torch.eye(2)[0])] * 2, r"item 0 has the label tensor\(\[1., 0.\]\)"),
    "floating-point pixels": ([Image.new("F", (8, 8))] * 2, "item 0: floating-point pixels have no fixed range"),
    "labels of some": (
        [(GREY[0], "a"), (GREY[1], None)],
        "data: item 1 has no label, and others have one; give one to",
    ),
    "masked pixels": (np.ma.masked_equal(np.stack([GREY[0]] * 9), GREY[0, 0, 0]), "of its values are masked"),
    "no path": (Path("nowhere"), "data.source: nowhere does not exist"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_data_of_no_form_that_is_known_are_refused_in_one_line(case: str) -> None:
    data, why = REFUSED[case]
    with pytest.raises(InputError, match=why) as caught:
        open_data(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("broken", [TypeError, KeyError])
def test_an_error_of_a_data_set_of_ones_own_is_shown(broken: type[Exception]) -> None:
    class Broken(Labelled):
        at = 0

        def __getitem__(self, i: int) -> tuple[Any, int]:
            if i == self.at:
                raise broken("mine")
            return super().__getitem__(i)

    data = Broken()
    with pytest.raises(InputError, match=rf"\(item 0: {broken.__name__}\('mine'\)\)$"):
        open_data(data)
    data.at = 3
    with pytest.raises(broken, match="mine"):
        open_data(data)


def test_a_run_on_data_in_memory_is_gone_on_with_and_evaluated_with_the_same_data(tmp_path: Path) -> None:
    """Those that it was trained on are at hand; read from its folder it asks for them, and notices others by their
    fingerprint.
    """
    out = tmp_path / "run"
    pictures = (picture for picture, _ in map(Labelled().__getitem__, range(40)))  # can be read once alone
    model = sumi.train("ddpm", data=pictures, out=out, steps=2, settings=[*TINY, "data.size=8"])
    assert (model.config.data.source, model.items.shape) == (MEMORY, (1, 8, 8))
    assert model.load_data().fingerprint() == model.description.data_fingerprint
    model = sumi.load(out)
    for use in (
        lambda: sumi.train("ddpm", out=out, steps=3, resume=True),
        lambda: sumi.train(str(out / "config.json"), out=tmp_path / "other"),
        model.load_data,
        lambda: sumi.evaluate(model),
    ):
        with pytest.raises(InputError, match=r"^data: this run's data were in memory, of which no copy is kept; give"):
            use()
    same = [Image.fromarray(image) for image in GREY]
    with pytest.raises(InputError, match=r"^data: differ from those the run was started with; give the same data"):
        sumi.train("ddpm", data=same[1:], out=out, steps=3, resume=True)
    assert sumi.train("ddpm", data=same, out=out, steps=3, resume=True).step == 3
    assert model.load_data(same).fingerprint() == model.description.data_fingerprint
    assert "Too few" in sumi.evaluate(model, data=same, n=12).verdict


def test_only_what_can_be_read_once_is_copied() -> None:
    rows = [[1.0], [2.0]]
    assert materialised(rows) is rows
    assert materialised(GREY) is GREY
    assert materialised("digits") == "digits"
    assert materialised(iter(rows)) == rows


def test_labels_of_another_number_than_the_images_are_one_line() -> None:
    images = np.zeros((5, 8, 8), np.uint8)
    with pytest.raises(InputError, match=r"^data: has 5 images and 3 labels; give one label for each image$"):
        open_data((images, np.arange(3)))
