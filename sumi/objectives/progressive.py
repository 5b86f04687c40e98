"""Progressive distillation (Salimans & Ho 2022, algorithm 2): one step of the student is several of the teacher's.

On the times i/N a student of N steps learns from x_t, t = i/N, the x̂_0 with which one step of DDIM ends where
``within`` of the teacher's end, from t to s = (i - 1)/N by way of the even times between:

    x̂_0 = (x_s - sigma_s/sigma_t x_t)/(alpha_s - sigma_s/sigma_t alpha_t),        loss max(1, SNR_t) ‖D(x_t, t) - x̂_0‖²

One halving is one run; its student is the next one's teacher.
"""

import torch
from torch import Tensor

from sumi.conditioning.condition import Condition
from sumi.data.batch import Batch
from sumi.denoising.denoiser import NetworkDenoiser
from sumi.objectives.denoiser import DenoiserObjective
from sumi.objectives.direction import UNTAUGHT, Direction, carried
from sumi.process.gaussian import add_noise, expand
from sumi.process.schedule import DATA, NoiseLevel, noise_level
from sumi.randomness import Purpose


def chosen(data: Tensor, t: NoiseLevel) -> NoiseLevel:
    """The levels ``t`` (N,), and the data's own where ``data`` (N,) is True."""
    of_data, columns = DATA.columns(), t.columns()
    found = {name: torch.where(data, float(of_data[name]), torch.as_tensor(columns[name])) for name in columns}
    return NoiseLevel(**found, until=None)


class ProgressiveObjective(DenoiserObjective[NetworkDenoiser]):
    """Train ``denoiser`` to take ``steps`` steps, each of which is ``within`` steps of the direction's."""

    def __init__(self, denoiser: NetworkDenoiser, steps: int, within: int = 2) -> None:
        super().__init__(denoiser)
        self.steps, self.within = steps, within
        self.direction: Direction = UNTAUGHT

    def forward(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            x_0, noise = self.clean(batch).to(self.device, non_blocking=True), self.noise(batch)
            i = (batch.uniform(Purpose.TRAINING_TIME) * self.steps).floor() + 1
            now = self.level(i, 0)
            x_t = add_noise(x_0, noise, now)
            condition: Condition | None = self.condition(batch, x_0)
            target = self.target(x_t, x_0, i, condition)
            weight = torch.as_tensor(now.log_snr).exp().clamp(min=1.0, max=1e4)
        denoiser = self.model if condition is None else self.model.bind(condition)
        square = (denoiser(x_t, now).clean - target).square().flatten(1).mean(1)
        return weight.to(square) * square

    def level(self, i: Tensor, k: int) -> NoiseLevel:
        """After ``k`` steps of the teacher from i/steps, ``i`` (N,); on the chain's own times if it knows no others."""
        t, grid = (i * self.within - k) / (self.steps * self.within), self.model.trained_steps
        t = t if grid is None else (t * grid + 0.5).floor() / grid
        return chosen(t == 0, noise_level(self.model.schedule, t))

    def target(self, x_t: Tensor, x_0: Tensor, i: Tensor, condition: Condition | None) -> Tensor:
        """x̂_0 (N, …) of the whole step from x_t (N, …) at times i/steps, ``i`` (N,)."""
        x, now = x_t, self.level(i, 0)
        level = now
        for k in range(1, self.within + 1):
            then = self.level(i, k)
            x, level = carried(x, self.direction(x, level, x_0, condition), level, then), then
        of_x = torch.as_tensor(level.sigma / now.sigma)
        return (x - expand(of_x, x) * x_t) / expand(level.alpha - of_x * now.alpha, x)
