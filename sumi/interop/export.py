"""``sumi export``: a run in the form of another toolkit, each with its card.

diffusers    a folder that `DiffusionPipeline.from_pretrained` loads
onnx         one file of the network, for ONNX Runtime; --half: in half precision
openvino     .xml and .bin of the network
program      .pt2, a program of torch.export
safetensors  one file of all weights, with config.json in its header, which `sumi import` reads
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sumi.boundary.config import nearest, to_json
from sumi.boundary.files import write_text, write_whole
from sumi.errors import InputError, writing
from sumi.interop.card import CARD, model_card
from sumi.interop.onnx import write_onnx, write_openvino, write_program
from sumi.interop.tensors import HEADER, STEP
from sumi.interop.to_diffusers import write_folder
from sumi.models.diffusion.autoencoder import TrainedAutoencoder
from sumi.models.diffusion.model import DiffusionModel
from sumi.training.tensor_file import stream

ENDINGS: Final = {
    "diffusers": "",
    "onnx": ".onnx",
    "openvino": ".xml",
    "program": ".pt2",
    "safetensors": ".safetensors",
}


def write_safetensors(model: DiffusionModel, file: Path) -> list[str]:
    """Write ``file``: the averaged weights with the configuration. Raises InputError for a model of several parts."""
    match model.config.autoencoder:
        case TrainedAutoencoder():
            raise InputError("to: one file holds no autoencoder, which this model needs; send its run folder")
        case _:
            pass
    file.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous() for name, value in model.module.state_dict().items()}
    header = {HEADER: json.dumps(to_json(model.description)), STEP: str(model.step)}
    write_whole(file, b"".join(map(bytes, stream(weights, header))))
    return [f"`sumi import {file.name} --out RUN` makes a run of it again."]


WRITERS: Final[dict[str, Callable[[DiffusionModel, Path], list[str]]]] = {
    "diffusers": write_folder,
    "onnx": write_onnx,
    "openvino": write_openvino,
    "program": write_program,
    "safetensors": write_safetensors,
}
LOADING: Final = {
    "diffusers": 'from diffusers import DiffusionPipeline\n\npipeline = DiffusionPipeline.from_pretrained("{name}")',
    "onnx": 'import onnxruntime\n\nnetwork = onnxruntime.InferenceSession("{name}")',
    "openvino": 'import openvino\n\nnetwork = openvino.compile_model("{name}", "CPU")',
    "program": 'import torch\n\nnetwork = torch.export.load("{name}").module()',
    "safetensors": 'from sumi.interop.sources import open_source\n\nmodel = open_source("{name}").model',
}


def export(
    model: DiffusionModel, to: str, out: Path | str, *, half: bool = False, licence: str = ""
) -> tuple[Path, list[str]]:
    """Write ``model`` as ``to``, one of WRITERS, at ``out``, with its card; the card's path, and notes on both.

    ``half``: in half precision, of onnx. Raises InputError for a form that the model has none of, and where ``out`` is
    there already.
    """
    if to not in WRITERS:
        raise InputError(f"to: there is no form {to}; {nearest(to, WRITERS)}")
    if half and to != "onnx":
        raise InputError(f"half: is of onnx alone, not of {to}; leave it out")
    place = Path(out)
    if ENDINGS[to] and place.suffix != ENDINGS[to]:
        raise InputError(f"out: {place} is to be of {to}; give a name that ends in {ENDINGS[to]}")
    if place.exists() and (place.is_file() or any(place.iterdir())):
        raise InputError(f"out: {place} is there already, and is left as it is; give another name")
    with writing(place):
        notes = write_onnx(model, place, half=True) if half else WRITERS[to](model, place)
        card = place.with_suffix(".md") if ENDINGS[to] else place / CARD
        load = LOADING[to].format(name=place.name)
        write_text(card, model_card(model, name=place.name, licence=licence, load=load, notes=notes))
    return card, notes
