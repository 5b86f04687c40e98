"""What image files may hold: bits, keys, profiles, gamma and damage, against values by NumPy or a refusal by name."""

import io
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from sumi.data.config import DataConfig
from sumi.data.decode import Decoded, Rule, UnreadableImage, decode
from sumi.data.load import load
from sumi.data.memory import Room
from sumi.errors import InputError

SIZE = 64
Y, X = np.mgrid[:SIZE, :SIZE]
COLOURS = np.stack([X * 3, Y * 3, X + Y], -1).astype(np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
WIDE = X * 1000 + Y * 13  # 0 .. 63819 of 65535
WIDE_COLOURS = np.stack([WIDE, Y * 1000 + 7 * X, X * 500 + Y * 500], -1)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def packed(values: np.ndarray, bits: int) -> list[bytes]:
    """Rows of big-endian samples of so many bits."""
    spread = np.unpackbits(values.astype(">u2").view(np.uint8).reshape(*values.shape, 2), axis=-1)[..., 16 - bits :]
    return [np.packbits(row).tobytes() for row in spread.reshape(len(values), -1)]


def png(bits: int, colour: int, rows: list[bytes], extra: bytes = b"", interlaced: int = 0) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", SIZE, SIZE, bits, colour, 0, 0, interlaced))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + extra + pixels + chunk(b"IEND", b"")


def with_chunk(content: bytes, added: bytes) -> bytes:
    return content[:33] + added + content[33:]


def tiff(data: bytes, bits: int, photometric: int, samples: int = 1, kind: int = 1, start: int = 8) -> bytes:
    """An uncompressed little-endian TIFF of one strip."""
    many = 8 + len(data)
    tags = [(256, SIZE), (257, SIZE), (258, bits if samples == 1 else many), (259, 1), (262, photometric)]
    tags += [(273, start), (277, samples), (278, SIZE), (279, len(data)), (339, kind)]
    entries = b"".join(struct.pack("<HHII", tag, 3, samples if tag == 258 else 1, value) for tag, value in tags)
    places = struct.pack(f"<{samples}H", *[bits] * samples) if samples > 1 else b""
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", many + len(places)) + data + places + directory


def encoded(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def profile(primaries: np.ndarray, curve: np.ndarray) -> bytes:
    """An ICC profile of version 2: its primaries in XYZ of D50, as rows, and one curve for all three."""
    numbers = [b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in row) for row in primaries]
    table = b"curv\0\0\0\0" + struct.pack(">I", len(curve)) + np.round(65535 * curve).astype(">u2").tobytes()
    tags = dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), numbers, strict=True)) | dict.fromkeys(
        (b"rTRC", b"gTRC", b"bTRC"), table
    )
    index, body = b"", b""
    for name, data in tags.items():
        index += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = b"\0\0\0\0\2\x10\0\0mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(88)
    return struct.pack(">I", 132 + len(index) + len(body)) + head + struct.pack(">I", len(tags)) + index + body


def light(v: np.ndarray) -> np.ndarray:
    """sRGB, 0 to 1, as linear light (IEC 61966-2-1)."""
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def in_srgb(linear: np.ndarray) -> np.ndarray:
    """Linear light as sRGB, 0 to 255."""
    bounded = np.clip(linear, 0, 1)
    return 255 * np.where(bounded <= 0.0031308, 12.92 * bounded, 1.055 * bounded ** (1 / 2.4) - 0.055)


# Bruce Lindbloom's matrices for D50 (rows: red, green, blue)
SRGB_D50 = np.array(
    [[0.4360747, 0.2225045, 0.0139322], [0.3850649, 0.7168786, 0.0971045], [0.1430804, 0.0606169, 0.7141733]]
)
P3_D50 = np.array([[0.5151, 0.2412, -0.0011], [0.2920, 0.6922, 0.0419], [0.1571, 0.0666, 0.7841]])
ADOBE_D50 = np.array(
    [[0.6097559, 0.3111242, 0.0194811], [0.2052401, 0.6256560, 0.0608902], [0.1492240, 0.0632197, 0.7448387]]
)
RAMP = np.linspace(0, 1, 1024)
P3, ADOBE = profile(P3_D50, light(RAMP)), profile(ADOBE_D50, RAMP**2.2)
IN_P3 = in_srgb(light(COLOURS / 255) @ P3_D50 @ np.linalg.inv(SRGB_D50))
IN_ADOBE = in_srgb((COLOURS / 255) ** 2.2 @ ADOBE_D50 @ np.linalg.inv(SRGB_D50))
LINEAR = chunk(b"gAMA", struct.pack(">I", 100000))
WORKFLOW = chunk(b"zTXt", b"workflow\0\0" + zlib.compress(b"{}" * 700_000))
PLAIN = encoded(COLOURS, "PNG")


def read(folder: Path, content: bytes, suffix: str = ".png", **options: Any) -> Decoded:
    path = folder / f"a{suffix}"
    path.write_bytes(content)
    return decode(path, None, None, **options)


def agrees(decoded: Decoded, expected: np.ndarray, tolerance: float = 1.01) -> bool:
    """Within so many of 255; a grey expectation counts for each channel."""
    found = decoded.pixels.astype(float)
    wanted = expected if expected.ndim == 2 else expected.transpose(2, 0, 1)
    return bool(np.abs(found - wanted).max() <= tolerance)


METADATA = {
    "a workflow of 1.4 MB": with_chunk(PLAIN, WORKFLOW),
    "and behind the pixels": PLAIN[:-12] + WORKFLOW + PLAIN[-12:],
    "a damaged text": with_chunk(PLAIN, chunk(b"tEXt", b"w\0hello")[:-1] + b"!"),
    "an unknown compression": with_chunk(PLAIN, chunk(b"zTXt", b"w\0\7abc")),
    "damaged Exif": with_chunk(PLAIN, chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xffgarbage")),
    "half a gamma": with_chunk(PLAIN, chunk(b"gAMA", b"\0")),
}


@pytest.mark.parametrize("what", METADATA)
def test_metadata_of_the_pixels_is_not_needed(tmp_path: Path, what: str) -> None:
    decoded = read(tmp_path, METADATA[what])
    assert agrees(decoded, COLOURS, 0)
    assert decoded.rules == frozenset()


@pytest.mark.parametrize("data", [bytes(1_500_000), b"nonsense" * 50])
def test_a_profile_that_is_none_is_reported(tmp_path: Path, data: bytes) -> None:
    decoded = read(tmp_path, with_chunk(PLAIN, chunk(b"iCCP", b"p\0\0" + zlib.compress(data))))
    assert agrees(decoded, COLOURS, 0)
    assert decoded.rules == {Rule.PROFILE_UNUSED}


def test_the_orientation_is_kept_where_text_is_left_out(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = with_chunk(encoded(np.rot90(COLOURS).copy(), "PNG", exif=exif), WORKFLOW)
    assert agrees(read(tmp_path, turned), COLOURS, 0)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_greys_of_all_depths_with_a_transparent_one_and_gamma(tmp_path: Path, bits: int) -> None:
    grey, most = WIDE >> (16 - bits), 2**bits - 1
    rows, key = packed(grey, bits), int(grey[5, 9])
    hidden = chunk(b"tRNS", struct.pack(">H", key))
    assert agrees(read(tmp_path, png(bits, 0, rows)), grey * (255 / most))
    assert agrees(read(tmp_path, png(bits, 0, rows, hidden)), np.where(grey == key, 255, grey * (255 / most)))
    on_black = read(tmp_path, png(bits, 0, rows, hidden), background="black")
    assert agrees(on_black, np.where(grey == key, 0, grey * (255 / most)))
    assert Rule.COMPOSITED in on_black.rules
    blue = read(tmp_path, png(bits, 0, rows, hidden), background="#1020f0")
    assert blue.pixels[:, 5, 9].tolist() == [16, 32, 240]
    linear = read(tmp_path, png(bits, 0, rows, LINEAR + hidden))
    assert agrees(linear, np.where(grey == key, 255, in_srgb(grey / most)))


def test_a_transparent_colour_of_sixteen_bits_is_compared_by_both_bytes(tmp_path: Path) -> None:
    colours = WIDE_COLOURS.copy()
    colours[6] = key = colours[5, 9]
    colours[6, ::2, 2] ^= 1  # differs in the low byte alone
    content = png(16, 2, packed(colours, 16), chunk(b"tRNS", struct.pack(">3H", *key)))
    hidden = (colours == key).all(-1, keepdims=True)
    assert 30 < hidden.sum() < 40
    assert agrees(read(tmp_path, content), np.where(hidden, 255, colours / 257))


def test_sixteen_bit_colours_are_converted_and_laid_over_by_both_bytes(tmp_path: Path) -> None:
    linear = read(tmp_path, png(16, 2, packed(WIDE_COLOURS, 16), LINEAR))
    assert agrees(linear, in_srgb(WIDE_COLOURS / 65535))
    assert linear.rules == {Rule.SIXTEEN_BIT, Rule.CONVERTED}
    alpha = 65535 - WIDE
    seen = (WIDE_COLOURS * alpha[..., None] / 65535 + 65535 - alpha[..., None]) / 257
    content = png(16, 6, packed(np.dstack([WIDE_COLOURS, alpha]), 16))
    assert agrees(read(tmp_path, content), seen, 1.6)
    grey = png(16, 4, packed(np.dstack([WIDE, alpha]), 16))
    assert agrees(read(tmp_path, grey), (WIDE * alpha / 65535 + 65535 - alpha) / 257, 1.6)


def test_a_palette_with_transparency(tmp_path: Path) -> None:
    palette, alpha = np.random.default_rng(1).integers(0, 256, (16, 3)), np.arange(16) * 17
    table = chunk(b"PLTE", palette.astype(np.uint8).tobytes()) + chunk(b"tRNS", alpha.astype(np.uint8).tobytes())
    index, opacity = X % 16, (alpha / 255)[X % 16][..., None]
    content = png(4, 3, packed(index, 4), table)
    assert agrees(read(tmp_path, content), palette[index] * opacity + 255 * (1 - opacity))
    assert agrees(read(tmp_path, content, background="black"), palette[index] * opacity)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_profiles_are_converted_to_srgb(tmp_path: Path, kind: str) -> None:
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    for data, expected in ((P3, IN_P3), (ADOBE, IN_ADOBE)):
        decoded = read(tmp_path, encoded(COLOURS, kind, icc_profile=data, **options))
        assert agrees(decoded, expected, 1.6)
        assert decoded.rules == {Rule.CONVERTED}
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    decoded = read(tmp_path, encoded(COLOURS, kind, icc_profile=srgb, **options))
    assert agrees(decoded, COLOURS, 0)  # to the bit
    assert decoded.rules == frozenset()


def test_a_profile_counts_below_transparency_and_for_greys(tmp_path: Path) -> None:
    see_through = encoded(np.dstack([COLOURS, np.full_like(X, 128, np.uint8)]), "PNG", icc_profile=P3)
    assert agrees(read(tmp_path, see_through), IN_P3 * (128 / 255) + 127, 2)
    grey = read(tmp_path, encoded(COLOURS[..., 0], "PNG", icc_profile=ADOBE))
    assert agrees(grey, in_srgb((COLOURS[..., 0] / 255) ** 2.2))
    cmyk = Image.fromarray(np.dstack([COLOURS, COLOURS[..., 0]]), "CMYK")
    unfit = read(tmp_path, encoded(cmyk, "TIFF", icc_profile=P3), ".tif")
    assert Rule.PROFILE_UNUSED in unfit.rules


def test_gamma_and_primaries_of_a_png(tmp_path: Path) -> None:
    def gamma(value: int) -> bytes:
        return chunk(b"gAMA", struct.pack(">I", value))

    srgb = chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
    p3 = chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))
    for value in (100000, 55556, 38462):
        assert agrees(read(tmp_path, with_chunk(PLAIN, gamma(value))), in_srgb((COLOURS / 255) ** (100000 / value)))
    for plain in (gamma(45455), gamma(45455) + srgb, LINEAR + chunk(b"sRGB", b"\0") + p3):
        decoded = read(tmp_path, with_chunk(PLAIN, plain))
        assert agrees(decoded, COLOURS, 0)
        assert decoded.rules == frozenset()
    assert agrees(read(tmp_path, with_chunk(PLAIN, p3)), IN_P3, 1.6)
    embedded = chunk(b"iCCP", b"p\0\0" + zlib.compress(P3))
    assert agrees(read(tmp_path, with_chunk(PLAIN, LINEAR + embedded)), IN_P3, 1.6)  # the profile counts before gamma
    both = (COLOURS / 255) @ P3_D50 @ np.linalg.inv(SRGB_D50)
    assert agrees(read(tmp_path, with_chunk(PLAIN, LINEAR + p3)), in_srgb(both), 3)


def test_lab_is_converted(tmp_path: Path) -> None:
    lab = np.dstack([np.full_like(X, 128), 0 * X, 0 * X]).astype(np.uint8)  # L = 50.2: linear light 0.186
    decoded = read(tmp_path, tiff(lab.tobytes(), 8, 8, samples=3), ".tif")
    assert agrees(decoded, np.full((SIZE, SIZE), in_srgb(np.array(((128 / 2.55 + 16) / 116) ** 3))))


@pytest.mark.parametrize("inverted", [False, True])
def test_tiffs_of_twelve_and_sixteen_bits(tmp_path: Path, inverted: bool) -> None:
    values = 65535 - WIDE if inverted else WIDE
    sixteen = read(tmp_path, tiff(values.astype("<u2").tobytes(), 16, int(not inverted)), ".tif")
    assert agrees(sixteen, WIDE / 257)
    if inverted:
        with pytest.raises(UnreadableImage, match=r"a TIFF of a kind not read here \(unknown pixel mode\)"):
            read(tmp_path, tiff(b"".join(packed(values >> 4, 12)), 12, 0), ".tif")
    else:
        assert agrees(read(tmp_path, tiff(b"".join(packed(WIDE >> 4, 12)), 12, 1), ".tif"), (WIDE >> 4) * (255 / 4095))


def test_pixels_of_no_fixed_range_are_refused(tmp_path: Path) -> None:
    for content in (
        tiff((COLOURS[..., 0] / 255).astype("<f4").tobytes(), 32, 1, kind=3),
        tiff(COLOURS[..., 0].tobytes(), 8, 1, kind=2),
        b"Pf 64 64 -1.0\n" + (COLOURS[..., 0] / 255).astype("<f4").tobytes(),
    ):
        with pytest.raises(UnreadableImage, match="no fixed range"):
            read(tmp_path, content, ".tif")


INTERLACED = [
    COLOURS[row, left::across].tobytes()
    for left, top, across, down in (
        *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4)),
        *((1, 0, 2, 2), (0, 1, 1, 2)),
    )
    for row in range(top, SIZE, down)
]
ROWS = [row.tobytes() for row in COLOURS]


def test_a_png_that_is_short_of_rows_is_refused(tmp_path: Path) -> None:
    for content in (
        png(8, 2, ROWS[:32]),
        png(8, 2, ROWS[:-1]),
        png(8, 2, [b"\xff" * len(ROWS[0])] * (len(ROWS) - 1)),
        png(8, 2, [*ROWS[:-1], ROWS[-1][:90]]),
        png(16, 0, packed(WIDE, 16)[:40]),
        png(8, 2, INTERLACED[:-10], interlaced=1),
    ):
        with pytest.raises(UnreadableImage, match="is truncated"):
            read(tmp_path, content)
    assert agrees(read(tmp_path, png(8, 2, INTERLACED, interlaced=1)), COLOURS, 0)
    black = COLOURS * (Y < 50)[..., None].astype(np.uint8)
    assert agrees(read(tmp_path, encoded(black, "PNG")), black, 0)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("restarts", [0, 1])
def test_a_jpeg_that_ends_early_or_has_a_hole_is_refused(tmp_path: Path, progressive: bool, restarts: int) -> None:
    content = encoded(NOISE, "JPEG", quality=90, progressive=progressive, restart_marker_rows=restarts)
    with Image.open(io.BytesIO(content)) as image:
        whole = np.asarray(image).astype(float)
    assert agrees(read(tmp_path, content, ".jpg"), whole, 0)
    assert agrees(read(tmp_path, content[:-2] + bytes(8) + b"\xff\xd9junk", ".jpg"), whole, 0)
    start = content.index(b"\xff\xda") + 14
    middle, hole = (start + len(content)) // 2, (len(content) - start) // 4
    damaged = [content[: int(len(content) * share)] + b"\xff\xd9" for share in (0.3, 0.5, 0.7, 0.9)]
    damaged.append(content[:middle] + bytes(hole) + content[middle + hole :])
    for part in damaged:
        with pytest.raises(UnreadableImage, match=r"truncated|damaged"):
            read(tmp_path, part, ".jpg")


def test_a_jpeg_without_its_last_scan_or_with_too_much_of_one_is_refused(tmp_path: Path) -> None:
    progressive = encoded(NOISE, "JPEG", quality=90, progressive=True)
    with pytest.raises(UnreadableImage, match="is truncated: scans of it are missing"):
        read(tmp_path, progressive[: progressive.rindex(b"\xff\xc4")] + b"\xff\xd9", ".jpg")
    sequential = encoded(NOISE, "JPEG", quality=90)
    with pytest.raises(UnreadableImage, match=r"is damaged \(a scan holds more data"):
        read(tmp_path, sequential[:-2] + b"\x5a" * 200 + b"\xff\xd9", ".jpg")


def test_a_flat_jpeg_whose_data_are_zeros_is_whole(tmp_path: Path) -> None:
    flat = np.full((1024, 1024), 128, np.uint8)
    content = encoded(flat, "JPEG", optimize=True)
    assert bytes(100) in content
    assert (read(tmp_path, content, ".jpg").pixels == 128).all()


def test_zeros_in_place_of_compressed_data_are_seen(tmp_path: Path) -> None:
    files = {
        ".webp": encoded(NOISE, "WEBP", quality=95),
        "l.webp": encoded(NOISE, "WEBP", lossless=True),
        ".tif": encoded(NOISE, "TIFF", compression="tiff_lzw"),
        "p.tif": encoded(NOISE, "TIFF", compression="packbits"),
    }
    for suffix, content in files.items():
        read(tmp_path, content, suffix)
        half, third = len(content) // 2, len(content) // 3
        for damaged in (
            content[:half] + bytes(len(content) - half),
            content[:third] + bytes(third) + content[2 * third :],
        ):
            with pytest.raises(UnreadableImage, match=r"damaged|truncated"):
                read(tmp_path, damaged, suffix)
    with pytest.raises(UnreadableImage, match="strips of it are missing"):
        read(tmp_path, tiff(COLOURS[..., 0].tobytes(), 8, 1, start=0), ".tif")
    flat = np.full((1500, 1500, 3), 255, np.uint8)  # of which an encoder writes long runs of zeros
    content = encoded(flat, "WEBP")
    assert bytes(64) in content
    assert (read(tmp_path, content, ".webp").pixels == 255).all()


def test_files_of_the_other_formats(tmp_path: Path) -> None:
    for suffix, kind in ((".ppm", "PPM"), (".bmp", "BMP"), (".jp2", "JPEG2000")):
        assert agrees(read(tmp_path, encoded(COLOURS, kind), suffix), COLOURS, 0), suffix
    for suffix, kind in ((".jfif", "JPEG"), (".jpe", "JPEG"), (".avif", "AVIF")):
        content = encoded(COLOURS, kind, quality=100, subsampling="4:4:4")
        assert agrees(read(tmp_path, content, suffix), COLOURS, 4), suffix
    assert agrees(read(tmp_path, b"P5 64 64 65535\n" + WIDE.astype(">u2").tobytes(), ".pgm"), WIDE / 257)
    assert agrees(read(tmp_path, b"P4 64 64\n" + b"".join(packed(WIDE >> 15, 1)), ".pbm"), 255 * (1 - (WIDE >> 15)))
    with pytest.raises(UnreadableImage, match="is an HEIC image, which is not read here"):
        read(tmp_path, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500), ".jpg")
    twelve = encoded(COLOURS, "JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c")
    with pytest.raises(UnreadableImage, match=r"a JPEG of a kind not read here \(cannot handle 12-bit layers\)"):
        read(tmp_path, twelve, ".jpg")


def test_the_background_is_a_field_and_conversions_are_noted_once(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (16, 16), (9, 9, 9, 0))
    for name in ("a.png", "b.png"):
        clear.save(tmp_path / name, icc_profile=P3)
    data = load(DataConfig(str(tmp_path), size=16, background="#ff0080"))
    assert "2 of 2 images have transparent pixels, which were laid over #ff0080" in data.notes
    assert sum("colour profile" in note for note in data.notes) == 1
    assert np.round(data.batch(np.array([0]))[0, :, 3, 3].numpy() * 127.5 + 127.5).tolist() == [255, 0, 128]
    with pytest.raises(InputError, match=r"data\.background: 'pink' is no colour read here"):
        DataConfig("x", background="pink")


def test_threads_share_a_bounded_room() -> None:
    room, used, most = Room(10), [0], [0]
    lock = threading.Lock()

    def hold(amount: int) -> None:
        with room.taken(amount):
            with lock:
                used[0] += amount
                most[0] = max(most[0], used[0] if amount <= 10 else 10 * (used[0] == amount))
            threading.Event().wait(0.002)
            with lock:
                assert amount <= 10 or used[0] == amount  # what is larger than the room is alone
                used[0] -= amount

    threads = [threading.Thread(target=hold, args=(amount,)) for amount in [3, 4, 5, 25] * 6]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert 0 < most[0] <= 10
