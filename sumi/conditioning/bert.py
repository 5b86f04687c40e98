"""BERT as it is published (Devlin et al. 2019), MiniLM among its models: a folder with config.json, model.safetensors,
and tokenizer.json or vocab.txt. It is read here, without transformers; its tokens are those of the tokenizers library.

    h = norm(word + place + segment)
    h = norm(h + attention(h)), then h = norm(h + out(act(in(h))))          for each layer
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from sumi.errors import InputError

ACTIVATIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "gelu": F.gelu,
    "gelu_new": lambda h: F.gelu(h, approximate="tanh"),
    "relu": F.relu,
}
PUBLISHED: Final = {
    "embeddings.word_embeddings": "words",
    "embeddings.position_embeddings": "places",
    "embeddings.token_type_embeddings": "segments",
    "embeddings.LayerNorm": "norm",
    "encoder.layer": "layers",
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "attended",
    "attention.output.LayerNorm": "norm_attention",
    "intermediate.dense": "hidden",
    "output.dense": "out",
    "output.LayerNorm": "norm_perceptron",
    "gamma": "weight",
    "beta": "bias",
}
"""Published names of weights, and ours."""


@dataclass(frozen=True)
class BertSizes:
    """What a config.json says of a BERT, in its own names."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    model_type: str = "bert"

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for a configuration that is none."""
        found = cls(**{name: config[name] for name in cls.__dataclass_fields__ if name in config})
        if found.hidden_size % found.num_attention_heads:
            raise ValueError(f"hidden_size {found.hidden_size} is not a multiple of {found.num_attention_heads} heads")
        return found


def is_bert(config: Mapping[str, Any]) -> bool:
    """Whether the model of a config.json is a BERT as it was published, an encoder with a learned vector a place."""
    return (
        config.get("model_type") == "bert"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and config.get("hidden_act", "gelu") in ACTIVATIONS
        and not config.get("is_decoder", False)
    )


class Bert(nn.Module):
    """``forward(ids: int64 (B, L), mask: (B, L)) -> (B, L, hidden_size)``, the states; mask 0: padding."""

    def __init__(self, config: BertSizes) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.places = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.segments = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.layers = nn.ModuleList(BertLayer(config) for _ in range(config.num_hidden_layers))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        h = self.norm(self.words(ids) + self.places.weight[: ids.shape[1]] + self.segments.weight[0])
        seen = mask.bool()[:, None, None]
        for layer in self.layers:
            h = layer(h, seen)
        return h


class BertLayer(nn.Module):
    """``forward(h: (B, L, D), seen: bool (B, 1, 1, L)) -> (B, L, D)``; the norms follow the sums."""

    def __init__(self, config: BertSizes) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.heads, self.act = config.num_attention_heads, ACTIVATIONS[config.hidden_act]
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.attended, self.hidden, self.out = nn.Linear(width, width), nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm_attention, self.norm_perceptron = (nn.LayerNorm(width, config.layer_norm_eps) for _ in range(2))

    def forward(self, h: Tensor, seen: Tensor) -> Tensor:
        query, key, value = (
            part(h).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=seen).transpose(1, 2).flatten(2)
        h = self.norm_attention(h + self.attended(found))
        return self.norm_perceptron(h + self.out(self.act(self.hidden(h))))


def read_bert(folder: Path) -> Bert:
    """The model in a folder, float32, frozen. Raises InputError for weights that are missing, or of other shapes."""
    try:
        config = BertSizes.of(json.loads((folder / "config.json").read_bytes()))
        with torch.device("meta"):
            model = Bert(config)
        weights: dict[str, Tensor] = {}
        for file in sorted(folder.glob("*.safetensors")):
            weights |= {_renamed(name): weight.float() for name, weight in load_file(file).items()}
        own = model.state_dict()
        if missing := next((name for name in own if name not in weights), None):
            raise ValueError(f"it has no weights {missing}")
        model.load_state_dict({name: weights[name] for name in own}, assign=True)
    except Exception as error:  # safetensors has an error of its own, of no common family
        raise _unread(folder, error) from error
    return model.eval().requires_grad_(False)


def _renamed(name: str) -> str:
    name = f".{name.removeprefix('bert.')}."
    for published, own in PUBLISHED.items():
        name = name.replace(f".{published}.", f".{own}.")
    return name.strip(".")


def _unread(folder: Path, error: Exception) -> InputError:
    what = " ".join(str(error).split())[:200]
    return InputError(f"encoder.source: {folder} cannot be read ({what}); give the folder as published")


class ReadText(NamedTuple):
    """The tokens of a text; of each the number of its word, None of those around; and where it begins and ends."""

    ids: list[int]
    words: list[int | None]
    places: list[tuple[int, int]]


class BertTokens:
    """The tokens of a folder: of tokenizer.json, or of vocab.txt and what tokenizer_config.json says of its letters.

    As `sumi.conditioning.frozen_encoder.FolderTokens` has them. Raises InputError where there are none, and without the
    library.
    """

    def __init__(self, folder: Path) -> None:
        try:
            library = import_module("tokenizers")
        except ImportError:
            raise InputError("encoder: frozen needs tokenizers; pip install tokenizers") from None
        file, vocabulary = folder / "tokenizer.json", folder / "vocab.txt"
        if not file.is_file() and not vocabulary.is_file():
            raise InputError(f"encoder.source: {folder} has no tokenizer.json or vocab.txt; give both as published")
        try:
            self._tokens = library.Tokenizer.from_file(str(file)) if file.is_file() else _of_words(library, vocabulary)
        except Exception as error:  # the library raises no other
            raise _unread(folder, error) from error
        self._tokens.no_padding()
        self.vocabulary: dict[str, int] = self._tokens.get_vocab()
        self.padding = self.vocabulary.get("[PAD]", 0)
        added = self._tokens.get_added_tokens_decoder()
        self.special = frozenset(token for token, about in added.items() if about.special)

    def read(self, text: str, most: int | None = None) -> ReadText:
        """The tokens of ``text``; of more than ``most`` the end is left out, but for those around it."""
        if most is None:
            self._tokens.no_truncation()
        else:
            self._tokens.enable_truncation(most)
        found = self._tokens.encode(text)
        return ReadText(found.ids, found.word_ids, found.offsets)


def _of_words(library: Any, file: Path) -> Any:
    about = file.parent / "tokenizer_config.json"
    settings = json.loads(about.read_bytes()) if about.is_file() else {}
    found = library.Tokenizer(library.models.WordPiece.from_file(str(file), unk_token="[UNK]"))
    names = [name for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if found.token_to_id(name) is not None]
    found.add_special_tokens(names)
    found.normalizer = library.normalizers.BertNormalizer(
        lowercase=settings.get("do_lower_case", True),
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
    )
    found.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    end, begin = ((name, found.token_to_id(name)) for name in ("[SEP]", "[CLS]"))
    found.post_processor = library.processors.BertProcessing(end, begin)
    return found
