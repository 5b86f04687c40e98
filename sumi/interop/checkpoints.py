"""Weights that are recognised by the names of their tensors: ADM's U-Net, denoising-diffusion-pytorch's, and those of
`sumi.interop.edm` and `sumi.interop.score_sde`.

    guided-diffusion   time_embed, input_blocks.N, middle_block, output_blocks.N, out      (Dhariwal & Nichol 2021)
    EDM                map_layer0, enc.32x32_block0, dec.8x8_in0, out_conv                 (Karras et al. 2022, "ADM")

ADM's are UNet2DModel of diffusers with ``scale_shift`` and residual blocks that change the resolution. The three of
attention are laid out otherwise in each: (heads, 3, width) and (heads, width, 3), here (3, heads, width).

    denoising-diffusion-pytorch   init_conv, downs, mid_attn, ups, final_conv    (`sumi.networks.lucidrains`)

Its checkpoints hold the averaged weights, β, and the weight of the loss at each time, which tells what is predicted.

What the names do not say is assumed and noted: heads of 64 channels, a linear chain of 1000 steps and ε of the first,
and images of 64x64 unless the names or a claim say another side. How EDM's is preconditioned is found out
(`sumi.interop.preconditioning`).
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor

from sumi.denoising.parameterization import (
    PredictClean,
    PredictNoise,
    PredictVelocity,
    Reread,
)
from sumi.errors import InputError
from sumi.interop import edm, score_sde
from sumi.interop.claims import Claims, Recognised
from sumi.interop.preconditioning import LEVELS, PRECONDITIONED, fitted, stated
from sumi.interop.tensors import Tensors, prefixed, to_text
from sumi.networks.diffusers import DiffusersNetwork
from sumi.networks.lucidrains import LucidrainsConfig
from sumi.process.chain import ListedBeta

HEAD_WIDTH: Final = 64
_LUCIDRAINS: Final = (
    *("init_conv", "time_mlp", "downs", "ups", "mid_block1", "mid_attn", "mid_block2"),
    *("final_res_block", "final_conv"),
)
GROUPS: Final = 32
LEAST_WIDTH: Final = 4 * GROUPS
"""EDM's groups have 4 channels or more, and the library's U-Net as many groups everywhere."""
_EDM_LAYERS: Final = {
    "norm0": "in_layers.0",
    "conv0": "in_layers.2",
    "affine": "emb_layers.1",
    "norm1": "out_layers.0",
    "conv1": "out_layers.3",
    "skip": "skip_connection",
}
_RESIDUAL: Final = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}


def recognised(read: Tensors, claims: Claims | None) -> Recognised | None:
    """What a file is; None: no layout that is known. ``claims``: the shape, the schedule and the prediction instead.

    Raises InputError for a network of these layouts that is another after all.
    """
    own = _without_prefix(score_sde.averaged(read.values) or averaged(read))
    if {"init_conv.weight", "mid_attn.mem_kv", "final_conv.weight"} <= own.keys():
        return _lucidrains(own, claims)
    if (found := score_sde.recognised(own, claims) or edm.recognised(own, read.values, claims)) is not None:
        return found
    if {"map_layer0.weight", "out_conv.weight"} <= own.keys():
        if "map_augment.weight" in own:  # no augmentation is a vector of zeros
            own = {name: value for name, value in own.items() if name != "map_augment.weight"}
        side = max(int(name.split(".")[1].partition("x")[0]) for name in own if name.startswith("enc."))
        known, own = stated(own, read.values, claims), {n: v for n, v in own.items() if n != LEVELS}
        sized = claims or replace(known or PRECONDITIONED, shape=(3, side, side))
        named = _named_as_adm(own)
        if (narrow := min(len(v) for name, v in named.items() if name.endswith("out_layers.3.bias"))) < LEAST_WIDTH:
            raise InputError(
                f"file: its {narrow} channels are normalised in {narrow // 4} groups and others in {GROUPS}, which is "
                "not known here; import another"
            )
        found = _unet(named, sized, 2, "EDM" if known else "EDM: σ_data = 0.5")
        return fitted(found) if known is None else found
    if {"time_embed.0.weight", "input_blocks.0.0.weight", "out.2.weight"} <= own.keys():
        known = claims or Claims(shape=(3, 64, 64))
        return _unet(own, known, 1, "guided-diffusion: ε in a linear chain of 1000 steps, images of 64x64")
    return None


def averaged(read: Tensors) -> dict[str, Tensor]:
    """The tensors of a file; of a checkpoint in training those of the averaged model, else of the model."""
    for key in ("ema", "model_ema", "model", "state_dict"):
        match read.values.get(key):
            case dict() as table:
                own = {str(name): value for name, value in table.items() if torch.is_tensor(value)}
                return prefixed(own, "ema_model.") or own
            case _:
                pass
    return read.tensors


def _lucidrains(own: Mapping[str, Tensor], claims: Claims | None) -> Recognised:
    """The U-Net of denoising-diffusion-pytorch, with the buffers of its diffusion where they are there."""
    weights = {n: v for n, v in own.items() if n.partition(".")[0] in _LUCIDRAINS}
    width = weights["init_conv.weight"].shape[0]
    levels = 1 + max(int(name.split(".")[1]) for name in own if name.startswith("downs."))
    channels, outputs = weights["init_conv.weight"].shape[1], weights["final_conv.weight"].shape[0]
    plain = "time_mlp.0.weights" not in own and own["time_mlp.1.weight"].shape[1] == width
    if not plain or outputs not in (channels, 2 * channels):
        raise InputError("file: its U-Net is conditioned on itself or on learned frequencies, which is not known here")
    below = [own.get(f"downs.{i}.3.1.weight", own.get(f"downs.{i}.3.weight")) for i in range(levels)]
    full = tuple(i for i in range(levels) if f"downs.{i}.2.to_out.0.weight" not in own)
    _, heads, _, head_width = own["mid_attn.mem_kv"].shape
    multiples = tuple(len(value) // width for value in below if value is not None)
    network = LucidrainsConfig(width, multiples, full, heads, head_width)
    stated, note = claims or Claims(shape=(channels, 64, 64)), "" if claims else "images of 64x64 are assumed"
    if claims is None and "betas" in own:
        betas, predicts = own["betas"].double(), _objective(own)
        if (steps := len(betas)) != 1000:  # its time input is the index of the step
            predicts = Reread(predicts, steps / 1000, steps / 1000 - 1)
        stated = replace(stated, schedule=ListedBeta(tuple(betas.tolist())), parameterization=predicts)
    elif claims is None:
        note += ", and ε in a linear chain of 1000 steps, as the file has no diffusion"
    claimed = replace(
        stated, network=network, shape=(channels, *stated.shape[1:]), learned_variance=outputs != channels
    )
    notes = (f"denoising-diffusion-pytorch: {note}; claim others by a mapping",) if note else ()
    return Recognised(weights, claimed, notes)


def _objective(own: Mapping[str, Tensor]) -> PredictNoise | PredictClean | PredictVelocity:
    """What is predicted, by the weight of the loss: 1 of ε, SNR of x_0, SNR/(SNR + 1) of v; SNR may be cut off at 5."""
    snr = own["alphas_cumprod"].double() / (1 - own["alphas_cumprod"].double())
    found = own["loss_weight"].double()
    for cut in (snr, snr.clamp(max=5.0)):
        for kind, weight in ((PredictNoise(), cut / snr), (PredictClean(), cut), (PredictVelocity(), cut / (snr + 1))):
            if torch.allclose(found, weight, rtol=1e-3):
                return kind
    raise InputError("file: the weight of its loss is that of no prediction that is known; claim it by a mapping")


def _without_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without what wrappers put before every name."""
    return {
        re.sub(r"^(module\.|model\.|diffusion_model\.|inner_model\.|unet\.)+", "", name): value
        for name, value in tensors.items()
    }


def _edm_order(name: str) -> tuple[str, int, int]:
    """Where a tensor of EDM's stands in the network: down from the largest side, then up from the smallest."""
    match re.match(r"(enc|dec)\.(\d+)x\d+_(conv|down|up|in|block)(\d*)", name):
        case None:
            return "", 0, 0
        case found:
            part, side, kind, number = found.groups()
            place = 1 + int(number) if kind == "block" else -int(kind == "in")
            return ("down" if part == "enc" else "up"), int(side) * (-1 if part == "enc" else 1), place


def _named_as_adm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
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
                found[f"{attention}.{own}.{leaf}"] = value.flatten(1) if value.ndim == 4 else value
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


def _unet(tensors: Mapping[str, Tensor], claims: Claims, axis_of_three: int, stated: str) -> Recognised:
    """The U-Net as UNet2DModel. ``axis_of_three``: where query, key and value lie in (heads, 3, width)."""
    down, up = _blocks(tensors, "input_blocks"), _blocks(tensors, "output_blocks")
    levels = 1 + sum(_is_resize(tensors, f"output_blocks.{i}", j) for i, block in enumerate(up) for j in block)
    per_level = (len(down) - levels) // levels
    if len(down) != levels * (per_level + 1) or len(up) != levels * (per_level + 1):
        raise InputError("file: its U-Net has not the same number of blocks in each level; claim it by a mapping")
    heads = HEAD_WIDTH
    weights: dict[str, Tensor] = {}
    names = {"time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2"}
    names |= {"input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out"}
    _take(tensors, weights, names)
    if "label_emb.weight" in tensors:
        table = tensors["label_emb.weight"]
        weights["class_embedding.weight"] = torch.cat([table, torch.zeros_like(table[:1])])
    widths, attends = list[int](), list[bool]()
    for level in range(levels):
        first = 1 + level * (per_level + 1)
        for j in range(per_level):
            _residual(tensors, weights, f"input_blocks.{first + j}.0", f"down_blocks.{level}.resnets.{j}")
            _attention(
                tensors, weights, f"input_blocks.{first + j}.1", f"down_blocks.{level}.attentions.{j}", axis_of_three
            )
        widths.append(tensors[f"input_blocks.{first}.0.out_layers.3.weight"].shape[0])
        attends.append(f"input_blocks.{first}.1.qkv.weight" in tensors)
        if level < levels - 1:
            _residual(tensors, weights, f"input_blocks.{first + per_level}.0", f"down_blocks.{level}.downsamplers.0")
    for level in range(levels):
        for j in range(per_level + 1):
            place = f"output_blocks.{level * (per_level + 1) + j}"
            _residual(tensors, weights, f"{place}.0", f"up_blocks.{level}.resnets.{j}")
            _attention(tensors, weights, f"{place}.1", f"up_blocks.{level}.attentions.{j}", axis_of_three)
        if level < levels - 1:
            last = f"output_blocks.{level * (per_level + 1) + per_level}"
            _residual(
                tensors, weights, f"{last}.{2 if attends[levels - 1 - level] else 1}", f"up_blocks.{level}.upsamplers.0"
            )
    for block in (0, 2):
        _residual(tensors, weights, f"middle_block.{block}", f"mid_block.resnets.{block // 2}")
    _attention(tensors, weights, "middle_block.1", "mid_block.attentions.0", axis_of_three)
    channels, outputs = tensors["input_blocks.0.0.weight"].shape[1], tensors["out.2.weight"].shape[0]
    classes = tuple(map(str, range(len(tensors["label_emb.weight"])))) if "label_emb.weight" in tensors else ()
    settings: dict[str, Any] = {
        "block_out_channels": widths,
        "layers_per_block": per_level,
        "down_block_types": ["AttnDownBlock2D" if a else "ResnetDownsampleBlock2D" for a in attends],
        "up_block_types": ["AttnUpBlock2D" if a else "ResnetUpsampleBlock2D" for a in reversed(attends)],
        "downsample_type": "resnet",
        "upsample_type": "resnet",
        "resnet_time_scale_shift": "scale_shift",
        "attention_head_dim": heads,
        "attn_norm_num_groups": GROUPS,
        "norm_num_groups": GROUPS,
        "num_class_embeds": len(classes) or None,
    }
    claimed = replace(
        claims,
        shape=(channels, *claims.shape[1:]),
        network=DiffusersNetwork("UNet2DModel", to_text(settings), 1.0, 0.0, len(classes) + 1),
        learned_variance=outputs == 2 * channels,
        classes=classes,
    )
    return Recognised(
        weights, claimed, (f"{stated}, and heads of {heads} channels are assumed; claim others by a mapping",)
    )


def _blocks(tensors: Mapping[str, Tensor], part: str) -> list[list[int]]:
    """The numbers of the modules in each block of ``part``."""
    found: dict[int, set[int]] = {}
    for name in tensors:
        if name.startswith(part):
            block, module = name.split(".")[1:3]
            found.setdefault(int(block), set()).add(int(module))
    return [sorted(found[block]) for block in sorted(found)]


def _is_resize(tensors: Mapping[str, Tensor], block: str, module: int) -> bool:
    """Whether a module of a block on the way up is a second residual block, which doubles the size."""
    return module > 0 and f"{block}.{module}.in_layers.0.weight" in tensors


def _take(tensors: Mapping[str, Tensor], weights: dict[str, Tensor], names: Mapping[str, str]) -> None:
    for theirs, ours in names.items():
        for leaf in ("weight", "bias"):
            if f"{theirs}.{leaf}" in tensors:
                weights[f"{ours}.{leaf}"] = tensors[f"{theirs}.{leaf}"]


def _residual(tensors: Mapping[str, Tensor], weights: dict[str, Tensor], theirs: str, ours: str) -> None:
    if f"{theirs}.in_layers.0.weight" not in tensors:
        raise InputError(f"{theirs}: is no residual block of ADM's U-Net; claim the network by a mapping")
    _take(tensors, weights, {f"{theirs}.{a}": f"{ours}.{b}" for a, b in _RESIDUAL.items()})


def _attention(tensors: Mapping[str, Tensor], weights: dict[str, Tensor], theirs: str, ours: str, axis: int) -> None:
    if f"{theirs}.qkv.weight" not in tensors:
        return
    _take(tensors, weights, {f"{theirs}.norm": f"{ours}.group_norm"})
    for leaf in ("weight", "bias"):
        three, out = tensors[f"{theirs}.qkv.{leaf}"], tensors[f"{theirs}.proj_out.{leaf}"]
        three, out = (value.flatten(1) if value.ndim > 2 else value for value in (three, out))
        width = len(out)
        if width % HEAD_WIDTH:
            raise InputError(f"{theirs}: {width} channels are no heads of {HEAD_WIDTH}; claim the network by a mapping")
        heads = three.unflatten(0, (width // HEAD_WIDTH, *((3, -1) if axis == 1 else (-1, 3))))
        for name, part in zip(("to_q", "to_k", "to_v"), heads.unbind(axis), strict=True):
            weights[f"{ours}.{name}.{leaf}"] = part.flatten(0, 1)
        weights[f"{ours}.to_out.0.{leaf}"] = out
