"""The space that distances are measured in: learned of the data themselves, or that of a network trained elsewhere.

Distances compare within one space only, so every evaluation says which it was: its ``sha256`` is a hash of all that
decides it, the weights and how images are prepared for them.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class SpaceFacts:
    """``name`` of the network, ``sha256`` of its weights and of how it sees images, ``dimension`` D of its features."""

    name: str
    sha256: str
    dimension: int


class FeatureSpace(Protocol):
    """Images in, features out; never in training mode."""

    @property
    def space(self) -> SpaceFacts: ...

    def features(self, images: Tensor) -> Tensor:
        """float64 (N, D) on the CPU, of images (N, C, H, W) in [-1, 1]."""
        ...

    def classes_of(self, features: Tensor) -> Tensor | None:
        """float64 (N, classes), the probabilities that follow from ``features``; None where there are no classes."""
        ...


def hash_of(description: str, tensors: Mapping[str, Tensor]) -> str:
    """sha256 of ``description`` and of the name, shape, type and values of every tensor (on the CPU)."""
    digest = hashlib.sha256(description.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
