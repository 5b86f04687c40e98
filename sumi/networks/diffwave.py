"""DiffWave: a network of dilated convolutions on waveforms (Kong et al. 2021, figure 2).

    x ─ 1×1, relu ─▶ layer ─▶ layer ─▶ … ─▶ layer          layer i, of dilation d = 2^(i mod cycle):
                       │        │              │             h = conv_3,d(x + linear(e));  a, b: the halves of h
                       └─ sum of skips / √layers ─┘          x', skip = 1×1(tanh(a) σ(b));  x ← (x + x')/√2
                                  │
                        1×1, relu, 1×1 ─▶ output

e is the embedding of the noise level and the condition. A cycle of c dilations sees 2^(c+1) - 1 samples. At the start
the network is exactly zero.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.networks.condition import NOTHING, ConditionShape, NetworkCondition
from sumi.networks.layers import NoiseEmbedding


@dataclass(frozen=True)
class DiffWaveConfig:
    """Shape of the network."""

    name: ClassVar[str] = "diffwave"

    layers: int = field(default=30, metadata={"most": 1000, "help": "residual layers, 1 or more"})
    channels: int = field(default=64, metadata={"most": 16_384, "help": "of each layer, 1 or more"})
    cycle: int = field(default=10, metadata={"most": 20, "help": "dilations 1, 2, 4, … before they begin anew"})
    embedding: int = field(default=128, metadata={"most": 16_384, "help": "width of the noise embedding; even"})

    def __post_init__(self) -> None:
        for name in ("layers", "channels", "cycle"):
            if getattr(self, name) < 1:
                raise InputError(f"network.{name}: {getattr(self, name)} is too few; give 1 or more")
        if self.embedding < 2 or self.embedding % 2:
            raise InputError(
                f"network.embedding: {self.embedding} is not an even number of 2 or more; give such as 128"
            )

    def build(self, shape: tuple[int, ...], outputs: int = 1, condition: ConditionShape | None = None) -> "DiffWave":
        """A new network for sound of ``shape`` = (C, L), with ``outputs`` numbers for each value.

        Raises InputError for data of another shape, and a condition of images or tokens.
        """
        if condition not in (None, ConditionShape()):
            raise InputError("network=diffwave: takes no images or tokens as conditions; set conditioning=labels")
        if len(shape) != 2:
            raise InputError(f"network=diffwave: takes sound, not data of shape {shape}; set network=unet")
        return DiffWave(self, shape[0], outputs)


class DiffWave(nn.Module):
    """``forward(x: (N, C, L), c_noise: (N,), condition) -> (N, outputs · C, L)``, any L, in x's type."""

    def __init__(self, config: DiffWaveConfig, channels: int, outputs: int) -> None:
        super().__init__()
        width, layers = config.channels, range(config.layers)
        self.noise_embedding = NoiseEmbedding(config.embedding)
        self.steps = nn.ModuleList(nn.Linear(config.embedding, width) for _ in layers)
        self.conv_in = nn.Conv1d(channels, width, 1)
        dilations = [2 ** (i % config.cycle) for i in layers]
        self.dilated = nn.ModuleList(nn.Conv1d(width, 2 * width, 3, padding=d, dilation=d) for d in dilations)
        self.mixed = nn.ModuleList(nn.Conv1d(width, 2 * width, 1) for _ in layers)
        self.last = nn.Conv1d(width, width, 1)
        self.conv_out = nn.Conv1d(width, outputs * channels, 1)
        for name, weight in self.named_parameters():
            if weight.ndim == 3:
                nn.init.kaiming_normal_(weight)
            if name.startswith("conv_out"):
                nn.init.zeros_(weight)

    def forward(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition = NOTHING) -> Tensor:
        embedding = self.noise_embedding(c_noise)
        if condition.vector is not None:
            embedding = embedding + condition.vector
        embedding = F.silu(embedding)
        h, skips = F.relu(self.conv_in(x)), torch.zeros(())
        for step, dilated, mixed in zip(self.steps, self.dilated, self.mixed, strict=True):
            a, b = dilated(h + step(embedding)[:, :, None]).chunk(2, 1)
            more, skip = mixed(torch.tanh(a) * torch.sigmoid(b)).chunk(2, 1)
            h, skips = (h + more) * 0.5**0.5, skips.to(skip) + skip
        return self.conv_out(F.relu(self.last(skips * len(self.steps) ** -0.5))).to(x.dtype)
