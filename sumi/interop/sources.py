"""Anything that denoises, opened as one of our models: the ground of ``sumi import``, ``sumi audit`` and ``sumi mend``.

    open_source(source: str | Path, *, claims: Claims | None = None, settings: Settings = (), device = None) -> Source

    Source.name      as it was given
    Source.format    "run", "diffusers", "function" or "tensors"
    Source.model     a `DiffusionModel` (or, of a folder with an autoencoder alone, an `AutoencoderModel`; of a
                     classifier of guided-diffusion, a `ClassifierModel`)
    Source.notes     sentences on how it was read, and what was assumed

``source.model.gaussian_denoiser()`` is the `NetworkDenoiser`: its ``network`` gives the raw output F(x, c_noise,
condition), its ``parameterization`` and ``schedule`` what is claimed of it, its ``process`` how to noise. A source is:

- a run folder of Sumi's, or the name of a model that comes with it;
- a folder of diffusers (`sumi.interop.diffusers`);
- ``file.py:NAME``: NAME(x, time) -> the network's output, for x (N, …) and its time input (N,), 1000 t - 1 at the time
  t (0 … 999 on the grid of DDPM); ``claims`` say what it means. The file is run;
- a file of tensors: one that `sumi export` wrote, one that is recognised
  (`sumi.interop.checkpoints`), or any with ``claims`` that name its network.

``claims`` stand in place of all that a source says of itself; ``settings`` change single fields of what it says.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from weakref import finalize

import torch
from torch import Tensor, nn

from sumi.boundary.config import from_json
from sumi.boundary.settings import Settings, assignments, override
from sumi.errors import InputError
from sumi.interop.card import write_card
from sumi.interop.checkpoints import named, recognised
from sumi.interop.claims import Claims
from sumi.interop.diffusers import is_folder, of_description, read_folder
from sumi.interop.guided_classifier import read_classifier
from sumi.interop.tensors import read_json, read_tensors
from sumi.models.autoencoder import AutoencoderModel
from sumi.models.classifier import ClassifierModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import TrainedModel, pick_device
from sumi.models.run import load, such_a_part
from sumi.networks.own import OwnNetwork
from sumi.training.run_folder import RunFolder

Format = Literal["run", "diffusers", "function", "tensors"]


@dataclass(frozen=True)
class Source:
    """See the top of this module."""

    name: str
    format: Format
    model: DiffusionModel | AutoencoderModel | ClassifierModel
    notes: tuple[str, ...] = ()

    @property
    def diffusion(self) -> DiffusionModel:
        """The model. Raises InputError where it is an autoencoder or a classifier, which denoise nothing."""
        match self.model:
            case DiffusionModel() as model:
                return model
            case other:
                what = "a classifier" if isinstance(other, ClassifierModel) else "an autoencoder"
                raise InputError(f"{self.name}: is {what}, and this is for diffusion models; give such a one")


def read_claims(file: Path | str | None) -> Claims | None:
    """The claims in a mapping ``file``; None without one. Raises InputError naming the field."""
    return None if file is None else from_json(Claims, read_json(Path(file)))


def open_source(
    source: str | Path,
    *,
    claims: Claims | None = None,
    settings: Settings = (),
    device: str | torch.device | None = None,
) -> Source:
    """See the top of this module. Raises InputError where it is none of these, or does not fit what is claimed."""
    name, place, chosen, settings = str(source), Path(source), pick_device(device), assignments(settings)
    file, colon, function = name.rpartition(":")
    if colon and file.endswith(".py"):
        return _of_function(name, Path(file), function, claims, settings, chosen)
    if place.is_dir() and is_folder(place):
        parts = TemporaryDirectory(prefix="sumi-")
        model, notes = read_folder(place, Path(parts.name) / "run", claims, settings, chosen)
        finalize(model, parts.cleanup)  # its autoencoder is read from there when it is needed
        return Source(name, "diffusers", model, notes)
    if place.is_dir() or RunFolder(place).shipped is not None:
        if claims is not None or settings:
            raise InputError(f"claims: {name} is a run of Sumi's, whose config.json says what it is; leave them out")
        return _of_run(name, place, chosen)
    if not place.exists():
        raise InputError(f"{name}: is not there; give a run folder, a folder of diffusers, a file, or file.py:NAME")
    return _of_tensors(name, place, claims, settings, chosen)


def import_run(
    source: str | Path,
    out: str | Path,
    *,
    claims: Claims | None = None,
    settings: Settings = (),
    device: str | torch.device | None = None,
) -> Source:
    """Open ``source`` and write it as the run folder ``out``: the source as that run. Raises InputError."""
    found = open_source(source, claims=claims, settings=settings, device=device)
    if found.format == "function":
        raise InputError(f"{found.name}: is code, which a run folder does not hold; import its weights, or audit it")
    found.model.save(out)
    run = replace(_of_run(str(out), Path(out), found.model.device), notes=found.notes)
    write_card(run.model)
    return run


def _of_run(name: str, folder: Path, device: torch.device) -> Source:
    match load(folder, TrainedModel, device=device):
        case DiffusionModel() | AutoencoderModel() | ClassifierModel() as model:
            return Source(name, "run", model)
        case other:
            such = such_a_part(other, DiffusionModel)
            raise InputError(f"{name}: is a run of {other.config.recipe}; give one of a diffusion model{such}")


def _of_tensors(
    name: str, file: Path, claims: Claims | None, settings: tuple[str, ...], device: torch.device
) -> Source:
    read = read_tensors(file)
    if read.about is not None and claims is None and not settings:
        return Source(name, "tensors", of_description(read.about, read.tensors, file, device, read.step), read.notes)
    if (classifier := read_classifier(named(read), claims, settings, name, device)) is not None:
        model, notes = classifier
        return Source(name, "tensors", model, (*read.notes, *notes))
    known = recognised(read, claims)
    if known is not None and settings:  # again, as names of tensors depend on the shape
        changed = override(known.claims, settings)
        known = recognised(read, changed) or known
        known = replace(known, claims=override(known.claims, settings))
    if known is not None:
        model = known.claims.model(known.weights, name, device=device)
        return Source(name, "tensors", model, (*read.notes, *known.notes))
    if claims is None and not settings:
        raise InputError(f"{name}: does not say what its network is; give a mapping (see `sumi import --help`)")
    claims = override(claims or Claims(), settings)
    model = claims.model(claims.renamed(read.tensors), name, device=device)
    return Source(name, "tensors", model, read.notes)


class _Function(nn.Module):
    """A person's function as a network; it has one parameter, of no use, so that it is on a device."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function, self.place = function, nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, c_noise: Tensor, condition: object = None) -> Tensor:
        del condition
        return self.function(x, c_noise)


def _of_function(
    name: str, file: Path, function: str, claims: Claims | None, settings: tuple[str, ...], device: torch.device
) -> Source:
    spec = spec_from_file_location(file.stem, file)
    if not file.exists() or spec is None or spec.loader is None:
        raise InputError(f"{file}: is not there; give FILE.py:NAME")
    module = module_from_spec(spec)
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{file}: cannot be run ({type(error).__name__}: {error}); correct it") from error
    finally:
        sys.path.remove(str(file.parent))
    found = getattr(module, function, None)
    if not callable(found):
        raise InputError(f"{file}: has no function {function}; give FILE.py:NAME")
    given = found if isinstance(found, nn.Module) else _Function(found)
    stated = replace(override(claims or Claims(), settings), network=OwnNetwork.of(given))
    notes = (
        ()
        if claims or settings
        else ("nothing is claimed of it: images of 3x32x32, ε and DDPM's linear β are assumed",)
    )
    return Source(name, "function", stated.model(None, name, device=device), notes)
