"""What a run must still be to be resumed: the same data, configuration and first weights."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from operator import lt
from pathlib import Path
from typing import Final

from sumi.boundary.arguments import path
from sumi.boundary.config import differences
from sumi.data.config import MEMORY, DataConfig
from sumi.data.dataset import Dataset
from sumi.data.spec import DataSpec
from sumi.errors import InputError
from sumi.models.cascade import CascadeConfig
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.parts import TEACHER
from sumi.models.diffusion.start import BASE
from sumi.models.model import RunDescription, Start, SystemConfig
from sumi.models.run import load
from sumi.models.unclip import UnclipConfig
from sumi.networks.own import Network
from sumi.training.checkpoint import holds_checkpoints
from sumi.training.run_folder import RunFolder


def starting_model(
    start: DiffusionModel | str | Path, network: Network | None, parts: Iterable[type], begun: Start | None = None
) -> DiffusionModel:
    """The model to start from; ``begun``: as it was. Raises InputError where it is gone, another, or no diffusion."""
    match start:
        case DiffusionModel() as model:
            return model
        case _:
            source = path("start", start)
    try:
        checkpoint = None if begun is None else begun.step
        model = load(source, DiffusionModel, checkpoint=checkpoint, device="cpu", network=network, parts=parts)
    except InputError as error:
        raise InputError(f"start: {error}") from None
    if begun is not None and model.digest != begun.weights:
        raise InputError(f"start: {source} has other weights than this run began from; restore it")
    return model


def refuse_other_start(begun: Start | None, start: DiffusionModel | str | Path) -> None:
    """A run that is resumed began where it began."""
    match start:
        case DiffusionModel(folder=folder):
            given = folder
        case _:
            given = Path(path("start", start))
    if begun is None or begun.source != RunFolder(given).source:
        was = "from scratch" if begun is None else f"from {begun.source}"
        raise InputError(f"start: the run began {was}, not from {given}; leave it out, or train in a new folder")


def as_started(dataset: Dataset, spec: DataSpec) -> Dataset:
    """The data as the run started with them (bits were once points); unchanged if they are other data."""
    try:
        return dataset.fitted_to(spec, "")
    except InputError:
        return dataset


def refuse_existing(run: RunFolder, data: DataConfig, resume: bool) -> None:
    """Raises InputError where ``run`` holds a run that is not resumed, or the data themselves.

    Copies of another run, which are made before a run begins, are none of its own.
    """
    run.refuse_foreign()
    held = (run, *(RunFolder(part) for part in run.parts.glob("*") if part.name not in (BASE, TEACHER)))
    if not resume and any(holds_checkpoints(one.checkpoints) for one in held):
        raise InputError(f"out: {run.path} already holds a run; resume it, or give another folder")
    source, out = Path(data.source), run.path.resolve()  # names of sets are not absolute, and paths are
    if source == out or (source.is_relative_to(out) and source.relative_to(out).parts[0] in run.names):
        raise InputError(
            f"out: what a run writes into {run.path} would become its data, {data.source}; give another folder"
        )


RESUMABLE: Final = tuple(
    f"training.{name}"
    for name in (
        *("learning_rate", "warmup_steps", "decay"),
        *("tracker", "log_every", "check_every", "sample_every", "checkpoint_every", "keep_checkpoints", "skip_limit"),
        *("recompute", "compile", "micro_batch", "shard"),
    )
)
"""What may change when a run is resumed besides its sampler and more steps: the learning rate, and what no weight
depends on."""


def refuse_changes(old: RunDescription, new: RunDescription, say: Callable[[str], None]) -> list[str]:
    """A run continues with the same data, and the same configuration but for `RESUMABLE`: the changes in that."""
    before, after = _steps(old.config), _steps(new.config)
    was, now = (", ".join(map(str, steps)) for steps in (before, after))
    if len(before) == len(after) > 1 and old.config.training.steps != new.config.training.steps:
        raise InputError(f"steps: each part has its own, {was}; set steps={','.join(map(str, before))} or more")
    each = max(len(before), len(after))  # one number is of all parts
    if any(map(lt, after * (each // len(after)), before * (each // len(before)))):
        raise InputError(f"steps: {now} are fewer than the {was} the run was started with; give as many or more")
    source, store = new.config.data.source, new.config.data.store
    moved = replace(old.config.data, source=source, store=store)  # its contents are compared below
    training = replace(old.config.training, steps=new.config.training.steps)
    found = differences(replace(old.config, data=moved, training=training), new.config)
    # sampling does not affect the weights, and steps are compared above
    found = [line for line in found if not line.startswith(("sampling.", "steps:"))]
    allowed = [line for line in found if line.partition(":")[0] in RESUMABLE]
    changed = [line for line in found if line not in allowed]
    if changed:
        raise InputError(f"resume: the configuration differs ({'; '.join(changed)}); undo that or give another folder")
    if old.data_fingerprint != new.data_fingerprint:
        where = new.config.data.source
        if where == MEMORY:
            raise InputError("data: differ from those the run was started with; give the same data")
        if where == old.config.data.source:
            raise InputError(f"data.source: {where} has changed since the run was started; restore it")
        raise InputError(f"data.source: {where} is not the data the run was started with ({old.config.data.source})")
    if old.annotations and old.annotations != new.annotations:
        where = new.config.data.source
        raise InputError(
            f"data.source: captions, keywords or attributes of {where} are not those that the run was started with; "
            "restore them, or train in a new folder"
        )
    if after != before and new.config.training.decay != "constant":
        say(f"note: the learning rate now decays over {now} steps; before, it decayed over {was}")
    return allowed


def _steps(config: SystemConfig) -> tuple[int, ...]:
    """Of each part, where it has its own, or of the whole run."""
    match config:
        case CascadeConfig(steps=steps) | UnclipConfig(steps=steps) if steps:
            return steps
        case _:
            return (config.training.steps,)
