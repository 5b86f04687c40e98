"""Networks of k-diffusion, recognised by the names of their tensors.

    patch_in, down_levels, mid_level, patch_out    (`sumi.networks.hourglass`)
    timestep_embed, u_net.d_blocks, u_net.u_blocks (`sumi.networks.image_v1`)
    in_proj, blocks, out_proj                      (`sumi.networks.image_transformer_v1`)

All are preconditioned as EDM says, with σ_data of the header of the file, or of a claim. Its configuration stands in
the header, or in a checkpoint of training.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from sumi.boundary.config import parse_json
from sumi.denoising.parameterization import PredictPreconditioned
from sumi.errors import InputError
from sumi.interop.claims import Claims, Recognised
from sumi.interop.edm import named, used
from sumi.interop.preconditioning import PRECONDITIONED
from sumi.networks.hourglass import HourglassConfig
from sumi.networks.image_transformer_v1 import ImageTransformerV1Config
from sumi.networks.image_v1 import ImageV1Config
from sumi.process.exploding import EDM

AUGMENTED: Final = 9
"""Numbers that say how an image was augmented; zeros: not at all."""
NEIGHBOURS: Final = 7
"""Side of the square that the levels attend to, but for the lowest."""


def recognised(own: Mapping[str, Tensor], values: Mapping[str, Any], claims: Claims | None) -> Recognised | None:
    """What the tensors are, with the other ``values`` of their file; None: none of these. Raises InputError."""
    if {"patch_in.proj.weight", "time_emb.weight", "mapping.in_norm.scale"} <= own.keys():
        return _hourglass(own, values, claims)
    if {"in_proj.weight", "time_emb.weight", "blocks.0.self_attn.qk_norm.scale"} <= own.keys():
        return _transformer(own, values, claims)
    if {"timestep_embed.weight", "proj_in.weight", "u_net.d_blocks.0.1.main.2.weight"} <= own.keys():
        return _image_v1(own, values, claims)
    return None


def _hourglass(own: Mapping[str, Tensor], values: Mapping[str, Any], claims: Claims | None) -> Recognised:
    if "mapping_cond_in_proj.weight" in own:
        raise InputError("file: its network takes further numbers as a condition, which is not known here")
    about = _header(values)
    known = claims or _preconditioned(about, 0.5)
    count = 1 + len({name.split(".")[1] for name in own if name.startswith("down_levels.")})
    places = [*(f"down_levels.{level}" for level in range(count - 1)), "mid_level"]
    channels = int(about.get("input_channels", known.shape[0]))
    area = own["patch_in.proj.weight"].shape[1] // channels
    attended = about.get("self_attns", [{"type": "neighborhood"}] * (count - 1) + [{"type": "global"}])
    if unknown := {str(kind.get("type")) for kind in attended} - {"neighborhood", "shifted-window", "global"}:
        raise InputError(f"file: attention of type {', '.join(sorted(unknown))} is not known here")
    network = HourglassConfig(
        round(area**0.5),
        tuple(len({n.split(".")[place.count(".") + 1] for n in own if n.startswith(f"{place}.")}) for place in places),
        tuple(len(own[f"{place}.0.self_attn.out_proj.weight"]) for place in places),
        tuple(own[f"{place}.0.ff.down_proj.weight"].shape[1] for place in places),
        tuple(len(own[f"{place}.0.self_attn.scale"]) for place in places),
        tuple(int(k.get("kernel_size", NEIGHBOURS)) if k["type"] == "neighborhood" else 0 for k in attended),
        tuple(int(k.get("window_size", 8)) if k["type"] == "shifted-window" else 0 for k in attended),
        (
            len({name.split(".")[2] for name in own if name.startswith("mapping.blocks.")}),
            len(own["mapping.in_norm.scale"]),
            own["mapping.blocks.0.down_proj.weight"].shape[1],
        ),
        len(own["class_emb.weight"]) if "class_emb.weight" in own else 1,
    )
    known = _sized(known, about, claims, channels)
    known = replace(
        named(known, network, channels, 64), label_dropout=known.label_dropout or 0.1 * (network.embedding > 1)
    )
    if about:
        return Recognised(used(own), known, ())
    note = (
        "k-diffusion: σ_data = 0.5, images of 64x64, and attention to 7x7 neighbours above the lowest level are assumed"
    )
    return Recognised(used(own), known, (f"{note}; claim others by a mapping",))


def _transformer(own: Mapping[str, Tensor], values: Mapping[str, Any], claims: Claims | None) -> Recognised:
    about = _header(values)
    known = claims or _preconditioned(about, 1.0)
    channels = int(about.get("input_channels", known.shape[0]))
    area = own["in_proj.weight"].shape[1] // channels
    patch = about.get("patch_size", [round(area**0.5)] * 2)
    if patch[0] != patch[1]:
        raise InputError(f"file: its patches are of {patch[0]}x{patch[1]} pixels, and squares alone are known here")
    network = ImageTransformerV1Config(
        int(patch[0]),
        len(own["in_proj.weight"]),
        len({name.split(".")[1] for name in own if name.startswith("blocks.")}),
        own["blocks.0.ff.down_proj.weight"].shape[1],
        len(own["class_emb.weight"]) if "class_emb.weight" in own else 1,
    )
    known = _sized(known, about, claims, channels)
    known = replace(
        named(known, network, channels, 64), label_dropout=known.label_dropout or 0.1 * (network.embedding > 1)
    )
    notes = () if about else ("k-diffusion: σ_data = 1 and images of 64x64 are assumed; claim others by a mapping",)
    return Recognised(used(own), known, notes)


def _sized(known: Claims, about: Mapping[str, Any], claims: Claims | None, channels: int) -> Claims:
    """With the size of images in the configuration, unless there are ``claims``."""
    match about.get("input_size"):
        case [int(height), int(width)] if claims is None:
            return replace(known, shape=(channels, height, width))
        case _:
            return known


def _image_v1(own: Mapping[str, Tensor], values: Mapping[str, Any], claims: Claims | None) -> Recognised:
    about = _header(values)
    taken = own["mapping_cond.weight"].shape[1] if "mapping_cond.weight" in own else 0
    crosses = any(name.endswith(".kv_proj.weight") for name in own)
    if taken not in (0, AUGMENTED) or crosses or about.get("unet_cond_dim"):
        raise InputError("file: its network takes further numbers or states as a condition, which is not known here")
    known = claims or _preconditioned(about, 1.0)
    channels = int(about.get("input_channels", known.shape[0]))
    patch = int(about.get("patch_size", round((own["proj_in.weight"].shape[1] / channels) ** 0.5)))
    levels = 1 + max(int(name.split(".")[2]) for name in own if name.startswith("u_net.d_blocks."))
    skipped = int(about.get("skip_stages", 0))  # of levels that were not trained yet
    weights = used(own)
    for name in own:
        match name.split("."):
            case ["u_net", "d_blocks", level, *rest] if name in weights:
                value = weights.pop(name)
                if int(level) >= skipped:
                    weights[".".join(["u_net", "d_blocks", str(int(level) - skipped), *rest])] = value
            case ["u_net", "u_blocks", level, *_] if int(level) >= levels - skipped:
                weights.pop(name, None)
            case ["proj_out", leaf]:  # the last may be the logarithm of a variance
                weights[f"proj_out.{leaf}"] = own[name][: channels * patch**2]
            case ["mapping_cond", *_]:
                del weights[name]
            case _:
                pass
    places = [f"u_net.d_blocks.{level}." for level in range(levels - skipped)]
    network = ImageV1Config(
        patch,
        len(weights["proj_in.weight"]),
        tuple(len(weights[f"{place}1.main.2.weight"]) for place in places),
        tuple(sum(name.startswith(place) and name.endswith("main.2.weight") for name in weights) for place in places),
        tuple(level for level, place in enumerate(places) if f"{place}2.qkv_proj.weight" in weights),
        len(weights["mapping.0.weight"]),
    )
    known = _sized(known, about, claims, channels)
    notes = () if about else ("k-diffusion: σ_data = 1 and images of 64x64 are assumed; claim others by a mapping",)
    return Recognised(weights, named(known, network, channels, 64), notes)


def _preconditioned(about: Mapping[str, Any], sigma_data: float) -> Claims:
    """As k-diffusion's configuration says, or by its defaults."""
    return replace(
        PRECONDITIONED,
        schedule=EDM(float(about.get("sigma_min", 0.002)), float(about.get("sigma_max", 80.0))),
        parameterization=PredictPreconditioned(float(about.get("sigma_data", sigma_data))),
    )


def _header(values: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of the model in the header of k-diffusion's files, or in its checkpoints; empty: there is none.

    Raises InputError where it is no JSON.
    """
    match values.get("config", {}):
        case str() as text:
            found = parse_json(text.encode(), Path("the file's header"), "get the file again")
        case other:
            found = other
    match found:
        case {"model": dict() as model}:
            return model
        case _:
            return {}
