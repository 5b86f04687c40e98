"""A perceptron for data that are vectors: points in a plane, short sequences, tables.

    h = W x + b;     h ← h + W_2 silu(W_1 ((1 + scale(e)) · norm(h) + shift(e)))  for each block;     output W' h

The noise embedding e enters every block as in the U-Net (`sumi.networks.layers`): a layer norm without weights, scaled
and shifted by a linear layer of e. The last h is not normed: the output must depend on the size of x, or distant points
diverge in sampling. At the start the network is exactly zero.
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
class MLPConfig:
    """Shape of a perceptron."""

    name: ClassVar[str] = "mlp"

    width: int = field(default=128, metadata={"help": "width of the hidden layers, 1 or more"})
    blocks: int = field(default=6, metadata={"most": 1000, "help": "residual blocks of two layers, 1 or more"})
    embedding: int = field(default=64, metadata={"most": 16_384, "help": "width of the noise embedding; even"})

    def __post_init__(self) -> None:
        for name in ("width", "blocks"):
            if getattr(self, name) < 1:
                raise InputError(f"network.{name}: {getattr(self, name)} is too few; give 1 or more")
        if self.embedding < 2 or self.embedding % 2:
            raise InputError(f"network.embedding: {self.embedding} is not an even number of 2 or more; give such as 64")

    def build(self, shape: tuple[int, ...], outputs: int = 1, condition: ConditionShape | None = None) -> "MLP":
        """A new network for vectors of ``shape`` = (D,), with ``outputs`` numbers per element.

        Raises:
            InputError: ``shape`` is not a vector's, or the condition has an image or tokens.
        """
        if condition not in (None, ConditionShape()):
            raise InputError("network=mlp: takes no images or tokens as conditions; set network=unet")
        if len(shape) != 1:
            raise InputError(f"network=mlp: takes vectors, not data of shape {shape}; set network=unet")
        return MLP(self, shape[0], outputs)


class MLP(nn.Module):
    """``forward(x: (N, D), c_noise: (N,), condition) -> (N, outputs · D)``, in x's type."""

    def __init__(self, config: MLPConfig, dimensions: int, outputs: int) -> None:
        super().__init__()
        width = config.width
        self.blocks = config.blocks
        self.noise_embedding = NoiseEmbedding(config.embedding)
        self.modulation = nn.Linear(config.embedding, 2 * width * config.blocks)
        self.linear_in = nn.Linear(dimensions, width)
        self.first = nn.ModuleList(nn.Linear(width, width) for _ in range(config.blocks))
        self.second = nn.ModuleList(nn.Linear(width, width) for _ in range(config.blocks))
        self.linear_out = nn.Linear(width, outputs * dimensions)
        for last in (*self.second.parameters(), *self.linear_out.parameters()):
            nn.init.zeros_(last)

    def forward(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition = NOTHING) -> Tensor:
        embedding = self.noise_embedding(c_noise)
        if condition.vector is not None:
            embedding = embedding + condition.vector
        scales, shifts = self.modulation(F.silu(embedding)).chunk(2, dim=1)
        h = self.linear_in(x)
        width = h.shape[1:]
        for first, second, scale, shift in zip(
            self.first, self.second, scales.chunk(self.blocks, 1), shifts.chunk(self.blocks, 1), strict=True
        ):
            h = h + second(F.silu(first(torch.addcmul(shift, F.layer_norm(h, width), 1 + scale))))
        return self.linear_out(h).to(x.dtype)
