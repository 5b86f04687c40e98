"""unCLIP, the two stages of DALL-E 2 (Ramesh et al. 2022, "Hierarchical text-conditional image generation with CLIP
latents"): a prior makes the vector of a picture from that of a text, and a decoder makes the picture from its vector.

    text ─ CLIP ─▶ v ─ prior, several candidates ─▶ u, the one nearest to v ─ decoder, which may see the text ─▶ picture

The prior is a diffusion model of vectors that predicts x_0 (section 2.2), the decoder one of pictures whose vector is
dropped for 10 % of them and whose text for 50 % (section 2.1). Both are runs in ``parts/``, which are trained one after
the other, with a copy of the CLIP; each is a model like any other. A picture's own vector gives variations of it
(section 3.1), places between those of two pictures blends of both (3.2), and the difference of two texts moves it from
one to the other (3.3).
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Final, TypeVar, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.boundary.arguments import MOST_COUNT, real, torch_defaults, whole
from sumi.boundary.config import to_json
from sumi.boundary.group import group
from sumi.conditioning.cascade import stage_seed
from sumi.conditioning.embedding import EmbeddingConditioning, reranked
from sumi.conditioning.prompt import single_parts
from sumi.conditioning.text import EncoderConfig, Prompts, TextConditioning, captions_of
from sumi.conditioning.text_encoder import OwnEncoderConfig
from sumi.data.dataset import Dataset
from sumi.data.embedded import EmbeddedDataset
from sumi.data.image_set import ImageDataset
from sumi.data.images import ImageSpec
from sumi.data.items import Items
from sumi.data.latents import encoded
from sumi.data.spec import DataSpec, expect
from sumi.data.vectors import VectorSpec
from sumi.denoising.parameterization import PredictClean
from sumi.denoising.weighting import FlowWeighting
from sumi.errors import InputError
from sumi.models.clip import ClipModel
from sumi.models.diffusion.model import DiffusionModel
from sumi.models.diffusion.options import SampleOptions
from sumi.models.diffusion.system import DiffusionConfig
from sumi.models.model import GenerativeModel, RunDescription, SystemConfig, TrainedModel, read_indices
from sumi.models.text_system import TextSystemConfig
from sumi.networks.adm import ADMConfig
from sumi.networks.mlp import MLPConfig
from sumi.networks.transformer import TransformerConfig
from sumi.networks.unet import UNetConfig
from sumi.objectives.objective import Objective
from sumi.objectives.times import LogitNormalTimes
from sumi.process.continuous import Flow
from sumi.sampling.inversion import slerp
from sumi.sampling.sampler import Guidance, Sampling
from sumi.training.checkpoint import find_checkpoints
from sumi.training.config import TrainingConfig
from sumi.training.run_folder import RunFolder

Part = TypeVar("Part", bound=TrainedModel)
CLIP, PRIOR, DECODER = "clip", "prior", "decoder"
VECTOR_DROPOUT: Final = 0.1
TEXT_DROPOUT: Final = 0.5
MOST_CANDIDATES: Final = 64


@dataclass(frozen=True)
class ChosenClip:
    """Whose vectors they are."""

    name: ClassVar[str] = "clip"

    source: str = field(default="", metadata={"help": "a run of a CLIP that sees pictures of this size"})
    size: int = field(default=0, metadata={"help": "numbers of its vectors: set from the run"})


@dataclass(frozen=True)
class PriorSettings:
    """The prior's network, and how vectors are drawn from it."""

    name: ClassVar[str] = "prior"

    network: MLPConfig = field(
        default_factory=lambda: MLPConfig(width=256, blocks=6, embedding=128), metadata={"help": "its network"}
    )
    batch_size: int = field(default=256, metadata={"most": 2**20, "help": "of its training, 1 or more"})
    sampling: Sampling = field(
        default_factory=lambda: Sampling(steps=20, threshold="none"), metadata={"help": "how vectors are drawn"}
    )
    candidates: int = field(
        default=2, metadata={"most": MOST_CANDIDATES, "help": "vectors drawn, of which that nearest to the text counts"}
    )

    def __post_init__(self) -> None:
        whole("prior.batch_size", self.batch_size, least=1)
        whole("prior.candidates", self.candidates, least=1, most=MOST_CANDIDATES)


@dataclass(frozen=True)
class UnclipConfig(TextSystemConfig):
    """The full configuration of unCLIP. Raises InputError for values out of range."""

    name: ClassVar[str] = "unclip"
    composed: ClassVar[bool] = True

    clip: ChosenClip = field(default_factory=ChosenClip, metadata={"help": "whose vectors they are"})
    steps: tuple[int, ...] = field(
        default=(), metadata={"help": "optimizer steps of the prior and the decoder; empty: training.steps for each"}
    )
    prior: PriorSettings = field(default_factory=PriorSettings, metadata={"help": "from text to vector"})
    encoder: EncoderConfig = field(
        default_factory=OwnEncoderConfig, metadata={"help": "what makes vectors of the text for the decoder"}
    )
    network: UNetConfig | ADMConfig | TransformerConfig = field(
        default_factory=TransformerConfig, metadata={"help": "of the decoder"}
    )
    sampling: Sampling = field(
        default_factory=lambda: Sampling(steps=20, guidance=Guidance(scale=2.0)),
        metadata={"help": "how the decoder makes pictures"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps and len(self.steps) != 2:
            raise InputError(f"steps: {len(self.steps)} numbers; give two, of the prior and of the decoder")
        if self.data.flip:
            raise InputError("data.flip: the vectors are of pictures as they are, not mirrored; set it false")

    @property
    def names(self) -> tuple[str, ...]:
        return CLIP, PRIOR, DECODER

    @property
    def identity(self) -> tuple[object, ...]:
        """The stages; their weights say themselves what they are of."""
        return self.clip.size, self.prior.network, self.encoder, self.network

    def of_data(self, data: Dataset) -> "UnclipConfig":
        """With the size of the CLIP's vectors, and the fingerprint of a frozen encoder.

        Raises InputError where the CLIP is missing, or sees another size of pictures, and where the encoder is gone, or
        another. The CLIP may have been trained on more pictures than these, as DALL-E 2's was.
        """
        encoder = self.found_encoder()
        if self.clip.size:
            return replace(self, encoder=encoder)
        if not self.clip.source:
            raise InputError("clip: is missing; give a run of `sumi train clip` on these data")
        clip = _loaded(self.clip.source)
        if clip.items.shape != data.spec.shape:
            raise InputError(
                f"clip: {clip.folder} sees pictures of {clip.items.shape}, and these are {data.spec.shape}; train one "
                "on these data"
            )
        return replace(self, encoder=encoder, clip=replace(self.clip, size=clip.config.width))

    def check(self, items: DataSpec) -> None:
        """Raises InputError for items that are no images, and settings of the stages that do not fit."""
        expect(items, ImageSpec, f"data: unCLIP makes images, and these are {items.name}; choose others")
        self.build(items)

    def build(self, items: DataSpec) -> Objective:
        """Of the decoder, which takes the most memory and time."""
        return self.decoder_stage("").build(items)

    def prior_stage(self, clip: str) -> DiffusionConfig:
        """The configuration of the prior, of vectors of the CLIP that is so described."""
        training = TrainingConfig(
            batch_size=self.prior.batch_size, decay="cosine", ema_decay=0.99, precision="fp32", sample_every=0
        )
        own = self.training
        training = replace(
            training,
            steps=self.steps[0] if self.steps else own.steps,
            log_every=own.log_every,
            checkpoint_every=own.checkpoint_every,
            keep_checkpoints=own.keep_checkpoints,
            noise=own.noise,
        )
        return DiffusionConfig(
            recipe=self.recipe,
            data=self.data,
            seed=self.seed,
            training=training,
            schedule=Flow(),
            parameterization=PredictClean(),
            weighting=FlowWeighting(),
            times=LogitNormalTimes(),
            conditioning=(EmbeddingConditioning("text", self.clip.size, VECTOR_DROPOUT, clip),),
            network=self.prior.network,
            sampling=self.prior.sampling,
        )

    def decoder_stage(self, clip: str) -> DiffusionConfig:
        """The configuration of the decoder, of vectors of the CLIP that is so described."""
        return DiffusionConfig(
            recipe=self.recipe,
            data=self.data,
            seed=self.seed,
            training=replace(self.training, steps=self.steps[1] if self.steps else self.training.steps),
            schedule=Flow(),
            parameterization=PredictClean(),
            weighting=FlowWeighting(),
            times=LogitNormalTimes(mean=0.6),
            conditioning=(
                EmbeddingConditioning("picture", self.clip.size, VECTOR_DROPOUT, clip),
                TextConditioning(self.encoder, TEXT_DROPOUT),
            ),
            network=self.network,
            sampling=self.sampling,
        )

    def with_parts(
        self, items: DataSpec, run: RunFolder, train: Callable[[SystemConfig, RunFolder], TrainedModel]
    ) -> "UnclipConfig":
        """Itself once the CLIP is there and both stages are trained; one that was trained further stays so."""
        del items
        with group().in_turn():
            if not run.part(CLIP).config_file.exists():
                _loaded(self.clip.source).save(run.part(CLIP).path)
        about = described(_part(run.path, CLIP, ClipModel, "cpu"))
        for name, stage in ((PRIOR, self.prior_stage(about)), (DECODER, self.decoder_stage(about))):
            folder, further = run.part(name), stage
            if folder.config_file.exists():
                before = int(folder.read_config()["config"]["training"]["steps"])
                further = replace(stage, training=replace(stage.training, steps=max(before, stage.training.steps)))
            train(further, folder)
        return self

    def data_of(
        self,
        part: SystemConfig,
        data: Dataset,
        run: RunFolder,
        device: torch.device,
        progress: Callable[[int, int], None] | None,
    ) -> Dataset:
        """The ``data`` with their vectors, computed once; of the prior these are the items, and texts have theirs."""
        images = expect(data, ImageDataset, "data: unCLIP is of images; choose others")
        clip = _part(run.path, CLIP, ClipModel, device)

        def posterior(x: Tensor) -> tuple[Tensor, Tensor]:
            vectors = clip.embed_images(x)[:, :, None, None]
            return vectors, torch.zeros_like(vectors)

        file = run.latents / "vectors.npy"
        about: dict[str, object] = {"clip": described(clip)}
        with group().in_turn():
            found = encoded(images, posterior, file, about, mirrored=False, progress=progress)
        pictures = np.array(found.moments[:, : self.clip.size, 0, 0])
        match part:
            case DiffusionConfig(network=MLPConfig()):
                texts = captions_of(images)
                number = {text: k for k, text in enumerate(dict.fromkeys(texts))}
                of_texts = clip.embed_captions(list(number))[[number[text] for text in texts]].numpy()
                return EmbeddedDataset(images, pictures, of_texts).as_vectors(self.data.held_out)
            case _:
                return EmbeddedDataset(images, pictures, np.zeros_like(pictures))

    def compose(self, description: RunDescription, folder: Path, device: torch.device) -> "UnclipModel":
        """The parts in ``folder``. Raises InputError where one is gone, damaged or of another CLIP."""
        images = expect(description.items, ImageSpec, f"{folder}: unCLIP makes images; restore its config.json")
        clip = _part(folder, CLIP, ClipModel, device)
        prior, decoder = (_part(folder, name, DiffusionModel, device) for name in (PRIOR, DECODER))
        for stage, shape in ((prior, (self.clip.size,)), (decoder, images.shape)):
            match stage.config.condition(EmbeddingConditioning.name):
                case EmbeddingConditioning(clip=about) if about == described(clip) and stage.items.shape == shape:
                    pass
                case _:
                    raise InputError(f"{stage.folder}: was not trained on the vectors of {clip.folder}; restore both")
        return UnclipModel(description, clip, prior, decoder, folder)

    def wrap(self, description: RunDescription, module: nn.Module, step: int, folder: Path) -> "UnclipModel":
        """The parts in ``folder``, on the module's device."""
        del step
        return self.compose(description, folder, next(module.parameters()).device)


def described(clip: ClipModel) -> str:
    """sha256 of the description of a CLIP: its parts, seed, data and steps. Saved in half precision it is the same."""
    about = to_json(clip.description)
    if not about["annotations"]:
        del about["annotations"]  # which older runs, and those of their vectors, do not have
    return hashlib.sha256(json.dumps([about, clip.step], sort_keys=True).encode()).hexdigest()


def _loaded(source: str) -> ClipModel:
    from sumi import load  # which knows this system, too

    try:
        return load(source, ClipModel, device="cpu")
    except InputError as error:
        raise InputError(f"clip: {error}") from None


def _part(folder: Path, name: str, wanted: type[Part], device: torch.device | str) -> Part:
    """The part of a run. Raises InputError where it is gone or damaged."""
    from sumi import load  # which knows this system, too

    part = RunFolder(folder).part(name)
    if not find_checkpoints(part.checkpoints)[0]:
        raise InputError(f"{part.path}: holds no trained {name}; resume the training of {folder}, or restore it")
    return load(part.path, wanted, device=str(device))


class UnclipModel(GenerativeModel[UnclipConfig, nn.ModuleDict]):
    """A CLIP, a prior and a decoder; see the module docstring."""

    what: ClassVar[str] = "unCLIP models"

    def __init__(
        self, description: RunDescription, clip: ClipModel, prior: DiffusionModel, decoder: DiffusionModel, folder: Path
    ) -> None:
        self.clip, self.prior, self.decoder = clip, prior, decoder
        modules = nn.ModuleDict({name: part.module for name, part in self.parts().items()})
        super().__init__(description, modules, min(prior.step, decoder.step), folder)

    @property
    def prompted(self) -> bool:
        """That it makes pictures of prompts."""
        return True

    def parts(self) -> dict[str, TrainedModel]:
        """The CLIP and the stages."""
        return {CLIP: self.clip, PRIOR: self.prior, DECODER: self.decoder}

    def facts(self) -> dict[str, str]:
        trained = ", ".join(f"{name} {part.step:,}" for name, part in self.parts().items())
        return {**super().facts(), "training": f"{trained} steps"}

    @torch_defaults()
    def vectors(
        self,
        n: int,
        prompt: Prompts | None = None,
        *,
        seed: int = 0,
        start: int = 0,
        candidates: int | None = None,
        guidance: float | None = None,
    ) -> Tensor:
        """Vectors of pictures of the prompts, by the prior: float32 (n, D) of unit length, on the CPU.

        Weights of words, as in "a (red:1.4) robot", count in the vector of the text, from which the prior makes them.

        ``candidates``: how many are drawn of each, of which that nearest to its text counts; ``guidance``: the prior's
        scale; None: the configuration's. Without a prompt, of any picture. Raises InputError.
        """
        n, start, seed, _ = read_indices(n, start, seed, 1)
        count = self.config.prior.candidates if candidates is None else candidates
        count = whole("candidates", count, least=1, most=MOST_CANDIDATES)
        spec = expect(self.prior.items, VectorSpec, f"{self.prior.folder}: makes no vectors; restore it")
        texts = None if prompt is None else self.clip.embed_parts(single_parts(prompt, n))
        own: SampleOptions = {} if texts is None else {"condition": {"embedding": texts}, "guidance": guidance}
        made: list[Tensor] = []
        for k in range(count if texts is not None else 1):
            options: SampleOptions = {**own, "seed": stage_seed(seed, 1 + k), "start": start, "progress": False}
            made.append(self.prior.sample(n, **options).as_subclass(Tensor))
        vectors = torch.stack([F.normalize(torch.from_numpy(spec.to_units(x)).float(), dim=1) for x in made])
        return vectors[0] if texts is None else reranked(vectors, texts)

    def sample(self, n: int = 16, **options: Unpack[SampleOptions]) -> Tensor:
        """Pictures of prompts, float32 (n, C, H, W) in [-1, 1] on the CPU: the prior's vectors, decoded.

        ``options``: as of `DiffusionModel.sample`, of the decoder. With other candidates or guidance of the prior:
        `vectors` and `decode`. Raises InputError.
        """
        seed, start, prompt = options.get("seed", 0), options.get("start", 0), options.get("prompt")
        return self.decode(self.vectors(n, prompt, seed=seed, start=start), **options)

    def decode(self, vectors: Tensor, **options: Unpack[SampleOptions]) -> Tensor:
        """Pictures (n, C, H, W) of vectors (n, D) of unit length. Raises InputError."""
        if options.get("condition") is not None or options.get("label") is not None:
            raise InputError("condition: of unCLIP is a prompt, or the vector of a picture; leave the label out")
        own: SampleOptions = {**options, "condition": {"embedding": vectors}}
        return self.decoder.sample(len(vectors), **own)

    def vary(self, images: Items, n: int = 4, **options: Unpack[SampleOptions]) -> Tensor:
        """Variations of a picture: ``n`` of one, or one of each of many (N, C, H, W), decoded from its vector.

        Raises InputError.
        """
        vectors = self._vectors_of("images", images)
        return self.decode(vectors.expand(n, -1) if len(vectors) == 1 else vectors, **options)

    def interpolate(self, a: Items, b: Items, n: int = 8, **options: Unpack[SampleOptions]) -> Tensor:
        """``n`` pictures from one to another: of vectors on the great circle between theirs, and the same noise.

        Raises InputError.
        """
        one, other = (self._vectors_of(name, item)[0] for name, item in (("a", a), ("b", b)))
        return self._along(one, other, n, 1.0, options)

    def change(
        self, image: Items, before: str, after: str, n: int = 8, *, most: float = 0.5, **options: Unpack[SampleOptions]
    ) -> Tensor:
        """``n`` pictures from an image away from the text ``before``, towards ``after`` ("text diffs", section 3.3).

        The vector turns towards the difference of both texts' vectors, by up to ``most`` of the way. Raises InputError.
        """
        old, new = self.clip.embed_text([before, after])
        if torch.equal(old, new):
            raise InputError(f"after: {after} is the text before; give another")
        return self._along(self._vectors_of("image", image)[0], F.normalize(new - old, dim=0), n, most, options)

    def _along(self, a: Tensor, b: Tensor, n: int, most: float, options: SampleOptions) -> Tensor:
        n, most = whole("n", n, least=2, most=MOST_COUNT), real("most", most)
        if not 0 < most <= 1:
            raise InputError(f"most: {most:g} is out of range; give a part of the way above 0, up to 1")
        start, seed = options.get("start", 0), options.get("seed", 0)
        noise = self.decoder.start_noise([start], seed).cpu()
        own: SampleOptions = {**options, "x": noise.expand(n, *noise.shape[1:])}
        return self.decode(slerp(a, b, torch.linspace(0, most, n)), **own)

    def _vectors_of(self, name: str, images: Items) -> Tensor:
        items = self.decoder.read(name, images)
        items = items[None] if items.ndim == 3 else items
        return self.clip.embed_images(items)

    def how_sampled(self) -> str:
        return f"a prior's vectors, then {self.decoder.how_sampled()}"

    def preview(self) -> bytes | None:
        """None: the decoder has its own."""
        return None
