"""An image as a condition: what is left of the picture that is wanted, concatenated to the network's input.

    masked   the pixels that are kept                     (Saharia et al. 2022, "Palette": inpainting)
    small    the picture at a fraction of its size        (Saharia et al. 2021, "SR3": super-resolution)
    grey     the picture without its colours              (Palette: colourisation)

Each is one image and one channel more that is 1 where it is known. Where nothing is known both are 0, and that
is also what says nothing: a network for inpainting with all of the picture masked is an unconditional model.

A small image may be noised in training, and the network is given how much (Ho et al. 2022, "Cascaded diffusion models",
section 4.2): it then trusts it less, and forgives what another model got wrong in it,

    z = cos(π s/2) y + sin(π s/2) ε,        s in [0, 1]; s = 0 is the image itself.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from sumi.conditioning.condition import Condition
from sumi.conditioning.conditioner import Conditioner, Items, check_dropout
from sumi.conditioning.masks import DRAWS, training_masks
from sumi.data.batch import Batch
from sumi.errors import InputError
from sumi.networks.condition import ConditionShape, NetworkCondition
from sumi.networks.layers import NoiseEmbedding
from sumi.operators.linear import Grey
from sumi.operators.separable import box
from sumi.randomness import Purpose

CLEAN: Final = 0.5
"""Share of training images that are not noised where the others are."""


@dataclass(frozen=True)
class MaskedConditioning:
    """The network is given some of the pixels of the image that it denoises."""

    name: ClassVar[str] = "masked"

    dropout: float = field(default=0.1, metadata={"help": "share of training images that go without, [0, 1)"})

    def __post_init__(self) -> None:
        check_dropout(self.dropout)

    def build(self, items: Items, width: int) -> "MaskedConditioner":
        """A new conditioner. Raises InputError for data that are no images."""
        del width
        return MaskedConditioner(self, check_images(self.name, items)[0])


@dataclass(frozen=True)
class SmallConditioning:
    """The network is given the image at a fraction of its size."""

    name: ClassVar[str] = "small"

    factor: int = field(default=2, metadata={"help": "times by which sides are smaller, 2 or more; divides them"})
    noise: float = field(
        default=0.0, metadata={"help": "most noise s on the small image in training, [0, 1]; half of all have none"}
    )
    dropout: float = field(default=0.1, metadata={"help": "share of training images that go without, [0, 1)"})

    def __post_init__(self) -> None:
        check_dropout(self.dropout)
        if self.factor < 2:
            raise InputError(f"conditioning.factor: {self.factor} makes nothing smaller; give 2 or more")
        if not 0 <= self.noise <= 1:
            raise InputError(f"conditioning.noise: {self.noise} is not in [0, 1]; 0 is none, 1 is nothing else")

    def build(self, items: Items, width: int) -> "SmallConditioner":
        """A new conditioner. Raises InputError for data that are no images whose sides the factor divides."""
        channels, height, breadth = check_images(self.name, items)
        if height % self.factor or breadth % self.factor:
            raise InputError(
                f"conditioning.factor: {self.factor} does not divide the images' sides, {height} and {breadth}; "
                "give one that does"
            )
        return SmallConditioner(self, (channels, height, breadth), width)


@dataclass(frozen=True)
class GreyConditioning:
    """The network is given the image without its colours."""

    name: ClassVar[str] = "grey"

    dropout: float = field(default=0.1, metadata={"help": "share of training images that go without, [0, 1)"})

    def __post_init__(self) -> None:
        check_dropout(self.dropout)

    def build(self, items: Items, width: int) -> "GreyConditioner":
        """A new conditioner. Raises InputError for data that are no images in colour."""
        del width
        if check_images(self.name, items)[0] != 3:
            raise InputError(
                "conditioning: grey needs images in colour, and these are grey; set data.channels=3 or none"
            )
        return GreyConditioner(self, 1)


ImageConditioning = MaskedConditioning | SmallConditioning | GreyConditioning


class ImageConditioner(Conditioner):
    """An image (N, C' + 1, h, w) of which the network is given (N, C' + 1, H, W): ``factor`` times as large.

    It is enlarged by bicubic interpolation (Keys 1981, a = -½).
    """

    factor = 1

    def __init__(self, config: ImageConditioning, channels: int) -> None:
        super().__init__()
        self.name, self.dropout, self.channels = config.name, config.dropout, channels
        self.shape = ConditionShape(channels=channels + 1)  # and where it is known

    def parse(self, given: object, indices: Sequence[int]) -> Condition:
        """``given``: a tensor (n, C' + 1, h, w). Raises InputError."""
        if not isinstance(given, Tensor) or len(given) != len(indices):
            raise InputError(f"condition.{self.name}: is no tensor of {len(indices)} images; give one for each sample")
        return Condition({self.name: given})

    @abstractmethod
    def of_images(self, x_0: Tensor, u: Tensor, batch: Batch, draw: int) -> Condition:
        """What is kept of ``x_0`` (n, C, H, W); ``u``: uniform numbers (n, 1 + DRAWS)."""

    def of_data(self, batch: Batch, x_0: Tensor, draw: int) -> Condition:
        """Of ``x_0`` (n, C, H, W) as the network is to make it, mirrored or not."""
        u = batch.uniforms(Purpose.CONDITION_DROPOUT, 2 + DRAWS, draw).to(x_0.device)
        kept = (u[:, 0] >= self.dropout).to(x_0)
        parts = self.of_images(x_0, u[:, 1:], batch, draw)
        return Condition({name: kept.reshape(-1, *(1,) * (part.ndim - 1)) * part for name, part in parts.items()})

    def null(self, like: Tensor) -> Condition:
        """Nothing is known of images of the size of ``like`` (N, C, H, W)."""
        count, _, height, width = like.shape
        known = like.new_zeros(count, self.channels + 1, height // self.factor, width // self.factor)
        return Condition({self.name: known})

    def forward(self, condition: Condition) -> NetworkCondition:
        image = condition[self.name]
        if self.factor > 1:
            image = F.interpolate(image, scale_factor=self.factor, mode="bicubic", antialias=True)
        return NetworkCondition(image=image)


class MaskedConditioner(ImageConditioner):
    """The pixels outside of a random mask."""

    def of_images(self, x_0: Tensor, u: Tensor, batch: Batch, draw: int) -> Condition:
        del batch, draw
        return Condition(masked=masked(x_0, training_masks(u[:, 1:], (x_0.shape[2], x_0.shape[3]))))


class GreyConditioner(ImageConditioner):
    """The luma."""

    def of_images(self, x_0: Tensor, u: Tensor, batch: Batch, draw: int) -> Condition:
        del u, batch, draw
        return Condition(grey=known(Grey()(x_0)))


class SmallConditioner(ImageConditioner):
    """The means of squares; where it is noised in training, the network is also given the noise as a vector."""

    def __init__(self, config: SmallConditioning, shape: tuple[int, int, int], width: int) -> None:
        super().__init__(config, shape[0])
        self.factor, self.noise = config.factor, config.noise
        self.operator = box(shape[1], shape[2], config.factor)
        self.noise_embedding = NoiseEmbedding(width) if config.noise else None

    def of_images(self, x_0: Tensor, u: Tensor, batch: Batch, draw: int) -> Condition:
        image = self.operator(x_0)
        if not self.noise:
            return Condition(small=known(image))
        s = self.noise * ((u[:, 0] - CLEAN) / (1 - CLEAN)).clamp(min=0).to(x_0)
        image = noised(image, batch.normal(Purpose.CONDITION_NOISE, tuple(image.shape[1:]), draw).to(x_0), s)
        return Condition(small=known(image), small_noise=s)

    def null(self, like: Tensor) -> Condition:
        found = super().null(like)
        return found if self.noise_embedding is None else Condition({**found, "small_noise": like.new_zeros(len(like))})

    def forward(self, condition: Condition) -> NetworkCondition:
        found = super().forward(condition)
        if self.noise_embedding is None:
            return found
        return NetworkCondition(self.noise_embedding(1000 * condition["small_noise"]), found.image)


def check_images(name: str, items: Items) -> tuple[int, int, int]:
    """(C, H, W). Raises InputError where the data are no images."""
    if len(items.shape) != 3:
        raise InputError(f"conditioning: {name} needs images, and these data are none; set conditioning=none")
    channels, height, width = items.shape
    return channels, height, width


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
