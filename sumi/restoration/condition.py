"""A measurement of a picture as the condition of a network that was trained on such measurements.

    y = A x_0 with A a mask, squares' means, or luma: what `sumi.conditioning.image` says in training.

A small image with noise, y + s n, is the one of training after a change of scale: cos(φ) (y + s n) with tan φ = s.
"""

import math

import torch

from sumi.conditioning.condition import Condition
from sumi.conditioning.conditioner import ConditioningConfig
from sumi.conditioning.image import GreyConditioning, MaskedConditioning, SmallConditioning, known, masked
from sumi.errors import InputError
from sumi.operators.linear import Grey, Mask
from sumi.operators.separable import Separable, box_matrix
from sumi.restoration.measurement import Measurement


def trained_for(config: ConditioningConfig, operator: object, std: float) -> bool:
    """Whether a network trained by ``config`` can be told what ``operator`` leaves, with noise of deviation ``std``."""
    match config:
        case MaskedConditioning():  # one mask for all channels
            return isinstance(operator, Mask) and std == 0 and all(side == 1 for side in operator.mask.shape[:-2])
        case GreyConditioning():
            return isinstance(operator, Grey) and std == 0
        case SmallConditioning():
            return isinstance(operator, Separable) and _is_box(operator, config.factor) and _share(std) <= config.noise
        case _:
            return False


def condition_of(config: ConditioningConfig, measured: Measurement) -> Condition:
    """What a network trained by ``config`` is told of ``measured``: a row for each of y.

    Raises InputError where it was not trained for that.
    """
    operator, y, std = measured.operator, measured.y, measured.std
    if not trained_for(config, operator, std):
        raise InputError(
            f"condition: conditioning={config.name} was not trained for this measurement; choose another run"
        )
    if isinstance(operator, Mask):
        return Condition(image=masked(y, operator.mask.to(y.device).reshape(operator.mask.shape[-2:])))
    if isinstance(operator, Grey):
        return Condition(image=known(y))
    s = _share(std)
    return Condition(image=known(math.cos(math.pi / 2 * s) * y), noise=y.new_full((len(y),), s))


def _share(std: float) -> float:
    """s in [0, 1) of an image noised by ``std``."""
    return 2 / math.pi * math.atan(std)


def _is_box(operator: Separable, factor: int) -> bool:
    return all(
        matrix.shape[1] % factor == 0 and torch.equal(matrix, box_matrix(matrix.shape[1], factor))
        for matrix in (operator.rows, operator.columns)
    )
