"""The kinds of run: what is built, learned and loaded for each configuration. To add a kind: its configuration in
`sumi.models.description.Config`, a file here that says the three things of `Kind`, and a line in `kind_of`.
"""

from pathlib import Path
from typing import Any, Protocol, TypeVar, overload

import torch
from torch import nn

from sumi.data.dataset import Dataset
from sumi.errors import InputError
from sumi.models.baselines.config import BaselineConfig
from sumi.models.baselines.kind import BaselineKind
from sumi.models.classifier_config import NoisyClassifierConfig
from sumi.models.classifier_kind import Classification
from sumi.models.description import RunDescription, RunFolder
from sumi.models.diffusion.kind import Diffusion
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import TrainedModel, pick_device
from sumi.training.checkpoint import checkpoint_step, find_checkpoints, load_state, load_weights
from sumi.training.trainer import Task

Model = TypeVar("Model", bound=TrainedModel)


class Kind(Protocol):
    """What differs between runs of one kind and another, of one description."""

    def build(self) -> nn.Module:
        """A new, untrained module: all that is trained or kept with the weights. Raises InputError."""
        ...

    def task(self, module: nn.Module, data: Dataset, device: torch.device) -> Task:
        """What ``module``, which `build` made and is on ``device``, learns of ``data``. Raises InputError."""
        ...

    def model(self, module: nn.Module, step: int, folder: Path) -> TrainedModel:
        """``module`` ready to use, trained for ``step`` steps in the run ``folder``."""
        ...


def kind_of(description: RunDescription) -> Kind:
    """The kind of run that was described."""
    config = description.config
    if isinstance(config, NoisyClassifierConfig):
        return Classification(config, description)
    if isinstance(config, BaselineConfig):
        return BaselineKind(config, description)
    return Diffusion(config, description)


@overload
def load(
    run: Path | str, expected: type[Model], *, checkpoint: int | None = None, device: str | None = None
) -> Model: ...
@overload
def load(
    run: Path | str, *, checkpoint: int | None = None, device: str | None = None
) -> DiffusionModel | Any: ...  # most are; a type checker knows with `expected`
def load(
    run: Path | str,
    expected: type[TrainedModel] = TrainedModel,
    *,
    checkpoint: int | None = None,
    device: str | None = None,
) -> TrainedModel:
    """The model in a run folder: the averaged weights of its newest whole checkpoint, or of step ``checkpoint``.

    It is of the run's kind. Raises InputError where that is not ``expected``, where there is no such run or checkpoint,
    or a file is damaged (every hash is verified).
    """
    folder = RunFolder(run)
    description = folder.read()
    found, skipped = find_checkpoints(folder.checkpoints)
    by_step = {checkpoint_step(path): path for path in found}
    if not by_step:
        why = f" ({skipped[0]})" if skipped else ""
        raise InputError(
            f"{folder.checkpoints}: holds no whole checkpoint{why}; train with --resume until one is saved"
        )
    step = max(by_step) if checkpoint is None else checkpoint
    if step not in by_step:
        raise InputError(f"--checkpoint {step}: there is none; there are {', '.join(map(str, sorted(by_step)))}")
    path = by_step[step]
    kind = kind_of(description)
    module = kind.build()
    try:
        weights, state = load_weights(path, "ema"), load_state(path)
    except InputError as error:
        others = [str(other) for other in sorted(by_step) if other != step]
        hint = f"; or take an older one: --checkpoint {others[-1]}" if others else ""
        raise InputError(f"{error}{hint}") from None
    if state.get("identity") != description.identity:
        raise InputError(
            f"{folder.config_file}: was changed since {path.name} was trained (process, schedule, parameterization, "
            "times, network or kind of data); restore it"
        )
    module.load_state_dict(weights)
    model = kind.model(module.to(pick_device(device)), step, folder.path)
    if not isinstance(model, expected):
        recipe = description.config.recipe
        raise InputError(f"{folder.path}: is a run of {recipe}, and this is for {expected.what}; choose such a run")
    return model
