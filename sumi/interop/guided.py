"""U-Nets of guided-diffusion, of improved-diffusion before it, and EDM's "ADM" (`sumi.networks.guided`).

    guided-diffusion   time_embed, input_blocks.N, middle_block, output_blocks.N, out      (Dhariwal & Nichol 2021)
    EDM                map_layer0, enc.32x32_block0, dec.8x8_in0, out_conv                 (Karras et al. 2022, "ADM")

What is in the tensors: the levels, their widths and attention, how sides change (``resblock_updown``), how the noise
level enters (``use_scale_shift_norm``), the classes, and a learned variance (``learn_sigma``). What is not, and is
assumed and noted: heads of 64 channels, or 4 heads where sides do not change in blocks, as in improved-diffusion; the
order of query, key and value, which is that of ``use_new_attention_order=False``; images of the side that the library
gives to these widths; ε in a linear chain of 1000 steps. Two of the published models differ, and are known by their
shape: that of 64x64 has the other order and the cosine chain, that of 128x128 four heads.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from torch import Tensor

from sumi.errors import InputError
from sumi.interop.claims import Claims, Recognised
from sumi.interop.preconditioning import LEVELS, PRECONDITIONED, fitted, stated
from sumi.networks.guided import GuidedConfig, GuidedEncoderConfig, Resizing
from sumi.process.chain import CosineBeta

HEAD_WIDTH: Final = 64
HEADS: Final = 4
"""In the library, where no width of a head is given."""
SIDES: Final[dict[tuple[float, ...], int]] = {
    (1, 2, 2, 2): 32,
    (1, 2, 3, 4): 64,
    (1, 1, 2, 3, 4): 128,
    (1, 1, 2, 2, 4, 4): 256,
    (0.5, 1, 1, 2, 2, 4, 4): 512,
}
"""Of images, by the widths of the levels over that of the sines and cosines, as the library's scripts choose them."""
PUBLISHED_64: Final = (192, (1, 2, 3, 4), 3)
PUBLISHED_128: Final = (256, (1, 1, 2, 3, 4), 2)
_EDM_LAYERS: Final = {
    "norm0": "in_layers.0",
    "conv0": "in_layers.2",
    "affine": "emb_layers.1",
    "norm1": "out_layers.0",
    "conv1": "out_layers.3",
    "skip": "skip_connection",
}


def recognised(own: Mapping[str, Tensor], claims: Claims | None) -> Recognised | None:
    """What the tensors are; None: no U-Net of guided-diffusion. Raises InputError for one that is another after all."""
    if not {"time_embed.0.weight", "input_blocks.0.0.weight", "output_blocks.0.0.in_layers.0.weight"} <= own.keys():
        return None
    if any(".transformer_blocks." in name for name in own):
        raise InputError("file: its U-Net attends to states, as Stable Diffusion's does; import a folder of diffusers")
    known, assumed = encoder(own, claims.network if claims is not None else None, _resizing(own))
    side = SIDES.get(multiples(known), 64)
    sized = claims or Claims(shape=(3, side, side))
    shape = (known.width, multiples(known), known.blocks)
    notes = f"guided-diffusion: {assumed}, ε in a linear chain of 1000 steps, images of {side}x{side}"
    if claims is None and shape == PUBLISHED_64 and "label_emb.weight" in own:
        known, sized = replace(known, new_order=True), replace(sized, schedule=CosineBeta())
        notes = "guided-diffusion: the published model of 64x64, with its order of attention and cosine chain,"
    if claims is None and shape == PUBLISHED_128 and "label_emb.weight" in own:
        known = replace(known, heads=HEADS)
        notes = "guided-diffusion: the published model of 128x128, with its 4 heads and linear chain,"
    return _unet(
        own, known, sized, f"{notes} are assumed; claim others by a mapping, or by --set network.new_order=true"
    )


def of_edm(own: Mapping[str, Tensor], values: Mapping[str, Any], claims: Claims | None) -> Recognised | None:
    """EDM's "ADM", with the other ``values`` of its file; None: none."""
    if not {"map_layer0.weight", "out_conv.weight"} <= own.keys():
        return None
    side = max(int(name.split(".")[1].partition("x")[0]) for name in own if name.startswith("enc."))
    known = stated(own, values, claims)
    sized = claims or replace(known or PRECONDITIONED, shape=(3, side, side))
    named = _named_as_guided(  # no augmentation is a vector of zeros
        {name: value for name, value in own.items() if name not in (LEVELS, "map_augment.weight")}
    )
    network = replace(
        encoder(named, None, _resizing(named))[0], heads=0, head_width=HEAD_WIDTH, new_order=False, group_width=4
    )
    which = "EDM" if known else "EDM: σ_data = 0.5"
    note = f"{which}, and heads of {HEAD_WIDTH} channels are assumed; claim others by a mapping"
    found = _unet(named, network, sized, note)
    return fitted(found) if known is None else found


def multiples(network: GuidedEncoderConfig) -> tuple[float, ...]:
    """The widths of the levels over that of the sines and cosines."""
    return tuple(width / network.width for width in network.widths)


def encoder(own: Mapping[str, Tensor], claimed: object, changes: tuple[Resizing, int]) -> tuple[GuidedConfig, str]:
    """The shape of the network but for its classes, and what of it is assumed.

    ``claimed``: a network whose heads and order count, where it is of this class; ``changes``: how sides change between
    the levels, and how often. Raises InputError.
    """
    resizing, levels, count = changes[0], changes[1] + 1, down_blocks(own)
    blocks = count // levels - 1
    firsts = [f"input_blocks.{1 + level * (blocks + 1)}" for level in range(levels)]
    if count != levels * (blocks + 1) or any(f"{first}.0.out_layers.3.weight" not in own for first in firsts):
        raise InputError("file: its U-Net has not the same number of blocks in each level; claim it by a mapping")
    widths = tuple(len(own[f"{first}.0.out_layers.3.weight"]) for first in firsts)
    attention = tuple(level for level, first in enumerate(firsts) if f"{first}.1.qkv.weight" in own)
    heads, head_width, up_heads, new_order = 0, HEAD_WIDTH, 0, False
    assumed = f"heads of {HEAD_WIDTH} channels"
    attended = [widths[level] for level in (*attention, levels - 1)]
    if resizing != "block" or any(width % HEAD_WIDTH for width in attended):
        heads = 1 if any(width % HEADS for width in attended) else HEADS
        assumed = f"{heads} heads"
    match claimed:
        case GuidedConfig():
            heads, up_heads, head_width = claimed.heads, claimed.up_heads, claimed.head_width
            new_order = claimed.new_order
        case _:
            pass
    network = GuidedConfig(
        own["time_embed.0.weight"].shape[1],
        widths,
        blocks,
        attention,
        heads,
        head_width,
        new_order,
        resizing,
        len(own[f"{firsts[0]}.0.emb_layers.1.weight"]) == 2 * widths[0],
        up_heads=up_heads,
    )
    return network, f"{assumed} whose order is that of use_new_attention_order=False"


def down_blocks(own: Mapping[str, Tensor]) -> int:
    """The number of blocks on the way down, with the first convolution."""
    return 1 + max(int(name.split(".")[1]) for name in own if name.startswith("input_blocks."))


def _resizing(own: Mapping[str, Tensor]) -> tuple[Resizing, int]:
    """How sides change between the levels, and how often."""
    if found := _without_blocks(own):
        return found
    up = (name.split(".") for name in own if name.startswith("output_blocks."))
    return "block", sum(parts[2] != "0" and parts[3:] == ["in_layers", "0", "weight"] for parts in up)


def _without_blocks(own: Mapping[str, Tensor]) -> tuple[Resizing, int] | None:
    """How sides change, and how often; None: in blocks, or not at all."""
    if convolutions := sum(name.startswith("input_blocks.") and name.endswith(".0.op.weight") for name in own):
        return "convolution", convolutions
    there = {int(name.split(".")[1]) for name in own if name.startswith("input_blocks.")}
    if missing := down_blocks(own) - len(there):
        return "none", missing
    return None


def way_down(own: Mapping[str, Tensor]) -> tuple[Resizing, int]:
    """How sides change, and how often, of a network without a way up.

    A block that halves the side has the tensors of any other; but it has no attention after it, and the blocks of a
    level are alike. Raises InputError where that leaves several numbers of levels, or none.
    """
    if found := _without_blocks(own):
        return found
    count = down_blocks(own)
    widths = [len(own[f"input_blocks.{k}.0.out_layers.3.weight"]) for k in range(1, count)]
    attends = [f"input_blocks.{k}.1.qkv.weight" in own for k in range(1, count)]
    possible = list[int]()
    for levels in range(1, count + 1):
        blocks = count // levels - 1
        starts = range(0, count, blocks + 1)
        alike = all(
            len({*widths[k : k + blocks + 1]}) == 1
            and len({*attends[k : k + blocks]}) == 1
            and not any(attends[k + blocks : k + blocks + 1])
            for k in starts
        )
        if count == levels * (blocks + 1) and blocks and alike:
            possible.append(levels)
    first = own["time_embed.0.weight"].shape[1]
    usual = [n for n in possible if tuple(width / first for width in widths[:: count // n]) in SIDES]
    if len(found := usual or possible) != 1:
        raise InputError(
            f"file: its {count - 1} blocks are of {found or 'no'} levels; give a file of another classifier"
        )
    return "block", found[0] - 1


def _unet(own: Mapping[str, Tensor], network: GuidedConfig, claims: Claims, note: str) -> Recognised:
    taken, given = own["input_blocks.0.0.weight"].shape[1], len(own["out.2.weight"])
    upsamples = taken == 2 * claims.shape[0] and given in (taken, claims.shape[0])
    if upsamples or given not in (taken, 2 * taken):
        raise InputError(
            f"file: it takes {taken} channels and gives {given}, so part of its input is a small image, as in the "
            "library's upsamplers, which is not known here; claim the shape by a mapping if it is none"
        )
    count = len(own["label_emb.weight"]) if "label_emb.weight" in own else 0
    classes = claims.classes if len(claims.classes) == count else tuple(map(str, range(count)))
    claimed = replace(
        claims,
        shape=(taken, *claims.shape[1:]),
        network=replace(network, embedding=count + 1),
        learned_variance=given == 2 * taken,
        classes=classes,
    )
    return Recognised(dict(own), claimed, (note,))


def _edm_order(name: str) -> tuple[str, int, int]:
    """Where a tensor of EDM's stands in the network: down from the largest side, then up from the smallest."""
    match re.match(r"(enc|dec)\.(\d+)x\d+_(conv|down|up|in|block)(\d*)", name):
        case None:
            return "", 0, 0
        case found:
            part, side, kind, number = found.groups()
            place = 1 + int(number) if kind == "block" else -int(kind == "in")
            return ("down" if part == "enc" else "up"), int(side) * (-1 if part == "enc" else 1), place


def _named_as_guided(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """EDM's tensors by guided-diffusion's names."""
    found: dict[str, Tensor] = {}
    places: dict[str, str] = {}
    counts, last = {"enc": 0, "dec": 0}, ""
    for name in sorted(tensors, key=_edm_order):
        value = tensors[name]
        if name.startswith(("enc.", "dec.")):
            part, block, layer = name.split(".", 2)
            if f"{part}.{block}" not in places:
                kind = block.partition("_")[2]
                match part, kind:
                    case "dec", "in0" | "in1":
                        places[f"{part}.{block}"] = f"middle_block.{0 if kind == 'in0' else 2}"
                    case "dec", "up":  # the last module of the block before it
                        inner = 2 if any(n.startswith(f"{last}.qkv") for n in tensors) else 1
                        places[f"{part}.{block}"] = f"output_blocks.{counts['dec'] - 1}.{inner}"
                    case _:
                        side = "input_blocks" if part == "enc" else "output_blocks"
                        places[f"{part}.{block}"] = f"{side}.{counts[part]}.0"
                        counts[part] += 1
                        last = f"{part}.{block}"
            place = places[f"{part}.{block}"]
            module, _, leaf = layer.rpartition(".")
            attention = place.rpartition(".")[0] + ".1"
            if not module:  # the first convolution
                found[f"{place}.{layer}"] = value
            elif module in _EDM_LAYERS:
                found[f"{place}.{_EDM_LAYERS[module]}.{leaf}"] = value
            elif module in ("norm2", "qkv", "proj"):
                own = {"norm2": "norm", "qkv": "qkv", "proj": "proj_out"}[module]
                if module == "qkv":  # of (heads, width, 3)
                    value = value.unflatten(0, (-1, HEAD_WIDTH, 3)).transpose(1, 2).flatten(0, 2)
                found[f"{attention}.{own}.{leaf}"] = value.flatten(2) if value.ndim == 4 else value
            else:
                raise InputError(f"{name}: is of no layer of ADM's U-Net; claim the network by a mapping")
            continue
        fixed = {"map_layer0": "time_embed.0", "map_layer1": "time_embed.2", "out_norm": "out.0", "out_conv": "out.2"}
        module, _, leaf = name.rpartition(".")
        if module == "map_label":
            found["label_emb.weight"] = value.T.contiguous()
        elif module in fixed:
            found[f"{fixed[module]}.{leaf}"] = value
        else:
            raise InputError(f"{name}: is of no layer of ADM's U-Net; claim the network by a mapping")
    return found
