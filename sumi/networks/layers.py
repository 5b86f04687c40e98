"""The layers that the networks share.

A diffusion model's image network is a residual network conditioned on the noise level of its input. Here the noise
level enters by *adaptive group norm* (Dhariwal & Nichol 2021, section 3): after a norm without weights, every channel c
of every sample is scaled and shifted by a linear function of the noise embedding e,

    h = (1 + scale_c(e)) · norm(h) + shift_c(e).

One linear layer of the network computes the scales and shifts of all blocks.

Every residual branch ends in a layer that starts at zero: a block starts as the identity, and gradients reach all
depths. All image tensors are (N, C, H, W) in channels-last memory, where convolutions and norms are fastest and where
attention's (N, H·W, C) is the same memory.
"""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from sumi.networks.dropout import Dropout

HEAD_WIDTH = 32
"""Channels of one attention head, unless another number is given."""


_FORWARD_MODE: ContextVar[bool] = ContextVar("forward_mode", default=False)


@contextmanager
def forward_mode() -> Generator[None]:
    """Within this context networks can be differentiated in forward mode (`torch.func.jvp`)."""
    token = _FORWARD_MODE.set(True)
    try:
        with sdpa_kernel(SDPBackend.MATH), _ContiguousNorms():  # the fused kernels have no such derivative
            yield
    finally:
        _FORWARD_MODE.reset(token)


def in_forward_mode() -> bool:
    """Whether derivatives are being carried forward."""
    return _FORWARD_MODE.get()


class _ContiguousNorms(TorchFunctionMode):
    """Group norms, of any network, get contiguous memory: their derivative in forward mode refuses channels-last."""

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        if func is F.group_norm:
            args = (args[0].contiguous(), *args[1:])
        return func(*args, **(kwargs or {}))


def group_norm(width: int, group_width: int, affine: bool = True) -> nn.GroupNorm:
    """Group norm (Wu & He 2018) over groups of ``group_width`` channels; ``affine`` gives it weights of its own.

    Groups are given by their width because it decides the speed: on CPUs the backward pass in bfloat16 is vectorised
    from 16 channels per group; with fewer it costs as much as a convolution.
    """
    return nn.GroupNorm(width // group_width, width, affine=affine)


def to_channels_last(network: nn.Module) -> None:
    """Put the weights of all convolutions in channels-last memory, as the images are."""
    for weight in network.parameters():
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)


class NoiseEmbedding(nn.Module):
    """The noise level as a vector: sines and cosines of ``c_noise``, then a small perceptron.

    ``forward(c_noise: (N,)) -> (N, width)``.

    The angular frequencies are geometric from ``LOWEST`` to ``HIGHEST``, and suit both ranges of ``c_noise``:

    - steps of a discrete grid, 0 … 1000: the lowest turns by one radian over the whole range, so distant steps differ
      without ambiguity; the highest turns by a quarter of a cycle per step, half the Nyquist rate of the integers, so
      neighbours differ and times between them interpolate;
    - log-SNR/4 or log σ/4, about -2 … 2: the highest turns by half a cycle each side of 0, and the upper half of the
      frequencies by 0.08 radian or more; the rest is nearly constant, which does no harm.

    Higher frequencies would serve neither range; lower ones (usually down to 1e-4) would be nearly constant on both.
    """

    LOWEST = 1e-3
    HIGHEST = math.pi / 2

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        exponents = torch.linspace(0.0, 1.0, width // 2, dtype=torch.float64)
        frequencies = self.LOWEST * (self.HIGHEST / self.LOWEST) ** exponents
        # a constant, not a weight: neither saved nor averaged
        self.register_buffer("frequencies", frequencies.float(), persistent=False)
        self.perceptron = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, c_noise: Tensor) -> Tensor:
        phase = c_noise[:, None].to(self.frequencies.dtype) * self.frequencies
        return self.perceptron(torch.cat([phase.cos(), phase.sin()], dim=1))


class ZeroStartEmbedding(NoiseEmbedding):
    """Of another number about 0, which is added to that of the noise level; it is zero at the start."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        *_, last = self.perceptron
        for weight in last.parameters():
            nn.init.zeros_(weight)


class Modulation(nn.Linear):
    """(scale, shift) of every block from the noise embedding, as one matrix product instead of one per block.

    ``widths``: the channels of the blocks, in the order of the pass. All scales come before all shifts.
    """

    def __init__(self, embedding: int, widths: Sequence[int]) -> None:
        super().__init__(embedding, 2 * sum(widths))
        self.widths = list(widths)

    def of_blocks(self, embedding: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """(1 + scale, shift), each (N, C, 1, 1), block by block; ``embedding``: (N, width)."""
        scales, shifts = self(F.silu(embedding))[:, :, None, None].chunk(2, dim=1)
        return zip((1 + scales).split(self.widths, dim=1), shifts.split(self.widths, dim=1), strict=True)


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """x (N, C, H, W) at the height and width ``size``: means when shrinking, nearest neighbour when growing."""
    return F.interpolate(x, size=list(size), mode="area" if size[0] < x.shape[2] else "nearest-exact")


class ResidualBlock(nn.Module):
    """x + conv(dropout(silu(adaptive norm(conv(silu(norm(x))))))).

    ``forward(x: (N, C, H, W), scale: (N, C', 1, 1), shift: (N, C', 1, 1), size=None) -> (N, C', H', W')``; ``scale``
    already includes the 1. If ``out`` = C' differs from C, x passes a 1×1 convolution; with a ``size`` = (H', W') both
    branches are resized, the residual one between activation and convolution (Brock et al. 2019, "BigGAN").
    """

    def __init__(self, width: int, group_width: int, dropout: float, out: int | None = None) -> None:
        super().__init__()
        out = width if out is None else out
        self.norm_in = group_norm(width, group_width)
        self.conv_in = nn.Conv2d(width, out, 3, padding=1, bias=False)
        self.norm_out = group_norm(out, group_width, affine=False)
        self.dropout = Dropout(dropout)
        self.conv_out = nn.Conv2d(out, out, 3, padding=1, bias=False)
        nn.init.zeros_(self.conv_out.weight)
        self.skip = nn.Identity() if out == width else nn.Conv2d(width, out, 1)

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor, size: Sequence[int] | None = None) -> Tensor:
        h = F.silu(self.norm_in(x))
        if size is not None:
            h, x = resized(h, size), resized(x, size)
        h = F.silu(torch.addcmul(shift, self.norm_out(self.conv_in(h)), scale))
        return self.skip(x) + self.conv_out(self.dropout(h))


def attention_shares(query: Tensor, key: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(query keyᵀ/√D + bias), (N, heads, T, L): how much each query takes of each value."""
    logits = query * query.shape[-1] ** -0.5 @ key.transpose(2, 3)
    return (logits if bias is None else logits + bias.to(logits.dtype)).softmax(-1)


def biased_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """softmax(query keyᵀ/√D + bias) value, of (N, heads, T, D), keys and values (N, heads, L, D), bias (N, 1, 1, L).

    Written out: torch's fused kernels are half as fast with a bias on CPUs.
    """
    return attention_shares(query, key, bias).to(value.dtype) @ value


class SelfAttention(nn.Module):
    """x + attention over all positions of the image (Vaswani et al. 2017; Ho et al. 2020).

    ``forward(x: (N, C, H, W)) -> (N, C, H, W)``, in heads of ``head_width`` channels; cost and memory grow with
    (H·W)², so it belongs to low resolutions.
    """

    def __init__(self, width: int, group_width: int, head_width: int = HEAD_WIDTH) -> None:
        super().__init__()
        self.heads = width // head_width
        self.norm = group_norm(width, group_width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        n, width, height, breadth = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        heads = self.query_key_value(tokens).view(n, height * breadth, 3, self.heads, -1)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return x + self.out(mixed).transpose(1, 2).view(n, width, height, breadth)


class CrossAttention(nn.Module):
    """x + attention from every position to the tokens (Rombach et al. 2022, section 3.3).

    ``forward(x: (N, C, H, W), tokens: (N, L, token_width), bias=None) -> (N, C, H, W)``, in as many heads of
    ``head_width`` channels or more as share them evenly, or in one of fewer; ``bias`` (N, 1, 1, L) is added to the
    logits.
    """

    def __init__(self, width: int, group_width: int, token_width: int, head_width: int = HEAD_WIDTH) -> None:
        super().__init__()
        self.heads = next(n for n in range(max(width // head_width, 1), 0, -1) if width % n == 0)
        self.norm = group_norm(width, group_width)
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(token_width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        n, width, height, breadth = x.shape
        query, key, value = self._heads(x, tokens)
        if bias is None:
            mixed = F.scaled_dot_product_attention(query, key, value)
        else:
            mixed = biased_attention(query, key, value, bias)
        mixed = mixed.transpose(1, 2).flatten(2)
        return x + self.out(mixed).transpose(1, 2).view(n, width, height, breadth)

    def _heads(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query = self.query(self.norm(x).flatten(2).transpose(1, 2)).unflatten(2, (self.heads, -1)).transpose(1, 2)
        heads = self.key_value(tokens).unflatten(2, (2, self.heads, -1))
        key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        return query, key, value

    def shares(self, x: Tensor, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        """How much each position takes of each token: (N, heads, H·W, L), 1 in all for each position."""
        query, key, _ = self._heads(x, tokens)
        return attention_shares(query, key, bias)
