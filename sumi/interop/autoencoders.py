"""Autoencoders of diffusers as ours, and back, with the factor that scales their latents.

z = factor · (latents - shift)/deviation

``scaling_factor``, ``shift_factor`` (Stable Diffusion 3), or ``latents_mean`` and ``latents_std`` of each channel (of
some autoencoders of Stable Diffusion XL), all of config.json. As in the library, the last two count where both are
there.
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
_OF_LATENTS: Final = ("scaling_factor", "shift_factor", "latents_mean", "latents_std")
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
    scale.set(*_mean_and_std(config, claims.shape[0], second / "config.json"))
    return model


def _mean_and_std(config: Mapping[str, Any], channels: int, file: Path) -> tuple[Tensor, Tensor]:
    """What is taken off the latents, and what they are divided by then: (channels,) each. Raises InputError."""
    factor = float(config.get("scaling_factor") or FACTOR)
    match config.get("latents_mean"), config.get("latents_std"):
        case [*mean], [*std]:
            pass
        case _:
            mean, std = [float(config.get("shift_factor") or 0.0)] * channels, [1.0] * channels
    for name, values in (("latents_mean", mean), ("latents_std", std)):
        if len(values) != channels:
            raise InputError(f"{file}: {name} has {len(values)} numbers for {channels} channels; get the file again")
    return torch.tensor(mean), torch.tensor(std) / factor


def _of_scale(scale: LatentScale) -> dict[str, Any]:
    """The same as config.json has it."""
    mean, std = scale.mean.flatten().tolist(), scale.std.flatten().tolist()
    if len({*mean}) == len({*std}) == 1:
        return {"scaling_factor": 1 / std[0]} | ({"shift_factor": mean[0]} if mean[0] else {})
    return {"scaling_factor": 1.0, "latents_mean": mean, "latents_std": std}


def write_autoencoder(model: DiffusionModel, folder: Path) -> str:
    """The autoencoder by its own class, with the factor of its latents."""
    part = expect(model.parts()[AUTOENCODER], AutoencoderModel, "autoencoder: is none")
    why = "to: is of latents of an autoencoder that diffusers has none of; export to onnx"
    config = expect(part.config.network, DiffusersAutoencoder, why)
    scale = model.module.auxiliary["latents"]
    assert isinstance(scale, LatentScale)
    own = {name: value for name, value in json.loads(config.settings).items() if name not in _OF_LATENTS}
    plain = made(config.kind, own | _of_scale(scale), "network.settings")
    names = {"encoder.network.": "encoder.", "encoder.quant_conv.": "quant_conv.", "decoder.network.": "decoder."}
    names["decoder.post_quant_conv."] = "post_quant_conv."
    tensors = part.autoencoder.state_dict()
    weights = {theirs + n: v for ours, theirs in names.items() for n, v in prefixed(tensors, ours).items()}
    if config.kind == "VQModel":
        weights["quantize.embedding.weight"] = tensors["regularizer.vectors"]
    plain.load_state_dict(weights)
    plain.save_pretrained(folder)
    return config.kind
