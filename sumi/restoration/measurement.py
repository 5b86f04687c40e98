"""What is known of x_0: y = A x_0 + s n, n ~ N(0, I)."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from sumi.errors import InputError
from sumi.operators.linear import Operator, linear


@dataclass(frozen=True)
class Measurement:
    """``y`` (N, …), or (1, …) for all samples, is ``operator`` of x_0 with noise of deviation ``std``, 0 or more.

    The rest of y that no x_0 gives (A A⁺ y ≠ y) is noise that says nothing of x_0, and is taken out of it; so what
    stands in y where a mask says "to be painted" does not matter. Raises InputError for a negative std.
    """

    operator: Operator | Callable[[Tensor], Tensor]
    y: Tensor
    std: float = 0.0

    def __post_init__(self) -> None:
        if not self.std >= 0:
            raise InputError(f"std: {self.std} is negative; give 0 for a measurement without noise")
        if isinstance(self.operator, Operator):
            object.__setattr__(self, "y", self.operator(self.operator.pseudo_inverse(self.y)))

    def residual(self, x: Tensor) -> Tensor:
        """y - A x for x of (N, …). Raises InputError where y and A x differ in shape."""
        measured = self.operator(x)
        self._check(measured)
        return self.y.to(measured) - measured

    def consistent(self, x: Tensor) -> Tensor:
        """The nearest to x (N, …) that measures y. Raises InputError for shapes as `residual`, and as `linear`."""
        operator = self.linear("data consistency")
        self._check(operator(x))
        return replaced(operator, x, self.y)

    def linear(self, method: str) -> Operator:
        """The operator. Raises InputError that names ``method`` where it is not linear."""
        return linear(self.operator, method)

    def noiseless(self, method: str) -> Operator:
        """The operator. Raises InputError that names ``method`` where it is not linear or y is noisy."""
        if self.std > 0:
            raise InputError(f"std: {method} takes y for exact, not with noise of {self.std}; use MomentMatching")
        return self.linear(method)

    def _check(self, measured: Tensor) -> None:
        if self.y.shape[1:] != measured.shape[1:] or len(self.y) not in (1, len(measured)):
            shapes = f"{tuple(self.y.shape)}, and the measured x of {tuple(measured.shape)}"
            raise InputError(f"y: is of shape {shapes}; give one measurement for all, or one for each sample")


def replaced(operator: Operator, x: Tensor, y: Tensor) -> Tensor:
    """(I - A⁺ A) x + A⁺ y for x of (N, …). With a mask, these are y's own bits where it is known, and x's elsewhere."""
    return x - operator.pseudo_inverse(operator(x)) + operator.pseudo_inverse(y.to(x))
