"""Checkpoints of score_sde_pytorch (Song et al. 2021): DDPM++ and NCSN++ by EDM's names of their tensors.

    all_modules.N    the modules in the order of their use, with numbers for those without tensors as well

    W; Linear, Linear               random frequencies, where the noise level enters by them; map_layer0, map_layer1
    Conv                            the first convolution
    per level, blocks x             a residual block, and attention after it
        and between levels          a block that halves the side (as many channels, with a shortcut); an image aside
    block, attention, block         in the middle
    per level, (blocks + 1) x       a residual block; attention after the last; norm and convolution of an output
        and between levels          a block that doubles the side

A network with random frequencies is of the exploding process with the ``sigmas`` of its file, in images of [0, 1],
which are 2 σ in [-1, 1]; it gives the score times σ, -ε, of ln σ. One with sines is of the preserving process, and
gives ε of 999 t. The side of the images is in no tensor: the lowest level is taken to have 4 pixels.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.interop.claims import Claims, Recognised
from sumi.interop.edm import song
from sumi.interop.preconditioning import EXPLODING, PRESERVING
from sumi.process.exploding import VE

LOWEST: Final = 4
_RESIDUAL: Final = {
    "GroupNorm_0": "norm0",
    "Conv_0": "conv0",
    "Dense_0": "affine",
    "GroupNorm_1": "norm1",
    "Conv_1": "conv1",
    "Conv_2": "skip",
}
_TRAINED: Final = re.compile(r"^(?!.*(sigmas|\.W)$)|NIN")
"""Of the tensors those that its average has: neither the levels nor random frequencies."""


def averaged(values: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """The model of a checkpoint with the averaged weights, which are a list; None: it is of another toolkit.

    Raises InputError for a list of another model.
    """
    match values:
        case {"model": dict() as model, "ema": {"shadow_params": list() as average}}:
            names = [name for name in model if _TRAINED.search(name)]
            if len(names) != len(average):
                raise InputError(f"file: its average has {len(average)} tensors for {len(names)}; get the file again")
            return {**model, **dict(zip(names, average, strict=True))}
        case _:
            return None


@dataclass(frozen=True)
class _Module:
    """One of all_modules, by what it has."""

    number: int
    tensors: dict[str, Tensor]

    @property
    def residual(self) -> bool:
        return "GroupNorm_1.weight" in self.tensors

    @property
    def resizes(self) -> bool:
        """Whether it is a residual block of another side: with a shortcut between as many channels."""
        first = self.tensors.get("Conv_0.weight")
        return self.residual and "Conv_2.weight" in self.tensors and first is not None and len(first) == first.shape[1]


def recognised(own: Mapping[str, Tensor], claims: Claims | None) -> Recognised | None:
    """What the tensors are; None: none of these. Raises InputError for a network of that toolkit that is another."""
    if "all_modules.0.W" not in own and "all_modules.0.weight" not in own:
        return None
    random = "all_modules.0.W" in own
    smooth = random or any(name.endswith("Conv2d_0.weight") for name in own)
    modules = list(_modules(own))
    levels = 1 + sum(module.resizes for module in modules) // 2
    shape = (LOWEST << levels - 1,) * 2
    known = claims or (replace(EXPLODING, schedule=_exploding(own)) if random else PRESERVING)
    side = (shape if known.shape == Claims().shape else known.shape[1:])[0]
    found = song(_named(modules, levels, side), known, smooth=smooth)
    if claims is not None:
        return found
    process = "the exploding process" if random else "the variance-preserving process"
    note = f"score_sde_pytorch: {process} and images of {side}x{side} are assumed; claim others by a mapping"
    return replace(found, notes=(note,))


def _exploding(own: Mapping[str, Tensor]) -> VE:
    """With the levels of the file, of images of [-1, 1]."""
    if "sigmas" not in own:
        return VE(0.02, 100.0)
    return VE(2 * float(own["sigmas"].min()), 2 * float(own["sigmas"].max()))


def _modules(own: Mapping[str, Tensor]) -> Iterator[_Module]:
    parts: dict[int, dict[str, Tensor]] = {}
    for name, value in own.items():
        if name.startswith("all_modules."):
            _, number, leaf = name.split(".", 2)
            parts.setdefault(int(number), {})[leaf] = value
    return (_Module(number, parts[number]) for number in sorted(parts))


def _named(modules: list[_Module], levels: int, side: int) -> dict[str, Tensor]:
    """All tensors by EDM's names. Raises InputError for a module of another network."""
    found, left = dict[str, Tensor](), list(modules)
    if "W" in left[0].tensors:
        found["map_noise.freqs"] = left.pop(0).tensors["W"]
    for name in ("map_layer0", "map_layer1"):
        found |= {f"{name}.{leaf}": value for leaf, value in left.pop(0).tensors.items()}
    found |= {f"enc.{side}x{side}_conv.{leaf}": value for leaf, value in left.pop(0).tensors.items()}
    blocks = (sum(m.residual and not m.resizes for m in left) - levels - 2) // (2 * levels)
    level = count = 0  # the level, and how many residual blocks of one side there were
    last, part = "", "enc"
    for module in left:
        middle = count - levels * blocks
        if module.resizes:
            level += 1 if part == "enc" else -1
        elif module.residual:
            part = "enc" if middle < 0 else "dec"
        place = f"{part}.{side >> level}x{side >> level}"
        match module:
            case _Module(resizes=True):
                last = f"{place}_{'down' if part == 'enc' else 'up'}"
                found |= _residual(module, last)
            case _Module(residual=True):
                number = count % blocks if middle < 0 else (middle - 2) % (blocks + 1)
                last = f"{place}_block{number}" if middle < 0 or middle > 1 else f"{place}_in{middle}"
                found |= _residual(module, last)
                count += 1
            case _:
                found |= _other(module, place, last)
    return found


def _residual(module: _Module, place: str) -> dict[str, Tensor]:
    found = dict[str, Tensor]()
    for name, value in module.tensors.items():
        layer, _, leaf = name.partition(".")
        if layer not in _RESIDUAL:
            raise _unknown(module)
        found[f"{place}.{_RESIDUAL[layer]}.{leaf}"] = value
    return found


def _other(module: _Module, place: str, last: str) -> dict[str, Tensor]:
    """Attention after the block ``last``, or what is aside of the level ``place``."""
    own = module.tensors
    if "NIN_3.W" in own:
        three = [own[f"NIN_{k}.W"].T for k in range(3)], [own[f"NIN_{k}.b"] for k in range(3)]
        weight, bias = (torch.stack(parts, 1).flatten(0, 1) for parts in three)  # a channel's q, k and v in a row
        found = {"qkv.weight": weight, "qkv.bias": bias, "proj.weight": own["NIN_3.W"].T, "proj.bias": own["NIN_3.b"]}
        found = {name: v[..., None, None].contiguous() if v.ndim == 2 else v for name, v in found.items()}
        found |= {f"norm2.{leaf}": own[f"GroupNorm_0.{leaf}"] for leaf in ("weight", "bias")}
        return {f"{last}.{name}": value for name, value in found.items()}
    layer = next(iter(own)).rpartition(".")[0]
    match layer, own[next(iter(own))].ndim, place.startswith("enc"):
        case "Conv", 4, True:
            name = "aux_skip"
        case "Conv2d_0" | "Conv_0", 4, True:
            name = "aux_residual"
        case "", 1, False:
            name = "aux_norm"
        case "", 4, False:
            name = "aux_conv"
        case _:
            raise _unknown(module)
    return {f"{place}_{name}.{leaf.removeprefix(layer).lstrip('.')}": value for leaf, value in own.items()}


def _unknown(module: _Module) -> InputError:
    names = ", ".join(sorted({name.partition(".")[0] for name in module.tensors}))
    return InputError(
        f"file: all_modules.{module.number} ({names}) is of no DDPM++ or NCSN++ with blocks of BigGAN; import another"
    )
