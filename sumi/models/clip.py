"""CLIP: pictures and texts as vectors of one space, where those that belong together are near (Radford et al. 2021).

    picture ─ `Vision` ─ linear ─ unit length ──▶ u
    text ─ `TextEncoder`, pooled ─ linear ─ unit length ──▶ v            score = ⟨u, v⟩,  -1 to 1

Both are trained together (`sumi.objectives.contrastive`); of a frozen encoder of texts, a norm and a linear map are.
Colours are in the captions, so pictures keep theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.boundary.arguments import shown, torch_defaults
from sumi.boundary.group import group
from sumi.conditioning.prompt import Part
from sumi.conditioning.text import EncoderConfig, sampled_caption, texts_of
from sumi.conditioning.text_encoder import OwnEncoderConfig
from sumi.data.batch import Batch
from sumi.data.dataset import Dataset
from sumi.data.spec import DataSpec
from sumi.errors import InputError
from sumi.models.model import RunDescription, TrainedModel
from sumi.models.size import bounded
from sumi.models.text_system import TextSystemConfig
from sumi.networks.vision import VisionConfig
from sumi.objectives.contrastive import SigmoidLoss, SoftmaxLoss, gathered, named_by_all, repeated
from sumi.objectives.objective import Objective
from sumi.randomness import Purpose

BATCH: Final = 256
TEMPLATE: Final = "a {}"
"""The text of a class, of its name."""


@dataclass(frozen=True)
class ClipConfig(TextSystemConfig):
    """The full configuration of a CLIP."""

    name: ClassVar[str] = "clip"

    width: int = field(default=128, metadata={"most": 65_536, "help": "numbers of a vector, 2 or more"})
    loss: SigmoidLoss | SoftmaxLoss = field(default_factory=SigmoidLoss, metadata={"help": "what is near and far"})
    network: VisionConfig = field(default_factory=VisionConfig, metadata={"help": "the network that sees pictures"})
    encoder: EncoderConfig = field(
        default_factory=OwnEncoderConfig,
        metadata={
            "help": "what makes vectors of the text; after a frozen one a norm and a linear projection are trained"
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 2:
            raise InputError(f"width: {self.width} is too few numbers for a direction; give 2 or more")

    @property
    def identity(self) -> tuple[object, ...]:
        """The settings that the weights depend on."""
        return self.width, self.loss, self.network, self.encoder

    def of_data(self, data: Dataset) -> "ClipConfig":
        """With the fingerprint of a frozen encoder. Raises InputError where its files are gone, or others."""
        del data
        return replace(self, encoder=self.found_encoder())

    def check(self, items: DataSpec) -> None:
        """Raises InputError for items that are no images, or too small."""
        self.network.check(items.shape)

    def build(self, items: DataSpec) -> "ClipObjective":
        """An untrained CLIP. Raises InputError for items that are no images."""
        return ClipObjective(bounded(lambda: Clip(self, items.shape)))

    def wrap(self, description: RunDescription, module: nn.Module, step: int, folder: Path) -> "ClipModel":
        """The CLIP, ready to use."""
        assert isinstance(module, Clip)
        return ClipModel(description, module, step, folder)


class Clip(nn.Module):
    """See the module docstring. ``loss``: what ``logits`` mean."""

    def __init__(self, config: ClipConfig, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.loss = config.loss
        self.vision, self.text = config.network.build(shape), config.encoder.build()
        self.of_picture = nn.Linear(config.network.features, config.width, bias=False)
        self.of_text = nn.Linear(self.text.width, config.width, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(config.loss.log_scale))
        self.bias = nn.Parameter(torch.tensor(config.loss.bias))

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        """z (N, M) of pictures (N, C, H, W) and the tokens (M, L) of texts, on the CPU."""
        return self.logits(self.pictures(x) @ self.texts(ids).T)

    def pictures(self, x: Tensor) -> Tensor:
        """u, float32 (N, width) of unit length."""
        return F.normalize(self.of_picture(self.vision(x)).float(), dim=1)

    def texts(self, ids: Tensor, weights: Tensor | None = None) -> Tensor:
        """v, float32 (M, width) of unit length; ``weights`` (M, L): how much each token counts in the mean of all.

        ids (M, L) and ``weights`` are on the CPU.
        """
        found = self.text(ids)
        if weights is None:
            return F.normalize(self.of_text(found.pooled).float(), dim=1)
        weights = self.text.placed(weights)
        mean = (weights[..., None] * found.states).sum(1) / weights.sum(1, keepdim=True)
        return F.normalize(self.of_text(mean.to(found.states.dtype)).float(), dim=1)

    def logits(self, cosines: Tensor) -> Tensor:
        """z of cosines."""
        return self.log_scale.exp() * cosines + self.bias


class ClipObjective(Objective[Clip]):
    """The contrastive loss of each picture among the texts of its batch."""

    def fit(self, data: Dataset) -> None:
        """Learn the tokens. Raises InputError for data without captions."""
        self.captions = texts_of(data)
        self.model.text.fit([line for some, keywords in set(self.captions) for line in (*some, *keywords)])

    def forward(self, batch: Batch) -> Tensor:
        own = [self.captions[item] for item in batch.items.tolist()]
        numbers = batch.uniforms(Purpose.CAPTION, 1 + max(len(keywords) for _, keywords in own)).tolist()
        texts = [sampled_caption(each, row) for each, row in zip(own, numbers, strict=True)]
        pictures = self.model.pictures(batch.x.to(self.device))
        vectors = self.model.texts(self.model.text.tokens(texts))
        logits = self.model.logits(gathered(pictures) @ gathered(vectors).T)
        losses = self.model.loss.of(logits.float(), repeated(named_by_all(texts)).to(self.device))
        return losses[group().part(len(losses))]


class ClipModel(TrainedModel[ClipConfig, Clip]):
    """A CLIP with what it was trained for."""

    what: ClassVar[str] = "CLIPs"

    @property
    def evaluated_as(self) -> str:
        return "clips"

    def preview(self) -> bytes | None:
        """None: it makes no samples."""
        return None

    @torch_defaults()
    @torch.no_grad()
    def embed_images(self, images: Tensor) -> Tensor:
        """Unit vectors, float32 (N, width) on the CPU, of images (N, C, H, W) in [-1, 1].

        Raises InputError for images of another shape than it was trained on.
        """
        if images.shape[1:] != self.items.shape:
            raise InputError(f"images: are {tuple(images.shape)}; {self.folder} takes (N, …) of {self.items.shape}")
        return torch.cat([self.module.pictures(part.to(self.device)).cpu() for part in images.split(BATCH)])

    def embed_text(self, texts: str | Sequence[str]) -> Tensor:
        """Unit vectors, float32 (M, width) on the CPU; one text gives (1, width).

        Raises InputError for an empty text, and one longer than the encoder takes.
        """
        return self.embed_captions(self.read_texts(texts))

    @torch_defaults()
    @torch.no_grad()
    def embed_captions(self, texts: Sequence[str]) -> Tensor:
        """As `embed_text`, of what data say: long texts are cut off, and the empty one has a vector of zeros."""
        ids = self.module.text.tokens(texts)
        found = torch.cat([self.module.texts(part).cpu() for part in ids.split(BATCH)])
        return found * torch.tensor([[bool(text.strip())] for text in texts])

    @torch_defaults()
    @torch.no_grad()
    def embed_parts(self, parts: Sequence[Part]) -> Tensor:
        """As `embed_text`, of prompts that were read (`sumi.conditioning.prompt`), whose words have weights.

        A word counts in the mean of a text's tokens as its weight says; so does it for a network that reads the text.
        """
        self.read_texts([part.text for part in parts])
        ids, weights = map(torch.stack, zip(*(self.module.text.weighted(part) for part in parts), strict=True))
        batches = zip(ids.split(BATCH), weights.split(BATCH), strict=True)
        return torch.cat([self.module.texts(*batch).cpu() for batch in batches])

    def read_texts(self, texts: object) -> list[str]:
        """Checked texts. Raises InputError."""
        match texts:
            case str():
                given: list[object] = [texts]
            case [*some] if some:
                given = some
            case _:
                raise InputError(f"texts: {shown(texts)} is no text; give one, or a list")
        found: list[str] = []
        most = self.module.text.length - sum(self.module.text.around)
        for text in given:
            match text:
                case str() if text.strip():
                    count = sum(len(tokens) for _, tokens in self.module.text.spans(text))
                    if count > most:
                        raise InputError(f"prompt: {text[:40]}… has {count} tokens; this CLIP takes {most}; shorten it")
                    found.append(text)
                case _:
                    raise InputError(f"prompt: {shown(text)} says nothing; give words of the captions")
        return found

    def score(self, images: Tensor, texts: str | Sequence[str]) -> Tensor:
        """Cosines (N, M) of images (N, C, H, W) in [-1, 1] and M texts. Raises InputError as the embeddings do."""
        return self.embed_images(images) @ self.embed_text(texts).T

    def classify(self, images: Tensor, names: Sequence[str] | None = None, template: str = TEMPLATE) -> Tensor:
        """Which class each image (N, C, H, W) is nearest to, int64 (N,), without training on classes (zero-shot).

        ``names``: of the classes (those of its data); ``template``: the text of one, with {} for its name. Raises
        InputError as the embeddings do, and where there are no classes.
        """
        names = self.items.label_names if names is None else names
        if not names:
            raise InputError("names: its data have no classes; give their names")
        if "{}" not in template:
            raise InputError(f"template: {template} has no place for a name; write it as {{}}")
        return self.score(images, [template.replace("{}", name) for name in names]).argmax(1)
