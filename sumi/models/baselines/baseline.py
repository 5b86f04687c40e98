"""What the systems that diffusion is compared with have in common: a loss of images, and images made from nothing.

None of them knows a process or a schedule. All randomness comes from outside, counted as everywhere
(`sumi.randomness`): training noise is handed to `losses`, and image i of a seed is made from draws of (seed, i).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn


class Baseline(nn.Module, ABC):
    """A module that learns images (C, H, W) of a number of levels, in [-1, 1].

    ``noise_shape``: of the standard normal noise that the loss of one image takes; () where it takes none.
    ``likelihood``: whether p(x) is known exactly, by importance weights, or not at all.
    """

    noise_shape: tuple[int, ...] = ()
    likelihood: ClassVar[Literal["exact", "weights", "none"]] = "none"

    @abstractmethod
    def losses(self, x: Tensor, noise: Tensor) -> Tensor:
        """The loss of each image (N,), of x (N, C, H, W) and standard normal ``noise`` (N, *noise_shape)."""

    @abstractmethod
    def generate(self, seed: int, indices: Sequence[int]) -> Tensor:
        """Images ``indices`` of ``seed``, (N, C, H, W) in [-1, 1] on the module's device."""

    def log_importance_weights(self, x: Tensor, *, seed: int, indices: Sequence[int], draws: int) -> Tensor:
        """Float64 (N, draws), whose exponentials have the mean p(x), of x (N, C, H, W); (N, 1) where p is exact.

        The noise of row k is that of ``indices[k]``.
        """
        raise NotImplementedError(f"{type(self).__name__} has no likelihood")

    def auxiliary(self) -> list[nn.Module]:
        """Parts whose gradients are clipped for themselves (`sumi.objectives.objective.Objective.auxiliary`)."""
        return []
