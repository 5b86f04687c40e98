"""Files of tensors of other toolkits: safetensors, in one file or several, and pickles of tensors alone.

A pickle is read by ``torch.load(weights_only=True)``, which builds tensors and plain values and runs no code; one that
holds anything else is refused. What is read in this way is named (`Tensors.notes`).
"""

import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from sumi.boundary.config import parse_json
from sumi.errors import InputError

HEADER: Final = "sumi"
"""Where config.json stands in the header of a file that Sumi wrote."""
STEP: Final = "sumi.step"
WEIGHTS: Final = "diffusion_pytorch_model"
"""The file of weights in a folder of diffusers."""
PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class Tensors:
    """The contents of a file: ``tensors`` by name, and its other values, or its header; ``notes``: how it was read.

    ``about``: config.json in the header of a file that Sumi wrote; None: it is of another toolkit. ``step``: how many
    steps that was trained.
    """

    tensors: dict[str, Tensor]
    values: dict[str, Any]
    notes: tuple[str, ...] = ()
    about: object = None
    step: int = 0


def read_json(file: Path) -> dict[str, Any]:
    """The table in a JSON file. Raises InputError."""
    try:
        text = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); give the whole folder") from None
    found = parse_json(text, file, "get the file again")
    match found:
        case dict():
            return found
        case _:
            raise InputError(f"{file}: is no table of names and values; get the file again")


def read_tensors(file: Path) -> Tensors:
    """The tensors of one file, on the CPU. Raises InputError where it is none, or is damaged."""
    if file.suffix == ".safetensors":
        try:
            with safe_open(file, "pt") as opened:
                header = opened.metadata() or {}
            about = parse_json(header[HEADER].encode(), file, "export it again") if HEADER in header else None
            return Tensors(load_file(file), dict(header), about=about, step=int(header.get(STEP, 0)))
        except (OSError, SafetensorError) as error:
            raise InputError(f"{file}: cannot be read as safetensors ({error}); get the file again") from None
    if file.suffix not in PICKLES:
        raise InputError(f"{file}: is no file of tensors; give a .safetensors, or one of {', '.join(PICKLES)}")
    return _unpickled(file)


def _unpickled(file: Path) -> Tensors:
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{file}: is a pickle that holds more than tensors and plain values, and code in it is not run; convert it "
            "to safetensors where you trust it"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        what = (str(error).splitlines() or ["it is cut off"])[0]
        raise InputError(f"{file}: cannot be read as tensors ({what}); get the file again") from None
    note = f"{file.name} is a pickle; it was read as tensors alone, and no code in it was run"
    match found:
        case dict() as table:
            own = {str(name): value for name, value in table.items() if torch.is_tensor(value)}
            others = {str(name): value for name, value in table.items() if not torch.is_tensor(value)}
            return Tensors(own, others, (note,))
        case _:
            raise InputError(f"{file}: is a pickle of no table of tensors; give a state dict")


def read_weights(folder: Path, stem: str) -> Tensors:
    """The weights in a ``folder`` of diffusers: ``stem``.safetensors, a .fp16 variant, shards, or .bin.

    Raises InputError where there are none.
    """
    for variant in ("", ".fp16"):
        index = folder / f"{stem}.safetensors.index{variant}.json"
        if index.exists():
            shards = sorted({*read_json(index).get("weight_map", {}).values()})
            if any(Path(shard).name != shard for shard in shards):
                raise InputError(f"{index}: names files outside of its folder; get it again")
            return Tensors({k: v for shard in shards for k, v in read_tensors(folder / shard).tensors.items()}, {})
        for ending in ("safetensors", "bin"):
            file = folder / f"{stem}{variant}.{ending}"
            if file.exists():
                return read_tensors(file)
    raise InputError(f"{folder}: has no {stem}.safetensors; give a whole folder of diffusers")


def prefixed(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def to_text(settings: dict[str, Any]) -> str:
    """Settings as JSON of one line; those that are none are left out."""
    return json.dumps({k: v for k, v in settings.items() if v is not None}, separators=(",", ":"), sort_keys=True)
