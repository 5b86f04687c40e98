"""How a condition enters a network: as a vector, an image or tokens.

- a *vector* is added to the noise level's embedding, and so scales and shifts every block's channels (adaptive group
  norm; Dhariwal & Nichol 2021, section 3);
- an *image* of the input's size is concatenated to the input (Saharia et al. 2022, "Palette", section 3);
- *tokens* are attended to from every position (Rombach et al. 2022, section 3.3); a token of log weight log w counts in
  the softmax of attention as w tokens would, and padding, of log weight -inf, not at all.

Only the conditioner knows what the condition is: a class, a small image, a text (`sumi.conditioning`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor


@dataclass(frozen=True)
class NetworkCondition:
    """For N samples: ``vector`` (N, embedding), ``image`` (N, C', H, W), ``tokens`` (N, L, width); None: absent.

    ``log_weights`` (N, L): of the tokens; None: all are 0.
    """

    vector: Tensor | None = None
    image: Tensor | None = None
    tokens: Tensor | None = None
    log_weights: Tensor | None = None

    @property
    def bias(self) -> Tensor | None:
        """What is added to the logits of attention to the tokens, (N, 1, 1, L); None: nothing."""
        return None if self.log_weights is None else self.log_weights[:, None, None]

    def rows(self, which: Tensor) -> "NetworkCondition":
        """Of the samples ``which``, indices (M,)."""
        parts = (self.vector, self.image, self.tokens, self.log_weights)
        return NetworkCondition(*(None if part is None else part[which] for part in parts))


@dataclass(frozen=True)
class ConditionShape:
    """The condition a network is built for: ``channels`` C' of the image, and ``token_width``; 0: absent."""

    channels: int = 0
    token_width: int = 0


NOTHING: Final = NetworkCondition()


def combined(conditions: Sequence[NetworkCondition]) -> NetworkCondition:
    """Several conditions as one: vectors added, channels of images and tokens concatenated."""
    if len(conditions) == 1:
        return conditions[0]
    vectors, images, tokens = (
        [part for condition in conditions if (part := getattr(condition, name)) is not None]
        for name in ("vector", "image", "tokens")
    )
    weights = None
    if any(condition.log_weights is not None for condition in conditions):
        each = [(c.tokens, c.log_weights) for c in conditions if c.tokens is not None]
        weights = torch.cat([rows.new_zeros(rows.shape[:2]) if own is None else own for rows, own in each], 1)
    return NetworkCondition(
        sum(vectors[1:], vectors[0]) if vectors else None,
        torch.cat(images, 1) if images else None,
        torch.cat(tokens, 1) if tokens else None,
        weights,
    )
