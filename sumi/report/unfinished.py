"""Whether a training was cut short: fewer steps than its recipe's, and a loss that still falls; or went on too long.

The loss falls where Kendall's rank correlation with the step, over the last third of the curve, is negative beyond
chance: S = Σ_{i<j} sign(l_j - l_i) has mean 0 and variance n (n - 1)(2 n + 5)/18 without a trend (Mann 1945), and
S/√variance below `FALLING` counts. It needs `FEWEST` values there.
"""

from collections.abc import Sequence
from math import sqrt
from statistics import median
from typing import Final

import numpy as np

from sumi.boundary.progress import duration
from sumi.errors import InputError
from sumi.evaluation.during_training import RISES
from sumi.models.model import TrainedModel
from sumi.recipes import build
from sumi.report.commands import continued
from sumi.training.metrics_log import Value, read
from sumi.training.run_folder import RunFolder

FEWEST: Final = 6
FALLING: Final = -2.33
"""One in a hundred of curves without a trend lies below."""


def still_falls(losses: Sequence[float]) -> bool | None:
    """Whether the last third of the losses falls (module docstring); None with too few values to tell."""
    last = np.asarray(losses[-(len(losses) // 3) :], float) if len(losses) >= 3 else np.zeros(0)
    n = len(last)
    if n < FEWEST:
        return None
    pairs = np.sign(last[None, :] - last[:, None])
    return float(np.triu(pairs, 1).sum()) / sqrt(n * (n - 1) * (2 * n + 5) / 18) < FALLING


def short_of(model: TrainedModel) -> str:
    """How many of its recipe's steps a run has, and the command that continues it; "" where its loss has settled,
    and of a model that comes with Sumi.

    Where the loss on held-out images rises, that.
    """
    config, log = model.config, RunFolder(model.folder).metrics_file
    try:
        wanted = build(config.recipe, config.data, model.items).training.steps
    except InputError:  # of a recipe that a person wrote
        return ""
    rises: Value = None
    losses: list[float] = []
    seconds: list[float] = []
    for line in read(log) if log.exists() else []:
        match line:
            case {"event": "check", **entries}:
                rises = entries.get(RISES)
            case {"loss": float(loss), "items_per_second": float(speed)} if speed > 0:
                losses.append(loss)
                seconds.append(config.training.batch_size / speed)
            case _:
                pass
    if rises is not None:
        return f"The loss on held-out images rises since step {rises}: more steps make copies of the training images."
    falls = still_falls(losses)
    if RunFolder(model.folder).shipped or model.step >= wanted or falls is False or not seconds:
        return ""
    why = "the loss still falls" if falls else "too few to tell whether the loss still falls"
    left = duration((wanted - model.step) * median(seconds))
    command = continued(model, wanted)
    return f"{model.step:,} of {wanted:,} steps; {why}: `{command}`, about {left} on the machine that it ran on."
