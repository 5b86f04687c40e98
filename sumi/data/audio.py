"""Sound: what one clip is, and a set of them in memory.

Clips of one rate and one length, of one channel, of whole numbers k of 16 bits that stand for x = k/32,768 in [-1, 1).
A model may go beyond; what is written is clipped, and said.
"""

import base64
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sumi.boundary.arguments import finite, whole
from sumi.boundary.files import refuse_folder
from sumi.boundary.files import whole as whole_file
from sumi.data.config import DataConfig
from sumi.data.dataset import Skipped, divide, divide_by_splits, no_column, no_labels, skipped_lines
from sumi.data.files import Writing, alike, batches_of, encode, made_otherwise
from sumi.data.resample import resampled
from sumi.data.sound_files import LEVELS, UnreadableSound, clipped, comment_of, read_sound, to_levels, wav, write_wav
from sumi.data.spec import DataSpec, Unit, describe, expect, states, unlike
from sumi.data.stated import stated_in, summary
from sumi.errors import InputError
from sumi.figures.files import refuse_foreign
from sumi.figures.pictures import animation
from sumi.figures.spectrograms import MOST, spectrograms

MULTIPLE: Final = 256
"""Lengths in samples are rounded up to such, which transforms and networks can halve."""
FADE: Final = 0.01
"""Seconds over which a clip that is cut fades out."""
LARGEST_RATE, LONGEST = 384_000, 60.0


@dataclass(frozen=True)
class AudioSpec:
    """Clips (1, L) of ``length`` L values at ``rate`` Hz, in [-1, 1]."""

    name: ClassVar[str] = "audio"
    defaults: ClassVar[tuple[str, ...]] = ("network=diffwave", "training.batch_size=16", "sampling.threshold=none")
    together: ClassVar[bool] = False
    previewed: ClassVar[int] = 8

    rate: int
    length: int
    label_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        whole("rate", self.rate, least=1, most=LARGEST_RATE)
        whole("length", self.length, least=1, most=int(LONGEST * LARGEST_RATE))

    @property
    def shape(self) -> tuple[int, int]:
        return 1, self.length

    @property
    def levels(self) -> None:
        """None: models take sound for real numbers."""
        return

    @property
    def unit(self) -> Unit:
        """Nats per value."""
        return Unit("nats/dim", f"a density of {self.length} values in [-1, 1]", self.length)

    @property
    def seconds(self) -> float:
        return self.length / self.rate

    def describe(self) -> str:
        return f"{self.seconds:g} s at {self.rate} Hz, " + describe(self)

    def clamp(self, x: Tensor) -> Tensor:
        """Itself: what is beyond [-1, 1] is clipped where it is written."""
        return x

    def finish(self, x: Tensor) -> Tensor:
        """To the values of 16 bits."""
        return torch.from_numpy(to_levels(x.cpu().numpy()).astype(np.float32) / LEVELS)

    def picture(self, x: Tensor, title: str, captions: Sequence[str] | None = None) -> bytes:
        """Spectrograms of the first clips."""
        return spectrograms(x, self.rate, [*(captions or map(str, range(len(x))))], title=title)

    def strip(self, t: Sequence[float], x: Tensor) -> bytes:
        """Spectrograms of states (K, 1, L) of one clip."""
        times, few = states(t, x, 10)
        return spectrograms(few, self.rate, [f"t = {time:.2f}" for time in times], columns=5)

    def animation(self, t: Sequence[float], x: Tensor) -> bytes:
        """Up to 30 states (K, 1, L)."""
        panels = zip(*states(t, x, 30), strict=True)
        return animation(
            [
                Image.open(io.BytesIO(spectrograms(state[None], self.rate, [f"t = {time:.2f}"], columns=1)))
                for time, state in panels
            ]
        )

    def players(self, x: Tensor, names: Sequence[str] = ()) -> str:
        """HTML that plays the clips (N, 1, L), whole: nothing else is loaded."""
        each = zip(to_levels(x.detach().cpu().flatten(1).numpy()), names or map(str, range(len(x))), strict=False)
        return "".join(player(wav(levels, self.rate), name) for levels, name in each)

    def write(self, folder: Path, make: Callable[[range], Tensor], indices: range, how: Writing) -> str:
        """00000.wav …, mono of 16 bits, each with how it was made as its comment, and grid.png of spectrograms.

        A clip that is there, whole and made alike, is not made again. See `DataSpec.write`.
        """
        if how.format not in ("", "wav"):
            raise InputError(f"format: sound is written as wav, a file a clip, and not as {how.format}; leave it out")
        refuse_folder(folder)
        refuse_foreign(folder / "grid.png")
        own = how.share(indices)
        there = {i for i in own if _is_made(_file(folder, i), how.facts(i))}
        beyond, clips = 0, 0
        for batch in batches_of(own, how.batch_size, how.progress):
            if there.issuperset(batch):
                continue
            x = finite("samples", make(batch)).flatten(1).numpy()
            for index, values in zip(batch, x, strict=True):
                count = clipped(values)
                beyond, clips = beyond + count, clips + bool(count)
                write_wav(_file(folder, index), to_levels(values), self.rate, {**how.facts(index), "index": index})
        first = indices[:MOST]
        made = f"{len(own):,} clip{'s' if len(own) != 1 else ''} of {self.seconds:g} s"
        made += f" ({len(there)} of them were there)" if there else ""
        made += "" if how.shard[1] == 1 else f" of shard {how.shard[0]}/{how.shard[1]}"
        made += f", {beyond:,} values in {clips:,} of them clipped" if beyond else ", none clipped"
        if not all(_is_made(_file(folder, i), how.facts(i)) for i in first):
            return f"{made}; the shard that ends last writes grid.png"
        shown = torch.from_numpy(np.concatenate([read_sound(_file(folder, i))[0] for i in first]))
        named = [_name(i, how.facts(i)) for i in first]
        stated = [stated_in(comment_of(_file(folder, i)) or {}) for i in first]
        facts = {**how.about, "index": indices.start, "count": len(indices), **summary(stated)}
        with whole_file(folder / "grid.png") as file:
            encode(file, Image.open(io.BytesIO(spectrograms(shown, self.rate, named, title=how.title))), facts)
        return f"{made}, and {folder / 'grid.png'}"

    def reading(self, config: DataConfig) -> DataConfig:
        """At the rate and of the length of the model."""
        return replace(config, rate=self.rate, seconds=self.seconds)

    def read(self, name: str, given: Any) -> Tensor:
        """Clips as a model takes them, float32 (1, L), or (N, 1, L) of many: files are resampled, mixed to one channel
        and cut or padded as in training (`fitted`), and so are arrays and tensors in [-1, 1] but resampled.

        Raises InputError, which begins with ``name``.
        """
        match given:
            case str() | Path():
                try:
                    values, rate = read_sound(Path(given))
                except (UnreadableSound, OSError) as error:
                    raise InputError(f"{name}: {given}: {error}; give a WAV or FLAC file") from None
                levels, _ = fitted(values, rate, self.rate, self.length)
                return torch.from_numpy(levels[None].astype(np.float32) / LEVELS)
            case list() | tuple() if given:
                return torch.stack([self.read(name, one) for one in given])
            case _:
                x = finite(name, given).cpu().float()
        x = x[None] if x.ndim == 1 else x
        if x.ndim not in (2, 3) or x.shape[-2:] != self.shape:
            raise InputError(
                f"{name}: is of shape {tuple(x.shape)}; give (1, {self.length}) at {self.rate} Hz, or files"
            )
        return x


@dataclass(frozen=True, eq=False)
class AudioDataset:
    """N clips of one rate and length, with what is known about each: the fields are those of `ImageDataset`.

    Attributes:
        clips: int16 (N, L), x = k/32,768.
        rate: in Hz.

    Raises:
        InputError: the fields do not agree with each other.
    """

    clips: NDArray[np.int16]
    rate: int
    keys: tuple[str, ...]
    labels: NDArray[np.int64] | None = None
    label_names: tuple[str, ...] = ()
    captions: tuple[str, ...] | None = None
    keywords: tuple[tuple[str, ...], ...] | None = None
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    values: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    splits: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        count = len(self.clips)
        if self.clips.dtype != np.int16 or self.clips.ndim != 2:
            raise InputError(f"clips: {self.clips.dtype} {self.clips.shape} is not int16 (N, L); convert them")
        if len(self.keys) != count or len(set(self.keys)) != count:
            raise InputError(f"keys: {len(set(self.keys))} different ones for {count} clips; give each clip its own")
        columns = {"labels": self.labels, "captions": self.captions, "splits": self.splits, **self.values}
        for name, given in columns.items():
            if given is not None and len(given) != count:
                raise InputError(f"{name}: {len(given)} for {count} clips; give one a clip, or None")
        if (self.labels is None) != (not self.label_names):
            raise InputError("labels: labels and label_names come together; give both or neither")

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def shape(self) -> tuple[int, int]:
        """(1, L)."""
        return 1, self.clips.shape[1]

    @property
    def spec(self) -> AudioSpec:
        return AudioSpec(self.rate, self.clips.shape[1], self.label_names)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.values)

    def batch(self, items: NDArray[np.int64]) -> Tensor:
        """These clips in [-1, 1): float32 (len(items), 1, L), on the CPU."""
        return torch.from_numpy(self.clips[items][:, None].astype(np.float32) / LEVELS)

    def labels_of(self, items: NDArray[np.int64]) -> Tensor:
        """See `Dataset.labels_of`."""
        if self.labels is None:
            raise no_labels()
        return torch.from_numpy(self.labels[items])

    def column(self, name: str) -> NDArray[np.float64]:
        """See `Dataset.column`."""
        if name not in self.values:
            raise no_column(name, self.columns)
        return self.values[name]

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> "AudioDataset":
        """See `Dataset.subset`."""
        chosen = np.asarray(indices, dtype=np.int64)

        def at(each: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
            return None if each is None else tuple(each[i] for i in chosen)

        return replace(
            self,
            clips=self.clips[chosen],
            keys=tuple(self.keys[i] for i in chosen),
            labels=None if self.labels is None else self.labels[chosen],
            captions=at(self.captions),
            keywords=at(self.keywords),
            skipped=(),
            values={name: column[chosen] for name, column in self.values.items()},
            splits=at(self.splits),
        )

    def split(self, held_out: float) -> "tuple[AudioDataset, AudioDataset]":
        """See `Dataset.split`."""
        if self.splits is None:
            train, held = divide(self.keys, held_out)
        else:
            train, held = divide_by_splits(self.splits, self.keys, held_out)
        return self.subset(train), self.subset(held)

    def fitted_to(self, spec: DataSpec, source: str) -> "AudioDataset":
        """Itself. Raises InputError where the model's clips are others."""
        other = unlike(self.spec, spec, source)
        model = expect(spec, AudioSpec, str(other))
        if (self.rate, self.shape) != (model.rate, model.shape):
            raise other
        return self

    def std(self) -> float:
        """The root of the mean over all moments of their variance over the clips, in [-1, 1]."""
        total, squares = np.zeros(self.shape[1]), np.zeros(self.shape[1])
        for first in range(0, len(self), 256):
            part = self.clips[first : first + 256].astype(np.float64)
            total += part.sum(0)
            squares += np.square(part).sum(0)
        variance = squares / len(self) - np.square(total / len(self))
        return float(np.sqrt(max(variance.mean(), 0.0)) / LEVELS)

    def fingerprint(self) -> str:
        """sha256 (hex) of values, rate, labels, numbers, keys and splits: equal exactly when the same would be trained
        on, but for captions and keywords (`SystemConfig.annotations`)."""
        digest = hashlib.sha256(f"audio {self.clips.shape} {self.rate} {self.labels is not None}".encode())
        digest.update("\0".join((*self.keys, "", *self.label_names)).encode("utf-8", "surrogateescape"))
        digest.update(np.ascontiguousarray(self.clips, dtype="<i2").data)
        if self.labels is not None:
            digest.update(self.labels.astype("<i8").tobytes())
        for name, column in sorted(self.values.items()):
            digest.update(name.encode() + column.astype("<f8").tobytes())
        if self.splits is not None:
            digest.update("\0".join(("splits", *self.splits)).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def skipped_report(self, limit: int | None = None) -> tuple[str, ...]:
        """See `Dataset.skipped_report`."""
        return skipped_lines(len(self), self.skipped, limit)


def fitted(values: NDArray[np.float64], own: int, rate: int, length: int) -> tuple[NDArray[np.int16], bool]:
    """Sound (channels, n) of ``own`` Hz as a clip: int16 (length,) at ``rate`` Hz; and whether it was cut.

    The mean of the channels, resampled (`sumi.data.resample`), in whole numbers of 16 bits; a shorter one is followed
    by silence, a longer one is cut and fades out over its last `FADE` seconds.
    """
    x = resampled(values.mean(0, keepdims=True), own, rate)[0]
    cut = len(x) > length
    if cut:
        x = x[:length].copy()
        fade = min(length, round(FADE * rate))
        x[length - fade :] *= np.cos(np.pi / 2 * (np.arange(fade) + 1) / (fade + 1)) ** 2
    found = np.zeros(length, np.int16)
    found[: len(x)] = to_levels(x)
    return found, cut


def length_of(rate: int, seconds: float) -> int:
    """rate · seconds samples, the nearest whole number, rounded up to a `MULTIPLE`.

    Raises InputError for an unheard-of length.
    """
    if not 0 < seconds <= LONGEST:
        raise InputError(f"data.seconds: {seconds:g} is out of range; give more than 0 and at most {LONGEST:g}")
    return -(-round(rate * seconds) // MULTIPLE) * MULTIPLE


def player(content: bytes, name: str) -> str:
    """HTML of a player of a WAV file."""
    import html

    source = f"data:audio/wav;base64,{base64.b64encode(content).decode()}"
    return (
        f'<figure class="sound"><audio controls preload="none" src="{source}"></audio>'
        f"<figcaption>{html.escape(name)}</figcaption></figure>"
    )


def _file(folder: Path, index: int) -> Path:
    return folder / f"{index:05d}.wav"


def _name(index: int, facts: Mapping[str, object]) -> str:
    named = next((str(facts[key]) for key in ("prompt", "label") if key in facts), "")
    return f"{index}: {named[:24]}" if named else str(index)


def _is_made(file: Path, about: Mapping[str, object]) -> bool:
    """Whether the file is there, whole and made alike. Raises InputError for one that was made otherwise."""
    if not file.exists():
        return False
    match comment_of(file):
        case dict() as made if alike(made, about):
            return True
        case None if not file.stat().st_size:
            return False
        case _:
            raise made_otherwise(file)
