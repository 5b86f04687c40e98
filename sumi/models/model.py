"""What every system has: a configuration, the description of a run, and the trained model.

    SystemConfig ── build(items) ──▶ Objective ── training ──▶ weights ── wrap ──▶ TrainedModel

A system is one file in `sumi.models` and one line in `sumi.models.run`.
"""

import hashlib
import html
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Never, Self, cast

import torch
from torch import Tensor, nn
from typing_extensions import TypeVar

from sumi.boundary.arguments import MOST_COUNT, path, whole
from sumi.boundary.config import to_json
from sumi.boundary.files import write_text
from sumi.boundary.group import local_rank
from sumi.boundary.progress import Count
from sumi.data.config import MEMORY, DataConfig
from sumi.data.dataset import Dataset
from sumi.data.images import ImageSpec
from sumi.data.load import is_there
from sumi.data.open import open_data
from sumi.data.pixels import PixelRange
from sumi.data.spec import DataSpec, expect
from sumi.data.specs import SPECS
from sumi.errors import InputError, SumiError, writing
from sumi.models.formats import FORMAT
from sumi.objectives.objective import Objective
from sumi.training.checkpoint import JSON, Checkpoint, not_finite
from sumi.training.config import TrainingConfig
from sumi.training.run_folder import RunFolder
from sumi.training.saving import save_checkpoint, sync_folder

if TYPE_CHECKING:
    from sumi.evaluation.guidance import GuidanceSweep
    from sumi.evaluation.result import Measured


@dataclass(frozen=True)
class SystemConfig(ABC):
    """The configuration of a system: the data, the seed, the training, and the parts that its subclass adds.

    Raises InputError for an invalid seed.
    """

    name: ClassVar[str]
    composed: ClassVar[bool] = False
    """Whether a run is its parts alone (`parts`), without a network of its own."""

    recipe: str = field(metadata={"help": "the recipe this began as"})
    data: DataConfig = field(metadata={"help": "what it is trained on"})
    seed: int = field(default=0, metadata={"help": "all randomness of the run follows from it; 0 or more"})
    training: TrainingConfig = field(default_factory=TrainingConfig, metadata={"help": "how it is trained"})

    def check(self, items: DataSpec) -> None:
        """Raises InputError where a new run on these items could not do what its configuration says of sampling."""
        del items

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", whole("seed", self.seed))

    def suited(self, spec: DataSpec) -> Self:
        """The configuration with the defaults for data of ``spec`` (`DataSpec.defaults`), if the system uses them."""
        del spec
        return self

    @property
    def prepares(self) -> bool:
        """Whether models are trained or data encoded before the first step, which takes time of its own."""
        return False

    def phase(self, run: RunFolder) -> str | None:
        """What the training in ``run`` is doing, or was when it ended, in words; None: the steps that any run has."""
        del run
        return None

    def continued(self, before: Self | None) -> Self:
        """The configuration with what an earlier start of the run, ``before``, has recorded of the run's parts.

        Without an earlier start nothing is recorded, whatever the configuration was read from.
        """
        del before
        return self

    def with_parts(
        self, items: DataSpec, run: RunFolder, train: Callable[["SystemConfig", RunFolder], "TrainedModel"]
    ) -> Self:
        """The configuration once the models that it needs are in ``run``; ``train(config, folder)`` trains one there.

        Raises InputError for a model that does not fit, and where one that was there is gone or another.
        """
        del items, run, train
        return self

    def of_data(self, data: Dataset) -> Self:
        """The configuration with what it takes from all the data. Raises InputError where they do not have it."""
        del data
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parts in the run folder, where it is ``composed``."""
        return ()

    def data_of(
        self,
        part: "SystemConfig",
        data: Dataset,
        run: RunFolder,
        device: torch.device,
        progress: Callable[[int, int], None] | None,
    ) -> Dataset:
        """What a ``part`` is trained on of the run's ``data``: them. Raises InputError."""
        del part, run, device, progress
        return data

    def annotations(self, data: Dataset) -> str:
        """sha256 (hex) of what it learns of each item besides what `Dataset.fingerprint` is of; "" for nothing."""
        del data
        return ""

    def std_of(self, data: Dataset) -> float:
        """The standard deviation of what is denoised, a scale for samplers."""
        return data.std()

    def training_data(
        self, data: Dataset, run: RunFolder, device: torch.device, progress: Callable[[int, int], None] | None
    ) -> Dataset:
        """What the objective gets of the training ``data``."""
        del run, device, progress
        return data

    def attach(self, objective: Objective, run: RunFolder, device: torch.device) -> None:
        """Give a new ``objective`` the models of ``run`` that it learns from. Raises InputError where one is gone."""
        del objective, run, device

    @property
    @abstractmethod
    def identity(self) -> tuple[object, ...]:
        """The settings that the weights depend on."""

    @abstractmethod
    def build(self, items: DataSpec) -> Objective:
        """The untrained model for such data, with its objective. Raises InputError if they do not fit."""

    def compose(self, description: "RunDescription", folder: Path, device: torch.device) -> "TrainedModel":
        """The model of the parts in the run ``folder``, where it is ``composed``. Raises InputError."""
        del device
        raise InputError(f"{folder}: a run of {description.config.recipe} is no composition; load its checkpoint")

    @abstractmethod
    def wrap(self, description: "RunDescription", module: nn.Module, step: int, folder: Path) -> "TrainedModel":
        """``module`` (`Objective.model`) ready to use, trained for ``step`` steps in the run ``folder``."""


LARGEST_STD: Final = 1e6
"""Of what is denoised, in the model's range."""


@dataclass(frozen=True)
class Start:
    """The run that another one began from: its folder, its step, and sha256 of its weights (`TrainedModel.digest`)."""

    source: str
    step: int
    weights: str


@dataclass(frozen=True)
class RunDescription:
    """The contents of config.json.

    ``data_std``: the standard deviation of what is denoised, in the model's range, a scale for samplers. ``start``: the
    weights that it began from; None: from scratch. ``annotations``: `SystemConfig.annotations`; "" also of older runs.
    """

    config: SystemConfig
    items: SPECS
    data_fingerprint: str
    data_std: float
    format: int = FORMAT
    start: Start | None = None
    annotations: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.data_std <= LARGEST_STD:
            raise InputError(f"data_std: {self.data_std:g} is out of range; give one from 0 to {LARGEST_STD:g}")

    @classmethod
    def of(cls, config: SystemConfig, dataset: Dataset) -> "RunDescription":
        """The description of a run on these data. Raises InputError for a spec that config.json cannot hold."""
        if not is_dataclass(dataset.spec):
            raise InputError(f"data: the spec of {dataset.spec.name} is no dataclass, which config.json could hold")
        spec, annotations = cast("SPECS", dataset.spec), config.annotations(dataset)
        return cls(config, spec, dataset.fingerprint(), config.std_of(dataset), annotations=annotations)

    @property
    def identity(self) -> str:
        """sha256 of everything the weights depend on: the system, its parts and the data's spec."""
        parts = (self.config.name, *self.config.identity, self.items)
        return hashlib.sha256(
            json.dumps([to_json(part, later=False) for part in parts], sort_keys=True).encode()
        ).hexdigest()


def new_folder(folder: Path | str) -> Path:
    """Where a model can be saved. Raises InputError for a file, and for a folder that is not empty."""
    final = Path(path("folder", folder)).resolve()
    if final.exists() and not final.is_dir():
        raise InputError(f"{folder}: is a file; save into a new folder")
    if final.exists() and (held := sorted(entry.name for entry in final.iterdir())):
        what = "a run" if RunFolder(final).config_file.name in held else held[0]
        raise InputError(f"{folder}: holds {what} already, which is left as it is; save into a new or empty folder")
    return final


def pick_device(name: str | torch.device | None) -> torch.device:
    """The device ``name``; None: a GPU if there is one. Raises InputError if it is not available."""
    if name is None:
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device(f"cuda:{number}" if (number := local_rank()) else "cuda")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError, ImportError) as error:
        raise InputError(f"device: {name} is not available here; give cpu, or cuda with a GPU") from error
    if device.type == "meta":
        raise InputError(f"device: {name} computes nothing; try cpu")
    return device


ConfigT = TypeVar("ConfigT", bound=SystemConfig, default=Any)
ModuleT = TypeVar("ModuleT", bound=nn.Module, default=Any)


_OF_AUTOENCODERS: Final = ("reconstruct", "encode")
_OF_DIFFUSION: Final = (
    *("sample", "vary", "interpolate", "invert", "decode", "inpaint", "upscale", "restore", "bits_per_dim"),
    *("denoiser", "method", "distil", "walk"),
)


class Unable(InputError, AttributeError):
    """A model of this system cannot do what others can."""


class TrainedModel(ABC, Generic[ConfigT, ModuleT]):
    """A loaded run of any system, with frozen weights.

    ``folder``: its run folder; ``step``: optimizer steps trained; ``what``: the name of such models in messages.
    """

    what: ClassVar[str] = "trained models"
    instead: ClassVar[str] = "take a diffusion model, such as `sumi train ddpm` makes"
    """Of what diffusion models do and this one does not."""

    def __init__(self, description: RunDescription, module: ModuleT, step: int, folder: Path) -> None:
        self.description, self.items = description, description.items
        self.config: ConfigT = cast("ConfigT", description.config)
        self.module: ModuleT = module.eval().requires_grad_(False)
        self.step, self.folder = step, folder
        self.own_data: Dataset | None = None
        """The run's own data where they are in memory, as after training; None: they are read when asked for."""

    if not TYPE_CHECKING:  # which knows what each has

        def __getattr__(self, name: str) -> Never:
            if name in (*_OF_DIFFUSION, *_OF_AUTOENCODERS):
                instead = "take an autoencoder" if name in _OF_AUTOENCODERS else self.instead
                raise Unable(f"{name}: {self.folder} is a run of {self.config.recipe}, which has none; {instead}")
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}", name=name, obj=self)

    def facts(self) -> dict[str, str]:
        """Its properties as text, by name."""
        data, count = Path(self.config.data.source).name, sum(p.numel() for p in self.module.parameters())
        return {
            "recipe": self.config.recipe,
            "data": shorten(f"{data}: {self.items.name} {self.items.describe()}", 120, placeholder=" …"),
            "size": f"{count:,} parameters",
            "training": f"{self.step:,} steps",
            "folder": str(self.folder),
        }

    def __repr__(self) -> str:
        recipe, data, size, training, folder = self.facts().values()
        return f"{type(self).__name__}: {recipe} of {data}\n{size}, after {training}, in {folder}"

    def _repr_html_(self) -> str:
        """For notebooks."""
        rows = (f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in self.facts().items())
        return f"<table><caption>{type(self).__name__}</caption>{''.join(rows)}</table>"

    def evaluate(
        self,
        *,
        data: object = None,
        n: int | None = None,
        seed: int = 0,
        features: str | Path = "learned",
        sweeps: bool = False,
        guidance: "GuidanceSweep | None" = None,
        quick: bool = False,
        judge: "TrainedModel | str | Path | None" = None,
        clip: "TrainedModel | str | Path | None" = None,
        split: str | None = None,
        progress: Count | bool | None = None,
    ) -> "Measured":
        """Evaluate it and write ``report/`` in its run folder: see `sumi.evaluate`."""
        from sumi import evaluate  # imports all models

        return evaluate(
            self,
            data=data,
            n=n,
            seed=seed,
            features=features,
            sweeps=sweeps,
            guidance=guidance,
            quick=quick,
            judge=judge,
            clip=clip,
            split=split,
            progress=progress,
        )

    @property
    def evaluated_as(self) -> str:
        """The key of its evaluation in `sumi.report.evaluate.EVALUATIONS`: what it makes."""
        return self.items.name

    @property
    def images(self) -> ImageSpec:
        """The spec of its images. Raises InputError if it makes something else."""
        why = f"{self.folder}: is a model of {self.items.name}, and this is for images; choose such a run"
        return expect(self.items, ImageSpec, why)

    @property
    def pixels(self) -> PixelRange:
        """The conversion of its images to pixels. Raises InputError if it makes something else."""
        return self.images.pixels

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def load_data(self, data: object = None) -> Dataset:
        """The run's own data, or other ``data`` (a path, a name or what `sumi.data.open_data` takes) made to fit the
        model: images in its size and channels, vectors in its units.

        Raises InputError if they are of another kind or cannot be found.
        """
        config = self.config.data
        if data is None and self.own_data is not None:
            dataset, source = self.own_data, config.source
        elif data is None:
            if not is_there(config):
                raise InputError(f"{config.source}: the run's own data are not there; give data from elsewhere")
            dataset, source = open_data(config.source, config), config.source
        else:
            dataset = open_data(data, self.items.reading(config))
            source = str(data) if isinstance(data, str | Path) else MEMORY
        return dataset.fitted_to(self.items, source)

    def load_images(self, data: object = None) -> Dataset:
        """See `load_data`. Raises InputError if the model makes something other than images."""
        _ = self.images
        return self.load_data(data)

    def save(self, folder: Path | str, *, half: bool = False) -> None:
        """Write the model as a new run folder with one checkpoint, which `load` reads; atomically.

        ``half``: its weights in half precision, rounded to 11 bits, for half the size; loaded, they are float32 again.
        Training can continue from either, with a new optimizer. Raises InputError if ``folder`` is not empty, or a
        weight is too large for ``half``, and SumiError if it cannot be written.
        """
        final = new_folder(folder)
        if wrong := not_finite(self.module.named_parameters()):
            raise InputError(f"{folder}: {wrong} is not finite, and is not saved; load the model from its run again")
        saving = RunFolder(final.with_name(f".{final.name}.saving"))
        weights = self.module.state_dict()
        state: dict[str, JSON] = {"identity": self.description.identity}
        with writing(final):
            shutil.rmtree(saving.path, ignore_errors=True)  # of a save that was killed
            try:
                training = replace(self.config.training, lora_rank=None)  # merged
                whole = replace(self.description, config=replace(self.config, training=training))
                saving.write_config(to_json(whole))
                for name, text in self.files().items():
                    write_text(saving.path / name, text)
                for name, part in self.parts().items():
                    part.save(saving.part(name).path, half=half and self.config.composed)  # else their hashes are in it
                if not self.config.composed:
                    save_checkpoint(
                        saving.checkpoints, Checkpoint(self.step, {}, weights, {}, state).averaged(half), keep=1
                    )
                sync_folder(saving.path)
                if final.exists():
                    final.rmdir()  # it is empty; not every system renames onto a folder
                saving.path.rename(final)
                sync_folder(final.parent)
            finally:
                shutil.rmtree(saving.path, ignore_errors=True)

    @property
    def digest(self) -> str:
        """sha256 of the weights and of how they are read."""
        return self.digest_of(self.description.identity)

    def digest_of(self, read: str) -> str:
        """sha256 of the weights, and of the text that says how they are ``read``."""
        found = hashlib.sha256(read.encode())
        for name, value in sorted(self.module.state_dict().items()):
            found.update(name.encode())
            found.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
        return found.hexdigest()

    def parts(self) -> dict[str, "TrainedModel"]:
        """The models that this one needs, by name; they are kept in its run folder."""
        return {}

    def files(self) -> dict[str, str]:
        """Further files of its run folder, by name, that belong to the weights."""
        return {}

    def finish(self, data: Dataset) -> None:
        """Write into its run folder what is made of the training ``data`` once it is trained."""
        del data

    @abstractmethod
    def preview(self) -> bytes | None:
        """A PNG of samples to look at during training, or None."""


class NonfiniteSamples(SumiError):
    """A model's samples are NaN or infinite: its weights are of no use."""


def finite_samples(made: Tensor) -> Tensor:
    """Samples themselves. Raises NonfiniteSamples."""
    if bad := int((~made.flatten(1).isfinite().all(1)).sum()):
        raise NonfiniteSamples(
            f"samples: {bad} of {len(made)} are not finite; go back to an earlier checkpoint, or lower "
            "training.learning_rate"
        )
    return made


class GenerativeModel(TrainedModel[ConfigT, ModuleT]):
    """A model that makes samples."""

    what: ClassVar[str] = "models that make samples"

    @abstractmethod
    def sample(
        self,
        n: int = 16,
        *,
        seed: int = 0,
        start: int = 0,
        batch_size: int = 64,
        progress: Callable[[int, int], None] | bool | None = None,
    ) -> Tensor:
        """Items ``start`` … ``start + n - 1`` of ``seed``, float32 on the CPU: images (n, C, H, W) in [-1, 1], or
        vectors (n, D) in the model's units.

        Item i of a seed has bit-identical noise whatever n, start and batch_size. ``progress(done, total)`` counts
        items, True shows it, and None does so in a notebook alone. Raises InputError for values out of range.
        """

    @abstractmethod
    def how_sampled(self) -> str:
        """The default sampler of `sample`, in words."""

    def picture(self, made: Tensor, title: str) -> bytes:
        """A PNG of samples ``made``, titled ``title`` where pictures have titles."""
        return self.items.picture(made, title)


def read_indices(n: object, start: object, seed: object, batch_size: object) -> tuple[int, int, int, int]:
    """n, start, seed and batch_size as numbers. Raises InputError for an invalid one of them."""
    count, size = whole("n", n, least=1, most=MOST_COUNT), whole("batch_size", batch_size, least=1)
    first, number = whole("start", start), whole("seed", seed)
    whole("last_index", first + count)
    return count, first, number, size
