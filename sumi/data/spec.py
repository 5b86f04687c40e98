"""What one item of the data is: all that differs between images, vectors and whatever else is modelled.

A dataset makes its own spec, a run folder keeps it, and everything that treats one kind of data in another way than the
next asks the spec: how values are clamped and rounded, drawn, written, in which unit their likelihood is, and which
settings suit a model of them. A new kind of data is one file with a frozen dataclass of this shape and its dataset, and
one line in `sumi.data.specs`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

from sumi.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from sumi.data.config import DataConfig

Wanted = TypeVar("Wanted")


@dataclass(frozen=True)
class Unit:
    """How nats of an item become the figure that is reported: nats/per_item + shift."""

    name: str
    about: str
    per_item: float
    shift: float = 0.0

    def of_nats(self, nats: "Tensor") -> "Tensor":
        """-log p of items, nats (N,), in this unit: float64 (N,)."""
        return nats.double() / self.per_item + self.shift


class DataSpec(Protocol):
    """One item of the data, and what is particular to its kind.

    Attributes:
        name: how the items are called; also the ``type`` in config.json.
        defaults: "section.field=value" settings that suit a diffusion model of such data.
        together: whether many items share one picture and one file, as points do and images do not.
        previewed: how many samples a preview during training shows.
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
        """How many values an element may take; None for real numbers."""
        ...

    @property
    def label_names(self) -> tuple[str, ...]:
        """One name a class; () where there are none."""
        ...

    @property
    def unit(self) -> Unit:
        """What a likelihood of such items is reported in."""
        ...

    def describe(self) -> str:
        """Shape, levels and classes in words."""
        ...

    def clamp(self, x: "Tensor") -> "Tensor":
        """``x`` (N, …) with its values in the range of the data, where they have one."""
        ...

    def finish(self, x: "Tensor") -> "Tensor":
        """``x`` (N, …) rounded to what a file holds, in the model's units still."""
        ...

    def picture(self, x: "Tensor", title: str) -> bytes:
        """A PNG of items (N, …); where pictures have titles it is called ``title``."""
        ...

    def strip(self, t: Sequence[float], x: "Tensor") -> bytes:
        """A PNG of up to ten states ``x`` (K, …) on the way from noise to data, and their times."""
        ...

    def animation(self, t: Sequence[float], x: "Tensor") -> bytes:
        """A WebP of the states ``x`` (K, …) on the way from noise to data."""
        ...

    def write(
        self,
        folder: Path,
        x: "Tensor",
        *,
        title: str,
        start: int,
        about: Mapping[str, object],
        each: Sequence[Mapping[str, object]] | None = None,
    ) -> str:
        """Write items ``start`` … of a seed with what is known ``about`` them; returns what was written, in words.

        ``each``: what is known of one item alone. Raises InputError for files that were made otherwise, SumiError
        where one cannot be written.
        """
        ...

    def reading(self, config: "DataConfig") -> "DataConfig":
        """How other data are read so that they fit this spec."""
        ...


def expect(spec: object, wanted: type[Wanted], why: str) -> Wanted:
    """``spec``, where it is of the kind that is ``wanted``. Raises InputError with the message ``why`` elsewhere."""
    if not isinstance(spec, wanted):
        raise InputError(why)
    return spec


def unlike(data: DataSpec, model: DataSpec, source: str) -> InputError:
    """The error for data that a model cannot take."""
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
    parts += [f"classes {', '.join(spec.label_names)}"] if spec.label_names else []
    return ", ".join(parts)


def _kind(spec: DataSpec) -> str:
    return f"{spec.name} {spec.shape}" + ("" if spec.levels is None else f" of {spec.levels} levels")
