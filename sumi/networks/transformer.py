"""A transformer on patches of the picture (Peebles & Xie 2023, "DiT"; Bao et al. 2023, "U-ViT"; Li & He 2025, "JiT").

    picture ─ patches ─ linear ─┐                                        ┌─ norm, linear ─ patches ─ output
    condition's tokens ─ linear ┼─ blocks ─ … ─ (+ long skips) blocks ───┤
    registers ──────────────────┘                                        └─ (dropped)

One stream: the picture's patches, the condition's tokens and a few learned registers (Darcet et al. 2024) attend to
each other in every block,

    h ← h + g₁ ⊙ attention((1 + a₁) ⊙ norm(h) + b₁);     h ← h + g₂ ⊙ swiglu((1 + a₂) ⊙ norm(h) + b₂).

The noise level (and a condition's vector) gives (a₁, b₁, g₁, a₂, b₂, g₂): one linear layer of the embedding for all
blocks, and a learned offset for each (Chen et al. 2024, "PixArt-α", section 2.3). Queries and keys are normed (Dehghani
et al. 2023), and those of patches are then rotated by their place (Su et al. 2021, in two dimensions), which counts
from the picture's centre: a network takes pictures of any size and shape, also others than it was trained on. Long
skips lead from the first half of the blocks to the second.

At the start the network is exactly zero: its last layer, and what every block adds, start there.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.networks.condition import NOTHING, ConditionShape, NetworkCondition
from sumi.networks.dropout import Dropout
from sumi.networks.layers import NoiseEmbedding, attention_shares, biased_attention

LONGEST = 100.0
"""Slowest rotation: one radian in so many patches; the fastest is one radian a patch."""


@dataclass(frozen=True)
class TransformerConfig:
    """Shape of a transformer."""

    name: ClassVar[str] = "transformer"

    patch: int = field(default=4, metadata={"help": "side of a patch in pixels, 1 or more"})
    width: int = field(default=192, metadata={"help": "width of the tokens; a multiple of network.head_width"})
    blocks: int = field(default=6, metadata={"most": 1000, "help": "blocks of attention and perceptron, 1 or more"})
    head_width: int = field(default=32, metadata={"help": "width of an attention head; a multiple of 4"})
    registers: int = field(
        default=4, metadata={"most": 100_000, "help": "learned tokens beside the picture's, 0 or more"}
    )
    embedding: int = field(default=192, metadata={"most": 16_384, "help": "width of the noise embedding; even"})
    dropout: float = field(default=0.0, metadata={"help": "probability of dropping a value in training, 0 ≤ p < 1"})
    tokens: Literal["stream", "keys"] = field(
        default="stream",
        metadata={
            "later": True,
            "help": "where a condition's tokens are: in the stream, or among attention's keys alone",
        },
    )

    def __post_init__(self) -> None:
        for name, least in (("patch", 1), ("blocks", 1), ("registers", 0)):
            if getattr(self, name) < least:
                raise InputError(f"network.{name}: {getattr(self, name)} is too few; give {least} or more")
        if self.head_width < 4 or self.head_width % 4:
            raise InputError(f"network.head_width: {self.head_width} is not a multiple of 4; give such as 32")
        if self.width < 1 or self.width % self.head_width:
            raise InputError(
                f"network.width: {self.width} is not a multiple of network.head_width = {self.head_width}; "
                f"give such as {6 * self.head_width}"
            )
        if self.embedding < 2 or self.embedding % 2:
            raise InputError(
                f"network.embedding: {self.embedding} is not an even number of 2 or more; give such as 192"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise InputError(f"network.dropout: {self.dropout} is not in [0, 1); give such as 0.1")

    def build(self, shape: tuple[int, ...], outputs: int = 1, condition: ConditionShape | None = None) -> "Transformer":
        """A new network for images of ``shape`` = (C, H, W), with ``outputs`` numbers for each of their values.

        Raises:
            InputError: if these are no images, or smaller than a patch.
        """
        if len(shape) != 3:
            raise InputError(f"network={self.name}: takes images, not data of shape {shape}; set network=mlp")
        channels, height, breadth = shape
        self.check_size((height, breadth))
        return Transformer(self, channels, outputs, condition or ConditionShape())

    def check_size(self, size: tuple[int, int]) -> None:
        """Raises InputError for images (height, width) smaller than a patch."""
        if min(size) < self.patch:
            raise InputError(
                f"network.patch: {self.patch} is larger than images of {size[0]}x{size[1]}; "
                f"give at most {min(size)}, or larger images"
            )


def rotations(rows: int, columns: int, head_width: int) -> Tensor:
    """The angles of ``rows`` x ``columns`` patches: float64 (rows · columns, head_width / 2).

    A quarter of a head's width turns with the row and a quarter with the column, counted from the picture's centre, at
    rates from 1 to 1/`LONGEST` radian a patch.
    """
    rates = LONGEST ** -torch.linspace(0.0, 1.0, head_width // 4, dtype=torch.float64)
    row, column = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in (rows, columns))
    by_row = (row[:, None] * rates)[:, None].expand(-1, columns, -1)
    by_column = (column[:, None] * rates)[None].expand(rows, -1, -1)
    return torch.cat([by_row, by_column], dim=2).flatten(0, 1)


def rotate(x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """x (…, T, D) with its pairs (x_i, x_{i+D/2}) turned; ``turns``: the angles' (cos, sin), each (T, D) twice over."""
    first, second = x.chunk(2, dim=-1)
    return torch.addcmul(x * turns[0], torch.cat([-second, first], dim=-1), turns[1])


def attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(query keyᵀ/√D + bias) value, each (N, heads, T, D), bias (N, 1, 1, T).

    Trained on a CPU in bfloat16 it is written out: torch's fused kernel is five times slower there going back.
    """
    if bias is not None:
        return biased_attention(query, key, value, bias)
    if query.requires_grad and query.device.type == "cpu" and query.dtype == torch.bfloat16:
        return (query * query.shape[-1] ** -0.5 @ key.transpose(2, 3)).softmax(-1).to(value.dtype) @ value
    return F.scaled_dot_product_attention(query, key, value)


class Block(nn.Module):
    """Attention among all tokens, then a gated perceptron (Shazeer 2020, "SwiGLU"), as at the top of this module.

    ``forward(h: (N, T, width), modulation: (N, 6 · width), turns, keys=None, bias=None) -> (N, T, width)``: ``keys``
    (N, L, token_width) are attended to as well, and ``bias`` (N, 1, 1, T + L) is added to the logits.
    """

    gains_by_compiling: ClassVar[bool] = True  # (`sumi.training.compiling`)

    def __init__(self, config: TransformerConfig, token_width: int = 0) -> None:
        super().__init__()
        width = config.width
        hidden = 32 * max(1, round(width * 8 / 3 / 32))  # three matrices of this size cost what two of 4 · width do
        self.head_width = config.head_width
        self.offset = nn.Parameter(torch.zeros(6 * width))
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.key_value = nn.Linear(token_width, 2 * width, bias=False) if token_width else None
        self.query_scale = nn.Parameter(torch.ones(config.head_width))
        self.key_scale = nn.Parameter(torch.ones(config.head_width))
        self.attended = nn.Linear(width, width)
        self.gate_value = nn.Linear(width, 2 * hidden, bias=False)
        self.dropout = Dropout(config.dropout)
        self.out = nn.Linear(hidden, width)

    def forward(
        self,
        h: Tensor,
        modulation: Tensor,
        turns: tuple[Tensor, Tensor],
        keys: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        width = h.shape[2:]
        scale, shift, gate, scale_out, shift_out, gate_out = self._modulated(modulation)
        normed = torch.addcmul(shift, F.layer_norm(h, width), 1 + scale)
        h = torch.addcmul(h, gate, self._attention(normed, turns, keys, bias))
        opened, value = self.gate_value(torch.addcmul(shift_out, F.layer_norm(h, width), 1 + scale_out)).chunk(2, dim=2)
        return torch.addcmul(h, gate_out, self.out(self.dropout(F.silu(opened) * value)))

    def _modulated(self, modulation: Tensor) -> tuple[Tensor, ...]:
        return (modulation + self.offset)[:, None].chunk(6, dim=2)

    def shares(
        self,
        h: Tensor,
        modulation: Tensor,
        turns: tuple[Tensor, Tensor],
        keys: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """How much each token of `forward`'s h takes of each token and key: (N, heads, T, T + L), 1 in all."""
        scale, shift, *_ = self._modulated(modulation)
        normed = torch.addcmul(shift, F.layer_norm(h, h.shape[2:]), 1 + scale)
        query, key, _ = self._heads(normed, turns, keys)
        return attention_shares(query, key, bias)

    def _attention(self, h: Tensor, turns: tuple[Tensor, Tensor], keys: Tensor | None, bias: Tensor | None) -> Tensor:
        return self.attended(attention(*self._heads(h, turns, keys), bias).transpose(1, 2).flatten(2))

    def _heads(self, h: Tensor, turns: tuple[Tensor, Tensor], keys: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        heads = self.query_key_value(h).unflatten(2, (3, -1, self.head_width))
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        turns = (turns[0].to(value.dtype), turns[1].to(value.dtype))
        query, key = (
            rotate(F.rms_norm(x, x.shape[-1:], scale.to(x.dtype)), turns)  # normed first: a rotation keeps the norm
            for x, scale in ((query, self.query_scale), (key, self.key_scale))
        )
        if self.key_value is not None and keys is not None:
            more = self.key_value(keys).unflatten(2, (2, -1, self.head_width)).permute(2, 0, 3, 1, 4)
            normed = F.rms_norm(more[0], more.shape[-1:], self.key_scale.to(more.dtype))
            key, value = torch.cat([key, normed], 2), torch.cat([value, more[1]], 2)
        return query, key, value


class Transformer(nn.Module):
    """A transformer conditioned on the noise level.

    ``forward(x: (N, C, H, W), c_noise: (N,), condition) -> (N, outputs · C, H, W)`` for any H and W: a picture whose
    sides are no multiples of the patch is continued by its edge. ``c_noise`` comes from the parameterization, in one of
    the ranges named at `layers.NoiseEmbedding`. A network built for an image or tokens must get them. The output has
    the dtype of ``x``, under autocast too.
    """

    def __init__(
        self, config: TransformerConfig, channels: int, outputs: int = 1, condition: ConditionShape | None = None
    ) -> None:
        super().__init__()
        condition = condition or ConditionShape()
        self.config, self.condition = config, condition
        width, area = config.width, config.patch**2
        self.noise_embedding = NoiseEmbedding(config.embedding)
        self.modulation = nn.Linear(config.embedding, 6 * width)
        self.patches = nn.Linear((channels + condition.channels) * area, width)
        in_stream, among_keys = (condition.token_width * (config.tokens == way) for way in ("stream", "keys"))
        self.tokens = nn.Linear(in_stream, width) if in_stream else None
        self.registers = nn.Parameter(0.02 * torch.randn(config.registers, width))
        self.blocks = nn.ModuleList(Block(config, among_keys) for _ in range(config.blocks))
        self.skips = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(config.blocks // 2))
        self.norm_out = nn.LayerNorm(width)
        self.patches_out = nn.Linear(width, outputs * channels * area)
        for layer in (self.modulation, *self.skips, self.patches_out):
            for weight in layer.parameters():
                nn.init.zeros_(weight)

    def forward(self, x: Tensor, c_noise: Tensor, condition: NetworkCondition = NOTHING) -> Tensor:
        embedding = self.noise_embedding(c_noise)
        if condition.vector is not None:
            embedding = embedding + condition.vector
        modulation = self.modulation(F.silu(embedding))

        patches = self._patches(x if condition.image is None else torch.cat([x, condition.image.to(x.dtype)], 1))
        rows, columns = patches.shape[2:]
        picture = self.patches(patches.flatten(2).transpose(1, 2))
        known = [] if self.tokens is None or condition.tokens is None else [self.tokens(condition.tokens)]
        h = torch.cat([picture, *known, self.registers.to(picture.dtype).expand(x.shape[0], -1, -1)], 1)

        turns = self._turns(rows, columns, h)
        keys = None if self.config.tokens == "stream" else condition.tokens
        bias = self._bias(condition, len(picture[0]), h.shape[1])
        held: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            if index >= len(self.blocks) - len(self.skips):
                h = h + self.skips[index - len(self.blocks)](held.pop())
            h = block(h, modulation, turns, keys, bias)
            if index < len(self.skips):
                held.append(h)

        output = self.patches_out(self.norm_out(h[:, : rows * columns])).transpose(1, 2).unflatten(2, (rows, columns))
        return F.pixel_shuffle(output, self.config.patch)[:, :, : x.shape[2], : x.shape[3]].to(x.dtype)

    def _bias(self, condition: NetworkCondition, picture: int, stream: int) -> Tensor | None:
        """The bias of attention to all keys, where tokens have weights: those of the stream, then the others."""
        if condition.tokens is None or condition.log_weights is None:
            return None
        rest = stream - picture - (condition.tokens.shape[1] if self.config.tokens == "stream" else 0)
        sides = (picture, rest) if self.config.tokens == "stream" else (stream, 0)
        return F.pad(condition.log_weights, sides)[:, None, None]

    def _patches(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) as its patches (N, C · patch², rows, columns)."""
        below, right = (-side % self.config.patch for side in x.shape[2:])
        if below or right:
            x = F.pad(x, (0, right, 0, below), mode="replicate")
        return F.pixel_unshuffle(x, self.config.patch)

    def _turns(self, rows: int, columns: int, h: Tensor) -> tuple[Tensor, Tensor]:
        """(cos, sin) for `rotate` of all tokens of h (N, T, width): those of no place are not turned."""
        angles = rotations(rows, columns, self.config.head_width)
        angles = F.pad(angles.repeat(1, 2), (0, 0, 0, h.shape[1] - len(angles)))
        return angles.cos().to(h), angles.sin().to(h)
