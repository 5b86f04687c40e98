"""``spoken-digits``: 840 recordings of single digits by six people, 8,000 Hz (origin and licence: ``ATTRIBUTION.md``).

They are stored in 8 bits by the μ law (ITU-T G.711's curve, μ = 255),

    c = round(127 sign(x) ln(1 + μ |x|) / ln(1 + μ)),     x = sign(c) ((1 + μ)^(|c|/127) - 1) / μ,

38 dB above their rounding, and packed by xz: 1.9 MB instead of 5.7.
"""

import lzma
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sumi.data.audio import LEVELS, AudioDataset, AudioSpec, length_of
from sumi.data.clips import SPOKEN_SECONDS, of_spoken_digits
from sumi.data.config import DataConfig
from sumi.data.dataset import Progress

MU: Final = 255
RATE: Final = 8000
FILE: Final = Path(__file__).parent / "spoken_digits.npz"


def load_spoken_digits(config: DataConfig, progress: Progress | None = None) -> AudioDataset:
    """14 clips of each digit by each person, of which 2 are held out. Raises InputError as `of_spoken_digits`."""
    del progress
    return of_spoken_digits(stored(), config)


def outline_of_digits(config: DataConfig) -> AudioSpec:
    """Of the clips, unread."""
    names = stored(samples=False)["speaker_names"] if config.labels == "speaker" else range(10)
    rate = config.rate or RATE
    return AudioSpec(rate, length_of(rate, config.seconds or SPOKEN_SECONDS), tuple(sorted(map(str, names))))


def stored(*, samples: bool = True) -> dict[str, Any]:
    """The arrays that `sumi.data.clips` says."""
    with np.load(FILE, allow_pickle=False) as file:
        parts = {name: file[name] for name in file.files if samples or name != "packed"}
    if samples:
        parts["samples"] = expanded(np.frombuffer(lzma.decompress(parts.pop("packed").tobytes()), np.int8))
    return {**parts, "sample_rate": RATE}


def companded(samples: NDArray[np.int16]) -> NDArray[np.int8]:
    """Samples of 16 bits by the μ law."""
    x = samples / LEVELS
    return np.rint(127 * np.sign(x) * np.log1p(MU * np.abs(x)) / np.log1p(MU)).astype(np.int8)


def expanded(codes: NDArray[np.int8]) -> NDArray[np.int16]:
    """The way back."""
    x = np.sign(codes) * np.expm1(np.abs(codes.astype(np.float64)) / 127 * np.log1p(MU)) / MU
    return np.clip(np.rint(LEVELS * x), -LEVELS, LEVELS - 1).astype(np.int16)
