"""An image as a condition: a degraded version of the image to make, concatenated to the network's input.

    masked   the pixels outside a mask                    (Saharia et al. 2022, "Palette": inpainting)
    small    the image at a fraction of its size          (Saharia et al. 2021, "SR3": super-resolution)
    grey     the image without its colours                (Palette: colourisation)

Each is an image with one more channel that is 1 where the image is known. All zeros, nothing known, is the
unconditional value: an inpainting network whose input is fully masked is an unconditional model.

The network gets the condition at the sides of what it denoises: H × W, or H/f × W/f of an autoencoder's latents. A
picture of H/k × W/k, where k = 1 for `grey`, is enlarged by k/g and then folded by f/g, with g = gcd(k, f): each square
of (f/g)² values becomes channels of one place (space to depth). So no detail of the picture is lost, no autoencoder
that was trained on sharp pictures encodes a blurred one, and with k = f it is what Rombach et al. 2022 (section 4.4)
concatenate: the small picture itself. What is known of `masked` are latents, where latents are denoised.

A small image may be noised in training, and the network is conditioned on the noise level too (Ho et al. 2022,
"Cascaded diffusion models", section 4.2), so that it tolerates errors of the model that made the small image:

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

from sumi.boundary.arguments import finite
from sumi.conditioning.condition import Condition
from sumi.conditioning.conditioner import Conditioner, Items, check_dropout
from sumi.conditioning.masks import DRAWS, training_masks
from sumi.data.batch import Batch
from sumi.data.latents import LatentDataset, Latents
from sumi.errors import InputError
from sumi.networks.condition import ConditionShape, NetworkCondition
from sumi.networks.layers import NoiseEmbedding
from sumi.operators.linear import Grey
from sumi.operators.separable import box
from sumi.randomness import Purpose

CLEAN: Final = 0.5
"""Share of training images whose small image stays clean when ``noise`` > 0."""


@dataclass(frozen=True)
class MaskedConditioning:
    """The network sees some of the pixels of the image that it denoises."""

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
    """The network sees the image at a fraction of its size."""

    name: ClassVar[str] = "small"

    factor: int = field(default=2, metadata={"help": "times by which sides are smaller, 2 or more; divides them"})
    noise: float = field(
        default=0.0, metadata={"help": "most noise s on the small image in training, [0, 1]; half of all have none"}
    )
    dropout: float = field(default=0.1, metadata={"help": "share of training images that go without, [0, 1)"})

    def __post_init__(self) -> None:
        check_dropout(self.dropout)
        if self.factor < 2:
            raise InputError(f"conditioning.factor: {self.factor} is below 2; give 2 or more")
        if not 0 <= self.noise <= 1:
            raise InputError(f"conditioning.noise: {self.noise} is not in [0, 1]; 0 is no noise, 1 only noise")

    def build(self, items: Items, width: int) -> "SmallConditioner":
        """A new conditioner. Raises InputError for data other than images whose sides are multiples of the factor."""
        (channels, height, breadth), latents = check_pictures(self.name, items)
        if height % self.factor or breadth % self.factor:
            raise InputError(
                f"conditioning.factor: {self.factor} does not divide the images' sides, {height} and {breadth}; "
                "give one that does"
            )
        return SmallConditioner(self, (channels, height, breadth), width, latents)


@dataclass(frozen=True)
class GreyConditioning:
    """The network sees the image without its colours."""

    name: ClassVar[str] = "grey"

    dropout: float = field(default=0.1, metadata={"help": "share of training images that go without, [0, 1)"})

    def __post_init__(self) -> None:
        check_dropout(self.dropout)

    def build(self, items: Items, width: int) -> "GreyConditioner":
        """A new conditioner. Raises InputError for data that are no images in colour."""
        del width
        (channels, _, _), latents = check_pictures(self.name, items)
        if channels != 3:
            raise InputError("conditioning: grey needs colour images, and these are grey; set data.channels=3 or none")
        return GreyConditioner(self, 1, latents=latents)


ImageConditioning = MaskedConditioning | SmallConditioning | GreyConditioning


class ImageConditioner(Conditioner):
    """An image (N, C' + 1, H/k, W/k), enlarged and folded for the network (module docstring).

    ``factor``: k. ``latents``: f, where the network denoises the latents of such images; None: the images themselves.
    The interpolation is bicubic (Keys 1981, a = -½).
    """

    def __init__(self, config: ImageConditioning, channels: int, factor: int = 1, latents: int | None = None) -> None:
        super().__init__()
        self.name, self.dropout, self.channels = config.name, config.dropout, channels
        self.factor, self.of_latents = factor, latents is not None
        common = math.gcd(factor, latents or 1)
        self.enlarged, self.folded = factor // common, (latents or 1) // common
        self.shape = ConditionShape(channels=(channels + 1) * self.folded**2)  # one more for where it is known

    def parse(self, given: object, indices: Sequence[int]) -> Condition:
        """``given``: a tensor (n, C' + 1, h, w). Raises InputError."""
        images = finite(f"condition.{self.name}", given)
        if images.ndim != 4 or len(images) != len(indices):
            raise InputError(f"condition.{self.name}: give a tensor of {len(indices)} images, one per sample")
        return Condition({self.name: images})

    @abstractmethod
    def of_images(self, x: Tensor, u: Tensor, batch: Batch, draw: int) -> Condition:
        """The condition of ``x`` (n, C, H, W), without dropout; ``u``: uniform numbers (n, 1 + DRAWS)."""

    def of_data(self, batch: Batch, x_0: Tensor, draw: int) -> Condition:
        """Made of ``x_0`` (n, C, H, W) itself, or of the images whose latents it is; so it is mirrored if it is."""
        u = batch.uniforms(Purpose.CONDITION_DROPOUT, 2 + DRAWS, draw).to(x_0.device)
        kept = (u[:, 0] >= self.dropout).to(x_0)
        parts = self.of_images(_pictures(batch).to(x_0) if self.of_latents else x_0, u[:, 1:], batch, draw)
        return Condition({name: kept.reshape(-1, *(1,) * (part.ndim - 1)) * part for name, part in parts.items()})

    def null(self, like: Tensor) -> Condition:
        """Zeros, for images, or latents, of the size of ``like`` (N, …): nothing is known."""
        height, width = (side * self.folded // self.enlarged for side in like.shape[2:])
        return Condition({self.name: like.new_zeros(len(like), self.channels + 1, height, width)})

    def forward(self, condition: Condition) -> NetworkCondition:
        image = condition[self.name]
        if self.enlarged > 1:
            image = F.interpolate(image, scale_factor=self.enlarged, mode="bicubic", antialias=True)
        return NetworkCondition(image=F.pixel_unshuffle(image, self.folded) if self.folded > 1 else image)


class MaskedConditioner(ImageConditioner):
    """The pixels, or latents, outside a random mask."""

    def of_images(self, x: Tensor, u: Tensor, batch: Batch, draw: int) -> Condition:
        del batch, draw
        return Condition(masked=masked(x, training_masks(u[:, 1:], (x.shape[2], x.shape[3]))))


class GreyConditioner(ImageConditioner):
    """The luma."""

    def of_images(self, x: Tensor, u: Tensor, batch: Batch, draw: int) -> Condition:
        del u, batch, draw
        return Condition(grey=known(Grey()(x)))


class SmallConditioner(ImageConditioner):
    """Block means; with noise in training, the network also gets an embedding of the noise level."""

    def __init__(self, config: SmallConditioning, shape: tuple[int, int, int], width: int, latents: int | None) -> None:
        super().__init__(config, shape[0], config.factor, latents)
        self.noise = config.noise
        self.operator = box(shape[1], shape[2], config.factor)
        self.noise_embedding = NoiseEmbedding(width) if config.noise else None

    def of_images(self, x: Tensor, u: Tensor, batch: Batch, draw: int) -> Condition:
        whole = x.shape[-1] == self.operator.columns.shape[1] and x.shape[-2] == self.operator.rows.shape[1]
        image = self.operator(x) if whole else F.avg_pool2d(x, self.factor)  # the same, of a crop
        if not self.noise:
            return Condition(small=known(image))
        s = self.noise * ((u[:, 0] - CLEAN) / (1 - CLEAN)).clamp(min=0).to(x)
        image = noised(image, batch.normal(Purpose.CONDITION_NOISE, tuple(image.shape[1:]), draw).to(x), s)
        return Condition(small=known(image), small_noise=s)

    def null(self, like: Tensor) -> Condition:
        found = super().null(like)
        return found if self.noise_embedding is None else Condition({**found, "small_noise": like.new_zeros(len(like))})

    def forward(self, condition: Condition) -> NetworkCondition:
        found = super().forward(condition)
        if self.noise_embedding is None:
            return found
        return NetworkCondition(self.noise_embedding(1000 * condition["small_noise"]), found.image)


def _pictures(batch: Batch) -> Tensor:
    """The images of a batch (n, C, H, W), which may be one of their latents."""
    match batch.data:
        case LatentDataset() as latents:
            return latents.pictures(batch.items)
        case _:
            return batch.x


def check_pictures(name: str, items: Items) -> tuple[tuple[int, int, int], int | None]:
    """(C, H, W) of the images, and the factor f of their latents where ``items`` are these; else None.

    Raises InputError for data other than images.
    """
    match items:
        case Latents(images=(channels, height, width)):
            return (channels, height, width), height // items.shape[1]
        case _:
            return check_images(name, items), None


def check_images(name: str, items: Items) -> tuple[int, int, int]:
    """(C, H, W). Raises InputError for data other than images."""
    if len(items.shape) != 3:
        raise InputError(f"conditioning: {name} needs images, and these data are not; set conditioning=none")
    channels, height, width = items.shape
    return channels, height, width


def known(image: Tensor) -> Tensor:
    """A fully known image (N, C', h, w) as a condition: (N, C' + 1, h, w)."""
    return torch.cat([image, torch.ones_like(image[:, :1])], 1)


def masked(image: Tensor, mask: Tensor) -> Tensor:
    """``image`` (N, C, H, W) known where ``mask``, bool (N, H, W) or (H, W), is False: (N, C + 1, H, W)."""
    return known(image) * (~mask).to(image).expand(len(image), *mask.shape[-2:])[:, None]


def noised(image: Tensor, noise: Tensor, s: Tensor) -> Tensor:
    """``image`` (N, C, h, w) noised by ``s`` (N,); ``noise`` is standard normal (module docstring)."""
    angle = (math.pi / 2 * s)[:, None, None, None]
    return angle.cos() * image + angle.sin() * noise
