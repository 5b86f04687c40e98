"""Folders of diffusers as models (`sumi.interop.to_diffusers` writes them).

    model_index.json    the pipeline: which part is of which class
    unet/, transformer/ config.json and weights of the denoiser
    scheduler/          scheduler_config.json (`sumi.interop.schedulers`)
    vae/, vqvae/        config.json and weights of the autoencoder, with the factor that scales its latents

A folder of one network alone, with config.json, is read too: its scheduler is claimed (`sumi.interop.claims`), and is
DDPM's unless it is.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from sumi.boundary.config import from_json
from sumi.boundary.settings import override
from sumi.data.spec import expect
from sumi.errors import InputError
from sumi.interop.autoencoders import AUTOENCODERS, modern, of_latents, read_autoencoder
from sumi.interop.claims import Claims, take
from sumi.interop.encoders import Attended, attended
from sumi.interop.schedulers import read_scheduler
from sumi.interop.tensors import WEIGHTS, prefixed, read_json, read_weights, to_text
from sumi.models.autoencoder import AutoencoderModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.model import RunDescription
from sumi.models.run import systems
from sumi.networks.diffusers import DiffusersNetwork

NETWORKS: Final = ("UNet2DModel", "UNet2DConditionModel", "DiTTransformer2DModel")
OURS: Final = "SumiDenoiser"
"""The class of `sumi.interop.pipeline`."""
FIRST: Final = ("unet", "transformer")
SECOND: Final = ("vae", "vqvae", "movq")
_LEFT_OUT: Final = re.compile("^_|^(in_channels|out_channels|sample_size)$")


@dataclass(frozen=True)
class Folder:
    """A pipeline, or one network: the configurations of its parts, by name."""

    path: Path
    index: dict[str, Any]

    def part(self, names: tuple[str, ...]) -> Path | None:
        """The folder of the first of these parts that is there."""
        return next((self.path / name for name in names if (self.path / name / "config.json").exists()), None)


def is_folder(path: Path) -> bool:
    """Whether ``path`` is a folder of diffusers."""
    index, config = path / "model_index.json", path / "config.json"
    return index.exists() or (config.exists() and "_class_name" in read_json(config))


def read_folder(
    path: Path, parts: Path, claims: Claims | None, settings: tuple[str, ...], device: torch.device | None
) -> tuple[DiffusionModel | AutoencoderModel, tuple[str, ...]]:
    """The model in a folder of diffusers, and notes on how it was read.

    ``parts``: a run folder in which its autoencoder is written; ``claims``: instead of what its scheduler says;
    ``settings``: of single fields of that. Raises InputError.
    """
    index = read_json(path / "model_index.json") if (path / "model_index.json").exists() else {}
    folder = Folder(path, index)
    network = folder.part(FIRST) if index else path
    if network is None:
        raise InputError(f"{path}: has no {' or '.join(FIRST)}; give a pipeline of one of {', '.join(NETWORKS)}")
    config = read_json(network / "config.json")
    kind = str(config.get("_class_name"))
    if kind == OURS:
        return _own(network, config, device), ()
    if kind in AUTOENCODERS and not index:
        return read_autoencoder(path, config, device)
    if kind not in NETWORKS:
        raise InputError(f"{network / 'config.json'}: {kind} is not known here; known are {', '.join(NETWORKS)}")
    return _denoiser(folder, network, config, parts, claims, settings, device)


def _denoiser(
    folder: Folder,
    network: Path,
    config: dict[str, Any],
    parts: Path,
    claims: Claims | None,
    settings: tuple[str, ...],
    device: torch.device | None,
) -> tuple[DiffusionModel, tuple[str, ...]]:
    scheduler, stated = folder.path / "scheduler" / "scheduler_config.json", claims or Claims()
    notes: list[str] = []
    time_scale, time_offset = 1.0, 0.0
    if claims is None and scheduler.exists():
        found = read_scheduler(read_json(scheduler), str(scheduler))
        stated = replace(
            stated, schedule=found.schedule, parameterization=found.parameterization, threshold=found.threshold
        )
        time_scale, time_offset = found.time_scale, found.time_offset
        notes += found.notes if not any(setting.startswith("threshold=") for setting in settings) else ()
    elif claims is None:
        notes.append(
            "it has no scheduler: DDPM's linear β and a prediction of ε are assumed; claim others by a mapping"
        )
    scheduled, stated = stated.schedule, override(stated, settings)
    if (claims is not None or stated.schedule != scheduled) and stated.schedule.steps is not None:
        time_scale, time_offset = stated.schedule.steps / 1000, stated.schedule.steps / 1000 - 1
    kind, read = str(config["_class_name"]), read_weights(network, WEIGHTS)
    weights = modern(read.tensors)
    channels, made = int(config.get("in_channels", 3)), int(config.get("out_channels") or config.get("in_channels", 3))
    _refuse(network, config)
    classes, dropout = _classes(folder, kind, config)
    claimed = claims is not None or any(setting.startswith("shape") for setting in settings)
    sides = _sides(network, config, stated.shape if claimed else (), first=claims is None)
    entered = Attended()
    if kind == "UNet2DConditionModel":
        factor = _factor(folder)
        entered = attended(folder.path, network, config, (factor * sides[0], factor * sides[1]))
    notes += entered.notes
    if kind != "DiTTransformer2DModel" and classes:
        table = weights["class_embedding.weight"]
        weights["class_embedding.weight"] = torch.cat([table, torch.zeros_like(table[:1])])
    vector = entered.width or len(classes) + 1
    own = to_text({name: value for name, value in config.items() if not _LEFT_OUT.search(name)})
    stated = replace(
        stated,
        shape=(channels, *sides),
        network=DiffusersNetwork(kind, own, time_scale, time_offset, vector),  # type: ignore[arg-type]
        learned_variance=made == 2 * channels,
        classes=classes,
        conditioning=stated.conditioning or entered.conditions,
        label_dropout=dropout or stated.label_dropout,
    )
    stated = override(stated, settings)
    second = folder.part(SECOND)
    if second is None:
        model = stated.model(weights, str(folder.path), device=device)
        return model, (*read.notes, *notes)
    model = of_latents(stated, weights, second, folder.path, parts, device)
    return model, (*read.notes, *notes)


def _refuse(network: Path, config: Mapping[str, Any]) -> None:
    """Raises InputError for settings of which the library's own call needs more than there is here."""
    for name in (
        "class_embed_type",
        "encoder_hid_dim",
        "encoder_hid_dim_type",
        "time_cond_proj_dim",
    ):
        if config.get(name) is not None:
            raise InputError(f"{network / 'config.json'}: {name} {config[name]} is not known here; import another")
    taken, given = int(config.get("in_channels") or 3), config.get("out_channels")
    if given not in (None, taken, 2 * taken):
        raise InputError(
            f"{network / 'config.json'}: it takes {taken} channels and gives {given}, so part of its input is a "
            "condition that is not known here; import another"
        )
    if config.get("time_embedding_type", "positional") == "fourier":
        raise InputError(
            f"{network / 'config.json'}: time_embedding_type fourier divides by σ, which is not known here; import "
            "another"
        )


def _factor(folder: Folder) -> int:
    """How many pixels of a side one of what is denoised stands for."""
    second = folder.part(SECOND)
    return 1 if second is None else 2 ** (len(read_json(second / "config.json").get("block_out_channels", "1")) - 1)


def _sides(network: Path, config: Mapping[str, Any], claimed: tuple[int, ...], *, first: bool) -> tuple[int, int]:
    """Height and width of config.json, or of the ``claimed`` shape where that counts ``first`` or there is no other."""
    match config.get("sample_size"), claimed:
        case _, (_, height, width) if first:
            return height, width
        case int(side), _:
            return side, side
        case [int(height), int(width)], _:
            return height, width
        case _, (_, height, width):
            return height, width
        case _:
            raise InputError(f"{network / 'config.json'}: says no sample_size; claim a shape by a mapping")


def _classes(folder: Folder, kind: str, config: Mapping[str, Any]) -> tuple[tuple[str, ...], float]:
    """The names of the classes, and the share of training without one."""
    dit = kind == "DiTTransformer2DModel"
    count = config.get("num_embeds_ada_norm", 1000) if dit else config.get("num_class_embeds")
    if not count:
        return (), 0.0
    match folder.index.get("id2label"):
        case dict() as table if len({*map(str, table.values())}) == count:
            names = tuple(str(table[key]) for key in sorted(table, key=int))
        case _:
            names = tuple(map(str, range(count)))
    return names, 0.1 if dit else 0.0


def _own(network: Path, config: dict[str, Any], device: torch.device | None) -> DiffusionModel:
    """A model of ours that was written here."""
    weights = prefixed(read_weights(network, WEIGHTS).tensors, "denoiser.")
    return of_description(config.get("run"), weights, network, device, int(config.get("trained", 0)))


def of_description(
    about: object, weights: Mapping[str, Tensor], source: Path, device: torch.device | None, step: int
) -> DiffusionModel:
    """The model of a config.json and all its weights, trained for ``step`` steps, read from ``source``.

    Raises InputError.
    """
    description = from_json(RunDescription, about, str(source), known=systems())
    module = description.config.build(description.items).model
    take(module, weights, str(source))
    model = description.config.wrap(description, module.to(device or torch.device("cpu")), step, source)
    return expect(model, DiffusionModel, f"{source}: is not a diffusion model; export one again")
