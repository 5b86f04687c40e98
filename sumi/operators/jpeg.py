"""A nonlinear measurement: JPEG's quantisation, made differentiable.

Each block of 8 × 8 pixels goes through the orthonormal cosine transform D, and its coefficients are rounded to
multiples of the quantisation table q (ITU-T T.81, annex K.1, scaled by quality as in the Independent JPEG Group's
code):

    y = Dᵀ (q · round(D x Dᵀ / q)) D

Rounding has gradient 0; the straight-through estimator replaces it by that of y = x (Bengio et al. 2013). There is no
chroma subsampling, and every channel uses the luminance table.
"""

from math import pi, sqrt

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.operators.linear import refuse_shape

LUMINANCE = torch.tensor(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    dtype=torch.float64,
)


def cosine_transform(size: int) -> Tensor:
    """The orthonormal DCT-II, float64 (size, size): row k is √(2/size) cos(π k (i + ½)/size), the first /√2."""
    k = torch.arange(size, dtype=torch.float64)
    matrix = (pi / size * k[:, None] * (k + 0.5)).cos() * sqrt(2 / size)
    matrix[0] /= sqrt(2)
    return matrix


class JPEG:
    """x in [-1, 1], (N, C, H, W) with H and W multiples of 8, to y of the same shape; quality: 1 to 100."""

    def __init__(self, quality: int) -> None:
        if not 1 <= quality <= 100:
            raise InputError(f"quality: {quality} is not in 1 … 100")
        scale = 5000 / quality if quality < 50 else 200 - 2 * quality
        self.table = ((LUMINANCE * scale + 50) / 100).floor().clamp(1, 255)

    def __call__(self, x: Tensor) -> Tensor:
        """Raises InputError where H or W is not a multiple of 8."""
        if x.ndim != 4 or x.shape[2] % 8 or x.shape[3] % 8:
            raise refuse_shape("x", x, "(N, C, H, W) with H and W multiples of 8")
        transform, table = cosine_transform(8).to(x), self.table.to(x)
        levels = x * 127.5 - 0.5  # of 0 … 255, less 128
        blocks = levels.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4)  # (N, C, H/8, W/8, 8, 8)
        multiples = transform @ blocks @ transform.T / table
        rounded = multiples + (multiples.round() - multiples).detach()
        back = transform.T @ (rounded * table) @ transform
        return (back.transpose(3, 4).flatten(4, 5).flatten(2, 3) + 0.5) / 127.5
