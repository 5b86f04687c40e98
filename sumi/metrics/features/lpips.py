"""LPIPS (Zhang et al. 2018): the perceptual distance in VGG-16 or AlexNet, with channels weighted by human judgements.

The user supplies the weights, in a file or a folder of several files (`sumi.metrics.features.state_dict`), named as in
the packages lpips and torchmetrics:

    lin0.model.1.weight …        the weights of each stage's channels ("lins.0.…" are the same)
    net.slice1.0.weight …        the network's convolutions; or as torchvision names them, features.0.weight …

The heads that those packages hold and torchvision's vgg16 or alexnet in one folder are whole, too. Images are shifted
and divided per colour as there, and seen at their own size.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import torch
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.metrics.features.state_dict import read_state_dict
from sumi.metrics.perceptual import PerceptualDistance
from sumi.networks.layers import to_channels_last

SHIFT: Final = (-0.030, -0.088, -0.188)
SCALE: Final = (0.458, 0.448, 0.450)
"""Images x in [-1, 1] are seen as (x - SHIFT) / SCALE: ImageNet's mean and deviation of each colour."""
ENDINGS: Final = (".safetensors", ".pth", ".pt", ".bin")
REMEDY: Final = (
    "give a state dict of LPIPS with VGG-16 or AlexNet, or a folder with its heads and torchvision's vgg16 or alexnet"
)
_Key = TypeVar("_Key")
_HEAD: Final = re.compile(r"(?:.*\.)?lin(?:s\.)?(\d)\.model\.\d\.weight")
_CONVOLUTION: Final = re.compile(r"(?:(?:.*\.)?(?:slice\d|features)\.)?(\d+)\.(weight|bias)")
_SCALING: Final = re.compile(r"(?:.*\.)?scaling_layer\.(shift|scale)")
_UNUSED: Final = re.compile(r"(?:.*\.)?classifier\..*")


@dataclass(frozen=True)
class Shape:
    """``layers``: (out, kernel, stride, padding) of a convolution with its ReLU, or (kernel,) of a maximum of stride 2.

    ``stages``: the width of the activations that are compared, by the number of torchvision's layers up to them, of
    which a ReLU is one. ``side``: the fewest pixels of an image's side.
    """

    name: str
    layers: tuple[tuple[int, ...], ...]
    stages: dict[int, int]
    side: int


def _three(width: int) -> tuple[int, int, int, int]:
    return width, 3, 1, 1


VGG: Final = Shape(
    "VGG-16",
    (
        *(_three(64), _three(64), (2,)),
        *(_three(128), _three(128), (2,)),
        *(_three(256), _three(256), _three(256), (2,)),
        *(_three(512), _three(512), _three(512), (2,)),
        *(_three(512), _three(512), _three(512)),
    ),
    {4: 64, 9: 128, 16: 256, 23: 512, 30: 512},
    16,
)
ALEX: Final = Shape(
    "AlexNet",
    ((64, 11, 4, 2), (3,), (192, 5, 1, 2), (3,), _three(384), _three(256), _three(256)),
    {2: 64, 5: 192, 8: 384, 10: 256, 12: 256},
    31,
)


class Backbone(nn.Module):
    """The convolutions of ``shape``, each of torchvision's index. ``maps(x)``: of images (N, 1 or 3, H, W)."""

    shift: Tensor
    scale: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for layer in shape.layers:
            match layer:
                case (kernel,):
                    layers.append(nn.MaxPool2d(kernel, 2))
                case _:
                    out, kernel, stride, padding = layer
                    layers += [nn.Conv2d(width, out, kernel, stride, padding), nn.ReLU()]
                    width = out
        self.layers, self.stages = nn.Sequential(*layers), shape.stages
        for name, values in (("shift", SHIFT), ("scale", SCALE)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

    def maps(self, images: Tensor, /) -> list[Tensor]:
        x, found = (images - self.shift) / self.scale, list[Tensor]()  # grey ones become three colours
        for number, layer in enumerate(self.layers, 1):
            x = layer(x)
            if number in self.stages:
                found.append(x)
        return found


def open_lpips(path: Path) -> PerceptualDistance:
    """The distance by the weights in ``path``, a file or a folder. Raises InputError where they are not whole."""
    heads, convolutions = _sorted(path)
    first = convolutions.get("0.weight")
    shape = next((s for s in (VGG, ALEX) if first is not None and first.shape[-1] == s.layers[0][1]), None)
    if shape is None:
        what = "no VGG-16 or AlexNet" if first is not None else "no network, which the heads are for"
        raise InputError(f"{path}: holds {what}; {REMEDY}")
    with torch.device("meta"):
        network = Backbone(shape)
    wanted = {name: tuple(tensor.shape) for name, tensor in network.layers.state_dict().items()}
    wanted |= {f"lin{k}": (width,) for k, width in enumerate(shape.stages.values())}
    found = {name: tuple(tensor.shape) for name, tensor in convolutions.items()}
    found |= {f"lin{k}": tuple(tensor.shape) for k, tensor in heads.items()}
    wrong = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
    if wrong:
        what = "is missing" if wrong[0] not in found else f"is not of LPIPS with {shape.name}"
        raise InputError(f"{path}: the tensor {wrong[0]!r} {what}; {REMEDY}")
    network = Backbone(shape)
    network.layers.load_state_dict(convolutions)
    to_channels_last(network)
    return PerceptualDistance(f"LPIPS in {shape.name}", network, (1, 3), shape.side, [heads[k] for k in range(5)])


def _sorted(path: Path) -> tuple[dict[int, Tensor], dict[str, Tensor]]:
    """Heads (C_l,) by stage, and convolutions' tensors by torchvision's index and name."""
    heads: dict[int, Tensor] = {}
    convolutions: dict[str, Tensor] = {}
    for file, name, tensor in _tensors(path):
        if not bool(tensor.isfinite().all()):
            raise InputError(f"{file}: the tensor {name!r} is not finite; {REMEDY}")
        if head := _HEAD.fullmatch(name):
            _put(heads, int(head[1]), tensor.flatten(), file, name)
        elif convolution := _CONVOLUTION.fullmatch(name):
            _put(convolutions, f"{convolution[1]}.{convolution[2]}", tensor, file, name)
        elif scaling := _SCALING.fullmatch(name):
            usual = SHIFT if scaling[1] == "shift" else SCALE
            if not torch.equal(tensor.flatten(), torch.tensor(usual)):
                raise InputError(f"{file}: the tensor {name!r} scales images otherwise than LPIPS; {REMEDY}")
        elif not _UNUSED.fullmatch(name):
            raise InputError(f"{file}: the tensor {name!r} is not of LPIPS; {REMEDY}")
    return heads, convolutions


def _put(into: dict[_Key, Tensor], key: _Key, tensor: Tensor, file: Path, name: str) -> None:
    if key in into and not torch.equal(into[key], tensor):
        raise InputError(f"{file}: the tensor {name!r} is there twice, with other values; {REMEDY}")
    into[key] = tensor


def _tensors(path: Path) -> Iterator[tuple[Path, str, Tensor]]:
    """(file, name, float32 tensor) of every file of weights."""
    files = sorted(file for file in path.iterdir() if file.suffix in ENDINGS) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: has no file of weights ({', '.join(ENDINGS)}); {REMEDY}")
    for file in files:
        for name, tensor in read_state_dict(file, REMEDY).items():
            yield file, name, tensor.float()
