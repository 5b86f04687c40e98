"""The likelihood of held-out molecules: nats per molecule, by the probability-flow ODE."""

import torch

from sumi.boundary.group import group
from sumi.boundary.progress import Count, counting_one
from sumi.data.dataset import evenly_spaced
from sumi.errors import InputError
from sumi.metrics.intervals import Estimate, mean_of
from sumi.models.molecules.model import MoleculeModel

BATCH = 8


def likelihood_of_molecules(
    model: MoleculeModel, *, data: object = None, n: int = 256, progress: Count | None = None
) -> tuple[int, Estimate]:
    """How many, up to ``n`` held-out molecules of ``data`` (the run's own), evenly spaced, and the mean of -log p.

    In nats, given their sizes (`MoleculeModel.log_density`). Processes of a group share them. Raises InputError.
    """
    if n < 2:
        raise InputError(f"n: {n} is too few for an interval; give 2 or more")
    _, held_out = model.load_data(data).split(model.config.data.held_out)
    if len(held_out) < 2:
        raise InputError("data.held_out: keeps a single item, too few for an interval; give more data")
    x = torch.as_tensor(evenly_spaced(held_out, n))
    counted = counting_one(progress, "likelihood")

    def rows_of(part: range) -> torch.Tensor:
        found: list[torch.Tensor] = []
        for first in range(part.start, part.stop, BATCH):
            own = x[first : min(first + BATCH, part.stop)]
            found.append(model.log_density(own, batch_size=BATCH))
            if counted is not None:
                counted(first + len(own), len(x))
        return torch.cat(found)

    return len(x), mean_of(-group().shared(rows_of, range(len(x)), BATCH))
