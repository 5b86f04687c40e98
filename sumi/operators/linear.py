"""Linear measurements y = A x of data, with adjoint and pseudo-inverse.

An operator is A with its adjoint A* (<A x, y> = <x, A* y>) and its Moore-Penrose pseudo-inverse A⁺. A⁺ A is the
orthogonal projection onto the range of A*, what A sees, and I - A⁺ A that onto the null space of A:

    A A⁺ A = A,    A⁺ A A⁺ = A⁺,    (A⁺ A)ᵀ = A⁺ A,    (A A⁺)ᵀ = A A⁺.

Here: masks, weights, grey, any matrix, and composition. Down-sampling is in `separable`, blur in `convolution`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor

from sumi.errors import InputError


@runtime_checkable
class Operator(Protocol):
    """A linear map of x, (N, C, H, W) or (N, D), to y, (N, …). Each raises InputError for a shape it does not take."""

    def __call__(self, x: Tensor, /) -> Tensor:
        """A x."""
        ...

    def adjoint(self, y: Tensor, /) -> Tensor:
        """A* y, shaped like x."""
        ...

    def pseudo_inverse(self, y: Tensor, /) -> Tensor:
        """A⁺ y, shaped like x: the least-squares solution of A x = y with the smallest norm."""
        ...


def refuse_shape(name: str, x: Tensor, takes: str) -> InputError:
    """The error for a tensor of the wrong shape; ``takes``: the shape that the operator takes."""
    return InputError(f"{name}: is of shape {tuple(x.shape)}, and this operator takes {takes}; give it that")


AnyOperator = Operator | Callable[[Tensor], Tensor]
"""A linear one, or any differentiable function of pictures (N, C, H, W)."""


def is_linear(operator: object) -> TypeGuard[Operator]:
    """Whether it has an adjoint and a pseudo-inverse."""
    return isinstance(operator, Operator)


@dataclass(frozen=True)
class Mask:
    """A x is 0 where ``mask`` is True (to be painted), and x elsewhere (known). A = A* = A⁺, to the bit.

    ``mask``: bool, broadcasts to x. Values of y where the mask is True are ignored. Raises InputError for a mask that
    is not bool.
    """

    mask: Tensor

    def __post_init__(self) -> None:
        if self.mask.dtype != torch.bool:
            raise InputError(f"mask: is of {self.mask.dtype}; give booleans, True where it is to be painted")

    def __call__(self, x: Tensor) -> Tensor:
        mask, wanted = self.mask, x.shape
        fits = mask.ndim <= x.ndim and all(m in (1, n) for m, n in zip(mask.shape[::-1], wanted[::-1], strict=False))
        if not fits:
            raise refuse_shape("x", x, f"what a mask of {tuple(mask.shape)} broadcasts to")
        return torch.where(mask.to(x.device), 0.0, x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self(y)

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        return self(y)


@dataclass(frozen=True)
class Weighted:
    """A diagonal operator, A x = w x. ``weights``: w ≥ 0, broadcasts to x; of 0 nothing is seen."""

    weights: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.weights.to(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self(y)

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        weights = self.weights.to(y)
        return torch.where(weights > 0, y / torch.where(weights > 0, weights, 1.0), 0.0)


class Grey:
    """The luma of red, green and blue, (N, 3, H, W) to (N, 1, H, W) (ITU-R BT.601: 0.299, 0.587, 0.114)."""

    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).view(3, 1, 1)

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != 3:
            raise refuse_shape("x", x, "(N, 3, H, W)")
        return (x * self.weights.to(x)).sum(1, keepdim=True)

    def adjoint(self, y: Tensor) -> Tensor:
        if y.ndim != 4 or y.shape[1] != 1:
            raise refuse_shape("y", y, "(N, 1, H, W)")
        return y * self.weights.to(y)

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        return self.adjoint(y) / float(self.weights.square().sum())


class Linear:
    """Any matrix (M, D), on x of (N, *shape) with D elements, or (N, D) where no ``shape`` is given. y is (N, M).

    A⁺ comes from the singular values; those below float64's rounding count as 0. Raises InputError where D is not the
    product of ``shape``.
    """

    def __init__(self, matrix: Tensor, shape: Sequence[int] | None = None) -> None:
        self.matrix = matrix.double().cpu()
        self.shape = (matrix.shape[1],) if shape is None else tuple(shape)
        if prod(self.shape) != matrix.shape[1]:
            raise InputError(
                f"shape: {self.shape} has {prod(self.shape)} elements, the matrix {matrix.shape[1]} columns"
            )
        self.inverse = torch.linalg.pinv(self.matrix)

    def __call__(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.shape:
            raise refuse_shape("x", x, f"(N, {', '.join(map(str, self.shape))})")
        return x.flatten(1) @ self.matrix.T.to(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._back(y, self.matrix.T)

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        return self._back(y, self.inverse)

    def _back(self, y: Tensor, matrix: Tensor) -> Tensor:
        if y.ndim != 2 or y.shape[1] != len(self.matrix):
            raise refuse_shape("y", y, f"(N, {len(self.matrix)})")
        return (y @ matrix.T.to(y)).view(-1, *self.shape)


@dataclass(frozen=True)
class Composed:
    """``outer`` after ``inner``: A = O I and A* = I* O*. A⁺ is not I⁺ O⁺ in general.

    Conjugate gradients on A* A x = A* y from 0 find A⁺ y; they never leave the range of A*. They are exact after as
    many ``iterations`` as A has distinct singular values (`Grey` after `box` has one), and close after fewer.
    """

    outer: Operator
    inner: Operator
    iterations: int = 100

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise InputError(f"iterations: {self.iterations} is too few; give 1 or more")
        for operator in (self.outer, self.inner):
            linear(operator, "a composition")

    def __call__(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(self.outer.adjoint(y))

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        return solve(lambda x: self.adjoint(self(x)), self.adjoint(y), self.iterations)


def composed(outer: AnyOperator, inner: AnyOperator) -> AnyOperator:
    """``outer`` after ``inner``, linear where both are."""
    if is_linear(outer) and is_linear(inner):
        return Composed(outer, inner)
    return lambda x: outer(inner(x))


def linear(operator: object, method: str) -> Operator:
    """``operator`` itself. Raises InputError that names ``method`` where it has no adjoint or pseudo-inverse."""
    if is_linear(operator):
        return operator
    raise InputError(f"operator: {type(operator).__name__} is not linear, which {method} needs; use DPS")


def solve(matrix: Callable[[Tensor], Tensor], right: Tensor, iterations: int) -> Tensor:
    """u with matrix(u) = right for each sample of (N, …), by conjugate gradients from 0 (Hestenes & Stiefel 1952).

    ``matrix``: linear, symmetric and positive definite on the space of ``right``. A sample solved to rounding is left
    alone, since its residual may then lie outside that space.
    """

    def inner(v: Tensor, w: Tensor) -> Tensor:
        return (v * w).flatten(1).sum(1)

    rounding = (10 * torch.finfo(right.dtype).eps) ** 2 * inner(right, right)

    def ratio(of: Tensor, to: Tensor) -> Tensor:
        return torch.where((of > rounding) & (to > 0), of / to, 0.0).view(-1, *(1,) * (right.ndim - 1))

    u, residual, direction = torch.zeros_like(right), right, right
    for _ in range(iterations):
        image = matrix(direction)
        length = ratio(inner(residual, residual), inner(direction, image))
        u = u + length * direction
        left = residual - length * image
        direction = left + ratio(inner(left, left), inner(residual, residual)) * direction
        residual = left
    return u
