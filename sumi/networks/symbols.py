"""A bidirectional transformer on symbols: one token a position, all of which attend to each other.

    symbol ─ embedding ─ + place ─┐                       ┌─ norm, linear ─ logits
    condition's tokens ─ linear ──┼─ blocks ─ … ─ blocks ─┤
    registers ────────────────────┘                       └─ (dropped)

The blocks are those of `sumi.networks.transformer`, modulated by the noise level and a condition's vector; queries and
keys are rotated by their place on the line. Each place also has a learned vector. At the start all logits are zero.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.networks.condition import NOTHING, ConditionShape, NetworkCondition
from sumi.networks.layers import NoiseEmbedding
from sumi.networks.transformer import Block, TransformerConfig, rotations


@dataclass(frozen=True)
class SymbolTransformerConfig:
    """Shape of the transformer."""

    name: ClassVar[str] = "symbol_transformer"

    width: int = field(default=128, metadata={"help": "width of the tokens; a multiple of network.head_width"})
    blocks: int = field(default=4, metadata={"most": 1000, "help": "blocks of attention and perceptron, 1 or more"})
    head_width: int = field(default=32, metadata={"help": "width of an attention head; a multiple of 4"})
    registers: int = field(
        default=2, metadata={"most": 100_000, "help": "learned tokens beside the symbols, 0 or more"}
    )
    embedding: int = field(default=128, metadata={"most": 16_384, "help": "width of the noise embedding; even"})
    dropout: float = field(default=0.0, metadata={"help": "probability of dropping a value in training, 0 ≤ p < 1"})

    def __post_init__(self) -> None:
        self.of_blocks()

    def of_blocks(self) -> TransformerConfig:
        """The configuration of the blocks. Raises InputError for values out of range."""
        return TransformerConfig(
            1, self.width, self.blocks, self.head_width, self.registers, self.embedding, self.dropout
        )

    def build(self, length: int, states: int, symbols: int, condition: ConditionShape) -> "SymbolTransformer":
        """A new network for sequences of ``length`` of so many ``states``, with logits for ``symbols`` of them."""
        return SymbolTransformer(self, length, states, symbols, condition)


class SymbolTransformer(nn.Module):
    """``forward(x: (N, L) of states, c_noise: (N,), condition) -> (N, L, symbols)``, a logit for each symbol."""

    def __init__(
        self, config: SymbolTransformerConfig, length: int, states: int, symbols: int, condition: ConditionShape
    ) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.noise_embedding = NoiseEmbedding(config.embedding)
        self.modulation = nn.Linear(config.embedding, 6 * width)
        self.symbols = nn.Embedding(states, width)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        self.tokens = nn.Linear(condition.token_width, width) if condition.token_width else None
        self.registers = nn.Parameter(0.02 * torch.randn(config.registers, width))
        self.blocks = nn.ModuleList(Block(config.of_blocks()) for _ in range(config.blocks))
        self.norm_out = nn.LayerNorm(width)
        self.out = nn.Linear(width, symbols)
        for layer in (self.modulation, self.out):
            for weight in layer.parameters():
                nn.init.zeros_(weight)

    def forward(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition = NOTHING) -> Tensor:
        embedding = self.noise_embedding(c_noise)
        if condition.vector is not None:
            embedding = embedding + condition.vector
        modulation = self.modulation(F.silu(embedding))
        line = self.symbols(x) + self.places[: x.shape[1]]
        known = [] if self.tokens is None or condition.tokens is None else [self.tokens(condition.tokens)]
        h = torch.cat([line, *known, self.registers.to(line.dtype).expand(len(x), -1, -1)], 1)
        angles = rotations(1, x.shape[1], self.config.head_width)
        angles = F.pad(angles.repeat(1, 2), (0, 0, 0, h.shape[1] - len(angles)))
        turns = angles.cos().to(h), angles.sin().to(h)
        bias = None
        if condition.log_weights is not None and known:
            bias = F.pad(condition.log_weights, (x.shape[1], self.config.registers))[:, None, None]
        for block in self.blocks:
            h = block(h, modulation, turns, None, bias)
        return self.out(self.norm_out(h[:, : x.shape[1]]))
