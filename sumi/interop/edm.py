"""Networks of EDM and EDM2, recognised by the names of their tensors.

    EDM         map_layer0, enc.32x32_block0, dec.32x32_aux_conv      DDPM++ and NCSN++   (`sumi.networks.song`)
    EDM2        emb_fourier, enc.64x64_block0, out_gain                                   (`sumi.networks.edm2`)

EDM's "ADM" is in `sumi.interop.guided`. All are preconditioned as EDM says, with σ_data = 1/2 unless a claim says
another; DDPM++ and NCSN++ also in the other ways of `sumi.interop.preconditioning`.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from torch import Tensor

from sumi.interop.claims import Claims, Recognised
from sumi.interop.preconditioning import PRECONDITIONED, fitted, stated
from sumi.networks.edm2 import EDM2Config
from sumi.networks.hourglass import HourglassConfig
from sumi.networks.image_transformer_v1 import ImageTransformerV1Config
from sumi.networks.image_v1 import ImageV1Config
from sumi.networks.song import Encoder, SongUNetConfig

ASSUMED: Final = "EDM's {}: σ_data = 0.5 is assumed; claim another by a mapping"
_UNUSED: Final = re.compile(r"^(map_augment\.|logvar_|u$)|resample_filter$|\.kernel$")
"""Tensors without which samples are the same: no augmentation is a vector of zeros."""


def recognised(own: Mapping[str, Tensor], values: Mapping[str, Any], claims: Claims | None) -> Recognised | None:
    """What the tensors are, with the other ``values`` of their file; None: none of these."""
    if {"emb_fourier.freqs", "out_gain"} <= own.keys():
        return _edm2(own, claims or PRECONDITIONED)
    if "map_layer0.weight" in own and any("_aux_norm." in name for name in own):
        known = stated(own, values, claims)
        return fitted(song(own, PRECONDITIONED)) if known is None else song(own, known)
    return None


_Network = SongUNetConfig | EDM2Config | HourglassConfig | ImageTransformerV1Config | ImageV1Config


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


def used(own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that change what is made."""
    return {name: value for name, value in own.items() if not _UNUSED.search(name)}


def named(claims: Claims, network: _Network, channels: int, side: int) -> Claims:
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
        named(claims, network, first.shape[1], _sides(own)[0]),
        learned_variance=len(own[f"dec.{_sides(own)[0]}x{_sides(own)[0]}_aux_conv.weight"]) == 2 * first.shape[1],
    )
    notes = (ASSUMED.format("DDPM++ or NCSN++"),) if claims is PRECONDITIONED else ()
    return Recognised(used(own), known, notes)


def _edm2(own: Mapping[str, Tensor], claims: Claims) -> Recognised:
    widths, blocks, attention = _levels(own, "conv_res1", "attn_qkv")
    inner, noise = own["emb_noise.weight"].shape
    classes = own["emb_label.weight"].shape[1] if "emb_label.weight" in own else 0
    network = EDM2Config(widths, blocks, attention, noise, inner, 1 + classes)
    channels = len(own["out_conv.weight"])
    note = "EDM2: σ_data = 0.5 is assumed; claim another by a mapping"
    if channels == 4:
        note += ". Its 4 channels are latents of Stable Diffusion's autoencoder, which is not in the file"
    return Recognised(used(own), named(claims, network, channels, _sides(own)[0]), (note,))
