"""Arrays of images: their axes, their range and levels, their way back to the data's own units, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import sumi
from sumi.data import open_data
from sumi.data.arrays import channels_first
from sumi.data.config import MEMORY, DataConfig
from sumi.data.dataset import every_label, everything
from sumi.data.files import Writing
from sumi.data.images import ImageSpec
from sumi.data.load import load, peek
from sumi.data.open import outline_of
from sumi.errors import InputError
from sumi.figures.canvas import canvas, show_image

DRAW = np.random.default_rng(0)
FLOATS = DRAW.random((20, 8, 6, 5), dtype=np.float32)
WIDE = (FLOATS * 65535).astype(np.uint16)
SIGNED = np.round(FLOATS * 4000 - 1024).astype(np.int16)
BROKEN = FLOATS.copy()
BROKEN[7, 1, 1, 1] = np.nan
CLASSES = np.arange(20) % 3
TINY = ["network.widths=32,32", "network.blocks=1,1", "training.batch_size=8", "training.sample_every=0"]


def within(low: float, high: float, **more: Any) -> DataConfig:
    return DataConfig(MEMORY, range=(low, high), **more)


ANY = DataConfig(MEMORY)
ROUND_TRIPS: dict[str, tuple[NDArray[Any], DataConfig, int, float]] = {
    "floats": (FLOATS, within(0, 1), 2**16, 0.5 / 65535),
    "double floats of another range": (10 * FLOATS.astype(np.float64) - 3, within(-3, 7), 2**16, 5.1 / 65535),
    "16 bits": (WIDE, ANY, 2**16, 0),
    "16 bits of another byte order": (WIDE.astype(">u2"), ANY, 2**16, 0),
    "12 bits": (WIDE >> 4, within(0, 4095), 4096, 0),
    "signed": (SIGNED, within(-1024, 3071), 4096, 0),
    "bytes": ((FLOATS * 255).astype(np.uint8), ANY, 256, 0),
    "two channels of a byte": ((FLOATS[..., :2] * 255).astype(np.uint8), ANY, 256, 0),
    "few levels": ((FLOATS[..., :3] * 9).astype(np.uint8), within(0, 9), 10, 0),
    "32 bits": (np.int32(1000) * SIGNED, within(-1024000, 3071000), 2**16, 32),
}


@pytest.mark.parametrize("case", ROUND_TRIPS)
def test_values_come_back_in_their_own_units(case: str) -> None:
    array, config, levels, rounding = ROUND_TRIPS[case]
    data = open_data(array, config)
    x = everything(data)
    assert data.spec.levels == levels == outline_of(array, config).levels
    assert float(x.abs().max()) <= 1
    spec = data.spec
    assert isinstance(spec, ImageSpec)
    back = spec.to_units(x)
    assert back.dtype == (np.float32 if rounding else array.dtype.newbyteorder("="))
    assert back.transpose(0, 2, 3, 1) == pytest.approx(
        array, abs=rounding + 1e-6 * float(np.abs(array).max()) * (rounding > 0)
    )
    assert torch.allclose(spec.of_units(back), x, rtol=0, atol=1e-6)


def test_the_ends_of_the_range_are_the_ends_of_the_models() -> None:
    array = np.linspace(-2, 6, 2 * 8 * 8, dtype=np.float64).reshape(2, 8, 8)
    x = everything(open_data(array, within(-2, 6)))
    assert x.flatten().numpy() == pytest.approx(np.linspace(-1, 1, 128), abs=1 / 65535)
    assert (x.min(), x.max()) == (-1, 1)


def test_bytes_in_their_full_range_are_pictures_as_ever() -> None:
    pixels = (FLOATS[..., :3] * 255).astype(np.uint8)
    stated, plain = open_data(pixels, within(0, 255)), open_data(pixels)
    assert stated.spec == plain.spec
    assert stated.fingerprint() == plain.fingerprint()


@pytest.mark.parametrize(
    ("shape", "channels_height_width"),
    [
        ((2, 8, 6), (1, 8, 6)),
        ((2, 8, 6, 1), (1, 8, 6)),
        ((2, 8, 6, 2), (2, 8, 6)),
        ((2, 5, 8, 6), (5, 8, 6)),
        ((2, 8, 9, 7), (7, 8, 9)),
        ((2, 3, 2, 2), (3, 2, 2)),  # colour, whatever the sides
        ((2, 4, 4, 3), (3, 4, 4)),
    ],
)
def test_channels_are_of_length_1_or_3_or_the_shorter_end(
    shape: tuple[int, ...], channels_height_width: tuple[int, int, int]
) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    found = channels_first(array, "it")
    assert found.shape[1:] == channels_height_width
    assert found[1, -1, 1, 0] == (
        array[1, 1, 0] if array.ndim == 3 else array[(1, -1, 1, 0) if found is array else (1, 1, 0, -1)]
    )


def test_ranges_that_differ_are_other_data() -> None:
    one, other = (open_data(FLOATS, within(0, high)) for high in (1, 2))
    assert one.fingerprint() != other.fingerprint()
    with pytest.raises(InputError, match="give data of that kind"):
        one.fitted_to(other.spec, "it")
    assert one.fitted_to(one.spec, "it") is one


def test_the_same_levels_of_another_range_are_other_data() -> None:
    one, double = (open_data(high * FLOATS, within(0, high)) for high in (1, 2))
    assert np.array_equal(one.images, double.images)
    assert one.fingerprint() != double.fingerprint()


def test_resizing_keeps_channels_apart_and_the_range() -> None:
    flat = np.broadcast_to(np.array([0.0, 0.25, 0.5, 0.75, 1.0]), (4, 9, 9, 5)) + np.zeros((4, 9, 9, 5))
    data = open_data(flat, within(0, 1, size=(12, 6)))
    spec = data.spec
    assert isinstance(spec, ImageSpec)
    assert data.shape == (5, 12, 6)
    assert spec.to_units(everything(data))[0, :, 3, 3] == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=1 / 65535)
    assert "resized from 9x9 to 12x6" in data.notes[0]


def test_sixteen_bits_that_use_few_of_them_are_noted() -> None:
    assert "goes up to 4095 of 65535: data.range=0,4095" in open_data(np.maximum(WIDE >> 4, 4095)).notes[0]
    assert open_data(WIDE).notes == ()
    assert open_data(WIDE >> 4, within(0, 4095)).notes == ()


class Pairs:
    classes = ("a", "b", "c")

    def __init__(self, form: Callable[[NDArray[Any]], object]) -> None:
        self.form = form

    def __len__(self) -> int:
        return len(FLOATS)

    def __getitem__(self, i: int) -> tuple[object, int]:
        return self.form(FLOATS[i]), int(CLASSES[i])


def test_items_of_a_data_set_are_read_as_the_array_of_them() -> None:
    tensors = open_data(Pairs(lambda image: torch.from_numpy(image).permute(2, 0, 1)), within(0, 1))
    assert tensors.label_names == Pairs.classes
    assert every_label(tensors).tolist() == CLASSES.tolist()
    assert torch.equal(everything(tensors), everything(open_data(FLOATS, within(0, 1))))
    wide = open_data(list(WIDE[..., 0]))
    assert (wide.shape, wide.spec.levels) == ((1, 8, 6), 2**16)


def test_an_archive_names_its_images_and_classes(tmp_path: Path) -> None:
    file = tmp_path / "mine.npz"
    np.savez(file, images=SIGNED, labels=CLASSES[:, None], more=np.ones(3))
    config = DataConfig(str(file), range=(-1024, 3071))
    data = load(config)
    assert data.spec == ImageSpec(5, 8, 6, 4096, ("0", "1", "2"), (-1024.0, 3071.0))
    assert peek(config).shape == data.shape
    assert every_label(data).tolist() == CLASSES.tolist()
    np.savez_compressed(file, x=SIGNED, y=np.array(["b", "a", "c"])[CLASSES])
    named = load(DataConfig(str(file), range=(-1024, 3071), array="x", labels="y"))
    assert [named.label_names[k] for k in every_label(named)] == [("b", "a", "c")[k] for k in CLASSES]
    np.savez(file, only=WIDE)
    assert torch.equal(everything(load(DataConfig(str(file)))), everything(open_data(WIDE)))


REFUSED: dict[str, tuple[object, DataConfig, str]] = {
    "no range": (FLOATS, ANY, r"^data.range: the array holds images of float32, from .* state their lowest"),
    "out of range": (FLOATS * 2, within(0, 1), r"^data.range: the array holds values from .* beyond 0 to 1; give a ra"),
    "below the range": (SIGNED, within(0, 3071), r"^data.range: the array holds values from -1[0-9]+ to .* beyond 0"),
    "NaN": (BROKEN, within(0, 1), "has NaN or infinite values in image 7; remove"),
    "objects": (FLOATS.astype(object), within(0, 1), "holds object .*, not numbers"),
    "ends alike": (np.zeros((9, 8, 9, 8), np.uint8), ANY, "either end may be its channels; give"),
    "the middle shortest": (np.zeros((9, 8, 4, 6), np.uint8), ANY, "C smaller than height and width"),
    "other channels": (FLOATS, within(0, 1, channels=3), r"^data.channels: the images have 5 channels"),
    "padding": (FLOATS, within(0, 1, size=16, fit="pad"), "^data.fit: pad is for grey and colour images"),
    "vectors": (FLOATS.reshape(20, -1), within(0, 1), "^data.range: memory holds vectors"),
    "pictures": ([Image.new("L", (8, 8))] * 2, within(0, 1), "^data.range: is for arrays"),
    "five channels of pictures": ([Image.new("L", (8, 8))] * 2, DataConfig(MEMORY, channels=5), "^data.channels: 5"),
    "labels of two axes": ((WIDE, np.ones((20, 2), int)), ANY, r"^data: labels are int64 \(20, 2\)"),
    "labels that are floats": ((WIDE, np.ones(20)), ANY, r"^data: labels are float64"),
    "images of two sizes": ([WIDE[0], WIDE[1, :4]], ANY, "^data: items are neither"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_will_not_do_is_one_line(case: str) -> None:
    data, config, why = REFUSED[case]
    with pytest.raises(InputError, match=why) as caught:
        open_data(data, config)
    assert "\n" not in str(caught.value)


def test_archives_that_will_not_do_are_one_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.npz"
    np.savez(file, images=WIDE, labels=CLASSES[:5])
    with pytest.raises(InputError, match="has 20 images and 5 labels"):
        load(DataConfig(str(file)))
    with pytest.raises(InputError, match=r"^data.labels: .* has no array 'label'; did you mean labels"):
        load(DataConfig(str(file), labels="label"))
    np.savez(file, train=WIDE, test=WIDE)
    with pytest.raises(InputError, match=r"^data.array: .* holds train, test; name the array of images"):
        load(DataConfig(str(file)))
    np.savez(file, allow_pickle=True, images=FLOATS.astype(object))
    with pytest.raises(InputError, match=r"cannot be read as .npz \(Object arrays cannot be loaded"):
        load(DataConfig(str(file)))
    np.save(tmp_path / "mine.npy", WIDE)
    with pytest.raises(InputError, match=r"^data.labels: .* holds one array"):
        load(DataConfig(str(tmp_path / "mine.npy"), labels="y"))
    for source in ("digits", str(tmp_path)):
        with pytest.raises(InputError, match=r"^data.range: is for arrays"):
            load(DataConfig(source, range=(0, 1)))


@pytest.mark.parametrize("form", ["", "npz"])
def test_samples_are_written_in_the_units_of_the_data_with_a_picture(tmp_path: Path, form: str) -> None:
    data = open_data(SIGNED, within(-1024, 3071))
    x = everything(data)
    data.spec.write(tmp_path, lambda batch: x[list(batch)], range(20), Writing(8, "", {"seed": 0}, format=form))
    held = np.load(tmp_path / f"samples.{form or 'npy'}")
    np.testing.assert_array_equal(held["arr_0"] if form else held, SIGNED)
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.width > grid.height  # three channels beside each other, in two rows, of 8x6 pixels
    with pytest.raises(InputError, match=r"^format: png holds grey or colour images of 8 bits, and these have 5 ch"):
        data.spec.write(tmp_path / "b", lambda batch: x[list(batch)], range(20), Writing(8, "", {}, format="png"))


def test_images_of_five_channels_are_trained_on_and_sampled(tmp_path: Path) -> None:
    settings = [*TINY, "data.range=-1024,3071", "data.size=8"]
    model = sumi.train("classifier-free", data=(SIGNED, CLASSES), out=tmp_path / "run", steps=1, settings=settings)
    samples = sumi.load(tmp_path / "run").sample(3, label="1", steps=2)
    assert samples.shape == (3, 5, 8, 8)
    assert model.images.to_units(samples).dtype == np.int16
    assert model.load_data((SIGNED, CLASSES)).fingerprint() == model.description.data_fingerprint
    with pytest.raises(InputError, match=r"^images?: a picture has 1 or 3 channels, the model's images have 5; give"):
        model.vary(Image.new("RGB", (8, 8)), 0.5)
    assert model.vary(samples[0], 0.5, n=2, steps=2).shape == (2, 5, 8, 8)


def test_figures_show_the_channels_next_to_each_other() -> None:
    axes = canvas(1, 1).subplots()
    show_image(axes, torch.linspace(-1, 1, 5).view(5, 1, 1).expand(5, 8, 6))
    shown = axes.images[0].get_array()
    assert np.asarray(shown)[::8, ::6] == pytest.approx(np.array([[0, 0.25, 0.5], [0.75, 1, 0]]))
