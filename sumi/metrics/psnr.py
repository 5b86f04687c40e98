"""The peak signal-to-noise ratio of a picture that was given back."""

import torch
from torch import Tensor


def psnr(made: Tensor, images: Tensor) -> Tensor:
    """10 log₁₀ (range² / mean squared error) of each pair (N, …) in [-1, 1], in dB: float64 (N,); ∞ where equal."""
    return 10 * torch.log10(4 / (made - images).double().square().flatten(1).mean(1))
