"""A multistep method for few steps, with the grids and weights of `sumi.sampling.fitted`.

It is `adams` where there are none: for other numbers of steps, on other grids, and from the middle of a walk.
"""

from dataclasses import dataclass, field

from torch import Tensor

from sumi.denoising.denoiser import Denoiser
from sumi.process.schedule import NoiseLevel, noise_ratio
from sumi.sampling.fitted import few_steps
from sumi.sampling.solvers.adams import Adams, History
from sumi.sampling.solvers.solver import StepNoise


@dataclass(frozen=True)
class Fitted:
    """For walks of ``steps`` steps on the grid `fitted`; on any other, `Adams`, which has an ``order``."""

    off_grid = False
    draws_noise = False
    order = Adams.order

    steps: int = field(default=0, metadata={"help": "of the whole walk"})
    data_std: float = field(default=0.5, metadata={"help": "the data's standard deviation, > 0"})

    def __post_init__(self) -> None:
        self.adams()  # which checks data_std

    def adams(self) -> Adams:
        """What it is elsewhere."""
        return Adams(data_std=self.data_std)

    def init(self) -> History:
        return ()

    def step(
        self, denoiser: Denoiser, x: Tensor, t: NoiseLevel, s: NoiseLevel, state: History, noise: StepNoise
    ) -> tuple[Tensor, History]:
        """One step and one evaluation; x of shape (N, …). ``noise`` is not used."""
        found, now, std = few_steps().get(self.steps), noise_ratio(t), self.data_std
        nodes = (*(node for node, _ in reversed(state)), now, noise_ratio(s))
        row = found.row(tuple(node / std for node in nodes)) if found else None
        if row is None:
            adams = self.adams()
            return adams.step(denoiser, x, t, s, adams.remembered(state), noise)
        *weights, gain, more = row
        denoised, alpha = denoiser(x, t), float(s.alpha)
        epsilon = denoised.noise
        x_s = (denoised.clean * (alpha * (1 + gain))).add_(
            epsilon, alpha=float(s.sigma) + alpha * std * (more - sum(weights))
        )
        for w, (_, past) in zip(weights, state, strict=True):
            x_s.add_(past, alpha=alpha * std * w)
        return x_s, ((now, epsilon), *state)
