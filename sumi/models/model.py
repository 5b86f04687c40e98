"""A trained model, of whatever kind: the module, what it is a model of, and the run folder it came from."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from sumi.data.dataset import ImageDataset
from sumi.data.load import is_there
from sumi.data.load import load as load_data
from sumi.data.pixels import PixelRange
from sumi.data.spec import ImageSpec, VectorSpec
from sumi.data.vectors import VectorDataset
from sumi.errors import InputError
from sumi.figures.pictures import image_grid, png
from sumi.figures.vectors import picture
from sumi.models.description import Config, RunDescription, RunFolder
from sumi.training.checkpoint import JSON, Checkpoint, save_checkpoint


def pick_device(name: str | None) -> torch.device:
    """The device called ``name``; None: a GPU where there is one. Raises InputError for one that is not there."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name}: is not available here; give cpu, or cuda where there is a GPU") from error
    if device.type == "meta":
        raise InputError(f"--device {name}: computes nothing; try cpu")
    return device


class TrainedModel(ABC):
    """What every kind of run gives when it is loaded: weights that are trained no more.

    ``folder`` is the run folder it came from; ``step`` how long it was trained; ``what`` how such models are called.
    """

    what: ClassVar[str] = "trained models"

    def __init__(self, description: RunDescription, module: nn.Module, step: int, folder: Path) -> None:
        self.description, self.items = description, description.items
        self.module = module.eval().requires_grad_(False)
        self.step, self.folder = step, folder

    @property
    @abstractmethod
    def config(self) -> Config:
        """What was configured."""

    @property
    def images(self) -> ImageSpec:
        """What its images are. Raises InputError where it is of vectors."""
        if not isinstance(self.items, ImageSpec):
            raise InputError(f"{self.folder}: is a model of vectors, and this is for images; choose such a run")
        return self.items

    @property
    def pixels(self) -> PixelRange:
        """How its images become pixels. Raises InputError where it is of vectors."""
        return PixelRange(self.images.levels)

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def load_data(self, source: str | None = None) -> ImageDataset | VectorDataset:
        """The run's own data, or other data (``source``), where images are made to the model's size and channels, and
        vectors told in the model's units.

        Raises InputError where they are not of the model's kind, or cannot be found.
        """
        config = self.config.data
        if source is not None:
            config = replace(config, source=source)
        if source is not None and isinstance(self.items, ImageSpec):
            side = self.items.height if self.items.height == self.items.width else None
            config = replace(config, size=side, channels=self.items.channels)
        if source is None and not is_there(config):
            raise InputError(f"{config.source}: the run's own data are gone from there; say where with --data")
        dataset = load_data(config)
        if (*dataset.shape, dataset.levels) != (*self.items.shape, self.items.levels):
            raise InputError(
                f"data.source: {config.source} has {_kind(dataset.shape, dataset.levels)}, the model makes "
                f"{_kind(self.items.shape, self.items.levels)}; give data of that kind"
            )
        if isinstance(dataset, VectorDataset) and isinstance(self.items, VectorSpec):
            return dataset.in_units(self.items.centre, self.items.scale)
        return dataset

    def load_images(self, source: str | None = None) -> ImageDataset:
        """As `load_data`. Raises InputError where the model is of vectors."""
        dataset = self.load_data(source)
        if not isinstance(dataset, ImageDataset):
            raise InputError(f"{self.folder}: is a model of vectors, and this is for images; choose such a run")
        return dataset

    def save(self, folder: Path | str) -> None:
        """Write the model as a run folder with one checkpoint, which `load` reads. Raises SumiError."""
        run = RunFolder(folder)
        run.write(self.description)
        weights = self.module.state_dict()
        state: dict[str, JSON] = {"identity": self.description.identity}
        save_checkpoint(run.checkpoints, Checkpoint(self.step, weights, weights, {}, state), keep=1)

    @abstractmethod
    def preview(self) -> bytes | None:
        """A PNG of what it has learned, to look at while it is trained; None where there is none."""


class GenerativeModel(TrainedModel):
    """A model that makes samples, and can be measured by them."""

    what: ClassVar[str] = "models that make samples"

    @abstractmethod
    def sample(
        self,
        n: int = 16,
        *,
        seed: int = 0,
        start: int = 0,
        batch_size: int = 64,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Items ``start`` … ``start + n - 1`` of ``seed``, float32 on the CPU: images (n, C, H, W) in [-1, 1], or
        vectors (n, D) in the model's units.

        Item i of a seed has bit-identical noise whatever n, start and batch_size. ``progress(done, total)`` counts
        items. Raises InputError for values out of range.
        """

    @abstractmethod
    def how_sampled(self) -> str:
        """How `sample` makes them when nothing more is said, in words."""

    def drawn(self, made: Tensor, title: str) -> bytes:
        """A PNG of samples ``made``: a grid of images, or a plot of vectors called ``title``."""
        if isinstance(self.items, VectorSpec):
            return picture([(title, made)], self.items.levels)
        return png(image_grid(self.pixels.to_bytes(made).numpy()))


def check_indices(n: int, start: int, seed: int, batch_size: int) -> None:
    """Raises InputError where samples ``start`` … ``start + n - 1`` of ``seed``, so many at a time, are none."""
    check_range(n=n, batch_size=batch_size, least=1)
    check_range(start=start, seed=seed, least=0)
    check_range(last_index=start + n, least=1)


def check_range(*, least: int, **values: int) -> None:
    """Raises InputError naming the first value below ``least`` or not below 2^64."""
    for name, value in values.items():
        if not least <= value < 2**64:
            raise InputError(f"{name}: {value} is out of range; give {least} or more, below 2^64")


def _kind(shape: tuple[int, ...], levels: int | None) -> str:
    what = "images" if len(shape) == 3 else "vectors"
    return f"{what} {shape}" + ("" if levels is None else f" of {levels} levels")
