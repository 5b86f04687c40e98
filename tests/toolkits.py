"""The libraries that models are imported from, where `make test` has installed them."""

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn


def installed(toolkit: Callable[[], ModuleType]) -> ModuleType:
    """The library; its tests are skipped where it cannot be imported."""
    try:
        return toolkit()
    except ImportError as error:
        pytest.skip(f"the library is not installed ({error}); `make setup` does")


@torch.no_grad()
def shaken(network: nn.Module, std: float = 0.1) -> None:
    """Every weight moved, so that none is zero as in the beginning."""
    generator = torch.Generator().manual_seed(3)
    for weight in network.parameters():
        weight.add_(std * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))


def same(found: Tensor, theirs: Tensor, atol: float) -> None:
    """Alike up to ``atol`` of the largest."""
    size = theirs.abs().max()
    torch.testing.assert_close(found / size, theirs / size, rtol=0, atol=atol)
