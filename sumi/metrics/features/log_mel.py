"""Sound as a picture: the logarithm of its power in bands of the mel scale.

    power of frame j at frequency f:   |Σ_n w(n) x(n + 10 ms · j) exp(-2πi f n)|²,   w: Hann's window of 32 ms, Σ w = 2
    mel scale:                         m(f) = 2595 lg(1 + f/700),   triangles of even width on it, from 0 to rate/2
    decibels:                          10 lg(power), 0 for a sine of amplitude 1, kept within FLOOR … 0

O'Shaughnessy 1987 for the scale, Davis & Mermelstein 1980 for the triangles.
"""

from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

BANDS: Final = 40
FLOOR: Final = -70.0
"""In decibels."""
WINDOW, HOP = 0.032, 0.010
"""In seconds."""


def log_mel(x: Tensor, rate: int, bands: int = BANDS) -> Tensor:
    """Sound (N, n) or (N, 1, n) in [-1, 1] at ``rate`` Hz -> decibels (N, bands, frames) in its type, lowest first.

    A frame begins every 10 ms; around the sound is silence.
    """
    x = x.flatten(1)
    size, hop = round(WINDOW * rate), max(1, round(HOP * rate))
    window = torch.hann_window(size, dtype=x.dtype, device=x.device)
    found = torch.stft(
        x, size, hop, window=2 * window / window.sum(), center=True, pad_mode="constant", return_complex=True
    )
    power = triangles(bands, size, rate).to(x) @ found.abs().square()
    return (10 * power.clamp(min=1e-12).log10()).clamp(FLOOR, 0.0)


def as_images(x: Tensor, rate: int) -> Tensor:
    """`log_mel` as images (N, 1, BANDS, frames) in [-1, 1]: -1 is FLOOR, 1 is 0 dB."""
    return 1 - 2 * log_mel(x, rate)[:, None] / FLOOR


@lru_cache(maxsize=8)
def triangles(bands: int, size: int, rate: int) -> Tensor:
    """Weights float64 (bands, size//2 + 1) of frequencies k rate/size, of largest value 1 between them."""
    corners = hertz(torch.linspace(0, float(mel(torch.tensor(rate / 2).double())), bands + 2, dtype=torch.float64))
    f = torch.arange(size // 2 + 1, dtype=torch.float64) * rate / size
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    found = torch.minimum((f - low) / (middle - low), (high - f) / (high - middle)).clamp(min=0)
    nearest = torch.zeros_like(found).scatter_(1, (middle * size / rate).round().long(), 1.0)
    return torch.where(found.sum(1, keepdim=True) > 0, found, nearest)  # a band between two frequencies has the nearer


def mel(f: Tensor) -> Tensor:
    """Of a frequency in Hz."""
    return 2595 * torch.log10(1 + f / 700)


def hertz(m: Tensor) -> Tensor:
    """The inverse of `mel`."""
    return 700 * (10 ** (m / 2595) - 1)
