"""What low-rank adaptation adds to a run, alone in a small file, and applied to the run that it was made for.

adapter.safetensors holds A, B and whatever else was trained (`sumi.networks.low_rank`), averaged. Its header holds the
description of the run, with the sha256 of the base's weights, and the sha256 of the file's own.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sumi.boundary.arguments import path, torch_defaults
from sumi.boundary.config import from_json, parse_json, to_json
from sumi.boundary.files import write_whole
from sumi.data.spec import expect
from sumi.errors import InputError
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.formats import upgraded
from sumi.models.model import RunDescription
from sumi.models.run import SYSTEMS, untrained
from sumi.networks.low_rank import frozen, merge, without
from sumi.training.checkpoint import check_tensors, load_weights, not_finite
from sumi.training.run_folder import RunFolder
from sumi.training.tensor_file import stream


def save_adapter(model: DiffusionModel, file: Path | str) -> Path:
    """Write what the run of ``model`` adds to its base, and return the file.

    Raises InputError for a model whose run adapts none, and SumiError if the file cannot be written.
    """
    if model.config.training.lora_rank is None:
        raise InputError(f"adapter: {model.folder} was trained whole; train with training.lora_rank=4 from another run")
    weights = load_weights(RunFolder(model.folder).checkpoints / f"{model.step:08d}", "ema")
    text, step = json.dumps(to_json(model.description)), str(model.step)
    about = {"sumi": text, "step": step, "sha256": _sha256(text, step, weights)}
    return write_whole(Path(path("file", file)), b"".join(bytes(piece) for piece in stream(weights, about)))


def _sha256(text: str, step: str, weights: dict[str, Tensor]) -> str:
    found = hashlib.sha256(f"{text} {step} ".encode())
    for piece in stream(weights):
        found.update(piece)
    return found.hexdigest()


@torch_defaults()
def with_adapter(base: DiffusionModel, file: Path | str) -> DiffusionModel:
    """``base`` with the additions in ``file`` merged into its weights: the model that they were trained to be.

    Raises InputError for a damaged file, and for another base than the one that it was made for.
    """
    place = Path(path("adapter", file))
    try:
        with safe_open(place, "pt") as opened:
            about = opened.metadata() or {}
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
        text, step, seal = about["sumi"], about["step"], about["sha256"]
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(f"adapter: {place} is no adapter that `sumi train` wrote ({error}); give another") from None
    if seal != _sha256(text, step, weights):
        raise InputError(f"adapter: {place} is not what was saved (its sha256 differs); restore it")
    read = upgraded(parse_json(text.encode(), place, "give another adapter"))
    description = from_json(RunDescription, read, known=get_args(SYSTEMS))
    start = description.start
    if start is None or base.digest != start.weights:
        source = "another run" if start is None else f"{start.source}, step {start.step}"
        raise InputError(f"adapter: {place} was made for {source}, and {base.folder} has other weights; give that run")
    with torch.random.fork_rng(devices=[]):
        module = untrained(description, base)
    check_tensors(place, weights, without(module.state_dict(), frozen(module)))
    if wrong := not_finite(weights.items()):
        raise InputError(f"adapter: {place} has a {wrong} that is not finite; give another")
    module.load_state_dict(weights, strict=False)
    merge(module)
    training = replace(description.config.training, lora_rank=None)
    description = replace(description, config=replace(description.config, training=training))
    made = description.config.wrap(description, module.to(base.device), int(step), base.folder)
    return expect(made, DiffusionModel, f"adapter: {place} is of no diffusion model")
