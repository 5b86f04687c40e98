"""The type of one data item: everything that differs between images, vectors and other data.

A dataset has a spec, and a run folder stores it. The spec says how values are clamped and rounded, plotted and written,
the unit of their likelihood, and the default settings of a model. A new data type is one file with a frozen dataclass
that follows this protocol and its dataset, and one line in `sumi.data.specs`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

from sumi.errors import InputError, printable

if TYPE_CHECKING:
    from torch import Tensor

    from sumi.data.config import DataConfig
    from sumi.data.files import Writing

Wanted = TypeVar("Wanted")


@dataclass(frozen=True)
class Unit:
    """The conversion of an item's nats to the reported figure: nats/per_item + shift."""

    name: str
    about: str
    per_item: float
    shift: float = 0.0

    def of_nats(self, nats: "Tensor") -> "Tensor":
        """-log p of items, nats (N,), in this unit: float64 (N,)."""
        return nats.double() / self.per_item + self.shift


class DataSpec(Protocol):
    """One item of the data, and everything specific to its type.

    Attributes:
        name: what the items are called; also the ``type`` in config.json.
        defaults: "section.field=value" settings that suit a diffusion model of such data.
        together: whether many items share one picture and one file, as points do.
        previewed: number of samples in a preview during training.
    """

    name: ClassVar[str]
    defaults: ClassVar[tuple[str, ...]]
    together: ClassVar[bool]
    previewed: ClassVar[int]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one item."""
        ...

    @property
    def levels(self) -> int | None:
        """The number of values an element may take; None for real numbers."""
        ...

    @property
    def label_names(self) -> tuple[str, ...]:
        """One name a class; () where there are none."""
        ...

    @property
    def unit(self) -> Unit:
        """The unit in which likelihoods are reported."""
        ...

    def describe(self) -> str:
        """Shape, levels and classes in words."""
        ...

    def clamp(self, x: "Tensor") -> "Tensor":
        """``x`` (N, …) clamped to the range of the data, if they have one."""
        ...

    def finish(self, x: "Tensor") -> "Tensor":
        """``x`` (N, …) rounded to the values a file can hold, in the model's units."""
        ...

    def picture(self, x: "Tensor", title: str, captions: Sequence[str] | None = None) -> bytes:
        """A PNG of items (N, …), titled ``title`` where pictures have titles; ``captions``: of each, for images."""
        ...

    def strip(self, t: Sequence[float], x: "Tensor") -> bytes:
        """A PNG of up to ten states ``x`` (K, …) on the way from noise to data, and their times."""
        ...

    def animation(self, t: Sequence[float], x: "Tensor") -> bytes:
        """A WebP of the states ``x`` (K, …) on the way from noise to data."""
        ...

    def write(self, folder: Path, make: "Callable[[range], Tensor]", indices: range, how: "Writing") -> str:
        """Write the items ``indices`` of a seed; returns what was written, in words.

        ``make``: a batch of them, (n, …). Raises InputError for files that were made otherwise, before anything is
        made; SumiError if one cannot be written.
        """
        ...

    def reading(self, config: "DataConfig") -> "DataConfig":
        """How other data are read so that they fit this spec."""
        ...


def expect(spec: object, wanted: type[Wanted], why: str) -> Wanted:
    """``spec`` if it is of type ``wanted``. Raises InputError with the message ``why`` otherwise."""
    if not isinstance(spec, wanted):
        raise InputError(why)
    return spec


def unlike(data: DataSpec, model: DataSpec, source: str) -> InputError:
    """The error for data of another type than the model's."""
    return InputError(
        f"data.source: {source} has {_kind(data)}, the model makes {_kind(model)}; give data of that kind"
    )


def states(t: Sequence[float], x: "Tensor", count: int) -> "tuple[list[float], Tensor]":
    """Up to ``count`` of the states ``x`` (K, …) and their times, evenly spaced and with both ends."""
    import torch

    chosen = torch.linspace(0, len(x) - 1, min(count, len(x))).round().long()
    return [t[k] for k in chosen.tolist()], x[chosen]


def describe(spec: DataSpec) -> str:
    """Shape, levels and classes, where there are any."""
    parts = ["x".join(map(str, spec.shape))]
    parts += [f"{spec.levels} levels"] if spec.levels else []
    parts += [f"classes {', '.join(map(printable, spec.label_names))}"] if spec.label_names else []
    return ", ".join(parts)


def _kind(spec: DataSpec) -> str:
    return f"{spec.name} {spec.shape}" + ("" if spec.levels is None else f" of {spec.levels} levels")
