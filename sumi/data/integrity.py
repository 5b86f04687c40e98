"""Whether the compressed pixels of a file reach its last row, where Pillow decodes on without a word.

    PNG     a row that is missing stays zero: where the last row is zero, or rows are interlaced, the bytes are counted
    JPEG    each scan must have as many bytes as its decoder takes, restart markers must be in order, and every bit of
            every coefficient must have been sent
    WebP    a long run of zeros is damage if the image decodes as well without the bytes at the end
    AVIF    and JPEG 2000: a long run of zeros
    TIFF    a strip or tile without data, LZW or PackBits codes that no encoder writes, a JPEG strip without its end

A stretch of zeros in pixels that are not compressed cannot be told from black.
"""

import io
import re
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from sumi.data.members import Part

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"eXIf", b"IDAT", b"IEND"})
_LEAST = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1}
_LARGEST_CHUNK = 1 << 20  # what Pillow inflates of one that is compressed
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by a PNG's colour type
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # 0xFF is followed by 0 in a JPEG's data, or by 0xD0 to 0xD7
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_TAIL = 24  # bytes of a scan that may be left over: some cameras pad
_MOST_RESTARTS = 64  # of a scan that is watched in parts, which takes time
_AHEAD = bytes(16)  # of which libjpeg reads up to 8 ahead
_ZEROS, _MORE_ZEROS = re.compile(rb"\0{32}"), re.compile(rb"\0{64}")
_STRIPS, _TILES, _COMPRESSION, _LZW, _JPEG, _PACKBITS = (273, 279), (324, 325), 259, 5, 7, 32773


class IncompleteImage(Exception):
    """A file whose compressed pixels end before the image does, or do not fit it; the message is the reason."""


def png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """(name, data, whole chunk) of each chunk of a PNG, up to the end of the image or of the file."""
    place = len(_PNG_START)
    while place + 8 <= len(content):
        length, name = struct.unpack(">I4s", content[place : place + 8])
        yield name, content[place + 8 : place + 8 + length], content[place : place + 12 + length]
        if name == b"IEND":
            return
        place += 12 + length


def png_core(content: bytes) -> tuple[bytes, frozenset[bytes]] | None:
    """A PNG without what its pixels do not need or what is damaged beside them, and the names of the chunks left out.

    None for what is no PNG.
    """
    if not content.startswith(_PNG_START):
        return None
    kept, dropped = [_PNG_START], set[bytes]()
    for name, data, chunk in png_chunks(content):
        crc = struct.pack(">I", zlib.crc32(chunk[4:-4]))
        sound = chunk[-4:] == crc and len(data) >= _LEAST.get(name, 0) and _inflates(name, data)
        if name in _PNG_NEEDED and (sound or name[:1].isupper()):
            kept.append(chunk)
        else:
            dropped.add(name)
    return b"".join(kept), frozenset(dropped)


def _inflates(name: bytes, data: bytes) -> bool:
    if name != b"iCCP":
        return True
    inflater = zlib.decompressobj()
    try:
        inflater.decompress(data[data.find(b"\0") + 2 :], _LARGEST_CHUNK)
    except zlib.error:
        return False
    return not inflater.unconsumed_tail


def check_png(image: Image.Image, content: bytes) -> None:
    """Raises IncompleteImage where a decoded PNG lacks rows."""
    width, height = image.size
    interlaced = bool(image.info.get("interlace"))
    if not interlaced and image.getpixel((width - 1, height - 1)) not in (0, (0,) * len(image.getbands())):
        return  # what is missing is 0
    if not interlaced and image.crop((0, height - 1, width, height)).tobytes().strip(b"\0"):
        return
    inflater, found = zlib.decompressobj(), 0
    bits = 8
    for name, data, _ in png_chunks(content):
        if name == b"IHDR":
            bits = data[8] * _CHANNELS[data[9]]
        while name == b"IDAT" and data:
            found += len(inflater.decompress(data, 1 << 20))
            data = inflater.unconsumed_tail
    needed = 0
    for left, top, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = ceil((width - left) / across), ceil((height - top) / down)
        needed += rows * (1 + ceil(columns * bits / 8)) if columns > 0 else 0
    if found < needed:
        raise IncompleteImage(f"is truncated: {found} of {needed} bytes of its rows are there")


class _Byte(bytes):
    """One byte, and what to call with how many are left of those before it.

    Pillow appends what it reads to what its decoder has not yet taken.
    """

    left: Callable[[int], None]

    def __radd__(self, rest: bytes) -> bytes:
        self.left(len(rest))
        return rest.__add__(self)


class JPEGStream(io.BytesIO):
    """The bytes of a JPEG up to its end, which tells whether each scan has as many as the image takes.

    After each scan zeros are put in, of which a decoder reads a few ahead and skips the rest, and the bytes at the end
    are given one by one. A decoder that has not all it needs gathers a few of them before it takes them at once; one
    that has seen the last pixel takes each. So a scan is short where zeros are gathered at their end, and too long
    where none of its last bytes was. Raises IncompleteImage where a scan is missing, or a mark to restart at.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._singly: list[tuple[int, int]] = []  # places of which each byte is given alone
        self._gathered: dict[int, int] = {}  # by place: how many bytes before it were not yet taken
        self._scans: list[tuple[int, int]] = []  # where each ends here, and its length
        done = 0
        for start, end in _scans(content):
            self.write(content[done:end])
            place, done = self.tell(), end
            ahead = _AHEAD if end < len(content) else b""  # where the file just ends, Pillow says so
            self._scans.append((place, end - start))
            self._singly.append((max(place - _TAIL, place - end + start), place + len(ahead)))
            self.write(ahead)
        self.write(content[done:])
        self.seek(0)

    def read(self, size: int | None = -1, /) -> bytes:
        place = self.tell()
        index = bisect_right(self._singly, place, key=lambda places: places[1] - 1)
        if index == len(self._singly):
            return super().read(size)
        before = self._singly[index][0] - place
        if before > 0:
            return super().read(before if size is None or size < 0 else min(size, before))
        byte = _Byte(super().read(1))
        byte.left = lambda rest: self._gathered.__setitem__(place, rest)
        return byte

    def check(self) -> None:
        """Raises IncompleteImage where a scan has less than the image takes, or more."""
        for end, length in self._scans:
            last = end + len(_AHEAD)
            if any(self._gathered.get(place, 0) for place in range(last - len(_AHEAD) // 2, last)):
                raise IncompleteImage("is truncated: the data of a scan end before the image does")
            tail = range(end - _TAIL + 2, end + 1)
            if length > _TAIL and all(self._gathered.get(place, 0) < 2 for place in tail):
                raise IncompleteImage("is damaged (a scan holds more data than the image takes)")


def _scans(content: bytes) -> Iterator[tuple[int, int]]:
    """Where the compressed data of each scan, or of its parts between restarts, begin and end.

    Raises IncompleteImage where some are missing.
    """
    shortest: set[int] = set()  # what the code of zeros alone stands for, in each table
    missing: dict[int, NDArray[np.int64]] = {}  # by component: the bits not yet sent of each of its 64 coefficients
    place = 2
    while (found := _MARKER.search(content, place)) and found[0] != b"\xff\xd9":
        place, marker = found.end(), found[0][1]
        if marker in (0x01, 0xD8):
            continue
        length = int.from_bytes(content[place : place + 2])
        segment = content[place + 2 : place + length]
        place += length
        tables = segment if marker == 0xC4 else b""
        while len(tables) > 17:
            shortest.add(tables[17])
            tables = tables[17 + sum(tables[1:17]) :]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            missing = {component: np.full(64, 16) for component in segment[6::3]}
        if marker == 0xDA and len(segment) > 3:
            first, last, low = segment[-3], segment[-2], segment[-1] & 15
            for component in segment[1 : 1 + 2 * segment[0] : 2]:
                missing.setdefault(component, np.full(64, 16))[first : last + 1] = low
            end = found.start() if (found := _MARKER.search(content, place)) else len(content)
            if last - first == 63 and any(shortest) and _ZEROS.search(content, place, end):
                raise IncompleteImage("is damaged (zeros stand in place of its data)")
            restarts = list(_RESTART.finditer(content, place, end))
            if any(mark[0][1] & 7 != k % 8 for k, mark in enumerate(restarts)):
                raise IncompleteImage("is damaged (data between restart markers are missing)")
            for mark in restarts if len(restarts) < _MOST_RESTARTS else ():
                yield place, mark.start()
                place = mark.end()
            yield place, end
            place = end
    if any(bits.any() for bits in missing.values()):
        raise IncompleteImage("is truncated: scans of it are missing")


def check_webp(content: bytes) -> None:
    """Raises IncompleteImage where a WebP that was decoded holds zeros instead of its data."""
    place = 12
    while place + 8 <= len(content):
        name, length = struct.unpack("<4sI", content[place : place + 8])
        end = place + 8 + length
        if name in (b"VP8 ", b"VP8L", b"ALPH") and _ZEROS.search(content, place + 8, end):
            head = content[:4] + struct.pack("<I", len(content) - 32 - 8) + content[8 : place + 4]
            less = head + struct.pack("<I", length - 32) + content[place + 8 : end - 32] + content[end:]
            if _decodes(less):
                raise IncompleteImage("is damaged (zeros stand in place of its data)")
        place = end + length % 2


def _decodes(content: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(content), formats=("WEBP",)) as image:
            image.load()
    except (OSError, EOFError, ValueError):
        return False
    return True


def check_tiff(tags: ImageFileDirectory_v2, path: Path | Part) -> None:
    """Raises IncompleteImage where a strip or tile of a TIFF is missing, or of zeros where it cannot be."""
    where = _STRIPS if _STRIPS[0] in tags else _TILES
    offsets, lengths = (tuple(tags.get(tag, ())) for tag in where)
    if 0 in offsets or 0 in lengths:
        raise IncompleteImage("is damaged (strips of it are missing)")
    kind = tags.get(_COMPRESSION)
    if kind not in (_LZW, _JPEG, _PACKBITS):
        return
    with path.open("rb") as file:
        for offset, length in zip(offsets, lengths, strict=False):
            file.seek(offset)
            data = file.read(length)
            if kind == _LZW and _ZEROS.search(data):  # the same code is never written twice in a row
                raise IncompleteImage("is damaged (zeros stand in place of its data)")
            if kind == _PACKBITS and _ZEROS.search(data) and _lone_zeros(data):
                raise IncompleteImage("is damaged (zeros stand in place of its data)")
            if kind == _JPEG and not data.rstrip(b"\0").endswith(b"\xff\xd9"):
                raise IncompleteImage("is truncated: a strip ends early")


def _lone_zeros(data: bytes) -> bool:
    """Whether a PackBits strip has 16 zeros in a row each of which is a run of its own."""
    place = lone = 0
    while place < len(data) and lone < 16:
        length = data[place]
        lone = lone + 1 if data[place : place + 2] == b"\0\0" else 0
        place += length + 2 if length < 128 else 2 if length > 128 else 1
    return lone == 16


def check_decoded(image: ImageFile, path: Path | Part) -> None:
    """What can be known of an image only after it was decoded. Raises IncompleteImage."""
    match image.format:
        case "PNG":
            check_png(image, path.read_bytes())
        case "WEBP":
            check_webp(path.read_bytes())
        case "AVIF" | "JPEG2000":
            content = path.read_bytes()
            for metadata in filter(None, map(image.info.get, ("exif", "xmp", "icc_profile"))):
                content = content.replace(metadata, b"")
            if _MORE_ZEROS.search(content):
                raise IncompleteImage("is damaged (zeros stand in place of its data)")
        case _:
            pass
