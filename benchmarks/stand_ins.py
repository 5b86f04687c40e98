"""Other toolkits, imported without what their networks and samplers never call: empty modules stand in for that.

The modules stand in while the toolkit is imported and no longer, so that nobody else finds them.
"""

import importlib.machinery
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

TORCHVISION = (
    *("torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.utils"),
    *("torchvision.models", "torchvision.datasets"),
)
_FID = ("pytorch_fid", "pytorch_fid.fid_score", "pytorch_fid.inception")
_K_DIFFUSION = (
    *("cleanfid", "cleanfid.inception_torchscript", "clip", "clip.model", "wandb", "skimage", "skimage.transform"),
    *("kornia", "kornia.augmentation"),
)


class StandIn(types.ModuleType):
    """A module that has every name, for what a toolkit imports at its top but the measured parts never call."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []
        self.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return StandIn(f"{self.__name__}.{name}")

    def __call__(self, *_: Any, **__: Any) -> "StandIn":
        return self


@contextmanager
def standing_in(*names: str) -> Iterator[None]:
    """Put a stand-in module of each name where imports find it, and what was there back."""
    kept = {name: sys.modules.pop(name, None) for name in names}
    sys.modules.update({name: StandIn(name) for name in names})
    try:
        yield
    finally:
        for name, module in kept.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module


def _missing(*names: str) -> tuple[str, ...]:
    return tuple(name for name in names if find_spec(name) is None)


def lucidrains_toolkit() -> types.ModuleType:
    """denoising_diffusion_pytorch. Raises ImportError where it is not installed."""
    with standing_in(*TORCHVISION, *_FID, *_missing("accelerate")):
        return import_module("denoising_diffusion_pytorch")


def k_diffusion_toolkit() -> types.ModuleType:
    """k_diffusion. Raises ImportError where it is not installed."""
    with standing_in(*TORCHVISION, *_K_DIFFUSION, *_missing("dctorch", "jsonmerge", "torchdiffeq", "torchsde")):
        return import_module("k_diffusion")
