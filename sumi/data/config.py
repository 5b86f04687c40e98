"""Which data a run uses: the ``data`` section of its configuration."""

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Literal

from sumi.data.frame import WHITE, Fit, Frame, Size, frame_of
from sumi.errors import InputError

SMALLEST_SIZE, LARGEST_SIZE = 4, 1024
MEMORY = "memory"
"""The source of data in memory."""


@dataclass(frozen=True)
class DataConfig:
    """The data of a run. Each field is described in ``metadata["help"]``.

    Raises:
        InputError: a field is out of its range; the message names it as ``data.FIELD``.
    """

    source: str = field(
        metadata={
            "help": "built-in set (digits, fashion, characters; swiss-roll, ring-of-8, heartbeat; spoken-digits; "
            "qm7-small; qm9-smiles), folder of images or of tar (WebDataset) or Parquet files of them, of sound (WAV, "
            "FLAC) or of molecules (.xyz, .sdf), MNIST idx files, .npy or .npz file of images (N, H, W, C) or vectors "
            "(N, D), or .txt or .csv file of strings; write ./digits for a folder with a built-in's name"
        }
    )
    size: int | tuple[int, int] | None = field(
        default=None,
        metadata={
            "help": "size of the images in pixels: the side of squares, or height x width, such as 48x64; none: the "
            "set's own size, and 32 for a folder of images"
        },
    )
    fit: Fit = field(
        default="crop",
        metadata={
            "help": "how images of another shape come to data.size: crop (their middle), pad (with data.background) or "
            "stretch"
        },
    )
    reduce: int = field(
        default=1,
        metadata={
            "help": "times by which images of data.size are made smaller still, by means of blocks; 1: not at all"
        },
    )
    channels: int | None = field(
        default=None,
        metadata={
            "help": "1 (grey) or 3 (colour); none: 1 where every image is grey, else 3; arrays of other numbers keep "
            "theirs"
        },
    )
    store: Literal["memory", "mapped", "streamed"] = field(
        default="memory",
        metadata={
            "help": "where the decoded images of a folder are; memory; mapped: in a file on the disk, decoded once for "
            "all runs, for sets that are larger than memory or slow to decode; streamed: of tar files alone, nowhere, "
            "each is decoded when it is used",
            "later": True,
        },
    )
    background: str = field(
        default=WHITE,
        metadata={
            "help": "what transparent pixels are laid over, and data.fit=pad adds: white, black, or a colour #rrggbb"
        },
    )
    held_out: float = field(
        default=0.1,
        metadata={
            "help": "share of the items, chosen by a hash of their keys, that is kept for evaluation; splits of the "
            "data's own come first"
        },
    )
    own_splits: bool = field(
        default=True,
        metadata={"help": "keep to the splits of the data's own; false: a hash of the keys divides all items"},
    )
    flip: bool = field(
        default=False, metadata={"help": "mirror training images left to right at random, half of the time"}
    )
    dequantize: bool = field(
        default=False,
        metadata={
            "help": "spread each training pixel evenly over its bin, so that the ODE's likelihood is a density's"
        },
    )
    label_pattern: str | None = field(
        default=None,
        metadata={
            "help": "regular expression matched at the start of the file's name; its first group is the class, such as "
            r"(\w+)_\d+ for cat_12.png; none: classes are labels in the metadata or sub-folders"
        },
    )

    range: tuple[float, float] | None = field(
        default=None,
        metadata={
            "help": "the lowest and the highest value that an array of images may hold, such as 0,1 or -1024,3071; "
            "none: 0,255 of uint8 and 0,65535 of uint16; arrays of other types need it",
            "later": True,
        },
    )
    array: str | None = field(
        default=None,
        metadata={
            "help": "name of the array of images or vectors in an .npz file; none: images, arr_0, or the only one",
            "later": True,
        },
    )
    labels: str | None = field(
        default=None,
        metadata={
            "help": "name of the array of classes (N,) in an .npz file; none: labels or arr_1 where there is one; of "
            "spoken digits: digit (none) or speaker; of a .csv file of strings the column of their classes",
            "later": True,
        },
    )
    column: str | None = field(
        default=None,
        metadata={"help": "name of the column of strings in a .csv file; none: the first", "later": True},
    )
    symbols: bool = field(
        default=False,
        metadata={"help": "whole numbers (N, L) in an array are symbols, not the values of vectors", "later": True},
    )

    rate: int | None = field(
        default=None,
        metadata={
            "help": "samples a second of sound; none: the files' own, of several the lowest",
            "later": True,
            "most": 384_000,
        },
    )
    seconds: float | None = field(
        default=None,
        metadata={
            "help": "length of clips of sound, at most 60: longer ones are cut, shorter ones followed by silence; "
            "none: the set's own, and 1 for a folder",
            "later": True,
            "most": 60,
        },
    )

    def __post_init__(self) -> None:
        if not self.source.strip():
            raise InputError(
                "data.source: is empty; give a built-in set (digits, swiss-roll, …), a folder of images, or a .npy file"
            )
        self._check_size()
        if not 1 <= self.reduce <= LARGEST_SIZE:
            raise InputError(f"data.reduce: {self.reduce} is out of range; give 1 (not at all) or more")
        if self.rate is not None and self.rate < 1:
            raise InputError(f"data.rate: {self.rate} is out of range; give samples a second, such as 16000")
        if self.seconds is not None and not 0 < self.seconds <= 60:
            raise InputError(f"data.seconds: {self.seconds:g} is out of range; give more than 0 and at most 60")
        if self.channels is not None and self.channels < 1:
            raise InputError(f"data.channels: {self.channels} is out of range; give 1 (grey), 3 (colour), or none")
        if self.range is not None and (len(self.range) != 2 or not -inf < self.range[0] < self.range[1] < inf):
            raise InputError(
                f"data.range: {list(self.range)} is not a lowest and a highest value; give two finite numbers, such as "
                "0,1"
            )
        if not re.fullmatch("white|black|#[0-9a-fA-F]{6}", self.background):
            raise InputError(
                f"data.background: {self.background!r} is no colour read here; give white, black, or one as #rrggbb"
            )
        if not 0 < self.held_out < 1:
            raise InputError(
                f"data.held_out: {self.held_out} leaves one side empty; give a share above 0 and below 1, such as 0.1"
            )
        if self.label_pattern is not None:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error", FutureWarning)  # of what will mean something else
                    groups = re.compile(self.label_pattern).groups
            except (re.error, FutureWarning, OverflowError, RecursionError) as error:
                raise InputError(f"data.label_pattern: is no regular expression ({error}); mend it") from None
            if not groups:
                raise InputError(
                    f"data.label_pattern: {self.label_pattern} has no group; put parentheses around the class"
                )

    @property
    def picture_channels(self) -> int | None:
        """``channels`` of a source of pictures. Raises InputError for another number than theirs."""
        if self.channels not in (None, 1, 3):
            raise InputError(
                f"data.channels: {self.channels} is neither 1 (grey) nor 3 (colour), and {self.source} has no others; "
                "give one of these"
            )
        return self.channels

    def frame(self, usual: Size) -> Frame:
        """The size of the images, or the ``usual`` one, and how they are made to have it."""
        return frame_of(self.size or usual, self.fit, self.background)

    def fitting(self, shape: tuple[int, ...]) -> Frame | None:
        """How a picture that is given becomes one of ``shape`` (C, H, W), as training images did; None for vectors."""
        return frame_of((shape[1], shape[2]), self.fit, self.background) if len(shape) == 3 else None

    def refuse_array_fields(self, besides: tuple[str, ...] = ()) -> None:
        """Raises InputError where a field that only arrays have is set, or columns, ``besides`` these."""
        for name in ("range", "array", "labels", "symbols"):
            if name not in besides and getattr(self, name) not in (None, False):
                raise InputError(f"data.{name}: is for arrays, and {self.source} is none; leave it out, or give arrays")
        if self.column is not None and "column" not in besides:
            raise InputError(f"data.column: is of a .csv file of strings, and {self.source} is none; leave it out")

    def refuse_sound_fields(self) -> None:
        """Raises InputError where a field that only sound has is set."""
        for name in ("rate", "seconds"):
            if getattr(self, name) is not None:
                raise InputError(f"data.{name}: is of sound, and {self.source} holds none; leave it out")

    def refuse(self, what: str, fields: Iterable[str]) -> None:
        """Raises InputError where one of these ``fields``, which ``what`` do not have, is set."""
        for name in fields:
            if getattr(self, name) not in (None, False):
                raise InputError(f"data.{name}: {self.source} holds {what}, which have none; leave it out")

    def _check_size(self) -> None:
        """A pair of equal sides becomes the one side of a square."""
        match self.size:
            case None:
                sides: tuple[int, ...] = ()
            case (height, width):
                sides = (height, width)
                if height == width:
                    object.__setattr__(self, "size", height)
            case int() as side:
                sides = (side,)
            case other:
                raise InputError(f"data.size: {list(other)} is not (height, width); give two numbers, such as 48x64")
        if any(not SMALLEST_SIZE <= side <= LARGEST_SIZE for side in sides):
            shown = "x".join(map(str, sides))
            raise InputError(
                f"data.size: {shown} is out of range; give sides of {SMALLEST_SIZE} to {LARGEST_SIZE} pixels"
            )
