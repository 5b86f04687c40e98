"""One image file to one square of pixels: every mode keeps its meaning, and no file is used by halves."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sumi.data import decode as decode_module
from sumi.data.decode import Decoded, Rule, UnreadableImage, decode
from tests.orientations import STORED

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)


def saved(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def hwc(decoded: Decoded) -> np.ndarray:
    """(size, size, 3) or, where the image is grey, (size, size), signed for differences."""
    pixels = decoded.pixels.astype(np.int64)
    return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)


def png_bytes(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG written by hand, for what Pillow does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp"])
def test_an_image_of_the_size_asked_for_is_read_exactly(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == ".webp" else {}
    decoded = decode(saved(Image.fromarray(COLOURS), tmp_path / f"a{suffix}", **options), 16, None)
    assert (hwc(decoded) == COLOURS).all()
    assert decoded.pixels.dtype == np.uint8
    assert decoded.rules == frozenset()


@pytest.mark.parametrize("orientation", STORED)
def test_the_cameras_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](COLOURS)))
    png = saved(stored, tmp_path / "a.png", exif=exif)
    tiff = saved(stored, tmp_path / "a.tif", tiffinfo={274: orientation})
    assert (hwc(decode(png, 16, None)) == COLOURS).all()
    assert (hwc(decode(tiff, 16, None)) == COLOURS).all()

    broad = np.kron(COLOURS[:3, :4], np.ones((16, 16, 1), np.uint8))  # 48 high, 64 wide: cropped left and right
    jpeg = Image.fromarray(np.ascontiguousarray(STORED[orientation](broad)))
    decoded = decode(saved(jpeg, tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0), 48, None)
    # Quality 100 rounds the transformed values (at most 3 levels here); a wrong turn is off by a hundred.
    assert np.abs(hwc(decoded) - broad[:, 8:-8]).max() <= 4


def test_sixteen_bit_greys_keep_their_order_and_ends(tmp_path: Path) -> None:
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    exact = np.round(ramp / 257)
    files = [
        saved(Image.fromarray(ramp), tmp_path / "a.png"),
        saved(Image.fromarray(ramp), tmp_path / "a.tif"),
        saved(Image.fromarray(ramp.astype(">u2")), tmp_path / "b.tif"),
        saved(Image.fromarray(ramp.astype(np.int32)), tmp_path / "c.tif"),
    ]
    for path in files:
        decoded = decode(path, 256, None)
        assert (hwc(decoded) == exact).all(), path.name
        assert decoded.rules == {Rule.SIXTEEN_BIT}


def test_sixteen_bit_colours_keep_their_high_byte(tmp_path: Path) -> None:
    wide = RNG.integers(0, 65536, (4, 4, 3), dtype=np.uint16)
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in wide)
    (tmp_path / "a.png").write_bytes(png_bytes(4, 4, 16, 2, rows))
    decoded = decode(tmp_path / "a.png", 4, None)
    assert (hwc(decoded) == wide // 256).all()
    assert decoded.rules == {Rule.SIXTEEN_BIT}


def test_pixels_without_a_fixed_range_are_refused(tmp_path: Path) -> None:
    for values in (np.full((4, 4), 65536, np.int32), np.full((4, 4), -1, np.int32)):
        with pytest.raises(UnreadableImage, match=r"outside 0\.\.65535 have no fixed range"):
            decode(saved(Image.fromarray(values), tmp_path / "a.tif"), 4, None)
    with pytest.raises(UnreadableImage, match="32-bit pixels of 0 to 255 may be of 8 or of 16 bits"):
        decode(saved(Image.fromarray(np.full((4, 4), 255, np.int32)), tmp_path / "a.tif"), 4, None)
    with pytest.raises(UnreadableImage, match="floating-point pixels have no fixed range"):
        decode(saved(Image.fromarray(np.ones((4, 4), np.float32)), tmp_path / "b.tif"), 4, None)


def test_transparent_pixels_are_laid_over_white(tmp_path: Path) -> None:
    # A hidden colour below alpha 0, a half transparent red, an opaque blue, an opaque black.
    rgba = np.array([[[255, 0, 0, 0], [255, 0, 0, 128]], [[0, 0, 255, 255], [0, 0, 0, 255]]], np.uint8)
    expected = [[[255, 255, 255], [255, 127, 127]], [[0, 0, 255], [0, 0, 0]]]
    for name in ("a.png", "a.tif", "a.webp"):
        options = {"lossless": True} if name.endswith("webp") else {}
        decoded = decode(saved(Image.fromarray(rgba), tmp_path / name, **options), 2, None)
        assert hwc(decoded).tolist() == expected, name
        assert decoded.rules == {Rule.COMPOSITED}

    la = Image.fromarray(np.array([[[90, 0], [90, 128]], [[90, 255], [0, 255]]], np.uint8), mode="LA")
    assert hwc(decode(saved(la, tmp_path / "la.png"), 2, None)).tolist() == [[255, 172], [90, 0]]  # 255 - 165·128/255

    opaque = np.dstack([COLOURS, np.full((16, 16), 255, np.uint8)])
    decoded = decode(saved(Image.fromarray(opaque), tmp_path / "opaque.png"), 16, None)
    assert (hwc(decoded) == COLOURS).all()
    assert decoded.rules == frozenset()


def test_a_colour_declared_transparent_becomes_white(tmp_path: Path) -> None:
    palette = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), mode="P")
    palette.putpalette([10, 20, 30, 200, 0, 0, 0, 0, 200])
    expected = [[[10, 20, 30], [255, 255, 255]], [[0, 0, 200], [255, 255, 255]]]
    for name in ("p.png", "p.gif"):
        decoded = decode(saved(palette, tmp_path / name, transparency=1), 2, None)
        assert hwc(decoded).tolist() == expected, name
        assert decoded.rules == {Rule.COMPOSITED}
    half = decode(saved(palette, tmp_path / "half.png", transparency=bytes([255, 128, 255])), 2, None)
    assert hwc(half)[0, 1].tolist() == [227, 127, 127]  # 255 - (255 - 200)·128/255 and 255 - 255·128/255

    grey = Image.fromarray(np.array([[7, 8], [9, 7]], np.uint8))
    assert hwc(decode(saved(grey, tmp_path / "l.png", transparency=7), 2, None)).tolist() == [[255, 8], [9, 255]]
    rgb = saved(Image.fromarray(COLOURS), tmp_path / "rgb.png", transparency=tuple(COLOURS[0, 0].tolist()))
    assert hwc(decode(rgb, 16, None))[0, 0].tolist() == [255, 255, 255]
    wide = saved(Image.fromarray(np.array([[700, 701], [65535, 0]], np.uint16)), tmp_path / "w.png", transparency=701)
    decoded = decode(wide, 2, None)
    assert hwc(decoded).tolist() == [[3, 255], [255, 0]]
    assert decoded.rules == {Rule.COMPOSITED, Rule.SIXTEEN_BIT}


def test_hidden_colours_do_not_bleed_when_resized(tmp_path: Path) -> None:
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[::2] = [255, 0, 0, 0]  # transparent red between opaque black lines
    rgba[1::2, :, 3] = 255
    pixels = hwc(decode(saved(Image.fromarray(rgba), tmp_path / "a.png"), 8, None))
    assert pixels.ndim == 2  # grey: no red
    assert np.abs(pixels[1:-1] - 127.5).max() <= 3  # half white, half black


def test_other_modes_keep_their_colours(tmp_path: Path) -> None:
    red_cyan = np.zeros((16, 16, 4), np.uint8)
    red_cyan[:8] = [0, 255, 255, 0]
    red_cyan[8:] = [255, 0, 0, 0]
    cmyk = Image.fromarray(red_cyan, mode="CMYK")
    for name, tolerance in (("a.tif", 0), ("a.jpg", 4)):  # quality 100 rounds the transformed values
        options = {"quality": 100} if name.endswith("jpg") else {}
        pixels = hwc(decode(saved(cmyk, tmp_path / name, **options), 16, None))
        assert np.abs(pixels[:7] - [255, 0, 0]).max() <= tolerance, name
        assert np.abs(pixels[9:] - [0, 255, 255]).max() <= tolerance, name

    bits = RNG.integers(0, 2, (16, 16)).astype(bool)
    assert (hwc(decode(saved(Image.fromarray(bits), tmp_path / "1.png"), 16, None)) == 255 * bits).all()
    grey = COLOURS[..., 0]
    assert (hwc(decode(saved(Image.fromarray(grey), tmp_path / "l.png"), 16, None)) == grey).all()


def test_grey_is_recognised_by_the_pixels_and_made_by_luma(tmp_path: Path) -> None:
    grey = np.repeat(COLOURS[..., :1], 3, axis=2)
    path = saved(Image.fromarray(grey), tmp_path / "grey.png")
    assert decode(path, 16, None).pixels.shape == (1, 16, 16)
    assert decode(path, 16, 1).rules == frozenset()

    colours = saved(Image.fromarray(COLOURS), tmp_path / "colours.png")
    for like in ((0, 0, 1), (0, 1, 0), (0, 1, 1)):  # two channels alone are equal
        path = saved(Image.fromarray(COLOURS[..., list(like)]), tmp_path / "two.png")
        assert (hwc(decode(path, 16, None)) == COLOURS[..., list(like)]).all()
    greyed = decode(colours, 16, 1)
    assert np.abs(hwc(greyed) - COLOURS @ [0.299, 0.587, 0.114]).max() <= 0.51  # ITU-R 601, rounded
    assert greyed.rules == {Rule.GREYED}
    assert decode(colours, 16, 3).pixels.shape == (3, 16, 16)


def test_the_shorter_side_is_fitted_and_the_longer_cropped_about_its_centre(tmp_path: Path) -> None:
    position = np.broadcast_to(np.linspace(0, 255, 300), (100, 300)).round().astype(np.uint8)
    for name, image in (("wide.png", position), ("high.png", position.T)):
        decoded = decode(saved(Image.fromarray(np.ascontiguousarray(image)), tmp_path / name), 20, None)
        pixels = hwc(decoded) if name == "wide.png" else hwc(decoded).T
        centres = 100 + 5 * (np.arange(20) + 0.5)  # in the original's pixels: its middle third
        assert np.abs(pixels - (centres - 0.5) * 255 / 299).max() <= 1
        assert decoded.rules == {Rule.RESIZED}
    # An odd rest is cropped by half a pixel on each side: a mirrored picture stays the mirrored picture.
    odd = RNG.integers(0, 256, (10, 15), dtype=np.uint8)
    one = hwc(decode(saved(Image.fromarray(odd), tmp_path / "odd.png"), 5, None))
    other = hwc(decode(saved(Image.fromarray(odd[:, ::-1].copy()), tmp_path / "mirrored.png"), 5, None))
    assert np.abs(one - other[:, ::-1]).max() <= 1


def test_reducing_averages_instead_of_picking(tmp_path: Path) -> None:
    chequered = (np.indices((512, 512)).sum(0) % 2 * 255).astype(np.uint8)
    pixels = hwc(decode(saved(Image.fromarray(chequered), tmp_path / "a.png"), 32, None))
    assert np.abs(pixels[1:-1, 1:-1] - 127.5).max() <= 1.5


def test_a_reduced_jpeg_equals_the_whole_one_reduced(tmp_path: Path) -> None:
    x, y = np.meshgrid(np.linspace(0, 1, 500), np.linspace(0, 1, 400))
    smooth = np.dstack([255 * x, 255 * y, 127 + 120 * np.sin(12 * x * y)]).round().astype(np.uint8)
    jpeg = saved(Image.fromarray(smooth), tmp_path / "a.jpg", quality=95)
    png = saved(Image.open(jpeg).convert("RGB"), tmp_path / "a.png")
    assert np.abs(hwc(decode(jpeg, 32, None)) - hwc(decode(png, 32, None))).max() <= 4


def test_a_small_image_is_enlarged_with_a_note(tmp_path: Path) -> None:
    path = saved(Image.new("RGB", (3, 40), (9, 99, 199)), tmp_path / "a.png")
    decoded = decode(path, 16, None)
    assert (hwc(decoded) == [9, 99, 199]).all()
    assert decoded.rules == {Rule.RESIZED, Rule.ENLARGED}


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_of_several_frames_the_first_is_used(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if suffix == ".webp" else {}
    path = saved(frames[0], tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], **options)
    decoded = decode(path, 8, None)
    assert (hwc(decoded) == [255, 0, 0]).all()
    assert decoded.rules == {Rule.FIRST_FRAME}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize(
    "name", ["a.jpg", "progressive.jpg", "a.png", "a.webp", "a.bmp", "a.tif", "packed.tif", "a.gif"]
)
def test_a_truncated_file_is_never_half_used(tmp_path: Path, name: str) -> None:
    noise = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    options = {"progressive.jpg": {"progressive": True}, "packed.tif": {"compression": "tiff_lzw"}}.get(name, {})
    path = saved(noise, tmp_path / name, **options)
    content, whole = path.read_bytes(), decode(path, 64, None).pixels
    reasons: list[str] = []
    for kept in [*np.linspace(1, len(content) - 1, 40).astype(int).tolist(), *range(len(content) - 12, len(content))]:
        path.write_bytes(content[:kept])
        try:
            assert (decode(path, 64, None).pixels == whole).all(), f"{kept} of {len(content)} bytes"
        except UnreadableImage as error:
            reasons.append(str(error))
    assert len(reasons) >= 38  # all but those that miss only what follows the last pixel
    assert not any("\n" in reason for reason in reasons)
    path.write_bytes(content[: len(content) // 2])
    for size in (8, 64):  # decoded at a reduced scale and at its own
        with pytest.raises(UnreadableImage, match=r"truncated|damaged"):
            decode(path, size, None)


def test_damage_inside_a_png_is_seen(tmp_path: Path) -> None:
    path = saved(Image.fromarray(COLOURS), tmp_path / "a.png")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(bytes(content))
    with pytest.raises(UnreadableImage, match=r"damaged|truncated"):
        decode(path, 16, None)


def test_what_is_no_image_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    with pytest.raises(UnreadableImage, match="is an empty file"):
        decode(tmp_path / "empty.png", 16, None)
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(UnreadableImage, match="is no image in a format read here"):
        decode(tmp_path / "text.jpg", 16, None)
    saved(Image.fromarray(COLOURS), tmp_path / "program.eps")  # a format that runs a program to be read
    with pytest.raises(UnreadableImage, match="is no image in a format read here"):
        decode((tmp_path / "program.eps").rename(tmp_path / "program.png"), 16, None)
    with pytest.raises(UnreadableImage, match="cannot be read"):
        decode(tmp_path / "gone.png", 16, None)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    limits = ((10001, "10001x10000 is 100.0 million pixels, more than the 100 million"), (40000, "has far more than"))
    for width, reason in limits:
        path.write_bytes(png_bytes(width, 10000, 1, 0, b""))
        with pytest.raises(UnreadableImage, match=reason):
            decode(path, 16, None)


def test_a_large_jpeg_counts_by_the_pixels_it_is_decoded_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(Image.new("RGB", (640, 640), "red"), tmp_path / "a.jpg")
    monkeypatch.setattr(decode_module, "LARGEST_PIXELS", 80 * 80)
    assert np.abs(hwc(decode(path, 32, None)) - [255, 0, 0]).max() <= 2  # decoded at an eighth
    with pytest.raises(UnreadableImage, match="more than"):
        decode(path, 64, None)
