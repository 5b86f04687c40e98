"""A cascade as a system: its stages are diffusion models, runs in `parts/`, and what it makes is the last one's.

    words ──▶ 16 px ── enlarged, noised a little ──▶ 64 px ── enlarged, noised a little ──▶ 128 px
       └───────────────────────────────┴──────────────────────────────────┘

(Ho et al. 2022, "Cascaded diffusion models for high fidelity image generation"; Saharia et al. 2022, "Imagen".) Every
stage learns from real pictures alone, so stages are trained one after the other, in any order, and apart: each is a run
folder like any other, which is trained, resumed, sampled and replaced on its own. Small pictures are means of blocks in
all of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Final, Literal, Unpack

import torch
from torch import Tensor, nn

from sumi.boundary.arguments import real
from sumi.boundary.progress import one_shown
from sumi.conditioning.cascade import cascade, stage_seed
from sumi.conditioning.condition import Condition
from sumi.conditioning.conditioners import ConditioningConfig
from sumi.conditioning.image import SmallConditioning
from sumi.conditioning.labels import LabelConditioning
from sumi.conditioning.text import EncoderConfig, TextConditioning, texts_of
from sumi.conditioning.text_encoder import OwnEncoderConfig
from sumi.data.dataset import Dataset
from sumi.data.images import ImageSpec
from sumi.data.spec import DataSpec, expect
from sumi.denoising.parameterization import PredictClean, PredictFlow
from sumi.denoising.weighting import FlowWeighting
from sumi.errors import InputError
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.options import SampleOptions
from sumi.models.diffusion.system import DiffusionConfig
from sumi.models.model import GenerativeModel, RunDescription, SystemConfig, TrainedModel, read_indices
from sumi.models.text_system import TextSystemConfig
from sumi.networks.adm import ADMConfig
from sumi.networks.transformer import TransformerConfig
from sumi.networks.unet import UNetConfig
from sumi.objectives.objective import Objective
from sumi.objectives.times import LogitNormalTimes
from sumi.process.continuous import Flow
from sumi.randomness import Purpose, normal
from sumi.sampling.sampler import Guidance, Sampling
from sumi.training.checkpoint import find_checkpoints
from sumi.training.run_folder import RunFolder

Networks = UNetConfig | ADMConfig | TransformerConfig
From = Literal["auto", "text", "labels", "none"]
MOST_STAGES: Final = 8


@dataclass(frozen=True)
class CascadeConfig(TextSystemConfig):
    """The full configuration of a cascade. Raises InputError for values out of range."""

    name: ClassVar[str] = "cascade"
    composed: ClassVar[bool] = True

    sizes: tuple[int, ...] = field(
        default=(16, 64),
        metadata={"help": "shorter side of each stage's pictures, multiples of those before; the last: of the data"},
    )
    steps: tuple[int, ...] = field(
        default=(), metadata={"help": "optimizer steps of each stage; empty: training.steps for each"}
    )
    given: From = field(
        default="auto",
        metadata={"help": "what pictures are made from: text, labels or none; auto: captions if any, else classes"},
    )
    encoder: EncoderConfig = field(
        default_factory=OwnEncoderConfig,
        metadata={
            "help": "what makes vectors of the text: own, learned by each stage; frozen, as Imagen's T5 is; or table"
        },
    )
    noise: float = field(
        default=0.5, metadata={"help": "most noise s on the picture below in training, drawn for each, [0, 1]"}
    )
    augmentation: float = field(
        default=0.1, metadata={"help": "noise s on the picture below in sampling, from 0 to noise"}
    )
    crop: int = field(
        default=0, metadata={"help": "side of the squares that larger stages above the first are trained on; 0: all"}
    )
    network: Networks = field(default_factory=TransformerConfig, metadata={"help": "of the first stage"})
    upper: Networks = field(
        default_factory=lambda: UNetConfig(widths=(32, 64, 96), blocks=(1, 1, 2)),
        metadata={"help": "the network of each stage above the first"},
    )
    sampling: Sampling = field(
        default_factory=lambda: Sampling(steps=20, guidance=Guidance(scale=2.0), threshold="dynamic"),
        metadata={"help": "how samples are made; the first stage alone is guided"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= len(self.sizes) <= MOST_STAGES or min(self.sizes) < 1:
            raise InputError(f"sizes: {_listed(self.sizes)} are no stages; give 1 to {MOST_STAGES} sides, as 16,64")
        for low, high in zip(self.sizes, self.sizes[1:], strict=False):
            if high % low or high <= low:
                raise InputError(f"sizes: {high} is no multiple of {low}, the stage below; give such as 16,64,128")
        if self.steps and len(self.steps) != len(self.sizes):
            raise InputError(f"steps: {len(self.steps)} numbers for {len(self.sizes)} stages; give one for each")
        if not 0 <= self.noise <= 1:
            raise InputError(f"noise: {self.noise:g} is out of range; 0 is none, 1 only noise")
        self.check_augmentation(self.augmentation)

    def check_augmentation(self, given: object) -> float:
        """Noise s on pictures in sampling. Raises InputError for more than there was in training."""
        s = real("augmentation", given)
        if not 0 <= s <= self.noise:
            raise InputError(f"augmentation: {s:g} is out of range; give 0 to {self.noise:g}, the most in training")
        return s

    @property
    def names(self) -> tuple[str, ...]:
        """Of the stages, and of their folders in parts/."""
        return tuple(f"{size}px" for size in self.sizes)

    @property
    def identity(self) -> tuple[object, ...]:
        """The stages; their weights say themselves what they are of."""
        return self.sizes, self.given, self.encoder, self.noise, self.network, self.upper

    def of_data(self, data: Dataset) -> "CascadeConfig":
        """With what its pictures are made from, by what the ``data`` have, and the files of a frozen encoder.

        Raises InputError where these are gone, or others.
        """
        encoder = self.found_encoder()
        if self.given != "auto":
            return replace(self, encoder=encoder)
        try:
            texts_of(data)
        except InputError:
            return replace(self, given="labels" if data.label_names else "none")
        return replace(self, given="text", encoder=encoder)

    def annotations(self, data: Dataset) -> str:
        """See `SystemConfig.annotations`: captions and keywords where pictures are made from text."""
        return super().annotations(data) if self.given == "text" else ""

    def check(self, items: DataSpec) -> None:
        """Raises InputError for items that are no images, and sizes that are not theirs."""
        images = expect(items, ImageSpec, f"data: a cascade makes images, and these are {items.name}; choose others")
        top, side = self.sizes[-1], min(images.height, images.width)
        if top != side:
            raise InputError(
                f"sizes: the top stage has {top} pixels, and the images {side}; set data.size={top}, or sizes=…,{side}"
            )
        for place in range(len(self.sizes)):
            self.stage(place).build(images.reduced(top // self.sizes[place]))

    def stage(self, place: int) -> DiffusionConfig:
        """The configuration of a stage."""
        factor = self.sizes[-1] // self.sizes[place]
        given: dict[str, tuple[ConditioningConfig, ...]] = {
            "text": (TextConditioning(self.encoder),),
            "labels": (LabelConditioning(),),
        }
        first = not place
        small = () if first else (SmallConditioning(self.sizes[place] // self.sizes[place - 1], noise=self.noise),)
        guidance = self.sampling.guidance if first and given.get(self.given) else Guidance()
        return DiffusionConfig(
            recipe=self.recipe,
            data=replace(self.data, reduce=self.data.reduce * factor),
            seed=self.seed,
            training=replace(self.training, steps=self.steps[place] if self.steps else self.training.steps),
            schedule=Flow(),
            parameterization=PredictClean() if first else PredictFlow(),
            weighting=FlowWeighting(),
            times=LogitNormalTimes(mean=0.6) if first else LogitNormalTimes(),
            conditioning=(*given.get(self.given, ()), *small),
            network=self.network if first else self.upper,
            crop=0 if first or self.sizes[place] <= self.crop else self.crop,
            sampling=replace(self.sampling, guidance=guidance),
        )

    def build(self, items: DataSpec) -> Objective:
        """Of the top stage, which takes the most memory and time."""
        return self.stage(len(self.sizes) - 1).build(items)

    def with_parts(
        self, items: DataSpec, run: RunFolder, train: Callable[[SystemConfig, RunFolder], TrainedModel]
    ) -> "CascadeConfig":
        """Itself once each stage is trained; a stage that was trained further on its own stays so."""
        del items
        for place, name in enumerate(self.names):
            stage, folder = self.stage(place), run.part(name)
            if folder.config_file.exists():
                before = int(folder.read_config()["config"]["training"]["steps"])
                stage = replace(stage, training=replace(stage.training, steps=max(before, stage.training.steps)))
            train(stage, folder)
        return self

    def compose(self, description: RunDescription, folder: Path, device: torch.device) -> "CascadeModel":
        """The stages in ``folder``. Raises InputError where one is gone, damaged, or makes other pictures."""
        from sumi import load  # which knows this system, too

        stages: dict[str, DiffusionModel] = {}
        images = expect(description.items, ImageSpec, f"{folder}: a cascade makes images; restore its config.json")
        for name, size in zip(self.names, self.sizes, strict=True):
            part = RunFolder(folder).part(name)
            if not find_checkpoints(part.checkpoints)[0]:
                raise InputError(
                    f"{part.path}: holds no trained stage of {size} pixels, which the cascade needs; "
                    f"resume the training of {folder}, or restore it"
                )
            stage = stages[name] = load(part.path, DiffusionModel, device=str(device))
            wanted = images.reduced(self.sizes[-1] // size)
            if stage.items.shape != wanted.shape:
                raise InputError(
                    f"{part.path}: makes pictures of {stage.items.describe()}, and the cascade needs "
                    f"{wanted.describe()}; restore it"
                )
        return CascadeModel(description, stages, folder)

    def wrap(self, description: RunDescription, module: nn.Module, step: int, folder: Path) -> "CascadeModel":
        """The stages in ``folder``, on the module's device."""
        del step
        return self.compose(description, folder, next(module.parameters()).device)


class CascadeModel(GenerativeModel[CascadeConfig, nn.ModuleDict]):
    """The stages of a cascade, by name, the smallest pictures first."""

    what: ClassVar[str] = "cascades"
    instead: ClassVar[str] = "its stages have what diffusion models have: see `stages` and `base`"

    def __init__(self, description: RunDescription, stages: Mapping[str, DiffusionModel], folder: Path) -> None:
        modules = nn.ModuleDict({name: stage.module for name, stage in stages.items()})
        super().__init__(description, modules, min(stage.step for stage in stages.values()), folder)
        self.stages = dict(stages)

    @property
    def base(self) -> DiffusionModel:
        """The first stage."""
        return next(iter(self.stages.values()))

    @property
    def prompted(self) -> bool:
        """Whether it makes pictures of prompts."""
        return self.base.prompted

    def parts(self) -> dict[str, TrainedModel]:
        """The stages."""
        return dict(self.stages)

    def facts(self) -> dict[str, str]:
        trained = ", ".join(f"{name} {stage.step:,}" for name, stage in self.stages.items())
        return {**super().facts(), "training": f"{trained} steps"}

    def sample(self, n: int = 16, *, augmentation: float | None = None, **options: Unpack[SampleOptions]) -> Tensor:
        """The top stage's pictures, float32 (n, C, H, W) in [-1, 1] on the CPU: see `sample_stages`."""
        return self.sample_stages(n, augmentation=augmentation, **options)[self.config.names[-1]]

    def sample_stages(
        self, n: int = 16, *, augmentation: float | None = None, **options: Unpack[SampleOptions]
    ) -> dict[str, Tensor]:
        """Items ``start`` … of ``seed`` as every stage makes them, by its name, float32 (n, C, h, w) each.

        ``label``, ``prompt`` or ``condition``: as of `DiffusionModel.sample`, for all stages. ``augmentation``: the
        noise s on what is enlarged, 0 to ``config.noise``; None: the configuration's. ``options`` replace fields of
        each stage's `Sampling`, guidance of the first alone. The first stage makes what it makes on its own. With an
        ``error`` the pictures of each stage state theirs, which is that of its own ODE given the pictures below. Raises
        InputError.
        """
        n, start, seed, _ = read_indices(
            n, options.get("start", 0), options.get("seed", 0), options.get("batch_size", 64)
        )
        s = self.config.check_augmentation(self.config.augmentation if augmentation is None else augmentation)
        stages, indices, made = list(self.stages.values()), range(start, start + n), list[Tensor]()
        with one_shown(options.get("progress"), "sampling") as count:

            def draw(place: int, below: Condition | None) -> Tensor:
                def report(done: int, total: int) -> None:
                    if count is not None:
                        count(place * total + done, len(stages) * total)

                own: SampleOptions = {**options, "seed": stage_seed(seed, place), "progress": report}
                if below is not None:
                    label, prompt = options.get("label"), options.get("prompt")
                    given = stages[place].condition_of(indices, label, options.get("condition"), prompt=prompt)
                    own["guidance"], own["condition"] = Guidance(), Condition(given, **below)
                    own["label"] = own["prompt"] = None  # which are in the condition
                made.append(stages[place].sample(n, **own))
                return made[place].as_subclass(Tensor)

            def noise(place: int, like: Tensor) -> Tensor:
                return normal(stage_seed(seed, place), indices, 0, Purpose.CONDITION_NOISE, like.shape[1:])

            cascade([draw] * len(stages), noise, s if self.config.noise else None)
        return dict(zip(self.stages, made, strict=True))

    def how_sampled(self) -> str:
        return f"{len(self.stages)} stages: {self.base.how_sampled()}"

    def preview(self) -> bytes | None:
        """None: its stages have theirs."""
        return None


def _listed(sizes: tuple[int, ...]) -> str:
    return ",".join(map(str, sizes))
