"""The U-Nets of score-based models, DDPM++ and NCSN++ (Song et al. 2021, appendix H), by EDM's names of their tensors.

    enc, dec    residual blocks; those that halve or double the side have a resampling before their first convolution
    block       h = conv1(silu(norm1(conv0(silu(norm0(x))) + affine(e)))),   (skip(x) + h)/√2;  then attention likewise
    DDPM++      sines and cosines of the noise level, means of four pixels
    NCSN++      random frequencies, the filter 1-3-3-1, and the smaller images themselves enter each level (``encoder``)

All levels of NCSN++ may also add to the output (``decoder="skip"``; Karras et al. 2020, "StyleGAN2", figure 7).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import pi
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.networks.condition import NOTHING, ConditionShape, NetworkCondition
from sumi.networks.lucidrains import Sinusoids

HALF = 0.5**0.5
FREQUENCIES = 16.0
"""Deviation of the random frequencies."""


Encoder = Literal["standard", "skip", "residual"]


@dataclass(frozen=True)
class SongUNetConfig:
    """Shape of such a U-Net."""

    name: ClassVar[str] = "song"

    width: int = field(default=128, metadata={"most": 16_384, "help": "channels of the first convolution"})
    widths: tuple[int, ...] = field(default=(128, 256, 256, 256), metadata={"help": "channels of each level"})
    blocks: int = field(default=4, metadata={"most": 100, "help": "residual blocks of each level"})
    attention: tuple[int, ...] = field(default=(1,), metadata={"help": "levels with attention"})
    noise: int = field(default=128, metadata={"most": 16_384, "help": "sines and cosines of the noise level; even"})
    inner: int = field(default=512, metadata={"most": 65_536, "help": "width of what scales and shifts the blocks"})
    random: bool = field(default=False, metadata={"help": "random frequencies, as NCSN++ has them"})
    encoder: Encoder = field(default="standard", metadata={"help": "how smaller images enter"})
    decoder: Literal["standard", "skip"] = field(default="standard", metadata={"help": "whether all levels are output"})
    smooth: bool = field(default=False, metadata={"help": "resampled by 1-3-3-1 instead of means of four"})
    embedding: int = field(default=1, metadata={"most": 65_536, "help": "the number of classes and one"})

    def __post_init__(self) -> None:
        if not self.widths or min(self.width, *self.widths, self.blocks) < 1 or self.noise < 4 or self.noise % 2:
            raise InputError("network.widths: widths and blocks are 1 or more, and noise is even and 4 or more")

    def build(self, shape: tuple[int, ...], outputs: int = 1, condition: ConditionShape | None = None) -> "SongUNet":
        """A new network for images of ``shape`` = (C, H, W), with ``outputs`` numbers for each of their values.

        Raises InputError for other data, and for sides that cannot be halved between the levels.
        """
        del condition
        factor = 2 ** (len(self.widths) - 1)
        if len(shape) != 3 or shape[1] % factor or shape[2] % factor:
            raise InputError(f"network=song: takes images of multiples of {factor}, not {shape}; give others")
        return SongUNet(self, shape[0], outputs * shape[0], shape[1])


class SongUNet(nn.Module):
    """See the top of this module: ``forward(x: (N, C, H, W), c_noise: (N,), condition) -> (N, outputs, H, W)``."""

    def __init__(self, config: SongUNetConfig, channels: int, outputs: int, side: int) -> None:
        super().__init__()
        self.config, self.taps = config, (1, 3, 3, 1) if config.smooth else (1, 1)
        self.map_noise = Frequencies(config.noise) if config.random else Sinusoids(config.noise)
        self.map_label = nn.Linear(config.embedding - 1, config.noise) if config.embedding > 1 else None
        self.map_layer0, self.map_layer1 = nn.Linear(config.noise, config.inner), nn.Linear(config.inner, config.inner)
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        levels = [(level, f"{side >> level}x{side >> level}", width) for level, width in enumerate(config.widths)]
        now, held, aside = config.width, list[int](), channels

        def block(width: int, out: int, resize: Resize = "keep", attends: bool = False) -> Block:
            return Block(width, out, config.inner, resize, attends, self.taps)

        for level, name, width in levels:
            if level == 0:
                self.enc[f"{name}_conv"] = nn.Conv2d(channels, now, 3, padding=1)
            else:
                self.enc[f"{name}_down"] = block(now, now, "down")
                match config.encoder:
                    case "skip":
                        self.enc[f"{name}_aux_skip"] = nn.Conv2d(channels, now, 1)
                    case "residual":
                        self.enc[f"{name}_aux_residual"] = ThenSmaller(aside, now, self.taps)
                        aside = now
                    case _:
                        pass
            held.append(now)
            for number in range(config.blocks):
                self.enc[f"{name}_block{number}"] = block(now, width, attends=level in config.attention)
                now = width
                held.append(now)
        for level, name, width in reversed(levels):
            if level == len(levels) - 1:
                self.dec[f"{name}_in0"] = block(now, now, attends=True)
                self.dec[f"{name}_in1"] = block(now, now)
            else:
                self.dec[f"{name}_up"] = block(now, now, "up")
            for number in range(config.blocks + 1):
                attends = number == config.blocks and level in config.attention
                self.dec[f"{name}_block{number}"] = block(now + held.pop(), width, attends=attends)
                now = width
            if config.decoder == "skip" or level == 0:
                self.dec[f"{name}_aux_norm"] = norm(now)
                self.dec[f"{name}_aux_conv"] = nn.Conv2d(now, outputs, 3, padding=1)

    def forward(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition = NOTHING) -> Tensor:
        embedding = self.map_noise(c_noise).to(x.dtype)
        if self.map_label is not None:
            classes = one_hot(condition, len(x), self.config.embedding).to(x)
            embedding = embedding + self.map_label(classes * classes.shape[1] ** 0.5)
        embedding = F.silu(self.map_layer1(F.silu(self.map_layer0(embedding))))
        h, held = self._encoded(x, embedding)
        return self._decoded(h, held, embedding)

    def _encoded(self, x: Tensor, embedding: Tensor) -> tuple[Tensor, list[Tensor]]:
        h, aside, held = x, x, list[Tensor]()
        for kind, layer in _types(self.enc):
            match kind:
                case "aux_skip":
                    aside = resampled(aside, self.taps, "down")
                    h = held[-1] = h + layer(aside)
                case "aux_residual":
                    h = held[-1] = aside = (h + layer(aside)) * HALF
                case "conv":
                    h = layer(h)
                    held.append(h)
                case _:
                    h = layer(h, embedding)
                    held.append(h)
        return h, held

    def _decoded(self, h: Tensor, held: list[Tensor], embedding: Tensor) -> Tensor:
        output, normed = None, h
        for kind, layer in _types(self.dec):
            match kind:
                case "aux_norm":
                    normed = layer(h)
                case "aux_conv":
                    added = layer(F.silu(normed))
                    output = added if output is None else resampled(output, self.taps, "up") + added
                case _ if kind.startswith("block"):
                    h = layer(torch.cat([h, held.pop()], 1), embedding)
                case _:
                    h = layer(h, embedding)
        assert output is not None
        return output


def _types(layers: nn.ModuleDict) -> Iterator[tuple[str, nn.Module]]:
    """What each layer is, of its name SIDExSIDE_KIND."""
    return ((name.partition("_")[2], layer) for name, layer in layers.items())


def one_hot(condition: NetworkCondition, n: int, embedding: int) -> Tensor:
    """The classes (n, embedding - 1) of a condition's vectors, whose last place stands for "no class": zeros."""
    if condition.vector is None:
        return torch.zeros(n, embedding - 1)
    return condition.vector[:, :-1]


def norm(width: int) -> nn.GroupNorm:
    """Of groups of 4 or more channels, 32 groups at most."""
    return nn.GroupNorm(min(32, width // 4), width, eps=1e-6)


Resize = Literal["keep", "down", "up"]


def resampled(x: Tensor, taps: tuple[int, ...], resize: Resize) -> Tensor:
    """Images of half or twice the side, each axis by the filter of these taps."""
    if resize == "keep":
        return x
    pad = len(taps) // 2 - 1
    if resize == "down":
        return smaller(x, taps, pad)
    return F.conv_transpose2d(x, 4 * _kernel(taps, x), stride=2, padding=pad, groups=x.shape[1])


def smaller(x: Tensor, taps: tuple[int, ...], pad: int) -> Tensor:
    """Images of half the side, of such with ``pad`` zeros around."""
    return F.conv2d(x, _kernel(taps, x), stride=2, padding=pad, groups=x.shape[1])


def _kernel(taps: tuple[int, ...], x: Tensor) -> Tensor:
    line = torch.tensor(taps, dtype=x.dtype, device=x.device) / sum(taps)
    return (line[:, None] * line).expand(x.shape[1], 1, -1, -1)


class Frequencies(nn.Module):
    """(N,) -> (N, width): sines and cosines of 2π f c_noise, with f random and kept."""

    freqs: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("freqs", FREQUENCIES * torch.randn(width // 2))

    def forward(self, time: Tensor) -> Tensor:
        phase = time[:, None] * (2 * pi * self.freqs)
        return torch.cat([phase.sin(), phase.cos()], 1)


class ThenSmaller(nn.Conv2d):
    """A convolution and then the filter, of an image that is zero outside."""

    def __init__(self, width: int, out: int, taps: tuple[int, ...]) -> None:
        super().__init__(width, out, 3, padding=len(taps) // 2)
        self.taps = taps

    def forward(self, input: Tensor) -> Tensor:
        return smaller(super().forward(input), self.taps, 0)


class Block(nn.Module):
    """See the top of this module."""

    def __init__(
        self, width: int, out: int, embedding: int, resize: Resize, attends: bool, taps: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.resize: Resize = resize
        self.taps, self.attends = taps, attends
        self.norm0, self.norm1 = norm(width), norm(out)
        self.conv0, self.conv1 = nn.Conv2d(width, out, 3, padding=1), nn.Conv2d(out, out, 3, padding=1)
        self.affine = nn.Linear(embedding, out)
        self.skip = nn.Identity() if width == out and resize == "keep" else nn.Conv2d(width, out, 1)
        if attends:
            self.norm2, self.qkv, self.proj = norm(out), nn.Conv2d(out, 3 * out, 1), nn.Conv2d(out, out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv0(resampled(F.silu(self.norm0(x)), self.taps, self.resize))
        h = self.conv1(F.silu(self.norm1(h + self.affine(embedding)[..., None, None])))
        h = (self.skip(resampled(x, self.taps, self.resize)) + h) * HALF
        if not self.attends:
            return h
        query, key, value = self.qkv(self.norm2(h)).flatten(2).unflatten(1, (-1, 3)).transpose(1, 3).unbind(2)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return (h + self.proj(mixed.transpose(1, 2).reshape(h.shape))) * HALF
