"""Files of sound: WAV of any rate, depth and number of channels, and FLAC.

A RIFF file is a list of chunks (a name of four letters, a length, the contents, padded to an even length):

    fmt    the coding (1: whole numbers; 3: floats; 0xFFFE: stated in the last 16 bytes), channels, rate, bits a value
    data   the values, channel after channel at each moment: unsigned for 8 bits, else signed, little-endian
    LIST   texts about it, of which ICMT is a comment: here how a sample was made, as JSON

A value k of b bits stands for k / 2^(b-1), in [-1, 1); of 9 to 15 and 17 to 23 bits it fills the upper bits of the next
whole byte. Files of more than 4 GB are RF64. Other codings (μ-law, A-law, ADPCM) are read with ``soundfile``. Written
are 16 bits, k = round(32,768 x) kept within -32,768 …
32,767.
"""

import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sumi.boundary.files import whole

SUFFIXES: Final = frozenset({".wav", ".wave", ".flac"})
LEVELS: Final = 2**15
"""What 1 is in 16 bits."""
_WHOLE, _FLOATS, _EXTENSIBLE = 1, 3, 0xFFFE
_UNKNOWN: Final = 2**32 - 1
"""The length that programs state which write before they know; where they state 0, they do so of the whole file too."""


class UnreadableSound(Exception):
    """Why a file is no sound that is read here, in words."""


def read_sound(path: Path) -> tuple[NDArray[np.float64], int]:
    """(values float64 (channels, n), rate in Hz) of a WAV or FLAC file. Raises UnreadableSound, OSError."""
    content = path.read_bytes()
    values, rate = of_flac(content) if path.suffix.lower() == ".flac" else of_wav(content)
    if not values.size:
        raise UnreadableSound("holds no sound")
    if not np.isfinite(values).all():
        raise UnreadableSound("holds NaN or infinite values")
    return values, rate


def of_wav(content: bytes) -> tuple[NDArray[np.float64], int]:
    """As `read_sound`, of the bytes of a WAV file. Raises UnreadableSound."""
    if content[:4] not in (b"RIFF", b"RF64") or content[8:12] != b"WAVE":
        raise UnreadableSound("is no WAV file (it does not begin with RIFF … WAVE)")
    form: tuple[int, ...] | None = None
    for name, part, length in _chunks(content):
        if name == b"fmt ":
            if len(part) < 16:
                raise UnreadableSound(f"has a fmt chunk of {len(part)} bytes, and 16 are needed")
            coding, channels, rate, _, _, bits = struct.unpack("<HHIIHH", part[:16])
            if coding == _EXTENSIBLE and len(part) >= 26:
                coding = int.from_bytes(part[24:26], "little")
            form = coding, channels, rate, bits
        if name == b"data":
            if form is None:
                raise UnreadableSound("has its data before its fmt chunk")
            if length != _UNKNOWN and length > len(part):
                raise UnreadableSound(f"ends early: {len(part):,} of {length:,} bytes are there")
            values = _values(part, *form)
            return (values, form[2]) if values is not None else _with_soundfile(content, "WAV file of another coding")
    raise UnreadableSound("has no data chunk")


def of_flac(content: bytes) -> tuple[NDArray[np.float64], int]:
    """As `read_sound`, of the bytes of a FLAC file. Raises UnreadableSound, also where ``soundfile`` is missing."""
    return _with_soundfile(content, "FLAC file")


def _with_soundfile(content: bytes, what: str) -> tuple[NDArray[np.float64], int]:
    try:
        import soundfile
    except (ImportError, OSError):
        raise UnreadableSound(
            f"is a {what}, which needs soundfile; install sumi[audio], or convert it to WAV of 16 bits"
        ) from None
    try:
        values, rate = soundfile.read(io.BytesIO(content), dtype="float64", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
        raise UnreadableSound(f"is no {what} that can be read ({error})") from None
    return np.asarray(values, dtype=np.float64).T, int(rate)


def to_levels(x: NDArray[Any]) -> NDArray[np.int16]:
    """Values in [-1, 1] as whole numbers of 16 bits; those beyond are clipped."""
    return np.clip(np.rint(x.astype(np.float64) * LEVELS), -LEVELS, LEVELS - 1).astype(np.int16)


def clipped(x: NDArray[Any]) -> int:
    """How many values `to_levels` clips by more than rounding."""
    k = x.astype(np.float64) * LEVELS
    return int(((k > LEVELS - 0.5) | (k < -LEVELS - 0.5)).sum())


def wav(levels: NDArray[np.int16], rate: int, about: object = None) -> bytes:
    """A WAV file of mono ``levels`` (n,), with ``about`` as its comment."""
    data = levels.astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", _WHOLE, 1, rate, 2 * rate, 2, 16)
    parts = _chunk(b"fmt ", form)
    if about is not None:
        parts += _chunk(b"LIST", b"INFO" + _chunk(b"ICMT", json.dumps(about).encode() + b"\0"))
    parts += _chunk(b"data", data)
    return b"RIFF" + struct.pack("<I", 4 + len(parts)) + b"WAVE" + parts


def write_wav(path: Path, levels: NDArray[np.int16], rate: int, about: object) -> None:
    """Write `wav` whole or not at all. Raises SumiError."""
    with whole(path) as file:
        file.write(wav(levels, rate, about))


def comment_of(path: Path) -> Any:
    """The comment of a file that `write_wav` wrote; None where it has none, or is cut off. Raises OSError."""
    content = path.read_bytes()
    if content[:4] != b"RIFF" or len(content) != 8 + int.from_bytes(content[4:8], "little"):
        return None
    for name, part, _ in _chunks(content):
        if name == b"LIST" and part[:8] == b"INFOICMT":
            length = int.from_bytes(part[8:12], "little")
            try:
                return json.loads(part[12 : 12 + length].rstrip(b"\0"))
            except (ValueError, RecursionError):
                return None
    return None


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """(name, contents as far as they are there, stated length) of each chunk."""
    place = 12
    while place + 8 <= len(content):
        name, length = content[place : place + 4], int.from_bytes(content[place + 4 : place + 8], "little")
        unknown = length == _UNKNOWN or (not length and int.from_bytes(content[4:8], "little") in (0, _UNKNOWN))
        end = len(content) if name == b"data" and unknown else place + 8 + length
        yield name, content[place + 8 : end], length
        place = end + length % 2


def _values(data: bytes, coding: int, channels: int, rate: int, bits: int) -> NDArray[np.float64] | None:
    """Float64 (channels, n); None of a coding that is none of these."""
    if not channels or not rate:
        raise UnreadableSound(f"states {channels} channels at {rate} Hz")
    size = -(-bits // 8)
    data = data[: len(data) - len(data) % (size * channels or 1)]
    match coding, 8 * size if coding == _WHOLE else bits:
        case 1, 8:
            found = (np.frombuffer(data, np.uint8).astype(np.float64) - 128) / 128
        case 1, 16 | 32:
            found = np.frombuffer(data, f"<i{size}").astype(np.float64) / 2.0 ** (8 * size - 1)
        case 1, 24:
            whole_numbers = np.zeros((len(data) // 3, 4), np.uint8)
            whole_numbers[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            found = whole_numbers.view("<i4")[:, 0].astype(np.float64) / 2.0**31
        case 3, 32 | 64:
            found = np.frombuffer(data, f"<f{size}").astype(np.float64)
        case _:
            return None
    return found.reshape(-1, channels).T
