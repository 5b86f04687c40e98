"""A picture of any size becomes one of H x W pixels: its middle, all of it on a background, or stretched."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sumi.boundary.settings import override
from sumi.data.config import DataConfig
from sumi.data.decode import Rule, decode
from sumi.data.folder import load_folder
from sumi.data.frame import Fit, Frame, frame_of
from sumi.data.images import ImageSpec
from sumi.data.load import load
from sumi.errors import InputError
from tests.orientations import STORED


def ramps(height: int, width: int) -> np.ndarray:
    """Red grows with the row and green with the column, 0 to 1 of the picture; blue is 200: (H, W, 3)."""
    rows, columns = ((np.arange(side) + 0.5) / side * 255 for side in (height, width))
    return np.stack([*np.broadcast_arrays(rows[:, None], columns), np.full((height, width), 200.0)], 2)


def picture(height: int, width: int) -> Image.Image:
    return Image.fromarray(ramps(height, width).round().astype(np.uint8))


@pytest.mark.parametrize(("own", "shown"), [((120, 120), (80, 120)), ((60, 300), (60, 90)), ((200, 90), (60, 90))])
def test_a_crop_is_the_largest_middle_of_the_wanted_shape(own: tuple[int, int], shown: tuple[int, int]) -> None:
    found = np.asarray(Frame(20, 30).fitted(picture(*own))).astype(float)
    for axis, (side, part, pixels) in enumerate(zip(own, shown, (20, 30), strict=True)):
        places = (side - part) / 2 + part * (np.arange(pixels) + 0.5) / pixels
        line = found[:, 15, 0] if axis == 0 else found[10, :, 1]
        assert np.abs(line - places / side * 255)[2:-2].max() <= 1.5  # the ends lean on what the crop leaves


@pytest.mark.parametrize(("own", "inner"), [((100, 50), (20, 10)), ((60, 300), (6, 30)), ((400, 600), (20, 30))])
def test_padding_keeps_the_whole_picture_in_the_middle(own: tuple[int, int], inner: tuple[int, int]) -> None:
    found = np.asarray(Frame(20, 30, "pad", "#ff8000").fitted(picture(*own))).astype(int)
    top, left = (20 - inner[0]) // 2, (30 - inner[1]) // 2
    inside = np.zeros((20, 30), bool)
    inside[top : top + inner[0], left : left + inner[1]] = True
    assert (found[~inside] == [255, 128, 0]).all()
    assert np.abs(found[inside].reshape(*inner, 3) - ramps(*inner))[1:-1, 2:-2].max() <= 3
    assert (found[inside][:, 2] == 200).all()


def test_stretching_shows_every_part_of_the_picture() -> None:
    found = np.asarray(Frame(20, 30, "stretch").fitted(picture(300, 90))).astype(float)
    assert np.abs(found - ramps(20, 30))[1:-1, 1:-1].max() <= 1.5


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_a_turned_picture_is_fitted_as_it_is_seen(tmp_path: Path, orientation: int, fit: Fit, name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = np.asarray(picture(96, 160))
    options: dict[str, Any] = {"tiffinfo": {274: orientation}} if name == "a.tif" else {"exif": exif}
    options |= {"quality": 100, "subsampling": 0} if name == "a.jpg" else {}
    Image.fromarray(np.ascontiguousarray(STORED[orientation](upright))).save(tmp_path / name, **options)
    frame = Frame(16, 40, fit)
    found = decode(tmp_path / name, frame, None)
    expected = np.asarray(frame.fitted(Image.fromarray(upright))).transpose(2, 0, 1).astype(int)
    assert found.pixels.shape == (3, 16, 40)
    assert np.abs(found.pixels - expected).max() <= (4 if name == "a.jpg" else 1)
    assert found.rules == {Rule.RESIZED}
    same = decode(tmp_path / name, (96, 160), None)
    assert same.rules == frozenset()
    assert np.abs(same.pixels - upright.transpose(2, 0, 1).astype(int)).max() <= 4


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_jpeg_is_reduced_no_further_than_it_is_fitted(tmp_path: Path, orientation: int, fit: Fit) -> None:
    rows, columns = np.indices((400, 640))
    waves = (127.5 + 100 * np.sin(rows / 6) * np.cos(columns / 5)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(STORED[orientation](waves))).save(tmp_path / "a.jpg", exif=exif, quality=98)
    frame = Frame(50, 160, fit)
    found = decode(tmp_path / "a.jpg", frame, 1).pixels[0].astype(int)
    expected = np.asarray(frame.fitted(Image.fromarray(waves)).convert("L"))
    assert np.abs(found - expected).max() <= 12
    assert np.ptp(expected[20:30, 70:90].astype(int)) > 60  # there is detail to lose


def test_notes_say_what_was_done_and_height_comes_first(tmp_path: Path) -> None:
    for k, size in enumerate([(64, 96), (200, 20), (8, 12)]):
        picture(*size).save(tmp_path / f"{k}.png")
    of_each = {
        "crop": "2 of 3 images were resized and centre-cropped to 8x12 (height x width)",
        "pad": "2 of 3 images were resized to fit into 8x12 (height x width) and padded with black",
        "stretch": "2 of 3 images were stretched to 8x12 (height x width)",
    }
    for fit, note in of_each.items():
        data = load_folder(tmp_path, DataConfig("x", size=(8, 12), fit=fit, background="black"))
        assert data.notes == (note,)
        assert data.shape == (3, 8, 12)


@pytest.mark.parametrize(("fit", "enlarged"), [("crop", True), ("stretch", True), ("pad", False)])
def test_a_picture_is_enlarged_where_it_gets_more_pixels(fit: Fit, enlarged: bool) -> None:
    assert Frame(32, 48, fit).enlarges(40, 20) is enlarged
    assert not Frame(32, 48, fit).enlarges(32, 48)
    assert Frame(32, 48, fit).enlarges(31, 47)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_arrays_are_fitted_as_files_are(tmp_path: Path, fit: Fit) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 33, 3), np.uint8)
    np.save(tmp_path / "a.npy", pixels)
    (tmp_path / "files").mkdir()
    for k, one in enumerate(pixels):
        Image.fromarray(one).save(tmp_path / f"files/{k}.png")
    settings: dict[str, Any] = {"size": (12, 9), "fit": fit, "background": "#102030"}
    array = load(DataConfig(str(tmp_path / "a.npy"), **settings))
    files = load(DataConfig(str(tmp_path / "files"), **settings))
    assert np.array_equal(array.batch(np.arange(3)), files.batch(np.arange(3)))
    assert array.shape == (3, 12, 9)


def test_a_size_is_a_number_or_height_x_width() -> None:
    config = DataConfig("digits")
    assert override(config, "size=48x64").size == (48, 64)
    assert override(config, {"size": (48, 64)}).size == (48, 64)
    assert override(config, "size=[48, 64]").size == (48, 64)
    assert override(config, "size=64x64").size == 64  # the same run, however it is written
    assert override(config, "size=none").size is None
    assert frame_of((48, 64)) == Frame(48, 64)
    assert frame_of((48, 64)).turned == Frame(64, 48)
    for wrong in ("48x2", "2000x48", "48x64x3", "48x", "x48", "48xa", "1.5x3", "48,64.5", "big"):
        with pytest.raises(InputError, match=r"^(data\.)?size\b.*") as caught:
            override(config, f"size={wrong}")
        assert "\n" not in str(caught.value)


def test_data_are_read_in_the_shape_of_a_model() -> None:
    config = ImageSpec(3, 48, 64, 256, ()).reading(DataConfig("digits"))
    assert config.size == (48, 64)
    assert ImageSpec(3, 32, 32, 256, ()).reading(DataConfig("digits")).size == 32


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_mask_follows_its_picture_and_loses_no_pixel(fit: Fit) -> None:
    """A mark of its own in the picture is where the mask says, whatever became of both."""
    frame = Frame(20, 30, fit, "black")
    painted = np.zeros((200, 90), bool)
    painted[100:120, 40:60] = True
    marked = np.asarray(frame.fitted(Image.fromarray((255 * painted).astype(np.uint8))).convert("L")) > 127
    mask = frame.fitted_mask(painted)
    assert mask.shape == (20, 30)
    assert not (marked & ~mask).any()
    assert mask.sum() <= marked.sum() + 2 * 2 * (sum(np.ptp(np.nonzero(marked), 1)) + 4)  # and the edge at most
    lone = np.zeros((2000, 900), bool)
    lone[1000, 450] = True
    assert frame.fitted_mask(lone).sum() == 1
    assert not frame.fitted_mask(np.zeros((7, 5), bool)).any()
    assert np.array_equal(frame.fitted_mask(mask), mask)
