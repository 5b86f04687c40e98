"""The systems that can be trained, one line each, and what reads their run folders: `read_run` and `load`."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, get_args, overload

import torch
from torch import Tensor, nn

from sumi.boundary.arguments import classes, path, shown, torch_defaults, whole
from sumi.boundary.config import from_json
from sumi.errors import InputError
from sumi.models.attributes import JudgeConfig
from sumi.models.autoencoder import AutoencoderConfig
from sumi.models.baselines.model import BaselineConfig
from sumi.models.cascade import CascadeConfig
from sumi.models.classifier import NoisyClassifierConfig
from sumi.models.clip import ClipConfig
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.start import BASE, begin
from sumi.models.diffusion.system import DiffusionConfig
from sumi.models.formats import FORMAT, upgraded
from sumi.models.model import RunDescription, SystemConfig, TrainedModel, pick_device
from sumi.models.molecules.system import MoleculesConfig
from sumi.models.symbols.classifier import SymbolClassifierConfig
from sumi.models.symbols.system import SymbolsConfig
from sumi.models.unclip import UnclipConfig
from sumi.networks.low_rank import frozen, merge, without
from sumi.networks.own import Network, OwnNetwork
from sumi.training.checkpoint import (
    JSON,
    check_tensors,
    checkpoint_step,
    find_checkpoints,
    load_state,
    load_weights,
    not_finite,
    unfit,
)
from sumi.training.manifest import read_manifest
from sumi.training.run_folder import RunFolder

SYSTEMS = (
    DiffusionConfig
    | NoisyClassifierConfig
    | BaselineConfig
    | AutoencoderConfig
    | ClipConfig
    | JudgeConfig
    | CascadeConfig
    | MoleculesConfig
    | UnclipConfig
    | SymbolsConfig
    | SymbolClassifierConfig
)

Model = TypeVar("Model", bound=TrainedModel)


def systems() -> tuple[type, ...]:
    """The classes of SYSTEMS, which `from_json` must know to read a `RunDescription`."""
    return get_args(SYSTEMS)


def read_config(data: object, parts: Iterable[type] = ()) -> SystemConfig:
    """The configuration in this JSON; ``parts``: the user's own classes in it. Raises InputError naming the field."""
    return from_json(SYSTEMS, data, known=parts)


def read_run(folder: RunFolder, parts: Iterable[type] = ()) -> RunDescription:
    """The description in a run folder; ``parts``: the user's own classes in it.

    Raises InputError if it is not a run folder, or its config.json is invalid.
    """
    data = folder.read_config()
    if data.get("format") not in (5, FORMAT):
        raise InputError(
            f"{folder.config_file}: has format {shown(data.get('format'))}, this version reads 5 and {FORMAT}; "
            "use the version of sumi that wrote it"
        )
    try:
        return from_json(RunDescription, upgraded(data), known=(*systems(), *parts))
    except InputError as error:
        raise InputError(
            f"{folder.config_file}: is not what `sumi train` wrote ({error}); restore it, or give classes of your own "
            "that it names: parts=…"
        ) from None


def with_network(config: SystemConfig, network: Network | None) -> SystemConfig:
    """``config`` with the user's own network (`sumi.networks.own`); None: unchanged.

    Raises InputError if the system takes none, or if it was trained with another.
    """
    if network is None:
        return config
    match config:
        case DiffusionConfig():
            before = own_network(config)
            own = before.given(network) if before is not None and before.description else OwnNetwork.of(network)
            return replace(config, network=own)
        case _:
            raise InputError(f"network: a run of {config.recipe} has its own kind of network; leave it out")


def own_network(config: SystemConfig) -> OwnNetwork | None:
    """The settings of the user's own network, for a system that has one."""
    match getattr(config, "network", None):
        case OwnNetwork() as own:
            return own
        case _:
            return None


def _read(folder: RunFolder, checkpoint: int | None) -> tuple[Path, dict[str, Tensor], dict[str, JSON]]:
    """The chosen checkpoint, its averaged weights and its state.

    A run in training removes checkpoints while they are read; then the newest is chosen again. Raises InputError.
    """
    while True:
        found, skipped = find_checkpoints(folder.checkpoints)
        path = _chosen(folder, found, skipped, checkpoint)
        try:
            return path, load_weights(path, "ema"), load_state(path)
        except InputError as error:
            if not path.exists():
                continue
            raise _with_older(error, path, found) from None


def _with_older(error: InputError, path: Path, found: Sequence[Path]) -> InputError:
    """``error`` of the checkpoint at ``path`` with the newest of the others."""
    older = [step for step in map(checkpoint_step, found) if step < checkpoint_step(path)]
    return InputError(f"{error}; or take an older one: checkpoint {max(older)}") if older else error


def _chosen(folder: RunFolder, found: Sequence[Path], skipped: Sequence[str], checkpoint: int | None) -> Path:
    by_step = {checkpoint_step(path): path for path in found}
    if not by_step:
        why = f" ({skipped[0]})" if skipped else ""
        raise InputError(
            f"{folder.checkpoints}: holds no whole checkpoint{why}; resume the training until one is saved"
        )
    step = max(by_step) if checkpoint is None else checkpoint
    if step not in by_step:
        kept = ", ".join(map(str, sorted(by_step)))
        raise InputError(f"checkpoint: there is none at step {step}; choose from {kept}")
    return by_step[step]


def weights_of(run: Path | str, checkpoint: int | None = None) -> str:
    """sha256 of the file of averaged weights that `load` would read, by its manifest. Raises InputError as `load`."""
    folder = RunFolder(run)
    chosen = _chosen(folder, *find_checkpoints(folder.checkpoints), checkpoint)
    return read_manifest(chosen).files["ema.safetensors"].sha256


def base_of(
    run: Path, description: RunDescription, network: Network | None = None, parts: Iterable[type] = ()
) -> DiffusionModel:
    """The model that a run adapts, from its own copy. Raises InputError where it is gone, damaged or another."""
    part, start = RunFolder(run).part(BASE), description.start
    source = "another run" if start is None else f"{start.source}, step {start.step}"
    remedy = f"restore it: a copy of {source}, whose weights the run adapts"
    if not part.config_file.exists():
        raise InputError(f"{part.path}: is gone; {remedy}")
    model = load(part.path, DiffusionModel, device="cpu", network=network, parts=parts)
    if start is None or model.digest != start.weights:
        raise InputError(f"{part.path}: has other weights than the run was trained with; {remedy}")
    return model


def untrained(description: RunDescription, base: DiffusionModel | None) -> nn.Module:
    """The module of a run before its weights are read; ``base``: what it adapts, if it does."""
    module = description.config.build(description.items).model
    if base is not None:
        begin(module, description.items, base, description.config.training)
    return module


@overload
def load(
    run: Path | str,
    expected: type[Model],
    *,
    checkpoint: int | None = None,
    device: str | torch.device | None = None,
    network: Network | None = None,
    parts: Iterable[type] = (),
) -> Model: ...
@overload
def load(
    run: Path | str,
    *,
    checkpoint: int | None = None,
    device: str | torch.device | None = None,
    network: Network | None = None,
    parts: Iterable[type] = (),
) -> DiffusionModel | Any: ...  # most are; a type checker knows with `expected`
@torch_defaults()
def load(
    run: Path | str,
    expected: type[TrainedModel] = TrainedModel,
    *,
    checkpoint: int | None = None,
    device: str | torch.device | None = None,
    network: Network | None = None,
    parts: Iterable[type] = (),
) -> TrainedModel:
    """The model in a run folder: the averaged weights of its newest intact checkpoint, or of step ``checkpoint``.

    ``network`` and ``parts``: the user's own network and classes that it was trained with, if any. Raises InputError if
    the model is not of type ``expected``, if there is no such run or checkpoint, or if a file is damaged (every hash is
    verified).
    """
    folder = RunFolder(path("run", run))
    if not (isinstance(expected, type) and issubclass(expected, TrainedModel)):
        raise InputError(f"expected: {shown(expected)} is no type of model; give one, such as sumi.DiffusionModel")
    parts = classes("parts", parts)
    description = read_run(folder, parts)
    if network is not None and own_network(description.config) is None:
        raise InputError(f"network: {folder.path} was trained with a network of sumi's; leave it out")
    description = replace(description, config=with_network(description.config, network))
    if description.config.composed:
        if checkpoint is not None:
            raise InputError(f"checkpoint: {folder.path} has none of its own; give one of its {folder.parts}")
        return _expected(description.config.compose(description, folder.path, pick_device(device)), expected)
    place, weights, state = _read(folder, None if checkpoint is None else whole("checkpoint", checkpoint))
    step = checkpoint_step(place)
    adapts = description.config.training.lora_rank is not None
    base = base_of(folder.path, description, network, parts) if adapts else None
    module = untrained(description, base)
    if state.get("identity") != description.identity:
        raise InputError(
            f"{folder.config_file}: was changed since {place.name} was trained (process, schedule, parameterization, "
            "times, network or kind of data); restore it"
        )
    try:
        learned = frozen(module)
        check_tensors(place / "ema.safetensors", weights, without(module.state_dict(), learned))
        trained = (name for name, _ in module.named_parameters() if name not in learned)
        if wrong := not_finite((name, weights[name]) for name in trained):
            raise unfit(place / "ema.safetensors", f"{wrong} is not finite")
    except InputError as error:
        raise _with_older(error, place, find_checkpoints(folder.checkpoints)[0]) from None
    module.load_state_dict(weights, strict=base is None)
    merge(module)
    return _expected(description.config.wrap(description, module.to(pick_device(device)), step, folder.path), expected)


def _expected(model: TrainedModel, expected: type[Model]) -> Model:
    """The model. Raises InputError if it is not of type ``expected``."""
    if not isinstance(model, expected):
        why = f"{model.folder}: is a run of {model.config.recipe}, and this is for {expected.what}"
        raise InputError(f"{why}; choose such a run{such_a_part(model, expected)}")
    return model


def such_a_part(model: TrainedModel, expected: type[TrainedModel]) -> str:
    """The end of a message: the last part of ``model`` that is ``expected``; "" where none is."""
    fitting = [part.folder for part in model.parts().values() if isinstance(part, expected)]
    return f", such as its part {fitting[-1]}" if fitting else ""
