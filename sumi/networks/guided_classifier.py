"""guided-diffusion's classifier of noisy images (Dhariwal & Nichol 2021, section 4), with its names of its tensors.

    way down and middle of `sumi.networks.guided` ─ norm, silu ─ pooling ─ logits

    attention   the mean over places is one more place; each has a learned embedding; that of the mean, after attention
    adaptive    the mean over places, and a convolution of it

It knows the steps 0 … T - 1 of a chain: of a log-SNR it is given the nearest one.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.networks.guided import GuidedEncoder, GuidedEncoderConfig, attended, norm, sinusoids

Pool = Literal["attention", "adaptive"]


@dataclass(frozen=True)
class GuidedClassifierConfig(GuidedEncoderConfig):
    """Shape of such a classifier. ``log_snr``: of the steps of its chain, from the first on."""

    name: ClassVar[str] = "guided_classifier"

    pool: Pool = field(default="attention", metadata={"help": "how places become one: attention or adaptive"})
    log_snr: tuple[float, ...] = field(default=(0.0,), metadata={"help": "of each step of the chain, decreasing"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.log_snr or any(later >= sooner for sooner, later in pairwise(self.log_snr)):
            raise InputError("network.log_snr: is not one or more numbers, each below the one before")

    def build(self, shape: tuple[int, ...], classes: int) -> "GuidedClassifier":
        """A new network for images of ``shape`` = (C, H, W).

        Raises InputError for other data, for sides that cannot be halved between the levels, and for fewer than two
        classes.
        """
        self.check_images(self.name, shape)
        if classes < 2:
            raise InputError(f"data.source: has {classes} classes, and a classifier needs two; give labelled images")
        return GuidedClassifier(self, shape, classes)


class AttentionPool(nn.Module):
    """``forward(x: (N, C, H, W)) -> (N, outputs)``, with H·W = ``places``. Raises InputError for another number."""

    def __init__(self, width: int, heads: int, places: int, outputs: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.randn(width, places + 1) / width**0.5)
        self.qkv_proj, self.c_proj = nn.Conv1d(width, 3 * width, 1), nn.Conv1d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        flat, places = x.flatten(2), self.positional_embedding.shape[1] - 1
        if flat.shape[2] != places:
            raise InputError(f"images: have {flat.shape[2]} places at the lowest level, and the classifier {places}")
        flat = torch.cat([flat.mean(2, keepdim=True), flat], 2) + self.positional_embedding
        return self.c_proj(attended(self.qkv_proj(flat), self.heads, new_order=True))[:, :, 0]


class GuidedClassifier(GuidedEncoder):
    """See the top of this module: ``forward(x: (N, C, H, W), c_noise: (N,)) -> (N, classes)``; c_noise is log-SNR/4."""

    between: Tensor

    def __init__(self, config: GuidedClassifierConfig, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(config, shape[0])
        width, factor = config.widths[-1], 2 ** (len(config.widths) - 1)
        steps = torch.tensor(config.log_snr, dtype=torch.float64)
        self.register_buffer("between", -(steps[1:] + steps[:-1]) / 2, persistent=False)
        layers: list[nn.Module] = [norm(config, width), nn.SiLU()]
        match config.pool:
            case "attention":
                places = shape[1] * shape[2] // factor**2
                layers.append(AttentionPool(width, config.check_heads(width, config.heads), places, classes))
            case "adaptive":
                layers += [nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, classes, 1), nn.Flatten()]
        self.out = nn.Sequential(*layers)

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        step = torch.bucketize(-4 * c_noise.double(), self.between)
        embedding = self.time_embed(sinusoids(step.to(x.dtype), self.config.width))
        h, _ = self.down(x, embedding)
        return self.out(h)
