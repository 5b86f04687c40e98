"""The feature space of a pretrained network, with its own image preprocessing, in torch alone.

A network defines how images are resized, cropped and normalised; only images prepared so have the published features.
Resizing is the trap (Parmar, Zhang and Zhu 2022): the same images, downsampled by libraries that skip pixels and by
those that average, differ by several points of FID. Here downsampling always smooths first (``antialias``, which does
not affect upsampling), and nothing is rounded in between.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sumi.errors import InputError
from sumi.metrics.features.network import check_images
from sumi.metrics.features.space import SpaceFacts, hash_of


@dataclass(frozen=True)
class Preprocessing:
    """Resize to ``size``, centre-crop to ``crop``, subtract ``mean`` and divide by ``std`` in the range [0, 1].

    ``size``: (height, width), or the length of the shorter side; ``crop``: (height, width), None for no crop.
    ``interpolation``: "bilinear" or "bicubic" (with a = -1/2, like Pillow). ``mean`` and ``std``: per colour channel.
    """

    size: tuple[int, int] | int
    crop: tuple[int, int] | None
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        """float32 (N, 3, h, w) from images (N, 1 or 3, H, W) in [-1, 1]; grey ones become three equal channels.

        Raises InputError for another number of channels.
        """
        check_images(images)
        if images.shape[1] not in (1, 3):
            raise InputError(
                f"images with {images.shape[1]} channels: this feature network sees grey (1) or colour (3); "
                "measure with features=learned"
            )
        x = (images.float() + 1) / 2
        # torch's plain bicubic differs (a = -3/4), so the antialiased one serves for upsampling too
        x = F.interpolate(x, self._resized(x), mode=self.interpolation, antialias=True).clamp(0, 1)
        if self.crop is not None:
            top, left = ((have - want) // 2 for have, want in zip(x.shape[2:], self.crop, strict=True))
            x = x[:, :, top : top + self.crop[0], left : left + self.crop[1]]
        mean, std = (torch.tensor(v, device=x.device)[:, None, None] for v in (self.mean, self.std))
        return (x - mean) / std

    def _resized(self, x: Tensor) -> list[int]:
        match self.size:
            case int(side):
                shorter = min(x.shape[2:])
                return [side * length // shorter for length in x.shape[2:]]
            case sides:
                return list(sides)


BATCH = 32


class PretrainedSpace:
    """The space of a pretrained network, with unscaled features.

    ``embed``: preprocessed images to features (N, D); ``logits``: features to logits, if the network has classes. Both
    use ``network``, whose weights determine the hash.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        seen: Preprocessing,
        embed: Callable[[Tensor], Tensor],
        *,
        dimension: int,
        device: torch.device,
        logits: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        network.eval().requires_grad_(False)
        self.space = SpaceFacts(name, hash_of(str(seen), network.state_dict()), dimension)
        self._seen, self._embed, self._logits, self._device = seen, embed, logits, device
        network.to(device)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """float64 (N, D) of images (N, 1 or 3, H, W) in [-1, 1]."""
        found = [self._embed(self._seen(batch.to(self._device))).cpu() for batch in images.split(BATCH)]
        return torch.cat(found).double()

    @torch.no_grad()
    def classes_of(self, features: Tensor) -> Tensor | None:
        """float64 (N, classes) of features (N, D); None where the network knows no classes."""
        if self._logits is None:
            return None
        return self._logits(features.float().to(self._device)).cpu().double().softmax(1)
