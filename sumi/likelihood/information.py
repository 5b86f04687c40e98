"""Where on the way from data to noise a bound is looked at: evenly in what x_t tells of the data.

For Gaussian data of variance s², x_t holds

    I(t) = ½ log(1 + s² SNR(t))

nats about each element of x_0 (Shannon 1948). Its fall is the bound's own: with the mean squared error s²/(1 + s² SNR)
of the best denoiser, ½ error dSNR = dI (Guo, Shamai & Verdú 2005). So a bound that is evaluated at few places, even in
I, is known best if they are all alike, as for Gaussian data they are; for any other the mean is the same. Even in t
nearly all of a variance preserving bound would lie in the first thousandth.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sumi.process.schedule import NoiseLevel, Schedule


@dataclass(frozen=True)
class Strata:
    """Pieces of the way, float64 on the CPU: I at their edges, falling, and the times there, rising, (K + 1,) each.

    ``lengths`` (K,): how many steps of a chain, or how much continuous time, is in each.
    """

    information: Tensor
    times: Tensor
    lengths: Tensor


def information(t: NoiseLevel, data_std: float) -> Tensor:
    """I of each element at a level where sigma > 0, in nats: float64, the level's shape, without gradients."""
    log_snr = torch.as_tensor(t.log_snr, dtype=torch.float64).detach()
    return torch.log1p(data_std**2 * log_snr.exp()) / 2


def informed_time(schedule: Schedule, nats: Tensor, data_std: float) -> Tensor:
    """The times at which I is ``nats`` ≥ 0: float64, its shape."""
    return schedule.time(((2 * nats).expm1() / data_std**2).log())
