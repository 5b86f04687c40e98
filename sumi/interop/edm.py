"""Networks of EDM, EDM2 and k-diffusion, recognised by the names of their tensors.

    EDM         map_layer0, enc.32x32_block0, dec.32x32_aux_conv      DDPM++ and NCSN++   (`sumi.networks.song`)
    EDM2        emb_fourier, enc.64x64_block0, out_gain                                   (`sumi.networks.edm2`)
    k-diffusion patch_in, down_levels, mid_level, patch_out                               (`sumi.networks.hourglass`)
                timestep_embed, u_net.d_blocks, u_net.u_blocks                            (`sumi.networks.image_v1`)

EDM's "ADM" is in `sumi.interop.guided`. All are preconditioned as EDM says, with σ_data = 1/2 unless a claim, or
the header of k-diffusion's file, says another; DDPM++ and NCSN++ also in the other ways of
`sumi.interop.preconditioning`.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from sumi.boundary.config import parse_json
from sumi.denoising.parameterization import PredictPreconditioned
from sumi.errors import InputError
from sumi.interop.claims import Claims, Recognised
from sumi.interop.preconditioning import PRECONDITIONED, fitted, stated
from sumi.networks.edm2 import EDM2Config
from sumi.networks.hourglass import HourglassConfig
from sumi.networks.image_v1 import ImageV1Config
from sumi.networks.song import Encoder, SongUNetConfig
from sumi.process.exploding import EDM

ASSUMED: Final = "EDM's {}: σ_data = 0.5 is assumed; claim another by a mapping"
AUGMENTED: Final = 9
"""Numbers that say how k-diffusion augmented an image; zeros: not at all."""
NEIGHBOURS: Final = 7
"""Side of the square that k-diffusion's levels attend to, but for the lowest."""
_UNUSED: Final = re.compile(r"^(map_augment\.|logvar_|u$)|resample_filter$|\.kernel$")
"""Tensors without which samples are the same: no augmentation is a vector of zeros."""


def recognised(own: Mapping[str, Tensor], values: Mapping[str, Any], claims: Claims | None) -> Recognised | None:
    """What the tensors are, with the other ``values`` of their file; None: none of these."""
    if {"emb_fourier.freqs", "out_gain"} <= own.keys():
        return _edm2(own, claims or PRECONDITIONED)
    if "map_layer0.weight" in own and any("_aux_norm." in name for name in own):
        known = stated(own, values, claims)
        return fitted(song(own, PRECONDITIONED)) if known is None else song(own, known)
    if {"patch_in.proj.weight", "time_emb.weight", "mapping.in_norm.scale"} <= own.keys():
        return _hourglass(own, values, claims)
    if {"timestep_embed.weight", "proj_in.weight", "u_net.d_blocks.0.1.main.2.weight"} <= own.keys():
        return _image_v1(own, values, claims)
    return None


_Network = SongUNetConfig | EDM2Config | HourglassConfig | ImageV1Config


def _sides(own: Mapping[str, Tensor]) -> list[int]:
    """Of the levels, the largest first."""
    found = {int(found[1]) for name in own if (found := re.match(r"enc\.(\d+)x", name)) is not None}
    return sorted(found, reverse=True)


def _levels(own: Mapping[str, Tensor], conv: str, attention: str) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
    """Width of each level, number of blocks in one, and which attend, of an encoder with these names of layers."""
    sides = _sides(own)
    widths = tuple(len(own[f"enc.{side}x{side}_block0.{conv}.weight"]) for side in sides)
    blocks = sum(f"enc.{sides[0]}x{sides[0]}_block{k}.{conv}.weight" in own for k in range(100))
    attends = (level for level, side in enumerate(sides) if f"enc.{side}x{side}_block0.{attention}.weight" in own)
    return widths, blocks, tuple(attends)


def _used(own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in own.items() if not _UNUSED.search(name)}


def _named(claims: Claims, network: _Network, channels: int, side: int) -> Claims:
    """With the network and its classes; images of ``side`` unless a claim says another shape."""
    sides = (side, side) if claims.shape == Claims().shape else claims.shape[1:]
    count = network.embedding - 1
    classes = claims.classes if len(claims.classes) == count else tuple(map(str, range(count)))
    return replace(claims, network=network, shape=(channels, *sides), classes=classes)


def song(own: Mapping[str, Tensor], claims: Claims, *, smooth: bool = False) -> Recognised:
    """DDPM++ or NCSN++ of tensors with EDM's names. ``smooth``: resampled so where no filter says it."""
    first = own[f"enc.{_sides(own)[0]}x{_sides(own)[0]}_conv.weight"]
    widths, blocks, attention = _levels(own, "conv0", "qkv")
    inner, noise = own["map_layer0.weight"].shape
    filters = [value for name, value in own.items() if name.endswith("resample_filter")]
    encoder: Encoder = "standard"
    for name in own:
        match name.rpartition("_aux_")[2].partition(".")[0]:
            case "skip" | "residual" as kind:
                encoder = kind
            case _:
                pass
    network = SongUNetConfig(
        len(first),
        widths,
        blocks,
        attention,
        noise,
        inner,
        "map_noise.freqs" in own,
        encoder,
        "skip" if sum("_aux_norm.weight" in name for name in own) > 1 else "standard",
        smooth or (bool(filters) and filters[0].shape[-1] == 4),
        1 + (own["map_label.weight"].shape[1] if "map_label.weight" in own else 0),
    )
    known = replace(
        _named(claims, network, first.shape[1], _sides(own)[0]),
        learned_variance=len(own[f"dec.{_sides(own)[0]}x{_sides(own)[0]}_aux_conv.weight"]) == 2 * first.shape[1],
    )
    notes = (ASSUMED.format("DDPM++ or NCSN++"),) if claims is PRECONDITIONED else ()
    return Recognised(_used(own), known, notes)


def _edm2(own: Mapping[str, Tensor], claims: Claims) -> Recognised:
    widths, blocks, attention = _levels(own, "conv_res1", "attn_qkv")
    inner, noise = own["emb_noise.weight"].shape
    classes = own["emb_label.weight"].shape[1] if "emb_label.weight" in own else 0
    network = EDM2Config(widths, blocks, attention, noise, inner, 1 + classes)
    channels = len(own["out_conv.weight"])
    note = "EDM2: σ_data = 0.5 is assumed; claim another by a mapping"
    if channels == 4:
        note += ". Its 4 channels are latents of Stable Diffusion's autoencoder, which is not in the file"
    return Recognised(_used(own), _named(claims, network, channels, _sides(own)[0]), (note,))


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
    match about.get("input_size"):
        case [int(height), int(width)] if claims is None:
            known = replace(known, shape=(channels, height, width))
        case _:
            pass
    known = replace(
        _named(known, network, channels, 64), label_dropout=known.label_dropout or 0.1 * (network.embedding > 1)
    )
    if about:
        return Recognised(_used(own), known, ())
    note = (
        "k-diffusion: σ_data = 0.5, images of 64x64, and attention to 7x7 neighbours above the lowest level are assumed"
    )
    return Recognised(_used(own), known, (f"{note}; claim others by a mapping",))


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
    weights = _used(own)
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
    match about.get("input_size"):
        case [int(height), int(width)] if claims is None:
            known = replace(known, shape=(channels, height, width))
        case _:
            pass
    notes = () if about else ("k-diffusion: σ_data = 1 and images of 64x64 are assumed; claim others by a mapping",)
    return Recognised(weights, _named(known, network, channels, 64), notes)


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
