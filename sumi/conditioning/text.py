"""Texts as a condition: captions in training, prompts in sampling.

    text ── tokens ──▶ ids ── encoder ──▶ a state for each token, to which the network attends
                                    └───▶ their mean ── linear ──▶ a vector, added to the noise level's embedding

Of several captions and the keywords of a picture one text is drawn each time that it is seen. The empty text, which is
one token, is the unconditional value; so it has the padding that every other text has, and padding never counts.

In sampling a token may count more or less than one (`sumi.conditioning.prompt`), and two prompts may count together.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

import torch
from torch import Tensor, nn

from sumi.conditioning.condition import Condition
from sumi.conditioning.conditioner import Conditioner, Items, check_dropout
from sumi.conditioning.frozen_encoder import FrozenEncoderConfig
from sumi.conditioning.prompt import as_text, prompts_of, read_prompt, readable, without_marks
from sumi.conditioning.text_encoder import OwnEncoderConfig, TextEncoder
from sumi.conditioning.tokens import PADDING
from sumi.conditioning.word_table import TableConfig
from sumi.data.audio import AudioDataset
from sumi.data.batch import Batch
from sumi.data.dataset import Dataset, evenly
from sumi.data.embedded import EmbeddedDataset
from sumi.data.image_set import ImageDataset
from sumi.data.latents import LatentDataset
from sumi.errors import InputError
from sumi.networks.condition import ConditionShape, NetworkCondition
from sumi.randomness import Purpose

Prompts = str | Sequence[str]
"""A prompt for all samples, or one for each (`sumi.conditioning.prompt`)."""
EncoderConfig = OwnEncoderConfig | FrozenEncoderConfig | TableConfig
"""What makes vectors of text."""
Texts = tuple[tuple[str, ...], tuple[str, ...]]
"""The captions and the keywords of an image."""
PROMPTS: Final = 2
"""The most that count together in a sample."""


@dataclass(frozen=True)
class TextConditioning:
    """The network is conditioned on a text about each image."""

    name: ClassVar[str] = "text"

    encoder: EncoderConfig = field(
        default_factory=OwnEncoderConfig, metadata={"help": "what makes vectors of the text"}
    )
    dropout: float = field(
        default=0.1, metadata={"help": "share of training images whose text is empty, [0, 1); guidance needs some"}
    )

    def __post_init__(self) -> None:
        check_dropout(self.dropout)

    def found(self) -> "TextConditioning":
        """With the fingerprint of an encoder that is frozen. Raises InputError where it is gone, or another."""
        match self.encoder:
            case FrozenEncoderConfig() | TableConfig() as encoder:
                return replace(self, encoder=encoder.found())
            case OwnEncoderConfig():
                return self

    def continued(self, before: "TextConditioning | None" = None) -> "TextConditioning":
        """With the path and the fingerprint that an earlier start of the run recorded of the same frozen encoder."""
        return self if before is None else replace(self, encoder=continued(self.encoder, before.encoder))

    def build(self, items: Items, width: int) -> "TextConditioner":
        """A new conditioner."""
        del items
        return TextConditioner(self.encoder.build(), width, self.dropout)


def continued(encoder: EncoderConfig, before: EncoderConfig) -> EncoderConfig:
    """See `TextConditioning.continued`."""
    match encoder, before:
        case (FrozenEncoderConfig(), FrozenEncoderConfig()) | (TableConfig(), TableConfig()) if (
            encoder.place == before.place
        ):
            return replace(encoder, source=before.source, weights=before.weights)
        case _:
            return encoder


class TextConditioner(Conditioner):
    """``text`` int64 (N, P, L) and ``text_weights`` (N, P, L) -> tokens (N, P · L, D) with log weights, and a vector.

    Where ``text_weights`` are left out they are 1.
    """

    def __init__(self, encoder: TextEncoder, width: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder, self.dropout = encoder, dropout
        self.texts: list[Texts] = []
        summary = encoder.summary_width  # which enters as it is, at the beginning of the vector
        self.pooled = nn.ConstantPad1d((0, width - summary), 0.0) if summary else nn.Linear(encoder.width, width)
        self.shape = ConditionShape(token_width=encoder.width)

    def fit(self, data: Dataset) -> None:
        """Learn the tokens. Raises InputError for data without captions."""
        self.texts = texts_of(data)
        self.encoder.fit([line for captions, keywords in set(self.texts) for line in (*captions, *keywords)])

    def parse(self, given: object, indices: Sequence[int]) -> Condition:
        """``given``: one prompt for all, or one for each sample (`sumi.conditioning.prompt`). Raises InputError."""
        ids = self.encoder.tokens([""]).repeat(len(indices), PROMPTS, 1)
        weights = torch.zeros(ids.shape)
        for row, prompt in enumerate(prompts_of(given, len(indices))):
            read = read_prompt(prompt)
            for place, (part, share) in enumerate(zip(read.parts, read.shares, strict=True)):
                spans = self.encoder.spans(part.text)
                before, after = self.encoder.around
                count = before + sum(len(tokens) for _, tokens in spans) + after
                if count > self.encoder.length:
                    raise InputError(
                        f"prompt: {part.text[:40]}… has {count - before - after} tokens; this model takes "
                        f"{self.encoder.length - before - after}; shorten it"
                    )
                ids[row, place], counts = self.encoder.weighted(part)
                weights[row, place] = share * counts
        return Condition(text=ids, text_weights=weights)

    def unknown(self, prompts: Sequence[str]) -> tuple[str, ...]:
        """The words of ``prompts`` that no caption had in training, each once."""
        return unknown_to(self.encoder, prompts)

    def examples(self, count: int) -> list[str] | None:
        """Captions of ``count`` items of the data that it was fitted to, evenly spaced, as far as it reads them.

        None where it was not fitted.
        """
        found = [captions[0] for captions, _ in self.texts if captions]
        if len(found) < count:
            return None
        return [self.encoder.shortened(as_text(found[i])) for i in evenly(len(found), count).tolist()]

    def of_data(self, batch: Batch, x_0: Tensor, draw: int) -> Condition:
        """A text of each of the batch's images, drawn, or the empty text."""
        del x_0
        texts = [self.texts[item] for item in batch.items.tolist()]
        most = max(len(keywords) for _, keywords in texts)
        numbers = batch.uniforms(Purpose.CAPTION, 1 + most, draw).tolist()
        left_out = batch.uniforms(Purpose.CONDITION_DROPOUT, 1, draw)[:, 0] < self.dropout
        chosen = [sampled_caption(text, row) for text, row in zip(texts, numbers, strict=True)]
        words = ["" if out else text for text, out in zip(chosen, left_out.tolist(), strict=True)]
        return Condition(text=self.encoder.tokens(words)[:, None])

    def null(self, like: Tensor) -> Condition:
        ids = self.encoder.tokens([""]).expand(len(like), PROMPTS, -1)
        weights = torch.zeros(ids.shape)
        weights[:, 0] = 1
        return Condition(text=ids, text_weights=weights)

    def forward(self, condition: Condition) -> NetworkCondition:
        ids = condition["text"]
        weights = (ids != PADDING).float()
        if "text_weights" in condition:
            weights = weights * condition["text_weights"]
        counts = (weights > 0).any(0)  # (P, L): what is padding in all samples has no part in anything
        if not torch.compiler.is_exporting():  # where shapes are those of any text
            used = counts.any(1)
            length = int(counts.any(0).nonzero().max()) + 1
            ids, weights = ids[:, used, :length], weights[:, used, :length]
        found = self.encoder(ids.flatten(0, 1))
        weights = self.encoder.placed(weights)
        states = found.states.unflatten(0, ids.shape[:2]).flatten(1, 2)
        if found.summary is None:
            parts, shares = states, weights.flatten(1)
        else:  # a prompt's share is the weight of its start
            parts, shares = found.summary.unflatten(0, ids.shape[:2]), weights[:, :, 0]
        mean = (shares[..., None] * parts).sum(1) / shares.sum(1, keepdim=True)
        log_weights = weights.flatten(1).log()
        return NetworkCondition(self.pooled(mean.to(states.dtype)), tokens=states, log_weights=log_weights)


def unknown_to(encoder: TextEncoder, prompts: Sequence[str]) -> tuple[str, ...]:
    """The words of ``prompts`` that no caption of the encoder had in training, each once. Raises InputError."""
    return tuple(dict.fromkeys(word for text in without_marks(prompts) for word in encoder.unknown(text)))


def texts_of(data: Dataset) -> list[Texts]:
    """(captions, keywords) of every item; an item may have neither. Raises InputError where none has any."""
    match data:
        case LatentDataset():
            return texts_of(data.images) * (len(data) // len(data.images))
        case EmbeddedDataset():
            return texts_of(data.images)
        case ImageDataset(captions=tuple() as captions) | AudioDataset(captions=tuple() as captions):
            keywords = data.keywords or ((),) * len(data)
            return [
                (tuple(filter(str.strip, readable(text).splitlines())), tuple(map(readable, words)))
                for text, words in zip(captions, keywords, strict=True)
            ]
        case _:
            raise InputError(
                "conditioning: text needs images with captions, and these have none; give a text file of each image's "
                "name, or a metadata.jsonl with text"
            )


def texts_fingerprint(data: Dataset) -> str:
    """sha256 (hex) of the captions and keywords of all items. Raises InputError as `texts_of`."""
    return hashlib.sha256(json.dumps(texts_of(data)).encode()).hexdigest()


def captions_of(data: Dataset) -> list[str]:
    """One text of each item: its first caption, else its keywords. Raises InputError as `texts_of`."""
    return [captions[0] if captions else ", ".join(keywords) for captions, keywords in texts_of(data)]


def with_text(data: Dataset) -> list[int]:
    """The places of the items whose text is a prompt: there are some without any. Raises InputError as `texts_of`."""
    return [place for place, text in enumerate(captions_of(data)) if as_text(text).strip()]


def sampled_caption(texts: Texts, numbers: Sequence[float]) -> str:
    """One of the captions, or all keywords in some order, each equally often; the empty text where there are none.

    ``numbers`` in [0, 1): the first chooses, the others order the keywords.
    """
    captions, keywords = texts
    choices = len(captions) + bool(keywords)
    chosen = int(numbers[0] * choices)
    if chosen < len(captions):
        return captions[chosen]
    order = sorted(range(len(keywords)), key=lambda k: numbers[1 + k])
    return ", ".join(keywords[k] for k in order)
