"""A measurement of an image as the condition of a network trained on such measurements.

    y = A x_0 with A a mask, block means, or luma: the conditions of `sumi.conditioning.image`.

Where x_0 is of latents, a mask is of them, and block means and luma are of their picture (`OfDecoded`).
A noisy small image y + s n becomes training's condition by a change of scale: cos(φ) (y + s n) with tan φ = s.
"""

import math
from collections.abc import Sequence

import torch

from sumi.conditioning.condition import Condition
from sumi.conditioning.conditioners import ConditioningConfig
from sumi.conditioning.image import GreyConditioning, MaskedConditioning, SmallConditioning, known, masked
from sumi.errors import InputError
from sumi.operators.linear import Grey, Mask
from sumi.operators.separable import Separable, box_matrix
from sumi.restoration.measurement import Measurement, OfDecoded


def trained_for(conditioning: Sequence[ConditioningConfig], operator: object, std: float) -> bool:
    """Whether one of the conditions is ``operator`` of an image, with noise of standard deviation ``std``."""
    return any(_fits(config, operator, std) for config in conditioning)


def _fits(config: ConditioningConfig, operator: object, std: float) -> bool:
    match config, operator:
        case MaskedConditioning(), Mask(mask=mask):  # one mask for all channels
            return std == 0 and all(side == 1 for side in mask.shape[:-2])
        case GreyConditioning() | SmallConditioning(), OfDecoded(operator=of_picture):
            return _fits(config, of_picture, std)
        case GreyConditioning(), Grey():
            return std == 0
        case SmallConditioning(factor=factor, noise=noise), Separable() as means:
            return _is_box(means, factor) and _share(std) <= noise
        case _:
            return False


def condition_of(conditioning: Sequence[ConditioningConfig], measured: Measurement) -> Condition:
    """``measured`` as the condition of a network with this ``conditioning``: one row per row of y.

    Raises InputError where the network was not trained for it.
    """
    operator, y, std = measured.operator, measured.y, measured.std
    config = next((config for config in conditioning if _fits(config, operator, std)), None)
    if config is None:
        names = ",".join(config.name for config in conditioning) or "none"
        raise InputError(f"condition: conditioning={names} was not trained for this measurement; choose another run")
    match config, operator:
        case MaskedConditioning(), Mask(mask=mask):
            return Condition(masked=masked(y, mask.to(y.device).reshape(mask.shape[-2:])))
        case GreyConditioning(), _:
            return Condition(grey=known(y))
    s = _share(std)
    small = Condition(small=known(math.cos(math.pi / 2 * s) * y))
    match config:
        case SmallConditioning(noise=noise) if noise > 0:
            return Condition(small, small_noise=y.new_full((len(y),), s))
        case _:
            return small


def _share(std: float) -> float:
    """The conditioner's noise level s in [0, 1) for an image with noise ``std``."""
    return 2 / math.pi * math.atan(std)


def _is_box(operator: Separable, factor: int) -> bool:
    return all(
        matrix.shape[1] % factor == 0 and torch.equal(matrix, box_matrix(matrix.shape[1], factor))
        for matrix in (operator.rows, operator.columns)
    )
