"""Starting from weights: a new run that begins with the averaged weights of another one.

Tensors of the same name and shape are taken. Of the table of classes, the rows of classes of the same name are, in
whatever order, and the one of "no label". All else is new, as are statistics of the earlier run's losses.
"""

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import nn

from sumi.boundary.config import differences
from sumi.boundary.settings import override
from sumi.conditioning.labels import LabelConditioner
from sumi.data.dataset import few
from sumi.data.spec import DataSpec
from sumi.denoising.parameterization import PredictBoundedClean, PredictBoundedNoise, PredictClean, PredictNoise
from sumi.errors import InputError
from sumi.models.diffusion.autoencoder import MDCTBands, NoAutoencoder, TrainedAutoencoder
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.parts import AUTOENCODER
from sumi.models.diffusion.system import DiffusionConfig
from sumi.models.model import SystemConfig
from sumi.networks.low_rank import adapt
from sumi.training.config import TrainingConfig
from sumi.training.run_folder import RunFolder

BASE: Final = "base"
"""The part of a run that it adapts."""
DEPENDED_ON: Final = ("process", "schedule", "parameterization", "variance", "times")
"""The settings without which the network's weights mean nothing, besides the network's own."""
READINGS: Final = (
    {PredictNoise.name, PredictBoundedNoise.name},
    {PredictClean.name, PredictBoundedClean.name},
)
"""Parameterizations that read the same output, so that a run of one can start from one of the other."""


@dataclass(frozen=True)
class Taken:
    """The names of the tensors that were taken whole, in part, and of those that are new.

    ``rows``: of each table taken in part, the rows that were; ``classes``: the names of its other rows.
    """

    whole: tuple[str, ...]
    rows: dict[str, list[int]]
    new: tuple[str, ...]
    classes: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"{len(self.whole)} tensors are taken"]
        of = f" (new classes: {few(self.classes)})" if self.classes else ""
        parts += [f"of {name} so are the rows of the same classes{of}" for name in self.rows]
        return "; ".join([*parts, f"new: {', '.join(self.new) or 'none'}"])


def fitted_to_start(config: SystemConfig, source: DiffusionModel, network: tuple[str, ...] | None) -> DiffusionConfig:
    """``config`` with the source's network, and its autoencoder where both are of latents.

    ``network``: settings of the network, which must not change it; None: the whole network is the configuration's own.
    Raises InputError where the weights would mean nothing: another network, schedule, parameterization …
    """
    match config:
        case DiffusionConfig():
            pass
        case _:
            raise InputError(f"start: {config.recipe} is no diffusion model, and only those start from weights")
    own = source.config
    chosen = config.network if network is None else override(replace(config, network=own.network), network).network
    changed = [f"network.{line}" for line in differences(own.network, chosen)]
    depended = [(name, getattr(own, name), getattr(config, name)) for name in DEPENDED_ON]
    changed += [
        f"{name}.{line}"
        for name, before, after in depended
        if name != "parameterization" or {before.name, after.name} not in READINGS
        for line in differences(before, after)
    ]
    if changed:
        raise InputError(
            f"start: {source.folder} was trained with other settings, which its weights depend on "
            f"({'; '.join(changed)}); use the source's, or train from scratch"
        )
    config = replace(config, network=own.network)
    match own.autoencoder, config.autoencoder:
        case (NoAutoencoder(), NoAutoencoder()) | (MDCTBands(), MDCTBands()):
            return config
        case TrainedAutoencoder() as theirs, TrainedAutoencoder():
            part = str(RunFolder(source.folder).part(AUTOENCODER).path.resolve())
            return replace(config, autoencoder=replace(theirs, source=part, weights=""))
    raise InputError(
        f"start: {source.folder} is of autoencoder={own.autoencoder.name}, and this would be of "
        f"{config.autoencoder.name}; use the source's recipe"
    )


def take_weights(module: nn.Module, items: DataSpec, source: DiffusionModel) -> Taken:
    """Copy the weights of ``source`` that fit into ``module``, a new denoiser of ``items``.

    Raises InputError for data of other channels, or vectors of another length.
    """
    before, now = source.items.shape, items.shape
    if len(before) != len(now) or before[0] != now[0]:
        what = "channels" if len(now) == len(before) == 3 else "shape"
        raise InputError(
            f"start: {source.folder} is of items of shape {'x'.join(map(str, before))}, and these data are "
            f"{'x'.join(map(str, now))}: other {what}; set data.channels, or give other data"
        )
    old, new = source.module.state_dict(), module.state_dict()
    tables = dict(_tables(module))
    rows = {name: _same_classes(tables[name], table) for name, table in _tables(source.module) if name in tables}
    whole: list[str] = []
    part: dict[str, list[int]] = {}
    classes: list[str] = []
    for name, tensor in new.items():
        other = old.get(name)
        if other is None or (name.startswith("auxiliary.") and not name.startswith("auxiliary.latents.")):
            continue
        pairs = rows.get(name)
        if pairs is not None and other.shape[1:] == tensor.shape[1:]:
            to, of = (torch.tensor(indices) for indices in zip(*pairs, strict=True))
            tensor[to] = other[of].to(tensor)
            if len(pairs) == len(tensor):
                whole.append(name)
            else:
                part[name] = to.tolist()
                classes += [own for row, own in enumerate(tables[name].names) if row not in part[name]]
        elif pairs is None and other.shape == tensor.shape:
            tensor.copy_(other)
            whole.append(name)
    module.load_state_dict(new)  # by which alone an encoder of texts learns that its tokens are others
    left = tuple(name for name in new if name not in (*whole, *part))
    return Taken(tuple(whole), part, left, tuple(dict.fromkeys(classes)))


def begin(module: nn.Module, items: DataSpec, source: DiffusionModel, training: TrainingConfig) -> Taken:
    """`take_weights`; with ``lora_rank`` what was taken is then frozen and adapted (`sumi.networks.low_rank`)."""
    taken = take_weights(module, items, source)
    if training.lora_rank is not None:
        adapt(module, training.lora_rank, taken.whole, taken.rows, training.lora_share)
    return taken


def _tables(module: nn.Module) -> list[tuple[str, LabelConditioner]]:
    """The label conditioners of a model, by the name of their tensor."""
    return [(f"{name}.table.weight", part) for name, part in module.named_modules() if type(part) is LabelConditioner]


def _same_classes(new: LabelConditioner, old: LabelConditioner) -> list[tuple[int, int]]:
    """(row of the new table, row of the old one) for each class in both, and for no label."""
    same = [(row, old.names.index(name)) for row, name in enumerate(new.names) if name in old.names]
    return [*same, (len(new.names), len(old.names))]
