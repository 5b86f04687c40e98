"""Categorical diffusion by enumeration: the processes on 3 symbols, their matrices, and an exact denoiser."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from sumi.process.categorical import Categorical
from sumi.process.continuous import Flow
from sumi.process.schedule import Schedule, Time, noise_level
from tests.bits import ERASING

PROCESSES = {
    "absorbing": Categorical(3, mask=1.0),
    "uniform": Categorical(3, mask=0.0),
    "mixture": Categorical(3, mask=0.4),
}
FLOW = Flow().build()


def sequences(states: int, positions: int) -> Tensor:
    return torch.tensor(list(product(range(states), repeat=positions)))


def matrix(process: Categorical, a: float) -> np.ndarray:
    """a I + (1 - a) 1 π, rows by the state before."""
    law = np.array([*[(1 - process.mask) / 3] * 3, process.mask][: process.states])
    return a * np.eye(process.states) + (1 - a) * law


def random_law(positions: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(3).dirichlet(np.full(3**positions, 0.5)))


@dataclass
class Exact:
    """The exact marginals p(x_0 at one position | x_t) of a law over all sequences, by Bayes' rule."""

    process: Categorical
    law: Tensor
    positions: int
    schedule: Schedule = ERASING

    def logits(self, x_t: Tensor, t: Time) -> Tensor:
        every = sequences(3, self.positions)
        of_symbol = torch.from_numpy(matrix(self.process, float(noise_level(self.schedule, t).alpha) ** 2))
        joint = self.law * of_symbol[every[None], x_t[:, None]].prod(-1)
        return torch.stack([(joint[..., None] * (every == i)).sum(1) for i in range(3)], -1).log()
