"""Measurements of sound (N, 1, L): a gap, and what is below a frequency. Both are projections: A = A* = A⁺."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.operators.linear import Mask, refuse_shape


def gap(length: int, start: int, end: int) -> Mask:
    """What is left of ``length`` samples where those from ``start`` to ``end`` are lost. Raises InputError."""
    if not 0 <= start < end <= length or end - start == length:
        raise InputError(f"gap: samples {start} to {end} are no part of {length}; give a gap within the clip")
    places = torch.arange(length)
    return Mask((places >= start) & (places < end))


@dataclass(frozen=True)
class LowPass:
    """What is below ``share`` of the highest frequency, in (0, 1): the Fourier transform, cut off there."""

    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise InputError(f"share: {self.share:g} is out of range; give more than 0 and less than 1")

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim != 3:
            raise refuse_shape("x", x, "sound (N, 1, L)")
        found = torch.fft.rfft(x)
        kept = torch.arange(found.shape[-1], device=x.device) < self.share * (found.shape[-1] - 1)
        return torch.fft.irfft(torch.where(kept, found, 0), x.shape[-1])

    def adjoint(self, y: Tensor) -> Tensor:
        return self(y)

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        return self(y)
