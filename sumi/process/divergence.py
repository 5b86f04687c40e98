"""How far one Gaussian is from another.

    KL(N(m_q, v_q) ‖ N(m_p, v_p)) = ½ (v_q/v_p - 1 - log v_q/v_p + (m_q - m_p)²/v_p)

in nats, one dimension at a time (Kullback 1959, "Information theory and statistics", chapter 9; Ho et al. 2020, eq. 5
is made of it). In a chain of many steps the two variances differ by little, so it is written in their difference
d = v_q - v_p,

    v_q/v_p - 1 = d/v_p,        log v_q/v_p = log1p(d/v_p) where d ≥ 0, else -log1p(-d/v_q),

where nothing nearly equal is subtracted a second time: what d keeps, its logarithm keeps.
"""

from math import log1p

import torch
from torch import Tensor

from sumi.process.schedule import Number


def gaussian_kl(mean_difference: Number, variance_q: Number, variance_p: Number) -> Number:
    """KL(q ‖ p) of each element in nats, from m_q - m_p and the two variances, both > 0; shapes broadcast.

    0 exactly, with gradients that are 0 too, where q is p. The rounding error is that of d/v_p, not of 1.
    """
    excess = (variance_q - variance_p) / variance_p
    return (excess - log_ratio(variance_q, variance_p) + mean_difference**2 / variance_p) / 2


def log_ratio(a: Number, b: Number) -> Number:
    """log(a/b) of positive values by log1p of their difference, precise where they are nearly equal."""
    difference = a - b
    if isinstance(difference, Tensor):
        # each branch sees only its own sign, so that neither is infinite, or has such a gradient, where it is not taken
        above, below = difference.clamp(min=0) / b, (-difference).clamp(min=0) / a
        return torch.where(difference >= 0, torch.log1p(above), -torch.log1p(below))
    return log1p(difference / b) if difference >= 0 else -log1p(-difference / a)
