"""Autoencoders of diffusers as ours, and back, with the factor that scales their latents.

z = factor · (latents - shift),   both of config.json
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from sumi.autoencoders.diffusers import DiffusersAutoencoder
from sumi.autoencoders.scale import LatentScale
from sumi.data.config import DataConfig
from sumi.data.images import ImageSpec
from sumi.data.spec import expect
from sumi.errors import InputError
from sumi.interop.claims import RECIPE, Claims, take
from sumi.interop.tensors import WEIGHTS, prefixed, read_json, read_weights, to_text
from sumi.models.autoencoder import AutoencoderConfig, AutoencoderModel
from sumi.models.diffusion.autoencoder import TrainedAutoencoder
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.parts import AUTOENCODER
from sumi.models.model import RunDescription
from sumi.networks.diffusers import made
from sumi.training.run_folder import RunFolder

AUTOENCODERS: Final = ("AutoencoderKL", "VQModel")
FACTOR: Final = 0.18215
"""By which both scale latents unless their files say otherwise."""
_OLD_ATTENTION: Final = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def modern(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by the names that the library gives them now; attention was named otherwise until 2023."""
    if not any(name.endswith("proj_attn.weight") for name in weights):
        return dict(weights)
    return {
        re.sub(r"\.(query|key|value|proj_attn)\.(weight|bias)$", lambda m: f".{_OLD_ATTENTION[m[1]]}.{m[2]}", name): v
        for name, v in weights.items()
    }


def read_autoencoder(
    path: Path, config: dict[str, Any], device: torch.device | None
) -> tuple[AutoencoderModel, tuple[str, ...]]:
    """The autoencoder in the folder ``path`` with this config.json, and notes on its file. Raises InputError."""
    kind, read = str(config["_class_name"]), read_weights(path, WEIGHTS)
    weights = modern(read.tensors)
    settings = to_text({name: value for name, value in config.items() if not name.startswith("_")})
    network = DiffusersAutoencoder(kind, settings)  # type: ignore[arg-type]
    side = config.get("sample_size") or 32
    height, width = side if isinstance(side, list) else (side, side)
    height, width = (max(1, s // network.factor) * network.factor for s in (height, width))
    items = ImageSpec(int(config.get("in_channels", 3)), height, width, 256, ())
    settings_of_run = AutoencoderConfig(recipe=RECIPE, data=DataConfig(source=str(path)), network=network)
    module = settings_of_run.build(items).model
    pieces = {
        **{f"encoder.network.{name}": value for name, value in prefixed(weights, "encoder.").items()},
        **{f"encoder.quant_conv.{name}": value for name, value in prefixed(weights, "quant_conv.").items()},
        **{f"decoder.network.{name}": value for name, value in prefixed(weights, "decoder.").items()},
        **{f"decoder.post_quant_conv.{name}": value for name, value in prefixed(weights, "post_quant_conv.").items()},
    }
    if kind == "VQModel":
        own = {name: value for name, value in module.autoencoder.state_dict().items() if name.startswith("regularizer")}
        pieces |= own | {"regularizer.vectors": weights["quantize.embedding.weight"]}
    take(module.autoencoder, pieces, str(path))
    description = RunDescription(settings_of_run, items, "", 0.5)
    model = settings_of_run.wrap(description, module.to(device or torch.device("cpu")), 0, path)
    return model, read.notes


def of_latents(
    claims: Claims,
    weights: Mapping[str, Tensor],
    second: Path,
    source: Path,
    parts: Path,
    device: torch.device | None,
) -> DiffusionModel:
    """The denoiser of ``weights`` on latents of the autoencoder in the folder ``second``, which is copied to ``parts``.

    Raises InputError for an autoencoder of another class.
    """
    config = read_json(second / "config.json")
    kind = str(config.get("_class_name"))
    if kind not in AUTOENCODERS:
        raise InputError(f"{second / 'config.json'}: {kind} is not known here; known are {', '.join(AUTOENCODERS)}")
    autoencoder, _ = read_autoencoder(second, config, None)
    part = RunFolder(parts).part(AUTOENCODER).path
    autoencoder.save(part)
    images = claims.items(autoencoder.config.network.factor, int(config.get("in_channels", 3)))
    chosen = TrainedAutoencoder(network=autoencoder.config.network, weights=autoencoder.digest)
    model = claims.model(weights, str(source), folder=parts, autoencoder=chosen, images=images, device=device)
    scale = model.module.auxiliary["latents"]
    assert isinstance(scale, LatentScale)
    factor, shift = float(config.get("scaling_factor") or FACTOR), float(config.get("shift_factor") or 0.0)
    scale.set(torch.full((claims.shape[0],), shift), torch.full((claims.shape[0],), 1 / factor))
    return model


def write_autoencoder(model: DiffusionModel, folder: Path) -> str:
    """The autoencoder by its own class, with the factor of its latents."""
    part = expect(model.parts()[AUTOENCODER], AutoencoderModel, "autoencoder: is none")
    why = "to: is of latents of an autoencoder that diffusers has none of; export to onnx"
    config = expect(part.config.network, DiffusersAutoencoder, why)
    scale = model.module.auxiliary["latents"]
    assert isinstance(scale, LatentScale)
    plain = made(
        config.kind, json.loads(config.settings) | {"scaling_factor": 1 / float(scale.std[0])}, "network.settings"
    )
    names = {"encoder.network.": "encoder.", "encoder.quant_conv.": "quant_conv.", "decoder.network.": "decoder."}
    names["decoder.post_quant_conv."] = "post_quant_conv."
    own = part.autoencoder.state_dict()
    weights = {theirs + n: v for ours, theirs in names.items() for n, v in prefixed(own, ours).items()}
    if config.kind == "VQModel":
        weights["quantize.embedding.weight"] = own["regularizer.vectors"]
    plain.load_state_dict(weights)
    plain.save_pretrained(folder)
    return config.kind
