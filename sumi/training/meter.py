"""What a training shows on the way: its loss, the norm of its gradient, its speed and the time that is left."""

import time
from math import isfinite
from typing import Final

import torch
from torch import Tensor

from sumi.boundary.progress import Progress
from sumi.training.config import TrainingConfig

MEASURED: Final = 20
"""After how many steps the time of the rest is estimated."""


class Meter:
    """Loss, gradient norms and speed since the last line of the log; read from the device only when shown."""

    def __init__(self, config: TrainingConfig, parts: int, device: torch.device) -> None:
        self.config = config
        self.sums = torch.zeros(1 + parts, device=device)
        self.steps = self.finite = 0
        self.mark = self.last_shown = time.perf_counter()
        self.taken, self.first = 0, self.mark
        self.loss = self.speed = float("nan")

    def add(self, taken: tuple[Tensor, Tensor] | None) -> None:
        """Count a step; ``taken``: its loss and norms, None if it was skipped."""
        self.steps += 1
        if taken is not None:
            loss, norms = taken
            self.sums += torch.cat([loss[None], norms])
            self.finite += 1

    def each(self, step: int) -> float | None:
        """Once, after `MEASURED` steps: seconds of a step. The first one, which sets up, does not count."""
        self.taken += 1
        if self.taken == 1:
            self.first = time.perf_counter()
        if self.taken != MEASURED or step == self.config.steps:
            return None
        return (time.perf_counter() - self.first) / (MEASURED - 1)

    def line(self, step: int) -> dict[str, float]:
        """The log's line for the steps since the last one, nan where all were skipped; resets the sums."""
        self.loss, norm, *_ = (self.sums / self.finite if self.finite else self.sums * float("nan")).tolist()
        now = time.perf_counter()
        self.speed = self.steps * self.config.batch_size / (now - self.mark)
        self.sums.zero_()
        self.steps, self.finite, self.mark = 0, 0, now
        rate = self.config.learning_rate_at(step)
        return {
            "step": step,
            "loss": self.loss,
            "gradient_norm": norm,
            "learning_rate": rate,
            "items_per_second": self.speed,
        }

    def due(self) -> bool:
        """Whether a tenth of a second has passed since the last display."""
        now = time.perf_counter()
        if now - self.last_shown < 0.1:
            return False
        self.last_shown = now
        return True

    def progress(self, step: int) -> Progress:
        speed = self.speed
        if not speed > 0:  # no line yet
            speed = self.steps * self.config.batch_size / (time.perf_counter() - self.mark)
        loss = self.loss if isfinite(self.loss) else float(self.sums[0]) / max(self.finite, 1)
        left = (self.config.steps - step) * self.config.batch_size / speed
        return Progress(step, self.config.steps, loss, speed, left)
