"""A CLIP's vector as a condition: of a text, from which a prior makes vectors of pictures, or of a picture.

    e, of unit length ── √D e ── perceptron ──▶ a vector, added to the noise level's embedding

In training it is dropped with probability p (Ramesh et al. 2022, "Hierarchical text-conditional image generation with
CLIP latents", section 2.1), and a learned vector is there instead. A row of zeros, which no direction is, stands for
it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from sumi.boundary.arguments import finite
from sumi.conditioning.condition import Condition
from sumi.conditioning.conditioner import Conditioner, Items, check_dropout
from sumi.data.batch import Batch
from sumi.data.dataset import Dataset
from sumi.data.embedded import EmbeddedDataset
from sumi.data.spec import expect
from sumi.errors import InputError
from sumi.networks.condition import NetworkCondition
from sumi.randomness import Purpose


@dataclass(frozen=True)
class EmbeddingConditioning:
    """The network is conditioned on a vector of a CLIP."""

    name: ClassVar[str] = "embedding"

    of: Literal["picture", "text"] = field(default="picture", metadata={"help": "whose vectors it is trained on"})
    size: int = field(default=128, metadata={"most": 65_536, "help": "numbers of a vector, 2 or more"})
    dropout: float = field(default=0.1, metadata={"help": "share of training images that go without, [0, 1)"})
    clip: str = field(default="", metadata={"help": "sha256 of the description of the CLIP; not to be set"})

    def __post_init__(self) -> None:
        check_dropout(self.dropout)
        if self.size < 2:
            raise InputError(f"conditioning.size: {self.size} is too few numbers for a direction; give 2 or more")

    def build(self, items: Items, width: int) -> "EmbeddingConditioner":
        """A new conditioner."""
        del items
        return EmbeddingConditioner(self, width)


class EmbeddingConditioner(Conditioner):
    """``embedding`` (N, D), zero where there is none, -> one vector (N, width)."""

    def __init__(self, config: EmbeddingConditioning, width: int) -> None:
        super().__init__()
        self.of, self.size, self.dropout = config.of, config.size, config.dropout
        self.nothing = nn.Parameter(torch.randn(config.size))
        self.perceptron = nn.Sequential(nn.Linear(config.size, width), nn.SiLU(), nn.Linear(width, width))

    def fit(self, data: Dataset) -> None:
        """Take the vectors of the training data. Raises InputError for data without any."""
        why = "conditioning: embedding needs vectors of a CLIP; train unclip, or resume the run of which it is a part"
        embedded = expect(data, EmbeddedDataset, why)
        self.rows = torch.from_numpy(embedded.pictures if self.of == "picture" else embedded.texts)

    def parse(self, given: object, indices: Sequence[int]) -> Condition:
        """``given``: a vector (D,) for all samples, or (N, D). Raises InputError."""
        rows = finite("condition.embedding", given)
        if rows.shape not in ((self.size,), (len(indices), self.size)):
            raise InputError(
                f"condition.embedding: is of shape {tuple(rows.shape)}; give ({self.size},), or one for each sample"
            )
        return Condition(embedding=rows.expand(len(indices), -1))

    def of_data(self, batch: Batch, x_0: Tensor, draw: int) -> Condition:
        """The batch's vectors, with dropout."""
        del x_0
        left_out = batch.uniforms(Purpose.CONDITION_DROPOUT, 1, draw) < self.dropout
        return Condition(embedding=torch.where(left_out, 0.0, self.rows[torch.from_numpy(batch.items)]))

    def null(self, like: Tensor) -> Condition:
        return Condition(embedding=like.new_zeros((len(like), self.size)))

    def forward(self, condition: Condition) -> NetworkCondition:
        rows = condition["embedding"].to(self.nothing)
        known = (rows != 0).any(1, keepdim=True)
        return NetworkCondition(vector=self.perceptron(torch.where(known, self.size**0.5 * rows, self.nothing)))


def reranked(candidates: Tensor, texts: Tensor) -> Tensor:
    """Of candidates (K, N, D) those nearest to the texts (N, D), both of unit length: (N, D)."""
    best = (candidates * texts).sum(2).argmax(0)
    return candidates[best, torch.arange(len(texts))]
