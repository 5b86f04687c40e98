"""Samples of a model: a tensor that a notebook shows as a picture."""

from copy import deepcopy
from typing import Any, Self, SupportsIndex

import torch
from torch import Tensor

from sumi.data.audio import AudioSpec
from sumi.data.spec import DataSpec
from sumi.figures.spectrograms import MOST


class Samples(Tensor):
    """Samples (N, …) of data of ``spec``. Results of operations on them, and copies, are plain tensors."""

    spec: DataSpec
    __torch_function__: Any = torch._C._disabled_torch_function_impl

    @classmethod
    def of(cls, x: Tensor, spec: DataSpec) -> Self:
        """``x`` (N, …) itself, without a copy."""
        made = x.as_subclass(cls)
        made.spec = spec
        return made

    def plain(self) -> Tensor:
        """A plain tensor that shares their memory."""
        return self.as_subclass(Tensor)

    @property
    def rate(self) -> int:
        """Of sound, in Hz. Raises AttributeError for other data."""
        match self.spec:
            case AudioSpec(rate=rate):
                return rate
            case other:
                raise AttributeError(f"{other.name} have no rate")

    def _repr_html_(self) -> str | None:
        """For notebooks: players of sound, and None of other data."""
        match self.spec:
            case AudioSpec() as audio:
                return audio.players(self.plain()[:MOST])
            case _:
                return None

    def _repr_png_(self) -> bytes:
        """For notebooks."""
        return self.spec.picture(self.plain(), "samples")

    def __reduce_ex__(self, proto: SupportsIndex) -> Any:
        """Pickled as a plain tensor, which can be read without sumi."""
        return self.plain().__reduce_ex__(proto)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return deepcopy(self.plain(), memo)
