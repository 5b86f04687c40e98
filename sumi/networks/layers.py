"""The few layers that the networks here are made of.

An image network in diffusion is a residual network told how noisy its input is. Here that knowledge enters as an
*adaptive group norm* (Dhariwal & Nichol 2021, section 3): after a norm without weights of its own, every channel c
of every sample is scaled and shifted by numbers made from the noise embedding e,

    h = (1 + scale_c(e)) · norm(h) + shift_c(e).

The numbers of all blocks come from one linear layer in the network, so a block receives its own ready made.

Every residual branch ends in a layer that starts at zero: at the start a block is the identity, and gradients reach all
depths. All image tensors are (N, C, H, W) in channels-last memory, where convolutions and norms are fastest and where
(N, H·W, C), the shape attention wants, is the same memory.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD_WIDTH = 32
"""Channels of one attention head."""


def group_norm(width: int, group_width: int, affine: bool = True) -> nn.GroupNorm:
    """Group norm (Wu & He 2018) over groups of ``group_width`` channels; ``affine`` gives it weights of its own.

    The groups are stated by their width since that is what speed hangs on: on CPUs the backward pass in bfloat16 is
    vectorised from 16 channels a group, and below that costs as much as a convolution.
    """
    return nn.GroupNorm(width // group_width, width, affine=affine)


class NoiseEmbedding(nn.Module):
    """How noisy the input is, as a vector: sines and cosines of ``c_noise``, then a small perceptron.

    ``forward(c_noise: (N,)) -> (N, width)``.

    The angular frequencies form a geometric ladder from ``LOWEST`` to ``HIGHEST``, made for both kinds of number that
    parameterizations use as ``c_noise``:

    - steps of a discrete grid, 0 … 1000: the lowest turns by one radian over the whole range, so it tells far steps
      apart without ambiguity; the highest turns by a quarter of a cycle a step, half the Nyquist rate of the
      integers, so that neighbours differ and times between them still mean something;
    - log-SNR/4 or log σ/4, about -2 … 2: the highest turns by half a cycle each side of 0, and the upper half of the
      ladder by 0.08 radian or more; the rest is close to a constant, which costs nothing.

    Frequencies above the highest would serve neither range, and those below the lowest (the usual ladder goes down to
    1e-4) would be close to a constant on both.
    """

    LOWEST = 1e-3
    HIGHEST = math.pi / 2

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        exponents = torch.linspace(0.0, 1.0, width // 2, dtype=torch.float64)
        frequencies = self.LOWEST * (self.HIGHEST / self.LOWEST) ** exponents
        # A constant, not a weight: in no checkpoint, in no average.
        self.register_buffer("frequencies", frequencies.float(), persistent=False)
        self.perceptron = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, c_noise: Tensor) -> Tensor:
        phase = c_noise[:, None].to(self.frequencies.dtype) * self.frequencies
        return self.perceptron(torch.cat([phase.cos(), phase.sin()], dim=1))


class ResidualBlock(nn.Module):
    """x + conv(dropout(silu(adaptive norm(conv(silu(norm(x))))))), all at one width and size.

    ``forward(x: (N, C, H, W), scale: (N, C, 1, 1), shift: (N, C, 1, 1)) -> (N, C, H, W)``; ``scale`` already has its
    1 added.
    """

    def __init__(self, width: int, group_width: int, dropout: float) -> None:
        super().__init__()
        self.norm_in = group_norm(width, group_width)
        self.conv_in = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm_out = group_norm(width, group_width, affine=False)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1, bias=False)
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x)))
        h = F.silu(torch.addcmul(shift, self.norm_out(h), scale))
        return x + self.conv_out(self.dropout(h))


class SelfAttention(nn.Module):
    """x + attention over all positions of the image, in heads of 32 channels (Vaswani et al. 2017; Ho et al. 2020).

    ``forward(x: (N, C, H, W)) -> (N, C, H, W)``; cost and memory grow with (H·W)², so it belongs to low resolutions.
    """

    def __init__(self, width: int, group_width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.norm = group_norm(width, group_width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        n, width, height, breadth = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        heads = self.query_key_value(tokens).view(n, height * breadth, 3, self.heads, HEAD_WIDTH)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return x + self.out(mixed).transpose(1, 2).view(n, width, height, breadth)


class CrossAttention(nn.Module):
    """x + what every position finds among tokens, in heads of 32 channels (Rombach et al. 2022, section 3.3).

    ``forward(x: (N, C, H, W), tokens: (N, L, token_width)) -> (N, C, H, W)``.
    """

    def __init__(self, width: int, group_width: int, token_width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.norm = group_norm(width, group_width)
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(token_width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        n, width, height, breadth = x.shape
        query = self.query(self.norm(x).flatten(2).transpose(1, 2)).view(n, -1, self.heads, HEAD_WIDTH).transpose(1, 2)
        heads = self.key_value(tokens).view(n, tokens.shape[1], 2, self.heads, HEAD_WIDTH)
        key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return x + self.out(mixed).transpose(1, 2).view(n, width, height, breadth)
