"""Encoders: from texts to vectors that a network can use.

    texts ── tokens ──▶ ids (B, L) ── forward ──▶ states (B, L, D), mask (B, L), pooled (B, D)

Ids stay on the CPU, where a batch is cut to its longest text; `forward` takes them to the weights.

`OwnEncoder` is a transformer of two layers on byte-pair tokens that are learned from the captions; it is trained
together with what uses it, and needs nothing installed.
"""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sumi.conditioning.prompt import Part
from sumi.conditioning.tokens import MERGES, PADDING, START, Tokens, words_of
from sumi.errors import InputError

LEARNED: Final = 1 << 17
"""Bytes that the learned tokens and words take at most: as text, compressed where that is longer."""
HEAD_WIDTH: Final = 32


@dataclass(frozen=True)
class EncodedText:
    """``states`` (B, L, D) of each token; ``mask`` bool (B, L), False at padding; ``pooled`` (B, D), their mean.

    ``summary`` (B, S): of the whole text, by the encoder's own head; None: it has none.
    """

    states: Tensor
    mask: Tensor
    pooled: Tensor
    summary: Tensor | None = None


class TextEncoder(nn.Module, ABC):
    """See the module docstring. ``width``: D; ``length``: the most tokens of a text, with the start.
    ``summary_width``: S; 0: no summary.

    Every text has at least one token, also an empty one. What a text becomes does not depend on how much padding
    follows it, nor on the other texts.
    """

    width: int
    length: int
    summary_width: int = 0
    _place: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("_place", torch.empty(0), persistent=False)  # one that is frozen may have no weights

    def placed(self, x: Tensor) -> Tensor:
        """``x``, of the CPU, where the weights are."""
        return x.to(self._place.device, non_blocking=True)

    @abstractmethod
    def fit(self, captions: Iterable[str]) -> None:
        """Learn the tokens from captions. Does nothing where they are given."""

    @abstractmethod
    def spans(self, text: str) -> list[tuple[int, list[int]]]:
        """(where in ``text`` it begins, the ids of its tokens) of each word, in order; the start is left out."""

    @property
    def around(self) -> tuple[int, int]:
        """How many tokens every text has before its words, and after them."""
        return 1, 0

    def shortened(self, caption: str) -> str:
        """``caption`` up to the last word that is read whole, since in training longer ones lose their end.

        Of a first word that is too long, a part: its half, quarter or less.
        """
        count = sum(self.around)
        for begin, tokens in self.spans(caption):
            count += len(tokens)
            if count > self.length:
                return caption[:begin].rstrip() or self.shortened(caption[: len(caption) // 2])
        return caption

    @abstractmethod
    def unknown(self, text: str) -> tuple[str, ...]:
        """The words of ``text`` that no caption had in training."""

    @abstractmethod
    def same_tokens(self, other: "TextEncoder") -> bool:
        """Whether ids mean the same to ``other``."""

    @abstractmethod
    def forward(self, ids: Tensor) -> EncodedText:
        """``ids``: int64 (B, L) on the CPU, L ≤ length; `PADDING` at the end of shorter ones."""

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """int64 (B, length): the ids of each text. Longer texts lose their end."""
        ids = torch.full((len(texts), self.length), PADDING, dtype=torch.int64)
        for row, text in zip(ids, texts, strict=True):
            found = [START, *(token for _, word in self.spans(text) for token in word)][: self.length]
            row[: len(found)] = torch.tensor(found)
        return ids

    def weighted(self, part: Part) -> tuple[Tensor, Tensor]:
        """The ids of a prompt's text, int64 (length,), and how much each counts, float32 (length,): 0 at padding.

        Of a text all of whose tokens are hidden, those of the empty text.
        """
        ids, before = self.tokens([part.text])[0], self.around[0]
        weights = (ids != PADDING).float()
        words = torch.tensor([part.weight_at(begin) for begin, tokens in self.spans(part.text) for _ in tokens])
        weights[before : before + len(words)] *= words
        if not weights.any():
            ids = self.tokens([""])[0]
            weights = (ids != PADDING).float()
        return ids, weights


@dataclass(frozen=True)
class OwnEncoderConfig:
    """A transformer trained together with what uses it."""

    name: ClassVar[str] = "own"

    tokens: int = field(default=1024, metadata={"most": 65_536, "help": "byte-pair tokens, 258 or more"})
    length: int = field(default=48, metadata={"most": 1024, "help": "most tokens of a text, 2 or more"})
    width: int = field(default=128, metadata={"most": 4096, "help": f"width of a token; a multiple of {HEAD_WIDTH}"})
    layers: int = field(default=2, metadata={"most": 100, "help": "layers of attention, 0 or more"})

    def __post_init__(self) -> None:
        for name, least in (("tokens", MERGES), ("length", 2), ("layers", 0)):
            if getattr(self, name) < least:
                raise InputError(f"encoder.{name}: {getattr(self, name)} is too few; give {least} or more")
        if self.width < 1 or self.width % HEAD_WIDTH:
            raise InputError(f"encoder.width: {self.width} is not a multiple of {HEAD_WIDTH}; give such as 128")

    def build(self) -> "OwnEncoder":
        """A new encoder, which has yet to learn its tokens."""
        return OwnEncoder(self)


class OwnEncoder(TextEncoder):
    """See the module docstring. What it has learned of the captions is saved with its weights."""

    learned: Tensor

    def __init__(self, config: OwnEncoderConfig) -> None:
        super().__init__()
        self.width, self.length, self.size = config.width, config.length, config.tokens
        self.register_buffer("learned", torch.zeros(LEARNED, dtype=torch.uint8))
        self.table = nn.Embedding(config.tokens, config.width)
        nn.init.normal_(self.table.weight, std=1.0)
        self.layers = nn.ModuleList(EncoderLayer(config.width) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self._vocabulary: Tokens | None = None

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._vocabulary = None  # other weights come with other tokens

    @property
    def vocabulary(self) -> Tokens:
        """The tokens that it has learned. Raises InputError before `fit`."""
        if self._vocabulary is None:
            kept = bytes(self.learned.cpu().tolist())
            if not any(kept):
                raise InputError("text: the encoder has learned no tokens yet; train it, or call fit")
            text = kept.rstrip(b"\0") if kept.startswith(b"[") else zlib.decompressobj().decompress(kept)
            self._vocabulary = Tokens.from_json(text.decode())
        return self._vocabulary

    def fit(self, captions: Iterable[str]) -> None:
        """Learn the tokens. Raises InputError for captions of more different words than can be kept."""
        self.keep(Tokens.learned(captions, self.size))

    def keep(self, found: Tokens) -> None:
        """Have these tokens. Raises InputError for more than can be kept."""
        text = found.to_json().encode()
        kept = text if len(text) <= LEARNED else zlib.compress(text, 9)
        if len(kept) > LEARNED:
            raise InputError(
                f"text: the captions have {len(found.words):,} different words, which take {len(kept):,} bytes, and "
                f"{LEARNED:,} can be kept; give a frozen encoder, or fewer captions"
            )
        self.learned.zero_()
        self.learned[: len(kept)] = torch.tensor(list(kept), dtype=torch.uint8)
        self._vocabulary = found

    def spans(self, text: str) -> list[tuple[int, list[int]]]:
        return [(begin, self.vocabulary.of_word(word)) for begin, word in words_of(text)]

    def unknown(self, text: str) -> tuple[str, ...]:
        return self.vocabulary.unknown(text)

    def same_tokens(self, other: TextEncoder) -> bool:
        match other:
            case OwnEncoder(vocabulary=found):
                return (found.merges, found.names) == (self.vocabulary.merges, self.vocabulary.names)
            case _:
                return False

    def forward(self, ids: Tensor) -> EncodedText:
        ids = self.placed(ids)
        mask = ids != PADDING
        h = self.table(ids)
        h = h + positions(ids.shape[1], self.width).to(h)
        bias = torch.zeros(mask.shape, dtype=h.dtype, device=h.device).masked_fill(~mask, -torch.inf)
        for layer in self.layers:
            h = layer(h, bias[:, None, None])
        states = self.norm(h)
        counted = mask[..., None].to(states)
        return EncodedText(states, mask, (states * counted).sum(1) / counted.sum(1))


def positions(length: int, width: int) -> Tensor:
    """Sines and cosines of the place (Vaswani et al. 2017): float32 (length, width)."""
    rates = 10_000.0 ** -torch.linspace(0, 1, width // 2)
    phase = torch.arange(length)[:, None] * rates
    return torch.cat([phase.sin(), phase.cos()], 1)


class EncoderLayer(nn.Module):
    """h + attention(norm(h)), then h + perceptron(norm(h)).

    ``forward(h: (B, L, width), bias) -> (B, L, width)``; ``bias`` (B, 1, 1, L) is added to the logits of attention.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_attention, self.norm_perceptron = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.attended = nn.Linear(width, width)
        self.hidden, self.out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, h: Tensor, bias: Tensor) -> Tensor:
        heads = self.query_key_value(self.norm_attention(h)).unflatten(2, (3, -1, HEAD_WIDTH))
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        shares = (query * HEAD_WIDTH**-0.5 @ key.transpose(2, 3) + bias).softmax(-1).to(value.dtype)
        h = h + self.attended((shares @ value).transpose(1, 2).flatten(2))
        return h + self.out(F.gelu(self.hidden(self.norm_perceptron(h))))
