"""guided-diffusion's U-Net and classifier, which are on no registry, as functions of tensors by the names in their
files. Written out from openai/guided-diffusion (unet.py: UNetModel, EncoderUNetModel, AttentionPool2d, both orders of
attention; nn.py: timestep_embedding); they have nothing of ours.
"""

from dataclasses import dataclass
from math import log, prod

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.published_networks import Weights


@dataclass(frozen=True)
class Options:
    """Arguments of the library's scripts, by its names. ``channel_mult`` times ``num_channels`` are multiples of 32."""

    num_channels: int = 32
    channel_mult: tuple[float, ...] = (1, 2)
    num_res_blocks: int = 1
    attention_ds: tuple[int, ...] = (2,)
    num_heads: int = 1
    num_heads_upsample: int = -1
    num_head_channels: int = -1
    in_channels: int = 3
    out_channels: int = 3
    num_classes: int = 0
    resblock_updown: bool = False
    conv_resample: bool = True
    use_scale_shift_norm: bool = False
    use_new_attention_order: bool = False


class GuidedNetwork(Weights):
    """The U-Net. Its tensors are made when it is first evaluated."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.o = options

    def __call__(self, name: str, *shape: int, around: float = 0.0) -> Tensor:
        """As `Weights`, and layers keep the size of what they are given."""
        if name not in self.tensors:
            inputs = max(prod(shape[1:]), 8)
            self.tensors[name] = around + torch.randn(shape, generator=self.generator) / inputs**0.5
        return self.tensors[name]

    def norm(self, x: Tensor, name: str) -> Tensor:
        return F.group_norm(x, 32, self(f"{name}.weight", x.shape[1], around=1.0), self(f"{name}.bias", x.shape[1]))

    def residual(self, x: Tensor, name: str, out: int, change: str = "") -> Tensor:
        h = F.silu(self.norm(x, f"{name}.in_layers.0"))
        if change == "up":
            h, x = (v.repeat_interleave(2, 2).repeat_interleave(2, 3) for v in (h, x))
        if change == "down":
            h, x = (F.avg_pool2d(v, 2, 2) for v in (h, x))
        h = self.conv(h, f"{name}.in_layers.2", out)
        rows = 2 * out if self.o.use_scale_shift_norm else out
        about = self.linear(F.silu(self.embedding), f"{name}.emb_layers.1", rows)[:, :, None, None]
        if self.o.use_scale_shift_norm:
            h = self.norm(h, f"{name}.out_layers.0") * (1 + about[:, :out]) + about[:, out:]
        else:
            h = self.norm(h + about, f"{name}.out_layers.0")
        h = self.conv(F.silu(h), f"{name}.out_layers.3", out)
        return h + (x if x.shape[1] == out else self.conv(x, f"{name}.skip_connection", out, 1))

    def mixed(self, three: Tensor, heads: int, new_order: bool) -> Tensor:
        """(N, 3 C, L) -> (N, C, L), head by head."""
        width = three.shape[1] // (3 * heads)
        found = []
        for head in range(heads):
            if new_order:
                starts = [part * heads * width + head * width for part in range(3)]
            else:
                starts = [(3 * head + part) * width for part in range(3)]
            q, k, v = (three[:, start : start + width] for start in starts)
            shares = torch.einsum("bct,bcs->bts", q / width**0.25, k / width**0.25).softmax(-1)
            found.append(torch.einsum("bts,bcs->bct", shares, v))
        return torch.cat(found, 1)

    def flat(self, x: Tensor, name: str, out: int) -> Tensor:
        """A convolution of one place, in one dimension."""
        return F.conv1d(x, self(f"{name}.weight", out, x.shape[1], 1), self(f"{name}.bias", out))

    def attention(self, x: Tensor, name: str, heads: int) -> Tensor:
        n, c, height, width = x.shape
        heads = heads if self.o.num_head_channels == -1 else c // self.o.num_head_channels
        h = x.reshape(n, c, -1)
        three = self.flat(self.norm(h, f"{name}.norm"), f"{name}.qkv", 3 * c)
        h = h + self.flat(self.mixed(three, heads, self.o.use_new_attention_order), f"{name}.proj_out", c)
        return h.reshape(n, c, height, width)

    def resized(self, x: Tensor, name: str, change: str) -> Tensor:
        if self.o.resblock_updown:
            return self.residual(x, name, x.shape[1], change)
        if change == "up":
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            return self.conv(x, f"{name}.conv", x.shape[1]) if self.o.conv_resample else x
        if not self.o.conv_resample:
            return F.avg_pool2d(x, 2, 2)
        weight = self(f"{name}.op.weight", x.shape[1], x.shape[1], 3, 3)
        return F.conv2d(x, weight, self(f"{name}.op.bias", x.shape[1]), stride=2, padding=1)

    def down(self, x: Tensor, time: Tensor, labels: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        o = self.o
        half = o.num_channels // 2
        freqs = torch.exp(-log(10000) * torch.arange(half, dtype=x.dtype) / half)
        phase = time[:, None] * freqs
        h = self.linear(torch.cat([phase.cos(), phase.sin()], 1), "time_embed.0", 4 * o.num_channels)
        self.embedding = self.linear(F.silu(h), "time_embed.2", 4 * o.num_channels)
        if o.num_classes and labels is not None:
            self.embedding = self.embedding + self("label_emb.weight", o.num_classes, 4 * o.num_channels)[labels]
        h = self.conv(x, "input_blocks.0.0", int(o.channel_mult[0] * o.num_channels))
        held, ds = [h], 1
        for level, mult in enumerate(o.channel_mult):
            for _ in range(o.num_res_blocks):
                name = f"input_blocks.{len(held)}"
                h = self.residual(h, f"{name}.0", int(mult * o.num_channels))
                if ds in o.attention_ds:
                    h = self.attention(h, f"{name}.1", o.num_heads)
                held.append(h)
            if level < len(o.channel_mult) - 1:
                h = self.resized(h, f"input_blocks.{len(held)}.0", "down")
                held.append(h)
                ds *= 2
        h = self.residual(h, "middle_block.0", h.shape[1])
        h = self.attention(h, "middle_block.1", o.num_heads)
        return self.residual(h, "middle_block.2", h.shape[1]), held

    def network(self, x: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:
        o, number = self.o, 0
        h, held = self.down(x, time, labels)
        ds = 2 ** (len(o.channel_mult) - 1)
        for level, mult in reversed([*enumerate(o.channel_mult)]):
            for i in range(o.num_res_blocks + 1):
                name = f"output_blocks.{number}"
                h = self.residual(torch.cat([h, held.pop()], 1), f"{name}.0", int(mult * o.num_channels))
                place = 1
                if ds in o.attention_ds:
                    up = o.num_heads if o.num_heads_upsample == -1 else o.num_heads_upsample
                    h = self.attention(h, f"{name}.1", up)
                    place = 2
                if level and i == o.num_res_blocks:
                    h = self.resized(h, f"{name}.{place}", "up")
                    ds //= 2
                number += 1
        return self.conv(F.silu(self.norm(h, "out.0")), "out.2", o.out_channels)


class GuidedJudge(GuidedNetwork):
    """The classifier, with attention pooling, or with the mean of all pixels ("adaptive")."""

    def __init__(self, options: Options, pool: str) -> None:
        super().__init__(options)
        self.pool = pool

    def network(self, x: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:
        h, _ = self.down(x, time, None)
        h = F.silu(self.norm(h, "out.0"))
        if self.pool == "adaptive":
            return self.conv(h.mean((2, 3), keepdim=True), "out.3", self.o.out_channels, 1).flatten(1)
        h = h.flatten(2)
        h = torch.cat([h.mean(-1, keepdim=True), h], -1)
        h = h + self("out.2.positional_embedding", *h.shape[1:])
        three = self.flat(h, "out.2.qkv_proj", 3 * h.shape[1])
        h = self.mixed(three, h.shape[1] // self.o.num_head_channels, True)
        return self.flat(h, "out.2.c_proj", self.o.out_channels)[:, :, 0]
