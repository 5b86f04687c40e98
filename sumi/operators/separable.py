"""Down-sampling: operators that act on rows and on columns, each by a small matrix.

    y = R x Kᵀ  for each channel,      A* y = Rᵀ y K,      A⁺ y = R⁺ y K⁺ᵀ

A is the Kronecker product of R and K, so its singular values are products of theirs. No matrix on whole images is ever
formed.
"""

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.operators.linear import refuse_shape


class Separable:
    """``rows`` (H', H) and ``columns`` (W', W): x of (N, C, H, W) to y of (N, C, H', W')."""

    def __init__(self, rows: Tensor, columns: Tensor) -> None:
        self.rows, self.columns = rows.double().cpu(), columns.double().cpu()
        self.inverses = torch.linalg.pinv(self.rows), torch.linalg.pinv(self.columns)

    def __call__(self, x: Tensor) -> Tensor:
        return _apply("x", x, self.rows, self.columns)

    def adjoint(self, y: Tensor) -> Tensor:
        return _apply("y", y, self.rows.T, self.columns.T)

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        return _apply("y", y, *self.inverses)


def _apply(name: str, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    height, width = rows.shape[1], columns.shape[1]
    if x.ndim != 4 or tuple(x.shape[2:]) != (height, width):
        raise refuse_shape(name, x, f"(N, C, {height}, {width})")
    return rows.to(x) @ x @ columns.T.to(x)


def box(height: int, width: int, factor: int) -> Separable:
    """The mean of each ``factor`` × ``factor`` block of pictures H × W; A⁺ repeats the means.

    Raises InputError where the factor does not divide both sides.
    """

    _check(height, width, factor)
    return Separable(box_matrix(height, factor), box_matrix(width, factor))


def box_matrix(size: int, factor: int) -> Tensor:
    """Means of ``factor`` neighbouring values, as a matrix: float64 (size/factor, size)."""
    return torch.eye(size // factor, dtype=torch.float64).repeat_interleave(factor, 1) / factor


def bicubic(height: int, width: int, factor: int) -> Separable:
    """Bicubic down-sampling of pictures H × W by a whole factor (Keys 1981, a = -½), as Pillow and PyTorch do it.

    Antialiased: the kernel is ``factor`` times as wide, and its weights are renormalised at the border. Raises
    InputError where the factor does not divide both sides.
    """
    _check(height, width, factor)
    return Separable(_bicubic_matrix(height, factor), _bicubic_matrix(width, factor))


def _bicubic_matrix(size: int, factor: int) -> Tensor:
    centre = torch.arange(size // factor, dtype=torch.float64) * factor + (factor - 1) / 2
    d = ((torch.arange(size, dtype=torch.float64) - centre[:, None]) / factor).abs()
    near = (1.5 * d - 2.5) * d**2 + 1
    far = ((-0.5 * d + 2.5) * d - 4) * d + 2
    weights = torch.where(d < 1, near, torch.where(d < 2, far, 0.0))
    return weights / weights.sum(1, keepdim=True)


def _check(height: int, width: int, factor: int) -> None:
    if factor < 1 or height % factor or width % factor:
        raise InputError(f"factor: {factor} does not divide {height} × {width}; give a factor of both")
