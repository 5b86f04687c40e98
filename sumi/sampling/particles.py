"""Particles with weights: K samples that stand for one distribution, and resampling by their effective number.

M groups of K particles lie side by side, (M K, …); weights are of a group, (M, K), and known up to a factor.
"""

import torch
from torch import Tensor

from sumi.randomness import Purpose
from sumi.sampling.solvers.solver import StepNoise


def resampled(log_weight: Tensor, poor: Tensor, noise: StepNoise, draw: int = 0) -> tuple[Tensor, Tensor]:
    """Which particles go on, rows (M K,), and their log-weights (M, K).

    The ``poor`` groups (M,) are resampled in proportion to the weights, to equal ones. ``draw``: the first of the two
    draws that it takes.
    """
    count = log_weight.shape[1]
    first, second = (noise(Purpose.RESAMPLE, draw + k).flatten(1)[:, 0].view(-1, count) for k in (0, 1))
    chosen = systematic(log_weight.softmax(1), torch.special.ndtr(first[:, 0].double()))
    chosen = chosen.gather(1, second.argsort(1))  # in random order: each place has the weights' law by itself
    own = torch.arange(count, device=log_weight.device)
    chosen = torch.where(poor[:, None], chosen, own)
    rows = (chosen + count * torch.arange(len(poor), device=log_weight.device)[:, None]).view(-1)
    return rows, torch.where(poor[:, None], 0.0, log_weight)


def effective_number(log_weight: Tensor) -> Tensor:
    """(Σ w)²/Σ w² of each row (M, K): (M,), between 1 and K (Kong 1992)."""
    return 1 / log_weight.softmax(1).square().sum(1)


def systematic(weights: Tensor, u: Tensor) -> Tensor:
    """Systematic resampling (Kitagawa 1996): rising indices (M, K), each i taken ⌊K w_i⌋ or ⌈K w_i⌉ times, on average
    K w_i. ``weights`` (M, K) with rows that sum to 1, ``u`` (M,) uniform in [0, 1)."""
    count = weights.shape[1]
    places = (u.to(weights)[:, None] + torch.arange(count, device=weights.device)) / count
    return torch.searchsorted(weights.cumsum(1), places, right=True).clamp(max=count - 1)
