"""Peers that import at their top what the measured parts never call: empty modules stand in for it."""

import importlib.machinery
import sys
import types
from importlib import import_module
from typing import Any

TORCHVISION = ("torchvision", "torchvision.transforms", "torchvision.utils", "torchvision.models")


class StandIn(types.ModuleType):
    """A module that has every name, for what a peer imports at its top but the networks never call."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return stand_in(f"{self.__name__}.{name}")

    def __call__(self, *_: Any, **__: Any) -> "StandIn":
        return self


def stand_in(name: str) -> StandIn:
    """Put a stand-in module of this name where imports find it."""
    module = StandIn(name)
    module.__path__ = []
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    sys.modules[name] = module
    return module


def stand_in_for(*names: str) -> None:
    for name in names:
        stand_in(name)


def lucidrains_toolkit() -> types.ModuleType:
    """denoising_diffusion_pytorch. Raises ImportError where it is not installed."""
    stand_in_for(*TORCHVISION, "pytorch_fid", "pytorch_fid.fid_score", "pytorch_fid.inception")
    return import_module("denoising_diffusion_pytorch")


def k_diffusion_toolkit() -> types.ModuleType:
    """k_diffusion. Raises ImportError where it is not installed."""
    stand_in_for(*TORCHVISION, "torchvision.transforms.functional", "torchvision.datasets", "cleanfid")
    stand_in_for("cleanfid.inception_torchscript", "clip", "clip.model", "wandb", "skimage", "skimage.transform")
    stand_in_for("kornia", "kornia.augmentation")
    return import_module("k_diffusion")
