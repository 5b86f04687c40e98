"""The feature space of a network that others trained: its features as they come, of images as it wants to see them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sumi.evaluation.feature_space import SpaceFacts, hash_of
from sumi.evaluation.preprocessing import Preprocessing

BATCH = 32


class PretrainedSpace:
    """The space of a network that others trained, its features as they come.

    ``embed``: features (N, D) of prepared images, and ``logits``, where the network knows classes, of features; both by
    ``network``, all of whose weights make the hash.
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
