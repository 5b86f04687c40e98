"""A trained model, of whatever kind: the module, what it is a model of, and the run folder it came from."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from sumi.data.config import MEMORY
from sumi.data.dataset import Dataset
from sumi.data.images import ImageSpec
from sumi.data.load import is_there
from sumi.data.open import open_data
from sumi.data.pixels import PixelRange
from sumi.data.spec import expect
from sumi.errors import InputError, writing
from sumi.models.description import Config, RunDescription, RunFolder
from sumi.training.checkpoint import JSON, Checkpoint, save_checkpoint, sync_folder


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
    def evaluated_as(self) -> str:
        """In which way it is evaluated (`sumi.report.evaluate.EVALUATIONS`): in that of what it makes."""
        return self.items.name

    @property
    def images(self) -> ImageSpec:
        """What its images are. Raises InputError where it makes something else."""
        why = f"{self.folder}: is a model of {self.items.name}, and this is for images; choose such a run"
        return expect(self.items, ImageSpec, why)

    @property
    def pixels(self) -> PixelRange:
        """How its images become pixels. Raises InputError where it makes something else."""
        return self.images.pixels

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def load_data(self, data: object = None) -> Dataset:
        """The run's own data, or other ``data`` (a path, a name or what `sumi.data.open_data` takes) made to fit the
        model: images in its size and channels, vectors in its units.

        Raises InputError where they are not of the model's kind, or cannot be found.
        """
        config = self.config.data
        if data is None:
            if not is_there(config):
                raise InputError(f"{config.source}: the run's own data are gone from there; say where with --data")
            dataset, source = open_data(config.source, config), config.source
        else:
            dataset = open_data(data, self.items.reading(config))
            source = str(data) if isinstance(data, str | Path) else MEMORY
        return dataset.fitted_to(self.items, source)

    def load_images(self, data: object = None) -> Dataset:
        """As `load_data`. Raises InputError where the model makes something else than images."""
        _ = self.images
        return self.load_data(data)

    def save(self, folder: Path | str) -> None:
        """Write the model as a new run folder with one checkpoint, which `load` reads; all at once or not at all.

        Training can go on from it, with a new optimizer. Raises InputError where ``folder`` holds anything already,
        SumiError where it cannot be written.
        """
        final = Path(folder).resolve()
        if final.exists() and not final.is_dir():
            raise InputError(f"{folder}: is a file; save into a new folder")
        if final.exists() and (held := sorted(path.name for path in final.iterdir())):
            what = "a run" if RunFolder(final).config_file.name in held else held[0]
            raise InputError(f"{folder}: holds {what} already, which is left as it is; save into a new or empty folder")
        saving = RunFolder(final.with_name(f".{final.name}.saving"))
        weights = self.module.state_dict()
        state: dict[str, JSON] = {"identity": self.description.identity}
        with writing(final):
            shutil.rmtree(saving.path, ignore_errors=True)  # of a save that was killed
            try:
                saving.write(self.description)
                save_checkpoint(saving.checkpoints, Checkpoint(self.step, weights, weights, {}, state), keep=1)
                sync_folder(saving.path)
                saving.path.rename(final)
                sync_folder(final.parent)
            finally:
                shutil.rmtree(saving.path, ignore_errors=True)

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
        """A PNG of samples ``made``; where pictures have titles it is called ``title``."""
        return self.items.picture(made, title)


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
