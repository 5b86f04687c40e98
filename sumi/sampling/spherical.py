"""Interpolation between two draws of noise, on the sphere that both are on (Shoemake 1985; Song et al. 2021, "DDIM").

    z(w) = |z(w)| (sin((1 - w) θ) a/|a| + sin(w θ) b/|b|)/sin θ,      |z(w)| = (1 - w)|a| + w|b|

with θ the angle between a and b. Noise in many dimensions has one length, and the mean of two draws would be shorter,
with less noise than a sampler expects. Two draws are nearly orthogonal, so that the weights are a cosine and a sine and
z(w) a draw of the same normal distribution.
"""

from math import atan2, pi, sin
from typing import Final

import torch
from torch import Tensor

from sumi.errors import InputError

LEAST: Final = 1e-4
"""Radians from parallel or opposite, from where the formula has no digits left."""


def slerp(a: Tensor, b: Tensor, parts: Tensor) -> Tensor:
    """z(w) for each w in [0, 1] of ``parts`` (P,): shape (P, …) from a and b of shape (…), exact at both ends.

    Raises InputError for a and b that are opposite, where no way is the shortest, and for noise that is 0.
    """
    one, other = a.double(), b.double()
    lengths = float(one.norm()), float(other.norm())
    if not all(lengths):
        raise InputError("interpolation: noise that is 0 everywhere has no direction; give other latents")
    directions = one / lengths[0], other / lengths[1]
    theta = 2 * atan2(float((directions[0] - directions[1]).norm()), float((directions[0] + directions[1]).norm()))
    if theta > pi - LEAST:
        raise InputError("interpolation: the two are opposite, and no way between them is the shortest; give others")
    rows = []
    for w in parts.double().tolist():
        length = (1 - w) * lengths[0] + w * lengths[1]
        of_one, of_other = (sin(v * theta) / sin(theta) if theta > LEAST else v for v in (1 - w, w))
        rows.append(length * of_one / lengths[0] * one + length * of_other / lengths[1] * other)
    return torch.stack(rows).to(a.dtype)
