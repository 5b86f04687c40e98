"""Samples of a model: a tensor that a notebook shows as a picture."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, Self, SupportsIndex

import torch
from torch import Tensor

from sumi.data.audio import AudioSpec
from sumi.data.spec import DataSpec
from sumi.figures.spectrograms import MOST
from sumi.sampling.stated_error import Stated


class Samples(Tensor):
    """Samples (N, …) of data of ``spec``. Results of operations on them, and copies, are plain tensors.

    ``stated_error``: float64 (N,), the estimated distance of each from the end of its ODE, in units of the data's
    standard deviation, ``evaluations``: int64 (N,), those of networks on all grids, of which guidance takes two a step,
    and ``steps``: int64 (N,), those of the last grid; where an error was given (`sumi.sampling.stated_error`),
    else None.
    """

    spec: DataSpec
    stated_error: Tensor | None = None
    evaluations: Tensor | None = None
    steps: Tensor | None = None
    __torch_function__: Any = torch._C._disabled_torch_function_impl

    @classmethod
    def of(cls, x: Tensor, spec: DataSpec, stated: Sequence[Stated] = ()) -> Self:
        """``x`` (N, …) itself, without a copy; ``stated``: of each batch, where an error was given."""
        made = x.as_subclass(cls)
        made.spec = spec
        if stated:
            made.stated_error = torch.cat([batch.error for batch in stated])
            made.evaluations = torch.cat([batch.evaluations for batch in stated])
            made.steps = torch.cat([batch.steps for batch in stated])
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


def stated_as(made: Tensor, x: Tensor) -> Tensor:
    """``x`` (N, …) made of the samples ``made``, with what those state."""
    match made:
        case Samples():
            found = Samples.of(x, made.spec)
            found.stated_error, found.evaluations, found.steps = made.stated_error, made.evaluations, made.steps
            return found
        case _:
            return x


def stated_facts(made: Tensor, row: int) -> dict[str, object]:
    """What the sample in this row of ``made`` states, by name, for its file; nothing where no error was given."""
    match made:
        case Samples(stated_error=Tensor() as error, evaluations=Tensor() as evaluations):
            return {"stated_error": float(f"{float(error[row]):.3g}"), "evaluations": int(evaluations[row])}
        case _:
            return {}
