"""Blur: circular convolution with a kernel.

With this boundary the discrete Fourier transform turns A into a product with the kernel's transform K:

    A = F* K F,      A* = F* K̄ F,      A⁺ = F* K⁺ F,      K⁺ = K̄/|K|², or 0 where K = 0.

A removes any frequency whose gain is below ``least`` times the largest: inverting it would only amplify rounding and
noise by 1/``least``. As A itself drops it, A⁺ stays the exact pseudo-inverse.
"""

from math import ceil, cos, radians, sin
from typing import Final

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.operators.linear import refuse_shape


class Convolution:
    """``kernel`` (h, w), centred at (h // 2, w // 2), on every channel of x (N, C, H, W). It may be wider than x."""

    def __init__(self, kernel: Tensor, least: float = 1e-3) -> None:
        if not 0 < least < 1:
            raise InputError(f"least: {least} is not between 0 and 1; give the gain below which a frequency is dropped")
        if kernel.ndim != 2:
            raise InputError(f"kernel: is of shape {tuple(kernel.shape)}; give one of (height, width)")
        self.kernel, self.least = kernel.double().cpu(), least

    def __call__(self, x: Tensor) -> Tensor:
        return self._filtered("x", x, self._transfer(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self._filtered("y", y, self._transfer(y).conj())

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        transfer = self._transfer(y)
        return self._filtered("y", y, torch.where(transfer != 0, 1 / transfer, 0.0))

    def _transfer(self, x: Tensor) -> Tensor:
        """K, complex128 (H, W // 2 + 1), on the CPU."""
        height, width = x.shape[-2:]
        rows, columns = (torch.arange(n) - n // 2 for n in self.kernel.shape)
        wrapped = torch.zeros(height, width, dtype=torch.float64)
        place = (rows % height)[:, None] * width + columns % width
        wrapped.view(-1).index_add_(0, place.reshape(-1), self.kernel.reshape(-1))
        transfer = torch.fft.rfft2(wrapped)
        size = transfer.abs()
        return torch.where(size < self.least * size.max(), 0.0, transfer)

    @staticmethod
    def _filtered(name: str, x: Tensor, transfer: Tensor) -> Tensor:
        if x.ndim != 4:
            raise refuse_shape(name, x, "(N, C, H, W)")
        spectrum = torch.fft.rfft2(x)
        return torch.fft.irfft2(spectrum * transfer.to(spectrum), s=x.shape[-2:])


WIDEST: Final = 256
"""In pixels: a kernel's memory grows with its square."""


def gaussian_blur(std: float, least: float = 1e-3) -> Convolution:
    """A Gaussian of ``std`` pixels, up to `WIDEST`, truncated at 4 std. Raises InputError for another std."""
    if not 0 < std <= WIDEST:
        raise InputError(f"std: {std} is out of range; give more than 0 pixels, at most {WIDEST}")
    radius = ceil(4 * std)
    line = (-torch.arange(-radius, radius + 1, dtype=torch.float64).square() / (2 * std**2)).exp()
    line = line / line.sum()
    return Convolution(torch.outer(line, line), least)


def motion_blur(length: float, angle: float, least: float = 1e-3) -> Convolution:
    """Motion along a line of ``length`` pixels (as ``std``) at ``angle`` degrees, anticlockwise from the x axis.

    Each point of the line is spread bilinearly over its four pixels. Raises InputError for another length.
    """
    if not 0 < length <= WIDEST:
        raise InputError(f"length: {length} is out of range; give more than 0 pixels, at most {WIDEST}")
    radius, points = ceil(length / 2) + 1, 64 * ceil(length)
    along = ((torch.arange(points, dtype=torch.float64) + 0.5) / points - 0.5) * length
    across, down = along * cos(radians(angle)) + radius, radius - along * sin(radians(angle))
    pixels = torch.arange(2 * radius + 1, dtype=torch.float64)
    of_rows, of_columns = ((1 - (pixels[:, None] - v).abs()).clamp(min=0) for v in (down, across))
    return Convolution(of_rows @ of_columns.T / points, least)
