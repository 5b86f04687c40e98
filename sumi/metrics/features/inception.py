"""Inception-v3 (Szegedy et al. 2016) as used by the Fréchet Inception distance: 2048 features, and class logits.

The user supplies the weights in a file (``inception_weights``). The number of classes distinguishes the two known sets:

    1008  ported from the TensorFlow graph of Heusel et al. (2017). Average pools exclude the zero padding; the last
          block's pool takes the maximum. Logits have no bias, as in the score of Salimans et al. (2016)
    1000  torchvision's, for ImageNet, without the auxiliary head, which only served training

Their distances do not compare with each other; published ones use 1008 classes.

A block is a table of branches, chains of convolutions of the same image; a tuple in a chain is a fork, whose ends are
concatenated. So are the branches, with the pooled image last.

Nothing is downloaded, and no code in the file runs (`sumi.metrics.features.state_dict`). Names and shapes must be the
network's.

Images are resized to 299 × 299 pixels, antialiased, with values in [-1, 1], as in the training of both sets of weights.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sumi.errors import InputError
from sumi.metrics.features.pretrained import Preprocessing, PretrainedSpace
from sumi.metrics.features.state_dict import read_state_dict
from sumi.networks.layers import to_channels_last

SIDE = 299
DIMENSION = 2048
FID_CLASSES, IMAGENET_CLASSES = 1008, 1000


class Size(NamedTuple):
    """A convolution: output channels, height and width of the kernel, stride (2 implies no padding)."""

    width: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


Chain = Sequence[Size | tuple[Size, Size]]


def _square(width: int, side: int) -> Size:
    return Size(width, (side, side))


def _halving(width: int) -> Size:
    return Size(width, (3, 3), 2)


def _small(pooled: int) -> dict[str, Chain]:
    """35×35."""
    return {
        "branch1x1": [Size(64)],
        "branch5x5": [Size(48), _square(64, 5)],
        "branch3x3dbl": [Size(64), _square(96, 3), _square(96, 3)],
        "branch_pool": [Size(pooled)],
    }


def _medium(width: int) -> dict[str, Chain]:
    """17×17; a 7×7 kernel is a row after a column."""
    row, column = Size(width, (1, 7)), Size(width, (7, 1))
    return {
        "branch1x1": [Size(192)],
        "branch7x7": [Size(width), row, Size(192, (7, 1))],
        "branch7x7dbl": [Size(width), column, row, column, Size(192, (1, 7))],
        "branch_pool": [Size(192)],
    }


FORK = (Size(384, (1, 3)), Size(384, (3, 1)))
LARGE: dict[str, Chain] = {  # 8×8
    "branch1x1": [Size(320)],
    "branch3x3": [Size(384), FORK],
    "branch3x3dbl": [Size(448), _square(384, 3), FORK],
    "branch_pool": [Size(192)],
}
TO_MEDIUM: dict[str, Chain] = {
    "branch3x3": [_halving(384)],
    "branch3x3dbl": [Size(64), _square(96, 3), _halving(96)],
}
TO_LARGE: dict[str, Chain] = {
    "branch3x3": [Size(192), _halving(320)],
    "branch7x7x3": [Size(192), Size(192, (1, 7)), Size(192, (7, 1)), _halving(192)],
}


class _Convolution(nn.Module):
    """Convolution without bias, batch norm with stored statistics, ReLU. ``padded`` keeps the image's size."""

    def __init__(self, channels: int, size: Size, *, padded: bool = True) -> None:
        super().__init__()
        height, width = size.kernel
        around = (height // 2, width // 2) if padded and size.stride == 1 else (0, 0)
        self.conv = nn.Conv2d(channels, size.width, size.kernel, size.stride, around, bias=False)
        self.bn = nn.BatchNorm2d(size.width, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(self.bn(self.conv(x)))


class _Pool(nn.Module):
    """3×3 pooling. ``stride`` 2 or ``most``: the maximum; else the mean, including the padding if ``zeros``."""

    def __init__(self, stride: int, *, most: bool, zeros: bool) -> None:
        super().__init__()
        self.stride, self.most, self.zeros = stride, most, zeros

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 2 or self.most:
            return F.max_pool2d(x, 3, self.stride, padding=2 - self.stride)
        return F.avg_pool2d(x, 3, 1, padding=1, count_include_pad=self.zeros)


class _Block(nn.Module):
    """The concatenated branches and pooled image: (N, channels, …) → (N, ``width``, …)."""

    def __init__(self, channels: int, branches: Mapping[str, Chain], pool: _Pool) -> None:
        super().__init__()
        self.pool = pool
        self.ways: dict[str, list[list[str]]] = {}  # the names of each branch's convolutions, step by step
        self.width = 0 if "branch_pool" in branches else channels
        for branch, chain in branches.items():
            incoming = channels
            self.ways[branch] = list[list[str]]()
            for number, step in enumerate(chain, 1):
                stem = branch if len(chain) == 1 else f"{branch}_{number}"
                match step:
                    case Size():
                        sizes = {stem: step}
                    case (first, second):
                        sizes = {f"{stem}a": first, f"{stem}b": second}
                for name, size in sizes.items():
                    self.add_module(name, _Convolution(incoming, size))
                self.ways[branch].append(list(sizes))
                incoming = sum(size.width for size in sizes.values())
            self.width += incoming

    def forward(self, x: Tensor) -> Tensor:
        found = dict.fromkeys(self.ways, x) | {"branch_pool": self.pool(x)}
        for branch, steps in self.ways.items():
            for names in steps:
                ends = [self.get_submodule(name)(found[branch]) for name in names]
                found[branch] = torch.cat(ends, 1) if len(ends) > 1 else ends[0]
        return torch.cat(list(found.values()), 1)


class Inception(nn.Module):
    """Images (N, 3, 299, 299) in [-1, 1] → features (N, 2048); ``classes``: 1008 or 1000. The usual module names."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        original = classes == FID_CLASSES
        self.classes, self.biased = classes, not original
        self.Conv2d_1a_3x3 = _Convolution(3, Size(32, (3, 3), 2))
        self.Conv2d_2a_3x3 = _Convolution(32, _square(32, 3), padded=False)
        self.Conv2d_2b_3x3 = _Convolution(32, _square(64, 3))
        self.Conv2d_3b_1x1 = _Convolution(64, Size(80))
        self.Conv2d_4a_3x3 = _Convolution(80, _square(192, 3), padded=False)
        means = _Pool(1, most=False, zeros=not original)
        halving = _Pool(2, most=True, zeros=False)
        blocks = {
            "Mixed_5b": (_small(32), means),
            "Mixed_5c": (_small(64), means),
            "Mixed_5d": (_small(64), means),
            "Mixed_6a": (TO_MEDIUM, halving),
            "Mixed_6b": (_medium(128), means),
            "Mixed_6c": (_medium(160), means),
            "Mixed_6d": (_medium(160), means),
            "Mixed_6e": (_medium(192), means),
            "Mixed_7a": (TO_LARGE, halving),
            "Mixed_7b": (LARGE, means),
            "Mixed_7c": (LARGE, _Pool(1, most=True, zeros=False) if original else means),
        }
        width = 192
        for name, (branches, pool) in blocks.items():
            block = _Block(width, branches, pool)
            self.add_module(name, block)
            width = block.width
        self.blocks = tuple(blocks)
        self.fc = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        return x.mean((2, 3))

    def logits(self, features: Tensor) -> Tensor:
        """(N, ``classes``) of features (N, 2048)."""
        return F.linear(features, self.fc.weight, self.fc.bias if self.biased else None)


NAMES = {FID_CLASSES: "Inception-v3 of the FID", IMAGENET_CLASSES: "Inception-v3 of torchvision"}
UNUSED = re.compile(r"AuxLogits\..*|.*\.num_batches_tracked")
REMEDY = (
    "get pt_inception-2015-12-05-6726825d.pth from the releases of github.com/mseitzer/pytorch-fid, "
    "or use features=learned"
)
SEEN = Preprocessing((SIDE, SIDE), None, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def open_inception(path: Path, device: torch.device) -> PretrainedSpace:
    """The space of the weights in ``path``.

    Raises InputError if the file is missing, unreadable or of another network, SumiError if its hash is wrong.
    """
    tensors = read_state_dict(path, REMEDY)
    classes = len(tensors["fc.bias"]) if "fc.bias" in tensors else 0
    if classes not in NAMES:
        raise InputError(f"{path}: holds no Inception-v3 of 1008 or 1000 classes; {REMEDY}")
    network = Inception(classes)
    own = network.state_dict()
    given = {name: tensor for name, tensor in tensors.items() if not UNUSED.fullmatch(name)}
    wanted = {name for name in own if not UNUSED.fullmatch(name)}
    wrong = sorted(wanted ^ given.keys()) or [name for name in wanted if own[name].shape != given[name].shape]
    if wrong:
        what = "is missing or of another shape" if wrong[0] in wanted else "is not of Inception-v3"
        raise InputError(f"{path}: the tensor {wrong[0]!r} {what}; {REMEDY}")
    network.load_state_dict(given, strict=False)  # batch norm's counters are not needed
    to_channels_last(network)
    return PretrainedSpace(
        NAMES[classes], network, SEEN, network, dimension=DIMENSION, device=device, logits=network.logits
    )
