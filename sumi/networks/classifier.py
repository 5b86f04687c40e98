"""A classifier of noisy images: the ADM U-Net's encoder and attention pooling (Dhariwal & Nichol 2021, section 4).

    image ─ `adm.Encoder` ─ norm, silu ─ attention pooling ─ logits

The pooling is CLIP's (Radford et al. 2021): the mean over positions is the query, and attends to all positions and to
itself, in heads as wide as the other layers'; every position has a learned embedding. The noise level enters as in the
U-Net. The last layer starts at zero, so all classes start equally probable.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.networks.adm import Encoder, EncoderConfig
from sumi.networks.layers import Modulation, NoiseEmbedding, group_norm, to_channels_last


@dataclass(frozen=True)
class ClassifierConfig(EncoderConfig):
    """Shape of a classifier of noisy images."""

    name: ClassVar[str] = "classifier"

    blocks: tuple[int, ...] = field(default=(1, 1, 1), metadata={"most": 1000, "help": "residual blocks of each level"})

    def build(self, shape: tuple[int, ...], classes: int) -> "Classifier":
        """A new network for images of ``shape`` = (C, H, W).

        Raises:
            InputError: if these are no images, their size is too small, see `check_size`, or fewer than two classes.
        """
        if classes < 2:
            raise InputError(f"data.source: has {classes} classes, and a classifier needs two; give labelled images")
        return Classifier(self, self.check_images(self.name, shape), classes)


class AttentionPool(nn.Module):
    """``forward(x: (N, C, H, W)) -> (N, outputs)``; H·W = ``places``; each place and the mean has an embedding.

    Raises InputError for another number of places.
    """

    def __init__(self, width: int, head_width: int, places: int, outputs: int) -> None:
        super().__init__()
        self.heads = width // head_width
        self.place = nn.Parameter(torch.randn(places + 1, width) / width**0.5)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, outputs)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        if tokens.shape[1] != len(self.place) - 1:
            raise InputError(
                f"images: have {x.shape[2]}x{x.shape[3]} places at the lowest level, and this classifier was made for "
                f"{len(self.place) - 1}; give images of the size that it was trained on"
            )
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1) + self.place
        query = self.query(tokens[:, :1]).unflatten(2, (self.heads, -1)).transpose(1, 2)
        key, value = self.key_value(tokens).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        found = F.scaled_dot_product_attention(query, key, value)
        return self.out(found.transpose(1, 2).flatten(1))


class Classifier(nn.Module):
    """``forward(x: (N, C, H, W), c_noise: (N,)) -> (N, classes)``, logits in float32, under autocast too.

    ``shape``: the fixed (C, H, W) of its images; ``c_noise``: as for the U-Nets.
    """

    def __init__(self, config: ClassifierConfig, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, *sides = shape
        self.config, self.classes = config, classes
        for _ in config.widths[1:]:
            sides = [(side + 1) // 2 for side in sides]
        self.noise_embedding = NoiseEmbedding(config.embedding)
        self.encoder = Encoder(config, channels)
        self.modulation = Modulation(config.embedding, self.encoder.block_widths)
        self.norm_out = group_norm(config.widths[-1], config.group_width)
        self.pool = AttentionPool(config.widths[-1], config.head_width, sides[0] * sides[1], classes)
        to_channels_last(self)

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        h, _ = self.encoder(x, self.modulation.of_blocks(self.noise_embedding(c_noise)))
        return self.pool(F.silu(self.norm_out(h))).float()
