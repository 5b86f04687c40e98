"""Binomial diffusion by enumeration: every state of a few bits, its exact denoiser, and the law of a whole run."""

from itertools import pairwise, product
from math import inf

import numpy as np
import torch
from scipy import special
from torch import Tensor

from sumi.denoising.denoiser import Denoised
from sumi.process.continuous import Erasing
from sumi.process.schedule import DATA, Schedule, Time, noise_level, noise_levels
from sumi.sampling.solvers.binomial import BinomialAncestral
from sumi.sampling.solvers.solver import StepNoise

ERASING = Erasing().build()
BITS = (1.0, -1.0)
FORCING = 40.0  # noise that makes a bit -1, and +1 with the other sign, whatever its mean, unless that is ±1


def states(dimensions: int) -> np.ndarray:
    """All 2^D sequences of bits, (2^D, D), +1 first."""
    return np.array(list(product(BITS, repeat=dimensions)))


def redraw(beta: float, dimensions: int = 1) -> np.ndarray:
    """q(column | row) over all states: each bit is drawn afresh with probability β (Sohl-Dickstein et al. 2015)."""
    one = (1 - beta) * np.eye(2) + beta / 2
    matrix = np.ones((1, 1))
    for _ in range(dimensions):
        matrix = np.kron(matrix, one)
    return matrix


def grid(steps: int) -> Tensor:
    """1, …, 1/T, 0."""
    return 1 - torch.arange(steps + 1, dtype=torch.float64) / steps


class Exact:
    """The exact denoiser of sequences (K, D) with their probabilities (K,)."""

    def __init__(self, sequences: np.ndarray, probabilities: np.ndarray, schedule: Schedule = ERASING) -> None:
        self.sequences = torch.from_numpy(sequences)
        self.log_probabilities = torch.from_numpy(np.log(probabilities))
        self.schedule = schedule

    def logits(self, x_t: Tensor, t: Time) -> Tensor:
        a = torch.as_tensor(noise_level(self.schedule, t).alpha ** 2, dtype=torch.float64).reshape(-1, 1, 1)
        each = ((1 + a * x_t[:, None] * self.sequences) / 2).log().sum(-1) + self.log_probabilities  # (N, K)
        up = self.sequences > 0
        each = each[..., None]
        return torch.where(up, each, -inf).logsumexp(1) - torch.where(up, -inf, each).logsumexp(1)

    def __call__(self, x_t: Tensor, t: Time) -> Denoised:
        return Denoised((self.logits(x_t, t) / 2).tanh(), x_t, 1.0, 1.0)


def random_distribution(dimensions: int, seed: int = 0) -> np.ndarray:
    """Far from independent bits."""
    weights = np.exp(2 * np.random.default_rng(seed).standard_normal(2**dimensions))
    return weights / weights.sum()


def law_of(denoiser, start: np.ndarray, steps: int, dimensions: int) -> np.ndarray:
    """The distribution over all states that the real sampler ends with, from ``start`` over the states at t = 1.

    In one step bits are thresholds on their own noise; the thresholds are found by bisection.
    """
    every = torch.from_numpy(states(dimensions))
    walk = [*noise_levels(denoiser.schedule, grid(steps)[:-1]), DATA]
    for t, s in pairwise(walk):
        low, high = torch.full_like(every, -FORCING), torch.full_like(every, FORCING)
        for _ in range(60):
            middle = (low + high) / 2
            x_s, _ = BinomialAncestral().step(denoiser, every, t, s, None, StepNoise(lambda *_, m=middle: m, 0))
            low, high = torch.where(x_s > 0, middle, low), torch.where(x_s > 0, high, middle)
        up = special.ndtr(low.numpy())[:, None]
        kernel = np.where(states(dimensions) > 0, up, 1 - up).prod(-1)  # (from, to)
        start = start @ kernel
    return start


def heartbeats() -> np.ndarray:
    """20 bits with a 1 in every 5th place: five sequences, one a phase (Sohl-Dickstein et al. 2015, section 3.1.2)."""
    sequences = -np.ones((5, 20))
    for phase in range(5):
        sequences[phase, phase::5] = 1
    return sequences


def are_heartbeats(x: Tensor) -> Tensor:
    """Which phase each of the sequences (N, 20) is, as (N, 5) booleans; none where it is no heartbeat."""
    return (x[:, None] == torch.from_numpy(heartbeats()).to(x)).all(-1)
