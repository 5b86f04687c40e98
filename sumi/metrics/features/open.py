"""A feature space by name: the built-in one, or a network in the user's file or folder."""

from pathlib import Path
from textwrap import shorten
from typing import Final

import torch

from sumi.boundary.files import irregular
from sumi.errors import InputError
from sumi.metrics.features.space import FeatureSpace

LEARNED: Final = "learned"
"""The built-in space: a classifier trained on the training images."""
EFFICIENTNET: Final = "efficientnet"
"""The space of a network whose weights come with the extra ``features``."""


def open_space(name: str, device: torch.device) -> FeatureSpace | None:
    """The network in ``name``: EFFICIENTNET, a file of Inception weights, or a folder in Hugging Face's format.

    LEARNED is None. Raises InputError, with the remedy, if there is no such network.
    """
    if name == LEARNED:
        return None
    if name == EFFICIENTNET:
        from sumi.metrics.features.efficientnet import open_efficientnet

        return open_efficientnet(device)
    if not name or name.endswith((".npy", ".npz")):
        raise InputError(
            f"features: {name or 'an empty name'} is no network, which sees the samples as it sees real images; give "
            "Inception weights, a folder of DINOv2 or CLIP, efficientnet or learned"
        )
    try:
        is_folder = Path(name).is_dir()
        for file in sorted(Path(name).iterdir()) if is_folder else [Path(name)]:
            if file.exists() and not file.is_dir() and (found := irregular(file)) is not None:  # it may never end
                raise InputError(f"features: {file} is {found}, not a file of weights; give a regular file or folder")
    except OSError as error:  # a name that is too long
        raise InputError(f"features: {shorten(name, 80)}: {error.strerror}; check the path") from None
    if is_folder:
        from sumi.metrics.features.hugging_face import open_folder

        return open_folder(Path(name), device)
    from sumi.metrics.features.inception import open_inception

    return open_inception(Path(name), device)
