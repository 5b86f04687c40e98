"""What a network is told besides its input and the noise level: three ways in, which every condition is made into.

- a *vector* is added to the embedding of the noise level, and so scales and shifts every block's channels (adaptive
  group norm; Dhariwal & Nichol 2021, section 3);
- an *image* of the input's size is concatenated to the input (Saharia et al. 2022, "Palette", section 3);
- *tokens* are looked at from every position by cross-attention (Rombach et al. 2022, section 3.3).

What the condition was (a class, a small image, a text) is known to the conditioner alone (`sumi.conditioning`).
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Told:
    """Of N samples: ``vector`` (N, embedding), ``image`` (N, C', H, W), ``tokens`` (N, L, width); None: not told."""

    vector: Tensor | None = None
    image: Tensor | None = None
    tokens: Tensor | None = None


@dataclass(frozen=True)
class ToldSpec:
    """What a network is built for: ``channels`` C' of the image, and ``token_width``; 0: takes none."""

    channels: int = 0
    token_width: int = 0


NOTHING = Told()
