"""Networks that are on no registry, written out from the code of their repositories as functions of tensors by the
names in their files; they have nothing of ours. ADM is of openai/guided-diffusion (unet.py) and of NVlabs/edm
(training/networks.py: DhariwalUNet), DDPM++ and NCSN++ of the latter (SongUNet).
"""

from collections.abc import Callable
from math import log, pi
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

HEAD = 64
GUIDED = ("in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3", "skip_connection")
EDM_NAMES = ("norm0", "conv0", "affine", "norm1", "conv1", "skip")
# the blocks of two levels with one residual block each, attention at the lower: their names in both layouts
PLACES = {
    "first": ("input_blocks.0.0", "enc.16x16_conv"),
    "down 0": ("input_blocks.1.0", "enc.16x16_block0"),
    "shrink": ("input_blocks.2.0", "enc.8x8_down"),
    "down 1": ("input_blocks.3.0", "enc.8x8_block0"),
    "middle 0": ("middle_block.0", "dec.8x8_in0"),
    "middle 1": ("middle_block.2", "dec.8x8_in1"),
    "up 0": ("output_blocks.0.0", "dec.8x8_block0"),
    "up 1": ("output_blocks.1.0", "dec.8x8_block1"),
    "enlarge": ("output_blocks.1.2", "dec.16x16_up"),
    "up 2": ("output_blocks.2.0", "dec.16x16_block0"),
    "up 3": ("output_blocks.3.0", "dec.16x16_block1"),
}
ATTENTION = {
    "down 1": "input_blocks.3.1",
    "middle 0": "middle_block.1",
    "up 0": "output_blocks.0.1",
    "up 1": "output_blocks.1.1",
}


class ADM:
    """ADM's U-Net as functions of its tensors, which it makes when it is first evaluated.

    guided-diffusion's norms have 32 groups, EDM's 32 of 4 channels or more, so it is wider here.
    """

    def __init__(self, edm: bool, width: int = 0) -> None:
        self.edm, self.tensors = edm, dict[str, Tensor]()
        self.width = width or (128 if edm else 64)
        self.generator = torch.Generator().manual_seed(3)

    def get(self, name: str, *shape: int) -> Tensor:
        if name not in self.tensors:
            self.tensors[name] = torch.randn(shape, generator=self.generator) / max(shape[-1], 8) ** 0.5
        return self.tensors[name]

    def linear(self, x: Tensor, name: str, out: int) -> Tensor:
        return F.linear(x, self.get(f"{name}.weight", out, x.shape[1]), self.get(f"{name}.bias", out))

    def conv(self, x: Tensor, name: str, out: int, side: int = 3) -> Tensor:
        weight = self.get(f"{name}.weight", out, x.shape[1], side, side)
        return F.conv2d(x, weight, self.get(f"{name}.bias", out), padding=side // 2)

    def norm(self, x: Tensor, name: str) -> Tensor:
        groups = min(32, x.shape[1] // 4) if self.edm else 32
        return F.group_norm(x, groups, self.get(f"{name}.weight", x.shape[1]), self.get(f"{name}.bias", x.shape[1]))

    def residual(self, x: Tensor, place: str, change: Callable[[Tensor], Tensor] = lambda h: h) -> Tensor:
        layers = [f"{PLACES[place][self.edm]}.{layer}" for layer in (EDM_NAMES if self.edm else GUIDED)]
        h = self.conv(change(F.silu(self.norm(x, layers[0]))), layers[1], self.width)
        scale, shift = self.linear(F.silu(self.embedding), layers[2], 2 * self.width)[..., None, None].chunk(2, 1)
        h = self.conv(F.silu(self.norm(h, layers[3]) * (1 + scale) + shift), layers[4], self.width)
        x = change(x)
        x = (self.conv(x, layers[5], self.width, 1) if x.shape[1] != self.width else x) + h
        return self.attention(x, place) if place in ATTENTION else x

    def attention(self, x: Tensor, place: str) -> Tensor:
        own = PLACES[place][1] if self.edm else ATTENTION[place]
        norm, out = (f"{own}.norm2", f"{own}.proj") if self.edm else (f"{own}.norm", f"{own}.proj_out")
        side = (1, 1) if self.edm else (1,)
        three = self.get(f"{own}.qkv.weight", 3 * self.width, self.width, *side).flatten(1)
        h = self.norm(x, norm).flatten(2).transpose(1, 2) @ three.T + self.get(f"{own}.qkv.bias", 3 * self.width)
        heads = self.width // HEAD
        if self.edm:  # in the order (heads, width, 3)
            query, key, value = h.unflatten(2, (heads, HEAD, 3)).unbind(4)
        else:  # (heads, 3, width)
            query, key, value = h.unflatten(2, (heads, 3, HEAD)).unbind(3)
        shares = torch.einsum("nqhc,nkhc->nhqk", query, key / HEAD**0.5).softmax(3)
        mixed = torch.einsum("nhqk,nkhc->nqhc", shares, value).flatten(2)
        weight = self.get(f"{out}.weight", self.width, self.width, *side).flatten(1)
        return x + (mixed @ weight.T + self.get(f"{out}.bias", self.width)).transpose(1, 2).view_as(x)

    def __call__(self, x: Tensor, time: Tensor, labels: Tensor) -> Tensor:
        half = self.width // 2
        phase = time[:, None] * torch.exp(-torch.arange(half) * torch.log(torch.tensor(1e4)) / half)
        names = ("map_layer0", "map_layer1") if self.edm else ("time_embed.0", "time_embed.2")
        h = F.silu(self.linear(torch.cat([phase.cos(), phase.sin()], 1), names[0], 4 * self.width))
        self.embedding = self.linear(h, names[1], 4 * self.width)
        if self.edm:
            self.embedding = self.embedding + self.get("map_label.weight", 4 * self.width, 3).T[labels]
        else:
            self.embedding = self.embedding + self.get("label_emb.weight", 3, 4 * self.width)[labels]
        held = [self.conv(x, PLACES["first"][self.edm], self.width)]
        held.append(self.residual(held[-1], "down 0"))
        held.append(self.residual(held[-1], "shrink", lambda h: F.avg_pool2d(h, 2)))
        held.append(self.residual(held[-1], "down 1"))
        h = self.residual(self.residual(held[-1], "middle 0"), "middle 1")
        for place in ("up 0", "up 1", "up 2", "up 3"):
            h = self.residual(torch.cat([h, held.pop()], 1), place)
            if place == "up 1":
                h = self.residual(h, "enlarge", lambda h: F.interpolate(h, scale_factor=2.0))
        last = ("out_norm", "out_conv") if self.edm else ("out.0", "out.2")
        return self.conv(F.silu(self.norm(h, last[0])), last[1], 3)


class Weights:
    """Tensors by name, made when they are first needed."""

    def __init__(self) -> None:
        self.tensors = dict[str, Tensor]()
        self.generator = torch.Generator().manual_seed(3)

    def __call__(self, name: str, *shape: int, around: float = 0.0) -> Tensor:
        if name not in self.tensors:
            size = max(shape[-1] if shape else 1, 8) ** 0.5
            self.tensors[name] = around + torch.randn(shape, generator=self.generator) / size
        return self.tensors[name]

    def linear(self, x: Tensor, name: str, out: int, bias: bool = True) -> Tensor:
        y = x @ self(f"{name}.weight", out, x.shape[-1]).T
        return y + self(f"{name}.bias", out) if bias else y

    def conv(self, x: Tensor, name: str, out: int, side: int = 3, pad: int | None = None) -> Tensor:
        weight = self(f"{name}.weight", out, x.shape[1], side, side)
        return F.conv2d(x, weight, self(f"{name}.bias", out), padding=side // 2 if pad is None else pad)

    def double(self) -> None:
        self.tensors = {name: value.double() for name, value in self.tensors.items()}

    def saved(self, file: Path, prefix: str, header: dict[str, str] | None = None) -> Path:
        save_file({prefix + name: value.contiguous() for name, value in self.tensors.items()}, file, header)
        return file


def box(x: Tensor, taps: tuple[int, ...]) -> Tensor:
    """The filter with stride 2, of an image with zeros around as far as it reaches."""
    line = torch.tensor(taps, dtype=x.dtype) / sum(taps)
    padded = F.pad(x, ((len(taps) - 1) // 2,) * 4)
    rows = sum(w * padded[:, :, k : k + x.shape[2] : 2] for k, w in enumerate(line.tolist()))
    return sum(w * rows[..., k : k + x.shape[3] : 2] for k, w in enumerate(line.tolist()))


def enlarged(x: Tensor, taps: tuple[int, ...]) -> Tensor:
    """The transpose of the filter, times 4."""
    n, c, height, width = x.shape
    line = torch.tensor(taps, dtype=x.dtype) * 2 / sum(taps)
    reach = len(taps)
    wide = x.new_zeros(n, c, 2 * height + reach - 2, 2 * width + reach - 2)
    for i in range(height):
        for j in range(width):
            own = x[:, :, i, j, None, None] * (line[:, None] * line)
            wide[:, :, 2 * i : 2 * i + reach, 2 * j : 2 * j + reach] += own
    cut = (reach - 2) // 2
    return wide[:, :, cut : cut + 2 * height, cut : cut + 2 * width]


class Song(Weights):
    """DDPM++ and NCSN++: two levels of 16 and 8, one block each, of 8 and 16 channels, attention at the lower."""

    def __init__(self, encoder: str, decoder: str, random: bool, taps: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder, self.decoder, self.random, self.taps = encoder, decoder, random, taps

    def norm(self, x: Tensor, name: str) -> Tensor:
        width = x.shape[1]
        return F.group_norm(x, width // 4, self(f"{name}.weight", width), self(f"{name}.bias", width), 1e-6)

    def block(self, x: Tensor, name: str, out: int, change: str = "", attends: bool = False) -> Tensor:
        resized = {"": lambda h: h, "down": lambda h: box(h, self.taps), "up": lambda h: enlarged(h, self.taps)}[change]
        h = self.conv(resized(F.silu(self.norm(x, f"{name}.norm0"))), f"{name}.conv0", out)
        h = h + self.linear(self.about, f"{name}.affine", out)[:, :, None, None]
        h = self.conv(F.silu(self.norm(h, f"{name}.norm1")), f"{name}.conv1", out)
        if change:
            self(f"{name}.conv0.resample_filter", 1, 1, len(self.taps), len(self.taps))
        skip = self.conv(resized(x), f"{name}.skip", out, 1) if change or x.shape[1] != out else x
        h = (skip + h) / 2**0.5
        if attends:
            three = self.conv(self.norm(h, f"{name}.norm2"), f"{name}.qkv", 3 * out, 1).flatten(2)
            q, k, v = three[:, 0::3], three[:, 1::3], three[:, 2::3]
            mixed = torch.einsum("nqk,nck->ncq", torch.einsum("ncq,nck->nqk", q, k / out**0.5).softmax(2), v)
            h = (self.conv(mixed.reshape(h.shape), f"{name}.proj", out, 1) + h) / 2**0.5
        return h

    def network(self, x: Tensor, time: Tensor, classes: Tensor) -> Tensor:
        if self.random:
            phase = 2 * pi * time[:, None] * self("map_noise.freqs", 8)
        else:
            phase = time[:, None] * torch.exp(-log(1e4) * torch.arange(4, dtype=x.dtype) / 3)
        self.about = torch.cat([phase.sin(), phase.cos()], 1).to(x.dtype)
        self.about = self.about + self.linear(classes * 3**0.5, "map_label", self.about.shape[1])
        for layer in ("map_layer0", "map_layer1"):
            self.about = F.silu(self.linear(self.about, layer, 12))
        self("map_augment.weight", self.about.shape[1], 9)
        held = [self.conv(x, "enc.16x16_conv", 8)]
        held.append(self.block(held[-1], "enc.16x16_block0", 8))
        h = self.block(held[-1], "enc.8x8_down", 8, "down")
        if self.encoder == "skip":
            h = h + self.conv(box(x, self.taps), "enc.8x8_aux_skip", 8, 1)
        if self.encoder == "residual":
            aside = self.conv(x, "enc.8x8_aux_residual", 8, pad=1 + (len(self.taps) - 1) // 2)
            kernel = torch.tensor(self.taps, dtype=x.dtype)
            kernel = torch.outer(kernel, kernel) / kernel.sum() ** 2
            h = (h + F.conv2d(aside, kernel.repeat(8, 1, 1, 1), stride=2, groups=8)) / 2**0.5
        held.append(h)
        held.append(self.block(h, "enc.8x8_block0", 16, attends=True))
        h = self.block(self.block(held[-1], "dec.8x8_in0", 16, attends=True), "dec.8x8_in1", 16)
        for k in range(2):
            h = self.block(torch.cat([h, held.pop()], 1), f"dec.8x8_block{k}", 16, attends=k == 1)
        output = torch.zeros(())
        if self.decoder == "skip":
            output = enlarged(self.last(h, "dec.8x8"), self.taps)
        h = self.block(h, "dec.16x16_up", 16, "up")
        for k in range(2):
            h = self.block(torch.cat([h, held.pop()], 1), f"dec.16x16_block{k}", 8)
        return output + self.last(h, "dec.16x16")

    def last(self, h: Tensor, name: str) -> Tensor:
        return self.conv(F.silu(self.norm(h, f"{name}_aux_norm")), f"{name}_aux_conv", 3)
