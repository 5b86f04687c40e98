"""A cascade of models: each stage is conditioned on what the stage below made, enlarged.

    y_0 ~ p_0,    z_k = cos(π s/2) y_k + sin(π s/2) ε,    y_k+1 ~ p_k+1(y | z_k, s)

With s > 0 the picture below is noised, and the stage is given s ("noise-conditioning augmentation", Ho et al. 2022,
section 4.2; Saharia et al. 2022, section 2.4): what a stage gets is then nearer to what it was trained on, and it can
mend more. If all stages are exact, so is the law of y_K for any s, as each z_k has the law of training; for s = 0 the
joint law of all pictures is exact too.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from sumi.conditioning.condition import Condition
from sumi.conditioning.image import known, noised
from sumi.randomness import Purpose, generator


class Stage(Protocol):
    """The samples (n, …) of the ``place``-th stage; ``below``: see `augmented`, None for the first."""

    def __call__(self, place: int, below: Condition | None, /) -> Tensor: ...


def cascade(stages: Sequence[Stage], noise: Callable[[int, Tensor], Tensor], s: float | None) -> list[Tensor]:
    """The pictures (n, C, h, w) of each stage, augmented by ``s`` in [0, 1] on the way up; None: stages know no noise.

    ``noise(place, like)``: standard normal numbers for the ``place``-th stage, of the shape of the pictures below.
    """
    made: list[Tensor] = []
    for place, stage in enumerate(stages):
        made.append(stage(place, augmented(made[-1], noise(place, made[-1]), s) if made else None))
    return made


def augmented(picture: Tensor, noise: Tensor, s: float | None) -> Condition:
    """Pictures (n, C, h, w) noised by ``s`` as the condition of the stage above, which is given ``s``.

    None: the pictures alone, for stages that were trained without noise on them.
    """
    if s is None:
        return Condition(small=known(picture))
    level = torch.full((len(picture),), s, dtype=picture.dtype)
    return Condition(small=known(noised(picture, noise, level)), small_noise=level)


def stage_seed(seed: int, place: int) -> int:
    """The seed of the ``place``-th stage, whose noise is independent of the others'; the first has ``seed`` itself."""
    return seed if not place else int(generator(seed, 0, place, Purpose.STAGE).integers(2**63))
