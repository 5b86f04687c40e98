"""A measurement of x_0: y = A x_0 + s n, n ~ N(0, I)."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from sumi.errors import InputError
from sumi.operators.linear import AnyOperator, Operator, is_linear, linear


@dataclass(frozen=True)
class OfDecoded:
    """``operator`` of the images that ``decode`` makes of latents (N, c, h, w): no linear one."""

    operator: AnyOperator
    decode: Callable[[Tensor], Tensor]

    def __call__(self, z: Tensor) -> Tensor:
        return self.operator(self.decode(z))


@dataclass(frozen=True)
class Measurement:
    """``y`` (N, …), or (1, …) for all samples, is ``operator`` of x_0 plus noise of standard deviation ``std`` ≥ 0.

    The part of y outside A's range (y - A A⁺ y) carries no information about x_0 and is removed; so values of y where a
    mask is True do not matter. Raises InputError for a negative std.
    """

    operator: AnyOperator
    y: Tensor
    std: float = 0.0

    def __post_init__(self) -> None:
        if not self.std >= 0:
            raise InputError(f"std: {self.std} is negative; give 0 for a measurement without noise")
        if is_linear(self.operator):
            object.__setattr__(self, "y", self.operator(self.operator.pseudo_inverse(self.y)))

    def residual(self, x: Tensor) -> Tensor:
        """y - A x for x of (N, …). Raises InputError where y and A x differ in shape."""
        measured = self.operator(x)
        self._check(measured)
        return self.y.to(measured) - measured

    def consistent(self, x: Tensor) -> Tensor:
        """The point nearest to x (N, …) with A x = y. Raises InputError as `residual` and `linear` do."""
        operator = self.linear("data consistency")
        self._check(operator(x))
        return replaced(operator, x, self.y)

    def linear(self, method: str) -> Operator:
        """The operator. Raises InputError that names ``method`` where it is not linear."""
        return linear(self.operator, method)

    def noiseless(self, method: str) -> Operator:
        """The operator. Raises InputError that names ``method`` where it is not linear or y is noisy."""
        if self.std > 0:
            raise InputError(f"std: {method} assumes an exact y, not noise of {self.std}; use MomentMatching")
        return self.linear(method)

    def _check(self, measured: Tensor) -> None:
        if self.y.shape[1:] != measured.shape[1:] or len(self.y) not in (1, len(measured)):
            shapes = f"{tuple(self.y.shape)}, and A x of {tuple(measured.shape)}"
            raise InputError(f"y: is of shape {shapes}; give one measurement for all, or one for each sample")


def replaced(operator: Operator, x: Tensor, y: Tensor) -> Tensor:
    """(I - A⁺ A) x + A⁺ y for x (N, …). With a mask: exactly y where known, exactly x elsewhere."""
    return x - operator.pseudo_inverse(operator(x)) + operator.pseudo_inverse(y.to(x))
