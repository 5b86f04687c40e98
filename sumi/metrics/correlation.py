"""How alike two sounds are wherever they begin: the largest normalised cross-correlation,

    r(x, y) = max over lags k of |Σ_n x[n] y[n + k]| / (‖x‖ ‖y‖),

in [0, 1], 1 for the same up to a shift and a factor; by the Fourier transform, with zeros around.
"""

from collections.abc import Callable

import torch
from torch import Tensor

SILENT = 1e-6
"""Norm below which a sound is like nothing."""


def best_correlation(
    x: Tensor, known: Tensor, progress: Callable[[int, int], None] | None = None
) -> tuple[Tensor, Tensor]:
    """Of each sound of x (n, L) the largest r over the ``known`` (m, L), float32 (n,), and of which, int64 (n,)."""
    size = 1 << (2 * x.shape[1] - 1).bit_length()
    spectra = torch.fft.rfft(_unit(known), size)
    best, which = torch.zeros(len(x)), torch.zeros(len(x), dtype=torch.int64)
    for i, one in enumerate(torch.fft.rfft(_unit(x), size)):
        parts = [torch.fft.irfft(part * one.conj(), size).abs().amax(1) for part in spectra.split(256)]
        best[i], which[i] = torch.cat(parts).max(0)
        if progress is not None:
            progress(i + 1, len(x))
    return best.clamp(max=1), which


def _unit(x: Tensor) -> Tensor:
    """Each sound divided by its norm; silence is 0."""
    x = x.float()
    norm = x.norm(dim=1, keepdim=True)
    return torch.where(norm > SILENT, x / norm.clamp(min=SILENT), 0.0)
