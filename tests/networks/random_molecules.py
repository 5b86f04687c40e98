"""Molecules and rotations for tests of networks of molecules."""

import torch
from torch import Tensor


def molecules(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Four molecules of seven atoms with zero mean, and their noise levels."""
    x = torch.randn(4, 7, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x[..., :3] -= x[..., :3].mean(1, keepdim=True)
    return x.to(dtype), torch.tensor([-1.0, -0.3, 0.2, 0.9], dtype=dtype)


def orthogonal(determinant: int) -> Tensor:
    q = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64))[0]
    return q * (torch.linalg.det(q) * determinant)
