"""Methods that were tuned to a model, as files of its run folder.

runs/NAME/tuned/00003000-5.json: the times and coefficients for 5 steps of the checkpoint of step 3000.
"""

import json
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor

from sumi.boundary.files import contents, write_text
from sumi.errors import InputError
from sumi.sampling.sampler import Method
from sumi.sampling.solvers.tuned import Tuned
from sumi.training.run_folder import RunFolder

FORMAT = 2
"""Of format 1 a step has one row, without a and b, for all bands."""


def tuned_file(run: Path, checkpoint: int, steps: int) -> Path:
    """Where the method for this many steps of a checkpoint is kept; one that came with the model is second choice."""
    folder, name = RunFolder(run), f"{checkpoint:08d}-{steps}.json"
    made, shipped = folder.tuned / name, (folder.shipped or folder.path) / folder.tuned.name / name
    return shipped if shipped.exists() and not made.exists() else made


def save_tuned(file: Path, solver: Tuned, times: Tensor, digest: str, about: dict[str, float | int]) -> None:
    """Write the method, at once or not at all. ``digest``: of the model; ``about``: what is known. Raises SumiError."""
    content = {
        "format": FORMAT,
        "model": digest,
        "about": about,
        "times": times.tolist(),
        "weights": solver.weights,
        "means": solver.means,
    }
    write_text(file, json.dumps(content, indent=2) + "\n")


def load_tuned(file: Path, digest: str, steps: int) -> Method:
    """The method in ``file``. Raises InputError: damaged, for another model, or for another number of steps."""
    try:
        content = json.loads(contents(file))
        model, times = content["model"], torch.tensor(content["times"], dtype=torch.float64)
        if content["format"] == 1:
            content |= {"format": FORMAT, "weights": [[[*row, 0, 0]] for row in content["weights"]], "means": []}
        weights = tuple(tuple(tuple(map(float, row)) for row in rows) for rows in content["weights"])
        solver = Tuned(weights, tuple(tuple(map(float, row)) for row in content["means"]))
        whole = content["format"] == FORMAT and times.ndim == 1 and len(times) - 1 == len(solver.weights) == steps
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, OverflowError, RecursionError, InputError) as error:
        raise InputError(f"{file}: cannot be read ({error}); remove it, or tune again") from None
    rows = (*(row for rows in solver.weights for row in rows), *solver.means)
    finite = all(isfinite(number) for row in rows for number in row)
    if not (whole and finite and bool((times.diff() <= 0).all()) and times[0] == 1 and times[-1] == 0):
        raise InputError(f"{file}: is not what `sumi compare --tune` wrote; remove it, or tune again")
    if model != digest:
        raise InputError(f"{file}: was tuned to other weights or settings than this model's; remove it, or tune again")
    return Method("tuned", solver, times)
