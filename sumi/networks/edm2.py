"""EDM2's U-Net, which keeps the magnitude of its activations (Karras et al. 2024, "Analyzing and improving the training
dynamics of diffusion models", figure 21), by its names of their tensors.

    weights     w/(RMS w) /√(fan in), at every use                                                  (eqs. 47, 66)
    silu        silu(x)/0.596                                                                       (eq. 81)
    sum         ((1 - t) a + t b)/√((1 - t)² + t²),  t = 0.3 of residual branches, 0.5 of classes   (eq. 88)
    concat      a and b so scaled that each has its share t of the whole                            (eq. 103)

There are no biases and no norms but that of each pixel; a channel of ones comes with the image instead.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.networks.condition import NOTHING, ConditionShape, NetworkCondition
from sumi.networks.song import Resize, one_hot, resampled

HEAD_WIDTH = 64
LEAST = 1e-4
"""Added to what is divided by."""
BRANCH, EVEN = 0.3, 0.5
LARGEST = 256.0
"""Activations of a block are cut off there."""


@dataclass(frozen=True)
class EDM2Config:
    """Shape of such a U-Net."""

    name: ClassVar[str] = "edm2"

    widths: tuple[int, ...] = field(default=(192, 384, 576, 768), metadata={"help": "channels of each level"})
    blocks: int = field(default=3, metadata={"most": 100, "help": "residual blocks of each level"})
    attention: tuple[int, ...] = field(default=(2, 3), metadata={"help": "levels with attention"})
    noise: int = field(default=192, metadata={"most": 16_384, "help": "cosines of the noise level"})
    inner: int = field(default=768, metadata={"most": 65_536, "help": "width of what scales the blocks"})
    embedding: int = field(default=1, metadata={"most": 65_536, "help": "the number of classes and one"})

    def __post_init__(self) -> None:
        if not self.widths or min(*self.widths, self.blocks, self.noise, self.inner) < 1:
            raise InputError("network.widths: widths and blocks are 1 or more; give such as 192,384,576,768")

    def build(self, shape: tuple[int, ...], outputs: int = 1, condition: ConditionShape | None = None) -> "EDM2":
        """A new network for images of ``shape`` = (C, H, W), with ``outputs`` numbers for each of their values.

        Raises InputError for other data, and for sides that cannot be halved between the levels.
        """
        del condition
        factor = 2 ** (len(self.widths) - 1)
        if len(shape) != 3 or shape[1] % factor or shape[2] % factor:
            raise InputError(f"network=edm2: takes images of multiples of {factor}, not {shape}; give others")
        return EDM2(self, shape[0], outputs * shape[0], shape[1])


class EDM2(nn.Module):
    """See the top of this module: ``forward(x: (N, C, H, W), c_noise: (N,), condition) -> (N, outputs, H, W)``."""

    def __init__(self, config: EDM2Config, channels: int, outputs: int, side: int) -> None:
        super().__init__()
        self.config = config
        self.emb_fourier = Cosines(config.noise)
        self.emb_noise = Unit(config.noise, config.inner)
        self.emb_label = Unit(config.embedding - 1, config.inner) if config.embedding > 1 else None
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        self.out_gain = nn.Parameter(torch.zeros(()))
        levels = [(level, f"{side >> level}x{side >> level}", width) for level, width in enumerate(config.widths)]
        now, held = config.widths[0], list[int]()

        def block(kind: Kind, width: int, out: int, resize: Resize = "keep", attends: bool = False) -> Block:
            return Block(kind, width, out, config.inner, resize, attends)

        for level, name, width in levels:
            if level == 0:
                self.enc[f"{name}_conv"] = Unit(channels + 1, now, 3, 3)
            else:
                self.enc[f"{name}_down"] = block("enc", now, now, "down")
            held.append(now)
            for number in range(config.blocks):
                self.enc[f"{name}_block{number}"] = block("enc", now, width, attends=level in config.attention)
                now = width
                held.append(now)
        for level, name, width in reversed(levels):
            if level == len(levels) - 1:
                self.dec[f"{name}_in0"] = block("dec", now, now, attends=True)
                self.dec[f"{name}_in1"] = block("dec", now, now)
            else:
                self.dec[f"{name}_up"] = block("dec", now, now, "up")
            for number in range(config.blocks + 1):
                attends = level in config.attention
                self.dec[f"{name}_block{number}"] = block("dec", now + held.pop(), width, attends=attends)
                now = width
        self.out_conv = Unit(now, outputs, 3, 3)

    def forward(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition = NOTHING) -> Tensor:
        embedding = self.emb_noise(self.emb_fourier(c_noise).to(x.dtype))
        if self.emb_label is not None:
            classes = one_hot(condition, len(x), self.config.embedding).to(x)
            embedding = mixed(embedding, self.emb_label(classes * classes.shape[1] ** 0.5), EVEN)
        embedding, held = silu(embedding), list[Tensor]()
        h = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        for name, layer in self.enc.items():
            h = layer(h) if name.endswith("conv") else layer(h, embedding)
            held.append(h)
        for name, layer in self.dec.items():
            if "block" in name:
                h = joined(h, held.pop(), EVEN)
            h = layer(h, embedding)
        return self.out_conv(h, self.out_gain)


def silu(x: Tensor) -> Tensor:
    """Of unit magnitude for Gaussian x."""
    return F.silu(x) / 0.596


def mixed(a: Tensor, b: Tensor, t: float) -> Tensor:
    """The sum of magnitude 1, ``t`` of it b."""
    return ((1 - t) * a + t * b) / ((1 - t) ** 2 + t**2) ** 0.5


def joined(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Channels of both, of magnitude 1, ``t`` of it b's."""
    whole = ((a.shape[1] + b.shape[1]) / ((1 - t) ** 2 + t**2)) ** 0.5
    return torch.cat([a * (whole * (1 - t) / a.shape[1] ** 0.5), b * (whole * t / b.shape[1] ** 0.5)], 1)


def unit(x: Tensor, *axes: int) -> Tensor:
    """x over its root mean square along ``axes``."""
    return x / (LEAST + x.square().mean(axes, keepdim=True).sqrt())


class Cosines(nn.Module):
    """(N,) -> (N, width): √2 cos(f c_noise + φ), with f and φ random and kept."""

    freqs: Tensor
    phases: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("freqs", 2 * torch.pi * torch.randn(width))
        self.register_buffer("phases", 2 * torch.pi * torch.rand(width))

    def forward(self, time: Tensor) -> Tensor:
        return (time[:, None] * self.freqs + self.phases).cos() * 2**0.5


class Unit(nn.Module):
    """A linear layer, or a convolution of ``side``, whose weights are of unit magnitude at every use."""

    def __init__(self, width: int, out: int, *side: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, width, *side))

    def forward(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        axes = range(1, self.weight.ndim)
        weight = unit(self.weight, *axes) * (gain / self.weight[0].numel() ** 0.5)
        return F.linear(x, weight) if weight.ndim == 2 else F.conv2d(x, weight, padding=weight.shape[-1] // 2)


Kind = Literal["enc", "dec"]


class Block(nn.Module):
    """Figure 21: an encoder's block normalises its pixels first; a decoder's changes the width of its skip last."""

    def __init__(self, kind: Kind, width: int, out: int, embedding: int, resize: Resize, attends: bool) -> None:
        super().__init__()
        self.kind: Kind = kind
        self.resize: Resize = resize
        self.emb_gain = nn.Parameter(torch.zeros(()))
        self.conv_res0 = Unit(out if kind == "enc" else width, out, 3, 3)
        self.emb_linear, self.conv_res1 = Unit(embedding, out), Unit(out, out, 3, 3)
        self.conv_skip = nn.Identity() if width == out else Unit(width, out, 1, 1)
        self.attends = attends
        if attends:
            self.attn_qkv, self.attn_proj = Unit(out, 3 * out, 1, 1), Unit(out, out, 1, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = resampled(x, (1, 1), self.resize)
        if self.kind == "enc":
            x = unit(self.conv_skip(x), 1)
        scale = 1 + self.emb_linear(embedding, self.emb_gain)[..., None, None]
        h = self.conv_res1(silu(self.conv_res0(silu(x)) * scale))
        h = mixed(x if self.kind == "enc" else self.conv_skip(x), h, BRANCH)
        if self.attends:
            three = self.attn_qkv(h).flatten(2).unflatten(1, (h.shape[1] // HEAD_WIDTH, -1, 3))
            query, key, value = unit(three, 2).transpose(2, 4).unbind(3)
            attended = F.scaled_dot_product_attention(query, key, value).transpose(2, 3).reshape(h.shape)
            h = mixed(h, self.attn_proj(attended), BRANCH)
        return h.clamp(-LARGEST, LARGEST)
