"""Adaptive projected guidance (Sadat et al. 2024, "Eliminating oversaturation and artifacts of high guidance scales").

The difference Δ = x̂_0(better) - x̂_0(worse) of `sumi.guidance.extrapolation` is changed in three ways before it is added
w - 1 times to the better one's x̂_0 (their algorithm 1):

    momentum     Δ ← Δ + β Δ',            Δ' that of the evaluation before; β < 0 turns away from where it went
    length       Δ ← Δ min(1, r/‖Δ‖)
    projection   Δ ← Δ - (1 - η) Δ∥,      Δ∥ = (Δ·x̂/‖x̂‖²) x̂ with x̂ = x̂_0(better)

The part along x̂_0 raises contrast and saturation; η = 0 leaves it out. η = 1, β = 0 and no r is classifier-free
guidance. All are of each sample by itself.

With β the answer depends on the evaluations before, from the last one on that had less noise: the memory is emptied
where the noise rises, as where another walk begins. In many steps Δ tends to Δ/(1 - β).
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from sumi.guidance.extrapolation import Extrapolation
from sumi.process.gaussian import expand
from sumi.process.schedule import NoiseLevel
from sumi.sampling.sampler import check_projection


class Memory:
    """Δ' (N, …) and the log-SNR that it was seen at; None: nothing."""

    def __init__(self) -> None:
        self.difference: Tensor | None = None
        self.log_snr = torch.tensor(torch.inf, dtype=torch.float64)

    def added(self, difference: Tensor, momentum: float, now: NoiseLevel) -> Tensor:
        """Δ + β Δ', which it remembers; Δ alone for samples whose noise has risen, and for another number of them."""
        log_snr, before = torch.as_tensor(now.log_snr, dtype=torch.float64), self.difference
        if before is not None and before.shape == difference.shape:
            goes_on = (log_snr >= self.log_snr).double()
            difference = difference + expand(momentum * goes_on, difference) * before
        self.difference, self.log_snr = difference.detach(), log_snr  # or the graphs of all evaluations would stay
        return difference


@dataclass(frozen=True)
class Projected(Extrapolation):
    """See the module docstring. Raises InputError for an r that is not positive, and a β outside of (-1, 1)."""

    parallel: float = field(default=0.0, metadata={"help": "η: what is left of the part along x̂_0"})
    norm: float | None = field(default=None, metadata={"help": "r: the largest length of Δ; None: any"})
    momentum: float = field(default=0.0, metadata={"help": "β"})
    memory: Memory = field(default_factory=Memory, compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_projection(self.parallel, self.norm, self.momentum)

    def difference(self, better: Tensor, worse: Tensor, now: NoiseLevel) -> Tensor:
        """Δ (N, …) as it is added w - 1 times."""
        delta = super().difference(better, worse, now)
        if self.momentum:
            delta = self.memory.added(delta, self.momentum, now)
        if self.norm is not None:
            length = delta.flatten(1).norm(dim=1)
            delta = delta * expand((self.norm / length).clamp(max=1.0), delta)
        if self.parallel == 1:
            return delta
        square, along = (part.flatten(1).sum(1) for part in (better * better, delta * better))
        share = torch.where(square > 0, along / square, 0.0)
        return delta - expand((1 - self.parallel) * share, delta) * better
