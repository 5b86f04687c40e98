"""An image as a condition: what is left of the picture that is wanted, concatenated to the network's input.

    masked   the pixels that are kept                     (Saharia et al. 2022, "Palette": inpainting)
    small    the picture at a fraction of its size        (Saharia et al. 2021, "SR3": super-resolution)
    grey     the picture without its colours              (Palette: colourisation)

All are told as one image and one channel more that is 1 where it is known. Where nothing is known both are 0, and that
is also what says nothing: a network for inpainting with all of the picture masked is an unconditional model.

A small image may be noised in training, and the network told by how much (Ho et al. 2022, "Cascaded diffusion models",
section 4.2): it then trusts it less, and forgives what another model got wrong in it,

    z = cos(π s/2) y + sin(π s/2) ε,        s in [0, 1]; s = 0 is the image itself.
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sumi.conditioning.condition import Condition, Draws, check_dropout
from sumi.conditioning.masks import DRAWS, training_masks
from sumi.errors import InputError
from sumi.networks.condition import Told
from sumi.networks.layers import NoiseEmbedding
from sumi.operators.linear import Grey
from sumi.operators.separable import box

CLEAN: Final = 0.5
"""Share of training images that are not noised where the others are."""


@dataclass(frozen=True)
class MaskedConditioning:
    """The network is told some of the pixels of the image that it denoises."""

    name: ClassVar[str] = "masked"

    dropout: float = field(default=0.1, metadata={"help": "share of training images of which nothing is told, [0, 1)"})

    def __post_init__(self) -> None:
        check_dropout(self.dropout)


@dataclass(frozen=True)
class SmallConditioning:
    """The network is told the image at a fraction of its size."""

    name: ClassVar[str] = "small"

    factor: int = field(default=2, metadata={"help": "times by which sides are smaller, 2 or more; divides them"})
    noise: float = field(
        default=0.0, metadata={"help": "most noise s on the small image in training, [0, 1]; half of all have none"}
    )
    dropout: float = field(default=0.1, metadata={"help": "share of training images of which nothing is told, [0, 1)"})

    def __post_init__(self) -> None:
        check_dropout(self.dropout)
        if self.factor < 2:
            raise InputError(f"conditioning.factor: {self.factor} makes nothing smaller; give 2 or more")
        if not 0 <= self.noise <= 1:
            raise InputError(f"conditioning.noise: {self.noise} is not in [0, 1]; 0 is none, 1 is nothing else")


@dataclass(frozen=True)
class GreyConditioning:
    """The network is told the image without its colours."""

    name: ClassVar[str] = "grey"

    dropout: float = field(default=0.1, metadata={"help": "share of training images of which nothing is told, [0, 1)"})

    def __post_init__(self) -> None:
        check_dropout(self.dropout)


ImageConditioning = MaskedConditioning | SmallConditioning | GreyConditioning


class ImageConditioner(nn.Module):
    """An image (N, C' + 1, h, w), of which the network sees (N, C' + 1, H, W): ``factor`` times as large.

    It is enlarged by bicubic interpolation (Keys 1981, a = -½). With ``embedding`` > 0 it also says how noisy the image
    is, as a vector of that width.
    """

    def __init__(self, channels: int, factor: int = 1, embedding: int = 0) -> None:
        super().__init__()
        self.channels, self.factor = channels, factor
        self.noise_embedding = NoiseEmbedding(embedding) if embedding else None

    def null(self, like: Tensor) -> Condition:
        """Nothing is known of images of the size of ``like`` (N, C, H, W)."""
        count, _, height, width = like.shape
        known = like.new_zeros(count, self.channels + 1, height // self.factor, width // self.factor)
        return Condition(image=known, noise=like.new_zeros(count))

    def forward(self, condition: Condition) -> Told:
        image = condition.require("image")
        if self.factor > 1:
            image = F.interpolate(image, scale_factor=self.factor, mode="bicubic", antialias=True)
        if self.noise_embedding is None:
            return Told(image=image)
        noise = image.new_zeros(len(image)) if condition.noise is None else condition.noise
        return Told(self.noise_embedding(1000 * noise), image)


class TrainingImages:
    """What is told of the images, of ``size`` (H, W), that a network is trained on.

    Raises InputError where the factor of small images does not divide their sides.
    """

    def __init__(self, config: ImageConditioning, size: tuple[int, int]) -> None:
        self.config = config
        self.operator = box(*size, config.factor) if isinstance(config, SmallConditioning) else Grey()

    def of(self, items: NDArray[np.int64], x_0: Tensor, draws: Draws) -> Condition:
        """Of ``x_0`` (n, C, H, W) as the network is to make it, mirrored or not."""
        del items
        config = self.config
        u = draws.uniform(2 + DRAWS).to(x_0.device)
        told = (u[:, 0] >= config.dropout).to(x_0)[:, None, None, None]
        if isinstance(config, MaskedConditioning):
            return Condition(image=told * masked(x_0, training_masks(u[:, 2:], (x_0.shape[2], x_0.shape[3]))))
        image = self.operator(x_0)
        if isinstance(config, GreyConditioning) or not config.noise:
            return Condition(image=told * known(image))
        s = config.noise * ((u[:, 1] - CLEAN) / (1 - CLEAN)).clamp(min=0).to(x_0)
        image = noised(image, draws.normal(tuple(image.shape[1:])).to(x_0), s)
        return Condition(image=told * known(image), noise=s * told[:, 0, 0, 0])


def known(image: Tensor) -> Tensor:
    """An image (N, C', h, w) all of which is known, as a condition has it: (N, C' + 1, h, w)."""
    return torch.cat([image, torch.ones_like(image[:, :1])], 1)


def masked(image: Tensor, mask: Tensor) -> Tensor:
    """What is known of ``image`` (N, C, H, W) where ``mask``, bool (N, H, W) or (H, W), is False: (N, C + 1, H, W)."""
    return known(image) * (~mask).to(image).expand(len(image), *mask.shape[-2:])[:, None]


def noised(image: Tensor, noise: Tensor, s: Tensor) -> Tensor:
    """``image`` (N, C, h, w) noised by ``s`` (N,); ``noise`` is standard normal (module docstring)."""
    angle = (math.pi / 2 * s)[:, None, None, None]
    return angle.cos() * image + angle.sin() * noise
